"""`mien audit`: a model and prepared data in; whom it serves worse, and how easily it is thrown off, out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mien.files import check_out_folder
from mien.inference.memory_limit import limited_for
from mien.progress import console


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
    limit: Annotated[int, typer.Option(help="Change the photos of a random sample of so many faces.")] = 2000,
    from_age: Annotated[
        int, typer.Option(help="Name the best and worst group among faces labelled so old or older; 0 for all.")
    ] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the sample, the noise and the resampling.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of each interval; 0 for none.")] = 1000,
) -> None:
    """Ask how badly a model treats which people, and how easily it is thrown off: audit.html, audit.json and figures.

    Every group of people is measured on the whole split. A sample of its faces is asked again mirrored, with the face
    box moved by 5 %, and blurred, noisy, compressed and dark at three levels each.

    Examples:

        mien audit model.onnx --data data --out audit

        mien audit runs/joint --data data --source fairface --limit 500 --out audit
    """
    from mien.audit.audit import AuditOptions, audit_model
    from mien.audit.report import write_audit
    from mien.data.dataset import CROPS_NAME
    from mien.metrics.bootstrap import Sampling
    from mien.runs.provenance import command_text

    check_out_folder(out)
    sampling = Sampling(resamples=resamples, seed=seed)
    options = AuditOptions(split=split, fold=fold, source=source, limit=limit, from_age=from_age, sampling=sampling)
    with limited_for(model, data / CROPS_NAME):
        found = audit_model(model, data, options, command_text())
    page = write_audit(out, found)
    console.print(summary_table(found.numbers))
    if found.numbers["data"].get("trained_on_this_data") is False:
        console.print(
            "The model was trained on other prepared data, which may hold faces audited here.", style="yellow"
        )
    console.print(f"Report: {page}", markup=False)


def summary_table(numbers: Mapping[str, Any]) -> Table:
    """The audit in short, a column a task."""
    from mien.audit.report import summaries

    found = summaries(numbers)
    people, n = numbers["worst_groups"], numbers["robustness"]["n"]
    source = f", {numbers['source']}" if numbers["source"] else ""
    title = f"{numbers['model']} on {numbers['n']:,} faces ({numbers['split']}{source})"
    whom = f", from age {people['from_age']}" if people["from_age"] else ""
    caption = f"Groups: {people['by']}{whom}. Mirrored, moved and spoilt: {n:,} of the faces."
    table = Table(title=escape(title), show_lines=True, caption=caption)
    table.add_column("")
    for each in found:
        table.add_column(each.task, overflow="fold")
    lines = {
        "all faces": "everyone",
        "worst group": "worst",
        "best group": "best",
        "between them": "difference",
        "mirrored": "mirrored",
        "face box moved 5 %": "moved",
        "worst corruption": "spoilt",
    }
    for label, name in lines.items():
        table.add_row(label, *(escape(str(getattr(each, name))) for each in found))
    return table
