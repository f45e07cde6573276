"""The notebooks of docs/notebooks run from the first cell to the last, do what they say, and hold their pictures."""

import functools
import os
import re
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import FOLDER, run_notebook

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: GitHub and the site show what is stored; a clone should not carry more than this for a notebook.
MOST_BYTES = 500_000
#: Trains for minutes on two cores, which the check of every change has no time for.
LONG = pytest.mark.skipif("MIEN_TEST_LONG" not in os.environ, reason="takes minutes; set MIEN_TEST_LONG=1 to run it")
RUN = [pytest.param(path, marks=LONG) if path.stem == "train_an_attribute" else path for path in NOTEBOOKS]


def pictures(notebook: nbformat.NotebookNode) -> int:
    """The number of outputs that show a picture."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum(any(kind.startswith("image/") for kind in output.get("data", ())) for output in outputs)


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


@functools.cache
def executed(name: str) -> nbformat.NotebookNode:
    """The notebook after a run, of fewer epochs than a reader's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EPOCHS", "3")
        return run_notebook(FOLDER / f"{name}.ipynb")


@pytest.mark.slow
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_the_stored_pictures(path: Path) -> None:
    stored = nbformat.read(path, as_version=4)
    assert pictures(executed(path.stem)) == pictures(stored) > 0
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.slow
def test_most_planted_errors_are_found_and_corrected() -> None:
    text = printed(executed("inspect_labels"))
    suspect, right, planted = map(int, re.findall(r"(\d+) labels are suspect, (\d+) .* there are (\d+) wrong", text)[0])
    assert right >= planted / 2 and right >= suspect / 4
    before, after = map(int, re.findall(r"(\d+) before, (\d+) after", text)[0])
    assert after <= before / 2


@LONG
@pytest.mark.slow
def test_the_trained_attribute_is_learnt() -> None:
    text = printed(executed("train_an_attribute"))
    assert float(re.findall(r"glasses accuracy: ([\d.]+)", text)[0]) >= 0.8
    assert float(re.findall(r"smile mae: ([\d.]+)", text)[0]) <= 0.8
