"""How good is a model on these data? `evaluate` gives an `Evaluation`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.evaluation.measure import evaluate as evaluate
    from mien.evaluation.result import Evaluation as Evaluation

_LAZY = {"evaluate": "mien.evaluation.measure", "Evaluation": "mien.evaluation.result"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'mien.evaluation' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
