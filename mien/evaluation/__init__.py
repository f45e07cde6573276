"""How good is a model on these data? `evaluate` returns an `mien.evaluation.result.Evaluation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mien.evaluation.result import Evaluation


class HasPath(Protocol):
    """A model that was loaded from the bundle at ``path``, such as `mien.FaceModel`."""

    @property
    def path(self) -> Path: ...


def evaluate(
    model: HasPath | Path | str,
    data: Path | str,
    split: str = "test",
    *,
    source: str | None = None,
    fold: int | None = None,
    limit: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model on one split of prepared data.

    Args:
        model: a `mien.FaceModel` (only its tasks are evaluated), an ``.onnx`` file, the name of a bundled model, or a
            run folder. A run is calibrated first, on the validation split of the data that it was trained on.
        data: a folder that `mien prepare` wrote.
        split: the split to measure on.
        source: evaluate only the faces of this data set.
        fold: the test fold of k-fold data; a run trained on a fold takes its own.
        limit: evaluate a random sample of so many faces.
        resamples: bootstrap resamples of the intervals; 0 for no intervals.
        seed: of the intervals and of the sample.

    Raises:
        MissingExtraError: the extra ``train`` is not installed.
        MienError: the model or the data cannot be read.
        UsageError: the data have no such split, source or fold.
    """
    from mien.api import FaceModel
    from mien.errors import MissingExtraError

    try:
        from mien.evaluation.measure import Faces, evaluate_model
        from mien.metrics.bootstrap import Sampling
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "train", "mien.evaluate") from error
    path = Path(model) if isinstance(model, (str, Path)) else model.path
    tasks = tuple(model.tasks) if isinstance(model, FaceModel) else ()
    faces = Faces(data=Path(data), split=split, source=source, fold=fold, limit=limit)
    return evaluate_model(path, faces, Sampling(resamples=resamples, seed=seed), tasks=tasks).evaluation
