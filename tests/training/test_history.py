"""Curves of a run: one panel a figure, drawn from the rows alone."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mien.training import history

ROWS = [
    {
        "epoch": float(epoch),
        "learning_rate": 1e-3 / epoch,
        "train/loss": 5 / epoch,
        "val/loss": 6 / epoch,
        "val/score": 0.1 * epoch,
        "val/age_mae": 20 / epoch,
        "val/gender_accuracy": 0.5 + 0.1 * epoch,
        "weight/age": 0.1,
        "weight/gender": 1.0,
    }
    for epoch in (1, 2, 3)
]
# The module's own function, before the tests of training replace it.
draw_curves: Any = history.draw_curves


@pytest.mark.parametrize("n", [1, 3])
def test_every_figure_has_its_panel(n: int) -> None:
    figure = draw_curves(ROWS[:n])
    shown = {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}
    assert list(shown) == ["loss", "score", "age_mae", "gender_accuracy", "learning rate", "loss weights"]
    lines = shown["loss"].get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [
        [row[name] for row in ROWS[:n]] for name in ("train/loss", "val/loss")
    ]
    assert [line.get_label() for line in lines] == ["train", "val"]
    assert [line.get_label() for line in shown["loss weights"].get_lines()] == ["age", "gender"]


def test_curves_are_drawn_at_the_end_and_seldom_between(
    monkeypatch: pytest.MonkeyPatch, run_tiny: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(history, "CURVES_EVERY", 1000.0)
    drawn: list[int] = []
    monkeypatch.setattr(history, "draw_curves", lambda rows: drawn.append(len(rows)) or Figure(figsize=(1, 1)))
    run_tiny("stages=[{size: 16, epochs: 4}]")
    assert drawn == [1, 4]
    drawn.clear()
    monkeypatch.setattr(history, "CURVES_EVERY", 0.0)
    shutil.rmtree(tmp_path / "run")
    run_tiny("stages=[{size: 16, epochs: 2}]")
    assert drawn == [1, 2, 2]
