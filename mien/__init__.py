"""mien: age, gender, ethnicity and any declared attribute of faces, from audited data to fast prediction.

`__all__` is the API; everything else is internal. Importing the package is cheap: what loads and runs a model is
imported when it is first used.

>>> import mien
>>> model = mien.load("default")  # doctest: +SKIP
>>> model("photo.jpg").faces[0].age.value  # doctest: +SKIP
41.0
"""

import os

#: Type checkers take the name for true; importing `typing` would cost more than all else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mien.api import FaceModel as FaceModel
    from mien.api import bundled_models as bundled_models
    from mien.api import draw as draw
    from mien.api import load as load
    from mien.api import to_dataframe as to_dataframe
    from mien.errors import MienError as MienError
    from mien.errors import UnknownTaskError as UnknownTaskError
    from mien.errors import UsageError as UsageError
    from mien.evaluation import evaluate as evaluate
    from mien.evaluation.result import Evaluation as Evaluation
    from mien.inference.metadata import BundleError as BundleError
    from mien.types import Face as Face
    from mien.types import ImageResult as ImageResult
    from mien.types import NominalPrediction as NominalPrediction
    from mien.types import OrdinalPrediction as OrdinalPrediction
    from mien.types import Prediction as Prediction
    from mien.video.types import Track as Track
    from mien.video.types import TrackedFace as TrackedFace
    from mien.video.types import VideoFrame as VideoFrame

# Before anything imports ONNX Runtime, which would otherwise write a device id into the user's cache folder and look up
# its maker's host.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.2.0"

__all__ = [
    "BundleError",
    "Evaluation",
    "Face",
    "FaceModel",
    "ImageResult",
    "MienError",
    "NominalPrediction",
    "OrdinalPrediction",
    "Prediction",
    "Track",
    "TrackedFace",
    "UnknownTaskError",
    "UsageError",
    "VideoFrame",
    "bundled_models",
    "draw",
    "evaluate",
    "load",
    "to_dataframe",
]

#: The modules that hold the names of `__all__`; each is imported when a name is first used.
_MODULES = {
    "mien.api": ("FaceModel", "bundled_models", "draw", "load", "to_dataframe"),
    "mien.errors": ("MienError", "UnknownTaskError", "UsageError"),
    "mien.evaluation": ("evaluate",),
    "mien.evaluation.result": ("Evaluation",),  # with mien[train]
    "mien.inference.metadata": ("BundleError",),
    "mien.types": ("Face", "ImageResult", "NominalPrediction", "OrdinalPrediction", "Prediction"),
    "mien.video.types": ("Track", "TrackedFace", "VideoFrame"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    from importlib import import_module

    from mien.errors import MissingExtraError

    try:
        value: object = getattr(import_module(_MODULE_OF[name]), name)
    except ModuleNotFoundError as error:
        if "evaluation" not in _MODULE_OF[name]:
            raise
        raise MissingExtraError(error.name or "", "train", f"mien.{name}") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
