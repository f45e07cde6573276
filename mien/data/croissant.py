"""Describe a prepared folder in Croissant 1.0 (JSON-LD of MLCommons) with its vocabulary for responsible AI.

``croissant.json`` names the files with their SHA-256, the columns of the manifest, the licences of the sources, and
what is known of the labels. Fields of which nothing is known, as who annotated, are left out.
See https://docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from mien.data.crops import CROPS_FOLDER, CROPS_NAME, ROWS_NAME, crop_files
from mien.data.dataset import MANIFEST_NAME
from mien.files import file_sha256, write_text
from mien.tasks import Task

CROISSANT_NAME = "croissant.json"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in [
            "citeAs",
            "column",
            "equivalentProperty",
            "extract",
            "field",
            "fileProperty",
            "fileObject",
            "fileSet",
            "format",
            "includes",
            "isLiveDataset",
            "jsonPath",
            "key",
            "md5",
            "parentField",
            "path",
            "recordSet",
            "references",
            "regex",
            "repeated",
            "replace",
            "samplingRate",
            "separator",
            "source",
            "subField",
            "transform",
        ]
    },
}
_CONFORMS = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
_MEANING = {
    "name": "the name of the face's image in its source",
    "path": "the image file on the machine that prepared the data",
    "source": "the data set that the face is from",
    "source_split": "the split that the source gives the face",
    "sha256": "SHA-256 of the image file",
    "identity": "the person, where the source names one",
    "group": "faces of one group are duplicates or one person, and never in two splits",
    "split": "train, val, test or a fold",
    "crop_kind": "how the crop was made",
}


def write_croissant(out: Path, info: dict[str, Any], manifest: pd.DataFrame, tasks: Sequence[Task]) -> None:
    """Write croissant.json of a folder whose manifest and crops are written.

    Args:
        out: the prepared folder.
        info: what dataset.json will hold.
        manifest: as it was written.
        tasks: those that have labels.
    """
    document = croissant(out, info, manifest, tasks)
    write_text(out / CROISSANT_NAME, json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def croissant(out: Path, info: dict[str, Any], manifest: pd.DataFrame, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the JSON-LD document; see `write_croissant`."""
    sources = info["sources"]
    citations = [source["citation"] for source in sources if source["citation"]]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS,
        "name": re.sub(r"[^\w.-]+", "-", out.resolve().name) or "faces",
        "description": f"{info['rows']:,} faces of {', '.join(source['name'] for source in sources)}, prepared by mien "
        f"{info['mien']} for {', '.join(task.name for task in tasks)}.",
        "version": f"1.0.0+{info['manifest_sha256'][:8]}",
        "datePublished": datetime.now(timezone.utc).date().isoformat(),
        "license": list(dict.fromkeys(source["licence"] or "unknown" for source in sources)),
        **({"citeAs": " ".join(dict.fromkeys(citations))} if citations else {}),
        **_responsible(info, manifest, tasks),
        "distribution": _files(out, info),
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "faces",
                "name": "faces",
                "description": "One row a face, in the order of the crops.",
                "field": [_field(str(name), manifest[name], tasks) for name in manifest.columns],
            }
        ],
    }


def _files(out: Path, info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the manifest and the files of crops; large data have several, and the number of each row's crop."""
    side = info["crop"]["size"]
    labels = "The labels, sources, groups and splits."
    described = [(MANIFEST_NAME, "application/x-parquet", labels, info["manifest_sha256"])]
    crops = crop_files(out)
    numbers = [path for path in (out / CROPS_FOLDER / ROWS_NAME,) if crops != [out / CROPS_NAME]]
    for path in [*crops, *numbers]:
        text = f"Face crops, uint8, N x {side} x {side} x 3, RGB."
        text = "Which crop of all files in their order belongs to each row, int64." if path in numbers else text
        described.append((path.relative_to(out).as_posix(), "application/x-npy", text, file_sha256(path)))
    return [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "description": text,
            "contentUrl": name,
            "contentSize": f"{(out / name).stat().st_size} B",
            "encodingFormat": encoding,
            "sha256": sha256,
        }
        for name, encoding, text, sha256 in described
    ]


def _field(name: str, values: pd.Series[Any], tasks: Sequence[Task]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"faces/{name}",
        "name": name,
        "description": _MEANING.get(name) or _label_meaning(name, tasks),
        "dataType": _data_type(values),
        "source": {"fileObject": {"@id": MANIFEST_NAME}, "extract": {"column": name}},
    }


def _data_type(values: pd.Series[Any]) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "sc:Boolean"
    if pd.api.types.is_integer_dtype(values):
        return "sc:Integer"
    return "sc:Float" if pd.api.types.is_float_dtype(values) else "sc:Text"


def _label_meaning(column: str, tasks: Sequence[Task]) -> str:
    """Return what a label's column holds."""
    for task in tasks:
        if column in task.columns:
            if task.kind == "nominal":
                return f"apparent {task.name}: {', '.join(task.classes)}"
            return (
                f"apparent {task.name}, from {task.lowest} to {task.highest}; exact, or an end of the labelled interval"
            )
    return f"the label {column}"


def _responsible(info: dict[str, Any], manifest: pd.DataFrame, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the fields of the vocabulary for responsible AI that follow from the preparation."""
    quarantined = sum(info["quarantined"].values())
    crop = info["crop"]
    return {
        "rai:personalSensitiveInformation": ["faces", *(task.name for task in tasks)],
        "rai:dataPreprocessingProtocol": [
            f"Faces are cropped to {crop['size']} x {crop['size']} pixels by the recipe {crop['recipe']}.",
            f"{info['read']:,} rows were read and {quarantined:,} left out, each with its reason in quarantine.csv: "
            + (", ".join(f"{reason} {count:,}" for reason, count in info["quarantined"].items()) or "none")
            + ".",
            f"Splits, seed {info['seed']}: {', '.join(f'{name} {n:,}' for name, n in info['splits'].items())}; "
            "duplicates and identities never cross splits.",
        ],
        "rai:dataBiases": [_composition(task, manifest) for task in tasks],
        "rai:dataLimitations": "The labels are apparent attributes, as the annotators of the sources saw them, and not "
        "a person's age in documents, gender identity or origin. The classes leave many people out.",
        "rai:dataUseCases": "Training, evaluation and audits of models of apparent attributes of faces. Not for "
        "identifying a person or deciding about one.",
    }


def _composition(task: Task, manifest: pd.DataFrame) -> str:
    """Return how the labels of a task are spread."""
    labels = manifest[task.columns[0]]
    known = labels.dropna()
    if task.kind == "nominal":
        counts = known.astype(str).value_counts()
        spread = ", ".join(f"{name} {count / len(known):.1%}" for name, count in counts.items())
    else:
        low, middle, high = (float(known.astype(float).quantile(q)) for q in (0.05, 0.5, 0.95))
        spread = f"5 % quantile {low:g}, median {middle:g}, 95 % quantile {high:g}"
    return f"{task.name}, {len(known):,} of {len(labels):,} faces labelled: {spread}."
