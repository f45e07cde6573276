"""The earlier runs behind a run, each recorded once.

A run records the run that it was fine-tuned from and its teachers, and each of these records its own. Without
deduplication the records would about double with each generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: What says how a run was trained; its other entries say which one it is.
_TRAINING = ("command", "started_from", "joined_with", "teachers")


def deduplicated(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a training in which each earlier run says how it was trained where it comes first, and only
    which one it is (``run``, ``weights_sha256``, ``licences`` and what else is short) where it comes again.

    Args:
        training: with ``started_from`` (a record or None), ``joined_with`` and ``teachers`` (records), where there are
            any; a record (`mien.training.warm_start.origin_of`) has them too.
    """
    return _deduplicated(training, set())


def _deduplicated(training: Mapping[str, Any], seen: set[str]) -> dict[str, Any]:
    copy = dict(training)
    if copy.get("started_from"):
        copy["started_from"] = _record(copy["started_from"], seen)
    for key in ("joined_with", "teachers"):
        if copy.get(key):
            copy[key] = [_record(run, seen) for run in copy[key]]
    return copy


def _record(run: Mapping[str, Any], seen: set[str]) -> dict[str, Any]:
    weights = run.get("weights_sha256")
    if weights in seen:
        return {key: value for key, value in run.items() if key not in _TRAINING}
    whole = _deduplicated(run, seen)
    if weights:
        seen.add(str(weights))
    return whole


def earlier_trainings(training: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records of all earlier runs, each once, none before those that it learned from."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in _walk(training):
        if run.get("command"):
            found.setdefault(str(run.get("weights_sha256") or run["command"]), run)
    return list(found.values())


def _walk(training: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for run in (training.get("started_from"), *(training.get("joined_with") or []), *(training.get("teachers") or [])):
        if run:
            yield from _walk(run)
            yield run
