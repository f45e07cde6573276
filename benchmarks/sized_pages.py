"""Committed result files of the small and the large model in, their results pages out.

In: docs/results/{small,large}/{utkface,fairface}/metrics.json, audit.json and the histories of the runs, and bench.json
of the default model, whose run measured all bundles. Out: README.md in both folders. A test checks that they are what
the files say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.default_page import FIGURES, GOALS
from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.result_tables import (
    SETS,
    audit_parts,
    bench_table,
    calibration_table,
    cell,
    coverage_table,
    headline_rows,
    history_table,
    read,
    table,
    training_commands,
)
from mien.files import write_text

RESULTS = REPOSITORY / "docs" / "results"
DEFAULT = RESULTS / "default"


@dataclass(frozen=True, kw_only=True)
class SizedModel:
    """A bundle with the default model's tasks and another size.

    ``what``: the page's first sentences; ``remark``: what follows the accuracy; ``runs``: of each training what
    introduces its epochs, its history and its curves, files of the folder.
    """

    name: str
    what: str
    remark: str = ""
    runs: Sequence[tuple[str, str, str]]

    @property
    def folder(self) -> Path:
        """Its results."""
        return RESULTS / self.name


MODELS = (
    SizedModel(
        name="small",
        what="The smallest and fastest bundle (`mien predict --model small`): EfficientNet-Lite0 at 96 pixels in 8 "
        "bits. It was the default model until a larger network took its place, and is less often right than that one; "
        "for research, as UTKFace is.",
        runs=(
            ("The first run, from the weights of the first model:", "history.csv", "curves.png"),
            ("The second run, from the first one's weights:", "history-continued.csv", "curves-continued.png"),
            (
                "The third run, from the second one's weights, taught by the [large model](../large/README.md)'s "
                "network:",
                "history-taught.csv",
                "curves-taught.png",
            ),
            (
                "The fourth run, from the bundle that the third one gave, taught by the bundles `large` and `open`:",
                "history-taught-on.csv",
                "curves-taught-on.png",
            ),
            (
                "The fifth run, from the bundle that the fourth one gave, taught by `open` and the `large` that had "
                "gone on:",
                "history-taught-further.csv",
                "curves-taught-further.png",
            ),
        ),
    ),
    SizedModel(
        name="large",
        what="For those who have the time (`mien predict --model large`): the default model's network at 160 "
        "instead of 128 pixels, in 8 bits, each face answered by the mean over the crop and its mirror image; for "
        "research, as UTKFace is. Its first two runs, at 128 pixels, gave the teacher of the default and the small "
        "model. To evaluate it, prepare data with `--crop-size 192`, as was done here: `data/prepared-192` is "
        "`data/prepared-joint` with larger crops (`--split-from data/prepared-joint`).",
        remark="The portrait of the front page, a woman, it takes for a man.",
        runs=(
            ("The first run, from ImageNet weights:", "history.csv", "curves.png"),
            (
                "The second run, from the bundle that the first one gave, taught by that bundle and `open` beside the "
                "labels:",
                "history-on.csv",
                "curves-on.png",
            ),
            (
                "The third run, at 160 pixels, from the [default model](../default/README.md)'s network, which began "
                "with the second run's, taught by the bundle `large` of the second run and by `default`:",
                "history-160.csv",
                "curves-160.png",
            ),
        ),
    ),
)


def headline_table(model: SizedModel) -> str:
    """Both test sets, beside the default model on the same faces."""
    rows = [
        (*row, goal or "–", cell(read(DEFAULT / source / "metrics.json"), task, name, interval=False))
        for row, (source, task, name, _, goal) in zip(headline_rows(model.folder, FIGURES), GOALS, strict=True)
    ]
    return table(("test split", model.name, "95 % interval", "n", "goal of the default", "default"), rows)


def results_page(model: SizedModel) -> str:
    """The page of a model."""
    found = {title: read(model.folder / source / "metrics.json") for source, title in SETS.items()}
    utkface, audit = found["UTKFace"], read(model.folder / "audit.json")
    training = utkface["training"]
    parts = [
        f"# {model.name.capitalize()} model: results",
        f"{model.what} Written by `python -m benchmarks.sized_pages` from the JSON files beside it. [card.md](card.md) "
        "is the model card, `predictions.parquet` in each test set's folder the answers to every test face; `mien "
        "evaluate` makes the figures from it again:",
        f"```bash\nmien evaluate docs/results/{model.name}/utkface/predictions.parquet --out report\n```",
        "## Accuracy",
        headline_table(model),
        model.remark,
        f"Seed {training['seed']}, commit `{training['commit']}`. Commands:",
        "```text\n" + "\n".join((*training_commands(training), utkface["command"])) + "\n```",
        "## Age intervals",
        f"Stated coverage 90 %, by true age, on UTKFace; in all {cell(utkface, 'age', 'coverage')}.",
        coverage_table(utkface),
        "![Coverage by band](utkface/figures/age_coverage.png)",
        "## Calibration and abstention",
        calibration_table(found),
        *audit_parts(audit, "both data sets"),
        "## Size and speed",
        bench_table(read(DEFAULT / "bench.json")),
        "## Every epoch",
    ]
    for words, history, curves in model.runs:
        parts += [words, history_table(model.folder / history), f"![Curves]({curves})" if curves else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    """Write the results pages."""
    for model in MODELS:
        write_text(model.folder / "README.md", results_page(model))


if __name__ == "__main__":
    run_benchmark(main)
