"""Write the README.md of a bundle on the Hugging Face Hub: its model card behind the metadata that the Hub reads.

The keys are those of https://huggingface.co/docs/hub/model-cards: licence, data sets, tags and ``model-index``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mien.inference.hub import HUB
from mien.inference.metadata import NOT_DATA, BundleMetadata
from mien.tasks import Task

#: Licences that the Hub has a name for, which is their SPDX identifier in lower case; every other one is "other".
_NAMED = {"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"}
_PIPELINE = "image-classification"
#: Names of the Hub for figures that mien calls otherwise.
_HUB_METRICS = {"macro_f1": "f1"}
#: Tags under which people look for such models.
_TASK_TAGS = {"age": "age-estimation", "gender": "gender-classification"}

_USE = """
## Use

```bash
pip install 'mien[hub]'
mien predict photo.jpg --model '{address}'
```

```python
import mien

model = mien.load("{address}")
print(model("photo.jpg").faces)
```

The file is data alone: mien checks its graph and metadata before it runs it. With `#sha256=` no other file is accepted.
"""


def hub_readme(metadata: BundleMetadata, repository: str, sha256: str) -> str:
    """Return the text of README.md: the Hub's metadata in YAML, the bundle's own card, and how to load it.

    Args:
        metadata: of the bundle.
        repository: ``user/name``.
        sha256: hexadecimal, of the bundle's file.
    """
    import yaml

    front = yaml.safe_dump(hub_metadata(metadata), sort_keys=False, allow_unicode=True)
    card = metadata.card.strip() or f"# {metadata.name}"
    return f"---\n{front}---\n\n{card}\n{_USE.format(address=f'{HUB}{repository}#sha256={sha256}')}"


def hub_metadata(metadata: BundleMetadata) -> dict[str, Any]:
    """Return the Hub's metadata of a bundle, plain values in the order in which they are written."""
    data = _data_sets(metadata)
    index = list(_results(metadata, data))
    metrics = dict.fromkeys(metric["type"] for result in index for metric in result["metrics"])
    return {
        **_licence(metadata.licences),
        "library_name": "mien",
        "pipeline_tag": _PIPELINE,
        "tags": ["onnx", "face", *(_TASK_TAGS.get(task.name, task.name.replace("_", "-")) for task in metadata.tasks)],
        **({"datasets": data} if data else {}),
        **({"metrics": list(metrics)} if metrics else {}),
        **({"model-index": [{"name": metadata.name, "results": index}]} if index else {}),
    }


def licence_text(licences: Mapping[str, Any]) -> str | None:
    """Return the text of the repository's LICENSE file where the Hub has no name for the licence, else None."""
    if _licence(licences)["license"] != "other":
        return None
    return "".join(f"{name}: {terms}\n" for name, terms in licences.items())


def _licence(licences: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of the weights' licence; terms that add to a licence are another licence."""
    terms = str(licences.get("weights") or "")
    if not terms:
        return {"license": "unknown"}
    if terms.lower() in _NAMED:
        return {"license": terms.lower()}
    return {"license": "other", "license_name": "see-license", "license_link": "LICENSE"}


def _data_sets(metadata: BundleMetadata) -> list[str]:
    return [name for name in metadata.licences if name not in NOT_DATA]


def _results(metadata: BundleMetadata, data: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a result of ``model-index`` a task: every figure of the bundle that has a value."""
    split = str(metadata.metrics.get("split") or "test")
    measured = metadata.metrics.get("tasks")
    for task in metadata.tasks:
        figures = measured.get(task.name) if isinstance(measured, Mapping) else None
        metrics = list(_metrics(figures)) if isinstance(figures, Mapping) else []
        if metrics:
            yield {
                "task": {"type": _PIPELINE, "name": _title(task)},
                "dataset": {
                    "type": "-".join(data) or "unknown",
                    "name": f"{', '.join(data) or 'unknown'}, {split} split",
                    "config": task.name,
                    "split": split,
                },
                "metrics": metrics,
            }


def _metrics(figures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each figure with a value: the Hub's name, the value, and a title with the interval and the faces."""
    for name, figure in figures.items():
        value = figure.get("value") if isinstance(figure, Mapping) else None
        if not isinstance(value, (int, float)):
            continue
        title = name.replace("_", " ")
        if isinstance(figure.get("low"), (int, float)) and isinstance(figure.get("high"), (int, float)):
            title += f" (95 % interval {figure['low']:.4g} to {figure['high']:.4g}, n = {figure.get('n')})"
        yield {"type": _HUB_METRICS.get(name, name), "name": title, "value": value}


def _title(task: Task) -> str:
    return f"{task.name.replace('_', ' ')} of a face"
