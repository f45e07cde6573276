"""`mien tune`: trials, resuming, pruning and refusals, on colours and a very small network."""

import csv
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from matplotlib.figure import Figure
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner

from mien.cli.main import app
from mien.errors import MienError, UsageError
from mien.experiments import tune as module
from mien.experiments.search_space import SearchSpace, parse_space
from mien.experiments.tune import PRUNERS, Tuning, tune
from mien.experiments.tune_report import ENOUGH_TRIALS, TrialRow, best_of, history_plot, importance_plot, importances
from mien.files import locked_folder
from mien.recipes.recipe import load_recipe
from mien.runs.run_folder import load_run, read_info
from tests.training.tiny import TINY, tiny_recipe

SPACE = (
    "optimiser.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\nloss.weighting: {choices: [fixed, uncertainty]}"
)
SHORT = "stages=[{size: 16, epochs: 2}]"


class PruneLater(optuna.pruners.BasePruner):
    """Gives up every trial but the first, after its first epoch."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number > 0


@pytest.fixture(autouse=True)
def _plain_figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Drawing takes longer than a tiny epoch; the figures have tests of their own."""
    monkeypatch.setattr("mien.experiments.tune_report.history_plot", lambda rows: Figure(figsize=(1, 1)))
    monkeypatch.setattr("mien.experiments.tune_report.importance_plot", lambda shares, n: Figure(figsize=(1, 1)))
    monkeypatch.setattr("mien.training.train.write_augmented_page", lambda *_: None)
    yield


@pytest.fixture
def make(data: Path, tmp_path: Path) -> Callable[..., Tuning]:
    """A study of the tiny recipe in ``tmp_path / "study"``."""

    def make_tuning(*settings: str, space: SearchSpace | None = None, **options: Any) -> Tuning:
        options = {"data": data, "out": tmp_path / "study", **options}
        return Tuning(recipe=tiny_recipe(SHORT, *settings), space=space or parse_space(SPACE), **options)

    return make_tuning


def table(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_and_going_on_with_it(make: Callable[..., Tuning]) -> None:
    tuning = make()
    first = tune(tuning, 2)
    assert [row.state for row in first] == ["finished"] * 2
    assert first[0].values == {"optimiser.learning_rate": 4e-3, "loss.weighting": "fixed"}  # the recipe as it is
    rows = tune(tuning, 3)
    assert rows[:2] == first
    assert len({row.values["optimiser.learning_rate"] for row in rows}) == 3  # what was tried is not tried again
    best = best_of(rows)
    assert best is not None
    assert best.score == max(row.score or 0 for row in rows)

    written = table(tuning.out)
    assert [row["number"] for row in written] == ["0", "1", "2"]
    assert float(written[best.number]["score"]) == best.score
    assert {"seconds", "best_epoch", *tuning.space} <= set(written[0])
    assert {"history.png", "importance.png", "study.db"} <= {path.name for path in tuning.out.iterdir()}

    recipe = load_recipe(str(tuning.out / "best.yaml"))
    assert recipe.optimiser.learning_rate == best.values["optimiser.learning_rate"]
    assert recipe.loss.weighting == best.values["loss.weighting"]
    assert recipe == load_run(tuning.folder(best.number)).recipe
    for row in rows:
        info = read_info(tuning.folder(row.number))
        assert info["validation"]["score"] == row.score
        assert info["best_epoch"] == row.best_epoch
        kept = row.number == best.number
        assert (tuning.folder(row.number) / "checkpoints").exists() == kept
        assert (tuning.folder(row.number) / "model.safetensors").exists() == kept

    trained = (tuning.folder(0) / "run.json").read_bytes()
    assert tune(tuning, 3) == rows  # nothing is left to do
    assert (tuning.folder(0) / "run.json").read_bytes() == trained
    refused(make)


def refused(make: Callable[..., Tuning]) -> None:
    """Another study in the same folder, or two processes at one."""
    others = {
        "another recipe": make("seed=9"),
        "another space": make(space=parse_space("model.dropout: {low: 0.0, high: 0.5}")),
        "another seed and another pruner": make(seed=1, pruner="none"),
    }
    for words, other in others.items():
        with pytest.raises(UsageError, match=f"is a study with {words}: name another --out"):
            tune(other, 4)
    with locked_folder(make().out), pytest.raises(UsageError, match="Another mien is at work"):
        tune(make(), 4)


def test_a_trial_that_is_given_up(make: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRUNERS, "median", lambda epochs: PruneLater())
    tuning = make()
    rows = tune(tuning, 2)
    assert [(row.state, row.epochs) for row in rows] == [("finished", 2), ("pruned", 1)]
    assert rows[1].score is not None
    assert best_of(rows) == rows[0]
    assert read_info(tuning.folder(1))["finished"] is False
    with pytest.raises(MienError, match="no trained weights"):
        load_run(tuning.folder(1))


def test_a_killed_trial_goes_on_in_its_epoch(make: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill leaves a running trial and a checkpoint; here the second epoch ends in an error that nobody expects."""

    def die(self: Any, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise ZeroDivisionError

    tuning = make()
    with monkeypatch.context() as patch:
        patch.setattr(module.Reporting, "on_train_epoch_start", die)
        with pytest.raises(ZeroDivisionError):
            tune(tuning, 1)
    first_epoch = (tuning.folder(0) / "history.csv").read_text()
    assert len(first_epoch.splitlines()) == 2
    (row,) = tune(tuning, 1)
    assert (row.number, row.state, row.epochs) == (0, "finished", 2)
    assert (tuning.folder(0) / "history.csv").read_text().startswith(first_epoch)  # its duration too: not trained again


def no_training(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(module, "train", answer)


def test_a_trial_that_kills_the_process_is_given_up(
    make: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    no_training(monkeypatch, die)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            tune(make(), 1)
    with pytest.raises(MienError, match="None of the 1 trials"):
        tune(make(), 1)
    assert "ended 3 times in epoch 1" in table(make().out)[0]["note"]


def test_failures_are_told_and_do_not_go_on_for_ever(
    make: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MienError("The disk is full.")

    no_training(monkeypatch, fail)
    with pytest.raises(MienError, match=r"3 trials in a row failed, the last one with: The disk is full\."):
        tune(make(), 9)
    assert [row["state"] for row in table(make().out)] == ["failed"] * 3
    no_training(monkeypatch, lambda *_, **__: {"validation": {"score": float("nan")}})
    with pytest.raises(MienError, match="None of the 4 trials"):
        tune(make(), 4)
    assert table(make().out)[3]["note"] == "the validation score was nan"

    def interrupt(*_: Any, **__: Any) -> None:
        raise SystemExit(1)

    no_training(monkeypatch, interrupt)
    with pytest.raises(MienError, match="interrupted; the same command goes on"):
        tune(make(), 5)


def test_a_resumed_study_tries_what_an_unbroken_one_tries(
    make: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(recipe: Any, data: Any, out: Any, *, callbacks: Any, **_: Any) -> dict[str, Any]:
        value = 1 - abs(recipe.optimiser.learning_rate - 2e-3)
        callbacks[0]._trial.report(value, 1)
        return {"validation": {"score": value}}

    no_training(monkeypatch, score)
    monkeypatch.setattr("mien.experiments.tune_report.importances", lambda *_: {})
    whole = tune(make(), 12)
    shutil.rmtree(make().out)
    for trials in (1, 11, 12):
        broken = tune(make(), trials)
    assert broken == whole
    assert len({row.values["optimiser.learning_rate"] for row in whole}) == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "0"], "--trials must be 1 or more, got 0"),
        (["--pruner", "secateurs"], "expected one of median, hyperband, none"),
        (["--space", "absent"], "No space 'absent'"),
        (["--space", "tiny.yaml"], "tiny.yaml has"),
        (["--set", "colour=red"], "colour: unknown key"),
        (["--data", "absent"], "run mien prepare"),
        (["--fold", "0"], "no folds"),
        (["--out", "tiny.yaml"], "--out must be a folder"),
        (["--out", "full"], "has other files in it"),
        (["--out", "damaged"], "expected an SQLite file"),
        (["--out", "torn"], "is no study, or is damaged: "),
        (["--out", "foreign"], "is no study, or is damaged: "),
        (["--out", "x" * 300], "Cannot make the folder"),
        (["--init-from", "absent"], "Expected a run folder, a .onnx bundle or the name of a bundled model"),
        (["--teacher", "full", "--set", "distillation={weight: 0.5}"], "full is no run folder: it has no recipe.yaml"),
        (["--teacher", "full"], "'tiny' has no distillation, but --teacher was given"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    Path("space.yaml").write_text(SPACE)
    for name, file in (("full", "notes.txt"), ("damaged", "study.db")):
        Path(name).mkdir()
        (Path(name) / file).write_text("not a study at all")
    Path("torn").mkdir()
    (Path("torn") / "study.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    Path("foreign").mkdir()
    with closing(sqlite3.connect("foreign/study.db")) as connection:
        connection.execute("CREATE TABLE studies (name TEXT)")
        connection.commit()
    call = ["tune", "tiny.yaml", "--space", "space.yaml", "--trials", "1", "--data", str(data), "--out", "study"]
    done = CliRunner().invoke(app, [*call, *words])
    assert isinstance(done.exception, MienError), done.output
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


def test_every_trial_has_the_start_and_the_teachers(make: Callable[..., Tuning], finished: Path) -> None:
    def tuning(**options: Any) -> Tuning:
        return make("distillation={weight: 0.5}", **options)

    begun = tuning(init_from=finished, teachers=(finished, finished))
    assert [row.state for row in tune(begun, 2)] == ["finished", "finished"]
    for number in (0, 1):
        info = read_info(begun.folder(number))
        assert info["started_from"]["run"] == "tiny"
        assert len(info["teachers"]) == 2
    with pytest.raises(UsageError, match="a study with another start: name"):
        tune(tuning(teachers=(finished, finished)), 3)
    with pytest.raises(UsageError, match="a study with another teacher: name"):
        tune(tuning(init_from=finished, teachers=(finished,)), 3)


def test_a_start_that_does_not_fit_is_refused_before_any_trial(make: Callable[..., Tuning], finished: Path) -> None:
    begun = make("model.backbone=test_vit", init_from=finished)
    with pytest.raises(UsageError, match="has backbone test_resnet"):
        tune(begun, 2)
    assert not begun.out.exists()


def test_what_the_space_gives_counts_before_any_trial(make: Callable[..., Tuning], finished: Path) -> None:
    """The recipe has no teaching part; every trial has one."""
    begun = make(space=parse_space("distillation.weight: {low: 0.2, high: 0.8}"), teachers=(finished,))
    assert [row.state for row in tune(begun, 1)] == ["finished"]


def test_the_command_tells_a_line_a_trial(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    Path("space.yaml").write_text(SPACE)
    call = ["tune", "tiny.yaml", "--space", "space.yaml", "--trials", "1", "--data", str(data), "--out", "a [study]"]
    done = CliRunner().invoke(app, [*call, "--set", "stages=[{size: 16, epochs: 1}]"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "trial 0 1/1 score" in text
    assert "The best 1 of 1 trials" in text
    assert "mien train a [study]/best.yaml" in text
    assert "faces to train on" not in text
    assert CliRunner().invoke(app, ["--quiet", *call, "--set", "stages=[{size: 16, epochs: 1}]"]).output == ""


def row(number: int, state: str, score: float | None) -> TrialRow:
    return TrialRow(
        number=number, state=state, score=score, best_epoch=1, epochs=1, seconds=1, values={"a": number / 10}
    )


def test_the_history_shows_every_kind_of_trial() -> None:
    rows = [row(0, "finished", 0.4), row(1, "pruned", 0.2), row(2, "failed", None), row(3, "finished", 0.6)]
    figure = history_plot([*rows, row(4, "finished", 0.5)])
    (axes,) = figure.axes
    steps = axes.lines[-1]
    assert list(steps.get_xdata()) == [0, 3, 4, 4]
    assert list(steps.get_ydata()) == [0.4, 0.6, 0.6, 0.6]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "finished (3)",
        "pruned (1): best of the epochs trained",
        "failed (1)",
        "best so far",
    ]
    assert history_plot([row(0, "failed", None)]).axes  # nothing to show yet


def study_of(values: list[tuple[float, float, float]]) -> tuple[optuna.Study, list[TrialRow]]:
    """Finished trials of two settings and a score each."""
    study = optuna.create_study(direction="maximize")
    unit = FloatDistribution(0, 1)
    for a, b, score in values:
        trial = create_trial(
            params={"a": a, "b": b}, distributions={"a": unit, "b": unit}, value=score, state=TrialState.COMPLETE
        )
        study.add_trial(trial)
    return study, [row(number, "finished", score) for number, (_, _, score) in enumerate(values)]


def test_importance_finds_the_setting_that_matters() -> None:
    values = [(k / 20, k * 7 % 20 / 20, k / 20) for k in range(20)]
    shares = importances(*study_of(values))
    assert list(shares) == ["a", "b"]
    assert shares["a"] > 0.8
    (axes,) = importance_plot(shares, 20).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]


def test_importance_says_when_there_is_too_little() -> None:
    few = [(k / 20, 0.5, k / 20) for k in range(ENOUGH_TRIALS - 1)]
    assert importances(*study_of(few)) == {}
    assert importances(*study_of([(k / 20, 0.5, 0.3) for k in range(ENOUGH_TRIALS)])) == {}
    (axes,) = importance_plot({}, 9).axes
    assert "Needs 10 finished trials of different scores, has 9" in axes.texts[0].get_text()
