"""`mien evaluate`: a model and prepared data in, or a predictions table; a report folder with every figure out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mien.cli.options import ClassOffsets, split_names
from mien.errors import UsageError
from mien.files import check_out_folder, is_file, is_folder
from mien.inference.memory_limit import limited_for
from mien.progress import console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.metrics.predictions_table import Predictions


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx|PREDICTIONS.parquet", help="What to evaluate.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the report; its files are replaced.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option(help="Prepared data (mien prepare); not for a predictions table.", show_default=False)
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the data to evaluate on.", show_default="test")] = None,
    source: Annotated[
        str | None, typer.Option(help="Only the faces of this data set, such as utkface.", show_default=False)
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Test fold of k-fold data.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the resampling and of the faces shown.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval; 0 for none.")] = 1000,
    limit: Annotated[
        int | None, typer.Option(help="Evaluate a random sample of so many faces.", show_default=False)
    ] = None,
    class_offsets: ClassOffsets = None,
    single: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=RUN|METRICS.json",
            help="A model trained on this task alone, to compare a run with; repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure a model on a split: metrics.json, report.html, predictions.parquet and figures, with 95 % intervals.

    Examples:

        mien evaluate model.onnx --data data --split test --out report

        mien evaluate docs/results/first-model/predictions.parquet --out report

        mien evaluate default --data data --source fairface --out report

        mien evaluate runs/all --data data --single age=runs/age-only --out report
    """
    from mien.evaluation.summary import evaluate_table
    from mien.metrics.bootstrap import Sampling
    from mien.metrics.predictions_table import of_source, read_predictions
    from mien.reports.gallery import galleries
    from mien.reports.report import write_report
    from mien.runs.provenance import command_text

    sampling = Sampling(resamples=resamples, seed=seed)
    check_out_folder(out)
    singles = _single_sources(single or [], model)
    faces = Faces(data=data, split="test" if split is None else split, source=source, fold=fold, limit=limit, seed=seed)
    offsets = split_names(class_offsets)
    crops = None
    if model.suffix.lower() == ".parquet":
        if data is not None:
            raise UsageError("A predictions table is evaluated without --data.")
        given = {"--split": split, "--fold": fold, "--limit": limit}
        if any(value is not None for value in given.values()):
            told = ", ".join(name for name, value in given.items() if value is not None)
            raise UsageError(f"A predictions table is evaluated as a whole, without {told}.")
        if offsets:
            raise UsageError("A predictions table is calibrated already: --class-offsets is for runs.")
        predictions = read_predictions(model)
        predictions = predictions if source is None else of_source(predictions, source)
    else:
        predictions, crops = _predict(model, faces, offsets)
    metrics = evaluate_table(predictions, sampling, command_text())
    if is_folder(model) and crops is not None:
        from mien.diagnosis.run import check_single, diagnose_run

        alone = {}
        for task, origin in singles.items():
            figures = _read_metrics(origin)
            if figures is None:
                figures = evaluate_table(_predict(origin, faces)[0], sampling, "")
            check_single(task, figures, metrics, origin)
            alone[task] = figures
        metrics["diagnosis"] = diagnose_run(model, predictions, crops, metrics, alone, seed)
    grids = galleries(predictions, crops, seed) if crops is not None else ()
    page = write_report(out, predictions, metrics, grids)
    console.print(summary_table(metrics))
    console.print(f"Report: {page}", markup=False)


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Which faces to evaluate on: of the prepared ``data``, the ``split``, perhaps one ``source`` and a ``limit``."""

    data: Path | None
    split: str
    source: str | None
    fold: int | None
    limit: int | None
    seed: int


def _predict(model: Path, faces: Faces, class_offsets: tuple[str, ...] = ()) -> tuple[Predictions, NDArray[np.uint8]]:
    """The predictions table of a model, and the crops of its rows."""
    from mien.data.dataset import CROPS_NAME, choose_rows
    from mien.evaluation.model_on_data import open_on_data
    from mien.evaluation.predictions import build_predictions

    if faces.data is None:
        raise UsageError("To evaluate a model, say on which prepared data: --data FOLDER.")
    with limited_for(model, faces.data / CROPS_NAME):
        opened, dataset = open_on_data(model, faces.data, faces.fold, class_offsets)
        rows = choose_rows(dataset, faces.split, faces.limit, faces.seed, faces.source)
        return build_predictions(opened, dataset, rows, faces.split), dataset.crops[rows]


def _single_sources(options: list[str], model: Path) -> dict[str, Path]:
    """The path of each ``--single TASK=PATH``, checked before the long work begins."""
    if options and not is_folder(model):
        raise UsageError(f"--single is for the diagnosis of a run folder, got {model}.")
    found: dict[str, Path] = {}
    for option in options:
        task, separator, path = option.partition("=")
        if not separator or not task or task in found:
            raise UsageError(f"--single is TASK=RUN or TASK=METRICS.json, once a task, got {option!r}.")
        if not (is_file(path) or is_folder(path)):
            raise UsageError(f"--single {task}: expected a run folder or a metrics.json, got nothing at {path!r}.")
        found[task] = Path(path)
        _read_metrics(found[task])
    return found


def _read_metrics(source: Path) -> dict[str, Any] | None:
    """The object of a `metrics.json`, or of the one in a folder; None for a folder without one (a run)."""
    path = source / "metrics.json" if is_folder(source) else source
    if is_folder(source) and not is_file(path):
        return None
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"Expected figures of mien evaluate (metrics.json) in {path}, got: {error}.") from error
    if not isinstance(metrics, dict) or metrics.get("format") != "mien-metrics":
        raise UsageError(f"Expected figures of mien evaluate (metrics.json) in {path}, got another JSON.")
    return metrics


def summary_table(metrics: dict[str, Any]) -> Table:
    """The headline figures as a table for the terminal."""
    from mien.reports import formatting as wording

    model = escape(str(metrics["model"] or "predictions"))
    table = Table(title=f"{model} on {metrics['n']:,} faces ({metrics['split']})")
    for name in ("attribute", "figure"):
        table.add_column(name)
    for name in ("value", "95 % interval", "n"):
        table.add_column(name, justify="right")
    for task, name, figure in wording.headline(metrics):
        style = "bold" if name == metrics["tasks"][task]["main"] else ""
        value, interval = wording.format_number(name, figure["value"]), wording.format_interval(name, figure)
        table.add_row(task, wording.figure_title(name), value, interval, f"{figure['n']:,}", style=style)
    return table
