"""`mien audit`: the errors of a model by group, and its robustness to perturbations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mien.files import check_out_folder
from mien.progress import console

if TYPE_CHECKING:
    from mien.audit.audit import Audit


def audit(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="What to audit.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Prepared data (mien prepare).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the audit; its files are replaced.", show_default=False)],
    split: Annotated[str, typer.Option(help="Split to audit on.")] = "test",
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only the faces of this data set of the prepared data.", show_default=False),
    ] = None,
    fold: Annotated[int | None, typer.Option(help="Test fold of k-fold data.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="Perturb a random sample of so many faces.")] = 2000,
    from_age: Annotated[
        int, typer.Option(help="Compare groups among the faces labelled this age or older; 0 for all.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the sample, the noise and the resampling.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval; 0 for none.")] = 1000,
) -> None:
    """Measure the errors of a model by group and its robustness to perturbations: audit.html, audit.json and figures.

    Groups are measured on the whole split. A sample of its faces is predicted again after a horizontal flip, box
    jitter of 5 %, and blur, noise, JPEG compression and lower brightness at three levels each.

    Examples:

        mien audit model.onnx --data data --out audit

        mien audit runs/joint --data data --source fairface --limit 500 --out audit
    """
    from mien.audit.audit import AuditOptions, audit_model
    from mien.audit.report import write_audit
    from mien.metrics.bootstrap import Sampling
    from mien.runs.provenance import command_text

    check_out_folder(out)
    sampling = Sampling(resamples=resamples, seed=seed)
    options = AuditOptions(split=split, fold=fold, source=source, limit=limit, from_age=from_age, sampling=sampling)
    found = audit_model(model, data, options, command_text())
    report = write_audit(out, found)
    console.print(summary_table(found))
    if found.evaluation.trained_elsewhere:
        console.print(
            "The model was trained on other prepared data, which may hold faces audited here.", style="yellow"
        )
    console.print(f"Report: {report}", markup=False)


def summary_table(audit: Audit) -> Table:
    """Return the audit in short, one column per task."""
    from mien.audit.report import summaries

    evaluation, groups, n = audit.evaluation, audit.worst_groups, audit.robustness.n
    source = f", {evaluation.source}" if evaluation.source else ""
    title = f"{evaluation.model} on {evaluation.n:,} faces ({evaluation.split}{source})"
    ages = f", from age {groups.from_age}" if groups.from_age else ""
    table = Table(title=escape(title), show_lines=True, caption=f"Groups: {groups.by}{ages}. Perturbed: {n:,} faces.")
    found = summaries(audit)
    table.add_column("")
    for each in found:
        table.add_column(each.task, overflow="fold")
    lines = {
        "all faces": "overall",
        "worst group": "worst",
        "best group": "best",
        "difference": "difference",
        "horizontal flip": "flip",
        "box jitter of 5 %": "jitter",
        "worst corruption": "corruption",
    }
    for label, name in lines.items():
        table.add_row(label, *(escape(str(getattr(each, name))) for each in found))
    return table
