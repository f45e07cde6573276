"""What a run records of the trainings before its own in, each of them once out.

It records the run that it began with and those that taught it, and each of these records its own. Without this a
training would be told once for every way that leads to it, about twice as often with each generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: What says how a run was trained; its other entries say which one it is.
_TRAINING = ("command", "started_from", "teachers")


def deduplicated(training: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a training in which each earlier run says how it was trained where it comes first, and only which
    one it is (``run``, ``weights_sha256``, ``licences`` and what else is short) where it comes again.

    Args:
        training: with ``started_from`` (a record or None) and ``teachers`` (records), where there are any; a record
            (`mien.training.warm_start.origin_of`) has them too.
    """
    return _deduplicated(training, set())


def _deduplicated(training: Mapping[str, Any], told: set[str]) -> dict[str, Any]:
    copy = dict(training)
    if copy.get("started_from"):
        copy["started_from"] = _record(copy["started_from"], told)
    if copy.get("teachers"):
        copy["teachers"] = [_record(teacher, told) for teacher in copy["teachers"]]
    return copy


def _record(run: Mapping[str, Any], told: set[str]) -> dict[str, Any]:
    weights = run.get("weights_sha256")
    if weights in told:
        return {key: value for key, value in run.items() if key not in _TRAINING}
    whole = _deduplicated(run, told)
    if weights:
        told.add(str(weights))
    return whole


def earlier_trainings(training: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records of all earlier runs, each once, none before those that it learned from."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in _walk(training):
        if run.get("command"):
            found.setdefault(str(run.get("weights_sha256") or run["command"]), run)
    return list(found.values())


def _walk(training: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for run in (training.get("started_from"), *(training.get("teachers") or [])):
        if run:
            yield from _walk(run)
            yield run
