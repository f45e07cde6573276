"""Predict more images than one process should: in shards, on one machine or many.

`split` cuts the inputs, `predict_shard` predicts one part, `merge` puts the parts together; docs/scale.md shows how.
The names are imported when they are first used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mien.scale.batches import BatchPredictor as BatchPredictor
    from mien.scale.merging import Summary as Summary
    from mien.scale.merging import merge as merge
    from mien.scale.merging import summarise as summarise
    from mien.scale.predict import predict_shard as predict_shard
    from mien.scale.sources import split as split
    from mien.scale.types import Settings as Settings
    from mien.scale.types import Shard as Shard
    from mien.scale.types import ShardRecord as ShardRecord

__all__ = [
    "BatchPredictor",
    "Settings",
    "Shard",
    "ShardRecord",
    "Summary",
    "merge",
    "predict_shard",
    "split",
    "summarise",
]

_MODULE_OF = {
    "BatchPredictor": "batches",
    "Settings": "types",
    "Shard": "types",
    "ShardRecord": "types",
    "Summary": "merging",
    "merge": "merging",
    "predict_shard": "predict",
    "split": "sources",
    "summarise": "merging",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mien.scale' has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = value = getattr(import_module(f"mien.scale.{_MODULE_OF[name]}"), name)
    return value
