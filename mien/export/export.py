"""Export a run as a bundle: calibrate on validation, write, compare with PyTorch, measure.

The test split is measured last and chooses nothing; its figures and the model card travel in the metadata.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from mien.calibration.fit import calibrate_task
from mien.data.dataset import PreparedDataset, note_enlarged_crops, open_dataset, other_crops, recipe_of
from mien.errors import MienError, UsageError
from mien.evaluation.fit_calibration import fit_calibration
from mien.evaluation.measure import evaluate_table
from mien.evaluation.model import EvaluatedModel, default_calibration, open_model
from mien.evaluation.model_on_data import open_data_for
from mien.evaluation.predictions import build_predictions, trained_on
from mien.evaluation.result import Evaluation
from mien.export.graph import check_parity, set_metadata, write_graph
from mien.export.int8_graph import halve_weights
from mien.export.quantise import Quantised, quantise_bundle
from mien.files import atomic_path, is_folder
from mien.inference.bench import precision_of
from mien.inference.bundle import find_bundle, load_bundle
from mien.inference.metadata import BundleMetadata, Calibration
from mien.inference.postprocess import Probabilities
from mien.memory import keep_freed_memory
from mien.metrics.bootstrap import Estimate, Sampling
from mien.metrics.predictions_table import of_source
from mien.models import dlib_resnet, face_mobilenet
from mien.models.joined import SEPARATOR, JoinedBackbone
from mien.models.network import ProbabilityNetwork
from mien.progress import console
from mien.reports.card import CardFields, model_card
from mien.runs.provenance import command_text, without_folders
from mien.runs.run_folder import Run, load_run
from mien.tasks import Task
from mien.training.warm_start import trained_licences
from mien.vision.align import DEFAULT_CROP
from mien.vision.decode import read_regular_file
from mien.vision.resize import resize_crops

#: Greatest difference of a probability between torch and ONNX Runtime.
TOLERANCE = 1e-4
#: Crops on which the two are compared.
PARITY_CROPS = 256

CODE_LICENCE = "Apache-2.0"
#: The licence of backbone weights that an installed package ships, and of those that know faces.
BACKBONE_LICENCE = "ImageNet-pretrained backbone: Apache-2.0"
_HSE = "backbone pretrained for face recognition (HSE_FaceRec_tf, on VGGFace2): Apache-2.0"
BACKBONE_LICENCES = {
    dlib_resnet.NAME: "backbone pretrained for face recognition (dlib): CC0-1.0",
    face_mobilenet.NAME: _HSE,
    face_mobilenet.NARROW: _HSE,
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: ``difference`` is the greatest one that the parity check with torch found (None: a bundle was
    quantised, without torch), ``quantised`` what int8 did."""

    path: Path
    metadata: BundleMetadata
    difference: float | None
    card: str
    quantised: Quantised | None = None


def export_run(
    run_folder: Path,
    data: Path,
    out: Path,
    *,
    name: str | None = None,
    flip_tta: bool = False,
    size: int | None = None,
    int8: bool = False,
    half: bool = False,
    class_offsets: Collection[str] = (),
) -> Exported:
    """Write the bundle of a run's best network.

    Args:
        run_folder: a finished run.
        data: the prepared data that it was trained on: ``val`` calibrates, ``test`` is measured.
        out: the ``.onnx`` file to write; it appears only when every check has passed.
        name: the bundle's name; the recipe's by default.
        flip_tta: average the probabilities of each crop and its horizontal flip, at twice the work.
        size: side of the graph's crops in pixels; by default that of the recipe's last stage.
        int8: quantise the checked graph with training crops, and calibrate it anew.
        half: keep the checked graph's weights in 16 bits; it computes in float32.
        class_offsets: nominal tasks whose calibration has an offset of each class; see `calibrate_nominal`.

    Raises:
        UsageError: ``out`` is no ``.onnx`` file, or the data are not those of the run.
        ParityError: torch and ONNX Runtime disagree, or int8 answers the validation faces worse than is allowed.
    """
    _check_out(out)
    run = replace(load_run(run_folder), input_size=size)
    dataset = open_dataset(data, fold=run.info.get("fold"), sources=run.recipe.sources)
    _check_same_data(run, dataset)
    note_enlarged_crops(dataset, run.size)
    keep_freed_memory()
    network = ProbabilityNetwork(run.network, flip_tta=flip_tta).eval()
    calibration = _calibrate(network, run, dataset, class_offsets)
    metadata = BundleMetadata(
        name=name or run.name,
        size=run.size,
        crop_size=int(dataset.crops.shape[1]),
        tasks=run.tasks,
        calibration=calibration,
        crop=dataset.crop_recipe or DEFAULT_CROP,
        licences={**_licences(run), **_backbone_licence(run)},
        training=_training(run, flip_tta),
    )
    with atomic_path(out) as temporary:
        write_graph(network, metadata, temporary)
        difference = _compare(network, temporary, run, dataset)
        quantised = _quantise(temporary, dataset, class_offsets) if int8 else None
        metadata = quantised.metadata if quantised else metadata
        if half:
            _halve(temporary)
        metadata = _with_figures(temporary, metadata, dataset)
        set_metadata(temporary, metadata)
        load_bundle(temporary)
    return Exported(path=out, metadata=metadata, difference=difference, card=metadata.card, quantised=quantised)


def convert_exported(
    bundle: Path,
    data: Path,
    out: Path,
    *,
    half: bool = False,
    name: str | None = None,
    class_offsets: Collection[str] = (),
) -> Exported:
    """Write the 8-bit form of a float32 bundle, or the one whose weights have 16 bits. Its run may be gone.

    Args:
        bundle: a ``.onnx`` file or the name of a bundled model.
        data: the prepared data of its training: ``train`` measures the ranges, ``val`` calibrates, ``test`` gives the
            figures of the card.
        out: the ``.onnx`` file to write; it appears only when every check has passed.
        half: keep the weights in 16 bits, instead of quantising; the calibration stays.
        name: the new bundle's name; that of the old one by default.
        class_offsets: see `export_run`.

    Raises:
        UsageError: ``out`` is no ``.onnx`` file, or the bundle is in 8 bits already, or was trained on other crops.
        ParityError: int8 answers the validation faces worse than is allowed.
    """
    _check_out(out)
    source = find_bundle(bundle)
    model = open_model(source)
    if precision_of(content := read_regular_file(source)) == "int8":
        raise UsageError(f"{bundle} is in 8 bits already; a float32 bundle or its run is needed.")
    dataset, _ = open_data_for(model, data, None)
    if not trained_on(model, dataset):
        console.print(
            f"{bundle} was trained on other data: make sure that none of its training faces is in these validation and "
            "test splits.",
            markup=False,
        )
    with atomic_path(out) as temporary:
        temporary.write_bytes(content)
        quantised = None if half else _quantise(temporary, dataset, class_offsets)
        if half:
            _halve(temporary)
        metadata = quantised.metadata if quantised else load_bundle(temporary).metadata
        metadata = replace(metadata, name=name or metadata.name)
        metadata = _with_figures(temporary, metadata, dataset)
        set_metadata(temporary, metadata)
        load_bundle(temporary)
    return Exported(path=out, metadata=metadata, difference=None, card=metadata.card, quantised=quantised)


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".onnx" or is_folder(out):
        raise UsageError(f"--out must be a file that ends in .onnx, got {out}.")


def _check_same_data(run: Run, dataset: PreparedDataset) -> None:
    trained = (run.info.get("data") or {}).get("manifest_sha256")
    if trained is not None and trained != dataset.info.get("manifest_sha256"):
        raise UsageError(
            f"{dataset.folder} is not the data that {run.folder} was trained on: its manifest differs, so its test "
            "faces may have been trained on."
        )
    # The manifest does not tell the frame of the crops.
    if reason := other_crops(recipe_of(run.info.get("data") or {}), dataset):
        raise UsageError(f"{run.folder} was trained on {reason}")


def _calibrate(
    network: ProbabilityNetwork, run: Run, dataset: PreparedDataset, class_offsets: Collection[str]
) -> dict[str, Calibration]:
    defaults = {task.name: default_calibration(task) for task in run.tasks}
    predict = _torch_predict(network, run.tasks)
    model = EvaluatedModel(name=run.name, size=run.size, tasks=run.tasks, calibration=defaults, predict=predict)
    return fit_calibration(model, dataset, class_offsets)


def _quantise(path: Path, dataset: PreparedDataset, class_offsets: Collection[str]) -> Quantised:
    rows = dataset.rows("val")

    def calibrate(task: Task, output: Probabilities) -> Calibration:
        return calibrate_task(task, output, dataset, rows, class_offsets=task.name in class_offsets)

    return quantise_bundle(path, dataset, calibrate)


def _halve(path: Path) -> None:
    """Keep the weights of a bundle's file in 16 bits, in place."""
    model = onnx.load(path, load_external_data=False)
    halve_weights(model)
    path.write_bytes(model.SerializeToString())


def _torch_predict(network: ProbabilityNetwork, tasks: tuple[Task, ...]) -> Any:
    def predict(crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(crops))
        return {task.name: output.numpy() for task, output in zip(tasks, outputs, strict=True)}

    return predict


def _compare(network: ProbabilityNetwork, path: Path, run: Run, dataset: PreparedDataset) -> float:
    """Parity on real crops, spread over the validation split, in batches of several sizes."""
    rows = dataset.rows("val")
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(PARITY_CROPS, len(rows))).astype(int))]
    crops = resize_crops(np.asarray(dataset.crops[chosen]), run.size)
    bundle, predict = load_bundle(path), _torch_predict(network, run.tasks)
    pieces = [crops[:1], crops[1:4], crops[4:]]
    return max(check_parity(predict(piece), bundle.run(piece), TOLERANCE) for piece in pieces if len(piece))


def _with_figures(path: Path, metadata: BundleMetadata, dataset: PreparedDataset) -> BundleMetadata:
    """The metadata with the test split's figures and the card; without them where there is no test split."""
    try:
        rows = dataset.rows("test")
    except MienError:
        console.print("[yellow]The data has no test split: the bundle's card is without figures.[/]")
        rows = np.zeros(0, np.int64)
    fields = CardFields(
        name=metadata.name,
        size=metadata.size,
        crop=metadata.crop.name,
        summary=metadata.training.get("description", ""),
        licences=metadata.licences,
        training={key: value for key, value in metadata.training.items() if key not in ("description", "data")},
        tasks=metadata.tasks,
    )
    if not len(rows):
        return replace(metadata, card=model_card(None, fields))
    model = replace(open_model(path), sha256=None)
    predictions, command = build_predictions(model, dataset, rows, "test"), command_text()
    evaluation = evaluate_table(predictions, Sampling(), command)
    sources = sorted(set(predictions.frame["source"].tolist()))
    by_source = {
        name: evaluate_table(of_source(predictions, name), Sampling(), command)
        for name in (sources if len(sources) > 1 else ())
    }
    metrics = {"n": evaluation.n, "split": "test", "seed": evaluation.seed, "tasks": _headlines(evaluation)}
    if by_source:
        metrics["sources"] = {name: {"n": each.n, "tasks": _headlines(each)} for name, each in by_source.items()}
    card = model_card(replace(evaluation, training={}), replace(fields, by_source=by_source))
    return replace(metadata, metrics=metrics, card=card)


def _headlines(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Return, by task, the figures that are single numbers with an interval, as plain JSON."""
    return {
        task: {name: value.to_json() for name, value in vars(figures).items() if isinstance(value, Estimate)}
        for task, figures in evaluation.tasks.items()
    }


def _licences(run: Run) -> dict[str, Any]:
    sources = trained_licences(run.info)
    terms = "; ".join(sorted(set(sources.values())))
    weights = f"{CODE_LICENCE}, within the terms of the training data ({terms})"
    return {"code": CODE_LICENCE, "weights": weights, **sources}


def _backbone_licence(run: Run) -> dict[str, str]:
    """The licence of the weights that the backbone started from, of joined ones each; nothing where at random."""
    backbone: Any = run.network.backbone
    parts: list[Any] = list(backbone.parts) if isinstance(backbone, JoinedBackbone) else [backbone]
    origins = str(run.info.get("backbone_weights")).split(SEPARATOR)
    names = run.recipe.model.backbone.split(SEPARATOR)
    terms = []
    for name, origin, part in zip(names, origins, parts, strict=True):
        if origin == "random":
            continue
        if name in BACKBONE_LICENCES or origin == "package":
            terms.append(BACKBONE_LICENCES.get(name, BACKBONE_LICENCE))
        else:
            terms.append(f"{name} of timm: {part.pretrained_cfg.get('license') or 'see its model card'}")
    return {"backbone": "; ".join(dict.fromkeys(terms))} if terms else {}


def _training(run: Run, flip_tta: bool) -> dict[str, Any]:
    """What the bundle says of its training: enough to run it again."""
    keys: tuple[str, ...] = ("command", "commit", "seed", "splits", "fold", "best_epoch", "epochs", "validation")
    keys += ("training_seconds", "backbone_weights", "started_from", "joined_with", "teachers")
    recorded = {key: run.info[key] for key in keys if run.info.get(key) not in (None, [])}
    if "command" in recorded:
        recorded["command"] = without_folders(str(recorded["command"]))
    data = run.info.get("data") or {}
    return {
        "recipe": run.recipe.name,
        "description": run.recipe.description,
        "backbone": run.recipe.model.backbone,
        # What another training needs to be initialised from the bundle.
        "model": asdict(run.recipe.model),
        "mirrored_too": flip_tta,
        **recorded,
        "data": {key: data.get(key) for key in ("manifest_sha256", "splits", "seed", "read", "quarantined")},
    }
