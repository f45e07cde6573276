"""Give predictions to FiftyOne: the faces of many images in the JSON that ``fiftyone.Dataset.from_json`` reads.

FiftyOne itself need not be installed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mien.errors import UsageError
from mien.types import Face, ImageResult, OrdinalPrediction

_DOCUMENT = "fiftyone.core.fields.EmbeddedDocumentField"
#: Fields that every data set of FiftyOne has.
BASE_FIELDS = {
    "filepath": "fiftyone.core.fields.StringField",
    "tags": "fiftyone.core.fields.ListField(fiftyone.core.fields.StringField)",
    "metadata": f"{_DOCUMENT}(fiftyone.core.metadata.ImageMetadata)",
}


def label_field(kind: str) -> str:
    """Return the type of a field of labels, as ``Classification`` or ``Detections``."""
    return f"{_DOCUMENT}(fiftyone.core.labels.{kind})"


def fiftyone_json(results: Iterable[ImageResult], *, name: str = "mien") -> dict[str, Any]:
    """Return a data set with a sample an image; write it with `json.dump`, and read it with ``Dataset.from_json``.

    A sample's ``faces`` are detections, labelled ``face`` with the detector's score, with boxes relative to the upright
    image. A detection has an attribute a task, its level or label (None where the model abstains), and
    ``TASK_low`` and ``TASK_high``, or ``TASK_probability``. The image's status is a tag.

    Raises:
        UsageError: an image was not given as a path, by which FiftyOne finds it.
    """
    samples = [_sample(result) for result in results]
    fields = {**BASE_FIELDS, "faces": label_field("Detections")}
    return {"name": name, "media_type": "image", "sample_fields": fields, "info": {}, "samples": samples}


def _sample(result: ImageResult) -> dict[str, Any]:
    if not result.path:
        raise UsageError("Expected results of images that were given as paths; one has none.")
    detections = [_detection(face, result) for face in result.faces]
    return {
        "filepath": result.path,
        "tags": [result.status],
        "metadata": None,
        "faces": {"_cls": "Detections", "detections": detections} if result.width else None,
    }


def _detection(face: Face, result: ImageResult) -> dict[str, Any]:
    x, y, width, height = face.box
    wide, high = result.width or 1, result.height or 1
    attributes: dict[str, Any] = {}
    for task, prediction in face.predictions.items():
        if isinstance(prediction, OrdinalPrediction):
            attributes |= {task: prediction.value, f"{task}_low": prediction.low, f"{task}_high": prediction.high}
        else:
            attributes |= {task: prediction.label, f"{task}_probability": prediction.probability}
    return {
        "_cls": "Detection",
        "tags": [],
        "label": "face",
        "bounding_box": [x / wide, y / high, width / wide, height / high],
        "confidence": face.score,
        **attributes,
    }
