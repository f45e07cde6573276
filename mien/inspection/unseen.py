"""Refuse a model that may have been trained on the faces that it is to inspect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mien.data.dataset import PreparedDataset
from mien.errors import UsageError
from mien.evaluation.model import EvaluatedModel
from mien.evaluation.predictions import trained_on
from mien.inference.metadata import NOT_DATA
from mien.runs.lineage import earlier_trainings

#: Schemes whose name says nothing of which data they are.
_ANY_DATA = {"manifest", "pixels"}


def check_unseen(model: EvaluatedModel, dataset: PreparedDataset) -> None:
    """Raise `UsageError` where the model was, or may have been, trained on a source of the data.

    Data sets are compared by their names, prepared folders by the hash of their manifest. Tables of the user's own have
    no name that says what they hold, so they are compared by the hash alone.
    """
    how = "use --folds, or a model that was trained on other data"
    if trained_on(model, dataset):
        raise UsageError(f"{model.name} was trained on {dataset.folder}, so it cannot judge its labels: {how}.")
    trained = _sources(model.training) | (set(model.licences) - NOT_DATA)
    if not trained:
        raise UsageError(f"{model.name} does not say what data it was trained on, so it may know these faces: {how}.")
    named = {str(source.get("scheme") or source["name"]) for source in dataset.info.get("sources", [])} - _ANY_DATA
    if both := sorted(named & trained):
        raise UsageError(f"{model.name} was trained on {', '.join(both)}, which {dataset.folder} holds too: {how}.")


def _sources(training: Mapping[str, Any]) -> set[str]:
    """Return the names of the data sets of a training and of those before it."""
    found: set[str] = set()
    for record in (training, *earlier_trainings(training)):
        sources = (record.get("data") or {}).get("sources") or []
        if not isinstance(sources, Mapping):
            sources = [source.get("scheme") or source.get("name") for source in sources]
        names = list(sources)
        found |= {str(name) for name in names} | (set(record.get("licences") or {}) - NOT_DATA)
    return found
