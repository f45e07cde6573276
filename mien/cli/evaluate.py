"""`mien evaluate`: the report of a model on prepared data, or of a predictions table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mien.cli.options import ClassOffsets, Provider, split_names
from mien.errors import UsageError
from mien.files import check_out_folder, is_folder
from mien.progress import console

if TYPE_CHECKING:
    from mien.evaluation.paired import PairedTask
    from mien.evaluation.result import Evaluation


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx|PREDICTIONS.parquet", help="What to evaluate.", show_default=False)
    ],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="[OTHER]", help="A second one, compared on the same faces.", show_default=False),
    ] = None,
    *,
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
    provider: Provider = "cpu",
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

        mien evaluate small default --data data --out report

        mien evaluate default --data data --source fairface --out report

        mien evaluate runs/all --data data --single age=runs/age-only --out report
    """
    from mien.evaluation.measure import Evaluated, Faces, evaluate_file, evaluate_model
    from mien.evaluation.paired import compare_paired, write_comparison
    from mien.metrics.bootstrap import Sampling
    from mien.reports.gallery import galleries
    from mien.reports.report import write_report
    from mien.runs.provenance import command_text

    check_out_folder(out)
    sampling, command, offsets = Sampling(resamples=resamples, seed=seed), command_text(), split_names(class_offsets)
    singles = _singles(single or [], model)

    def measured(path: Path) -> Evaluated:
        if path.suffix.lower() == ".parquet":
            options = {"data": data, "split": split, "fold": fold, "limit": limit, "class-offsets": class_offsets}
            options["provider"] = None if provider == "cpu" else provider
            _refuse_for_tables([f"--{name}" for name, value in options.items() if value is not None])
            return evaluate_file(path, sampling, source=source, command=command)
        if data is None:
            raise UsageError("To evaluate a model, name the prepared data: --data FOLDER.")
        faces = Faces(data=data, split=split or "test", source=source, fold=fold, limit=limit)
        if is_folder(path):
            # It imports torch, which bundles and tables do without.
            from mien.diagnosis.run import evaluate_run

            return evaluate_run(
                path, faces, sampling, command=command, class_offsets=offsets, singles=singles, provider=provider
            )
        return evaluate_model(path, faces, sampling, command=command, class_offsets=offsets, provider=provider)

    evaluated = measured(model)
    compared = None if other is None else compare_paired(evaluated.predictions, measured(other).predictions, sampling)
    grids = () if evaluated.crops is None else galleries(evaluated.predictions, evaluated.crops, seed)
    report = write_report(out, evaluated.predictions, evaluated.evaluation, grids)
    console.print(summary_table(evaluated.evaluation))
    if other is not None and compared is not None:
        write_comparison(out, str(model), str(other), compared)
        console.print(comparison_table(str(model), str(other), compared))
    console.print(f"Report: {report}", markup=False)


def _refuse_for_tables(given: list[str]) -> None:
    if given:
        raise UsageError(f"A predictions table is evaluated as a whole, without {', '.join(given)}.")


def _singles(options: list[str], model: Path) -> dict[str, Path]:
    """Return the path of each ``--single TASK=PATH``."""
    if options and not is_folder(model):
        raise UsageError(f"--single is for the diagnosis of a run folder, got {model}.")
    found: dict[str, Path] = {}
    for option in options:
        task, separator, path = option.partition("=")
        if not separator or not task or task in found:
            raise UsageError(f"--single is TASK=RUN or TASK=METRICS.json, once a task, got {option!r}.")
        found[task] = Path(path)
    return found


def comparison_table(first: str, second: str, tasks: tuple[PairedTask, ...]) -> Table:
    """Return the paired comparison of two models as a table for the terminal."""
    from mien.reports import formatting

    table = Table(title=escape(f"{second} minus {first}, on the same faces"))
    for name in ("attribute", "figure"):
        table.add_column(name)
    for name in ("first", "second", "difference", "95 % interval", "McNemar p", "n"):
        table.add_column(name, justify="right")
    for each in tasks:
        values = (each.first, each.second, each.difference.value)
        shown = [formatting.format_number(each.measure, value) for value in values]
        interval = formatting.format_interval(each.measure, each.difference)
        table.add_row(each.task, each.measure, *shown, interval, f"{each.p_value:.2g}", f"{each.n:,}")
    return table


def summary_table(evaluation: Evaluation) -> Table:
    """Return the headline figures as a table for the terminal."""
    from mien.reports import formatting

    model = escape(evaluation.model or "predictions")
    table = Table(title=f"{model} on {evaluation.n:,} faces ({escape(evaluation.split)})")
    for name in ("attribute", "figure"):
        table.add_column(name)
    for name in ("value", "95 % interval", "n"):
        table.add_column(name, justify="right")
    for task, name, figure in formatting.headline(evaluation):
        style = "bold" if name == evaluation.tasks[task].main else ""
        value, interval = formatting.format_number(name, figure.value), formatting.format_interval(name, figure)
        table.add_row(task, formatting.figure_title(name), value, interval, f"{figure.n:,}", style=style)
    return table
