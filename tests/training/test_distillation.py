"""Learning from teachers: whose answers, how they count, what is recorded, what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.data.dataset import open_dataset
from mien.errors import UsageError
from mien.losses.ordinal import ordinal_loss, soft_ordinal_loss
from mien.models.network import HEADS
from mien.models.two_stage import TwoStageHead
from mien.runs.run_folder import load_run
from mien.tasks import AGE, ETHNICITY, GENDER, bin_task
from mien.training.augmentation import mix_faces
from mien.training.distillation import bin_probabilities, load_teachers
from mien.training.module import AttributeTraining
from mien.training.warm_start import trained_licences
from tests.training.tiny import StopAfter, Stopped, tiny_recipe

Train = Callable[..., dict[str, Any]]
TASKS = (AGE, GENDER, ETHNICITY)
TAUGHT = "distillation={weight: 0.5, mixed: 0.5}"


def test_a_teacher_that_is_sure_counts_as_a_label() -> None:
    logits = torch.randn(3, 116)
    ages = torch.tensor([0.0, 40.0, 116.0])
    sure = torch.nn.functional.one_hot(ages.long(), 117).float()
    for l1 in (0.0, 0.7):
        expected = ordinal_loss(logits, ages, ages, 0, l1=l1)
        assert torch.allclose(soft_ordinal_loss(logits, sure, l1=l1), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["ordinal", "coral", "corn", "classification", "label_distribution", "mean_variance"])
def test_the_soft_loss_of_an_ordinal_head_is_least_at_the_answer(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name](8, AGE, 0.0).eval()
    logits = head(torch.randn(6, 8))
    answer = head.probabilities(logits)
    at_answer = head.soft_losses(logits, answer)
    assert at_answer.shape == (6,)
    assert (head.soft_losses(logits + 0.5 * torch.randn_like(logits), answer) > at_answer).all()


def test_the_soft_loss_of_a_nominal_head_is_the_cross_entropy() -> None:
    head = HEADS["nominal"](8, ETHNICITY, 0.0)
    logits, targets = torch.randn(4, 5), torch.rand(4, 5).softmax(dim=1)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(head.soft_losses(logits, targets), expected, atol=1e-5)


def test_bins_are_answered_by_what_is_said_of_their_levels() -> None:
    bins = bin_task("age_bin", AGE, (16, 26))
    levels = torch.zeros(2, 117)
    levels[0, [0, 15, 16]] = torch.tensor([0.25, 0.25, 0.5])
    levels[1, [25, 26, 116]] = torch.tensor([0.5, 0.25, 0.25])
    assert bin_probabilities(levels, AGE, bins).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]


def test_the_regressors_of_a_two_stage_head_learn_the_mean_of_their_bin() -> None:
    bins = bin_task("age_bin", AGE, (16, 26))
    levels = torch.zeros(1, 117)
    levels[0, [10, 12, 40]] = torch.tensor([0.25, 0.25, 0.5])
    logits = torch.log(torch.tensor([[0.5, 1e-9, 0.5]]))
    for mix in ("hard", "soft"):
        head = TwoStageHead(8, AGE, 0.0, bins=bins, mix=mix, width=4)
        assert head.soft_losses(torch.tensor([[11.0, 20.0, 40.0]]), levels, logits).item() == pytest.approx(0, abs=1e-4)
        # Half of the faces are of the first bin, and one year off there is half a year off in the mean.
        off = head.soft_losses(torch.tensor([[12.0, 20.0, 40.0]]), levels, logits).item()
        assert off == pytest.approx(0.5 if mix == "hard" else 1.0, abs=1e-4)


def test_a_teacher_of_ages_teaches_bins(finished: Path, data: Path, run_tiny: Train) -> None:
    bins = bin_task("age_bin", AGE, (30, 60))
    teachers, _ = load_teachers([finished], (bins, AGE), open_dataset(data), None)
    assert teachers is not None
    assert teachers.tasks == {"age_bin", "age"}
    answers = teachers.probabilities(torch.rand(3, 3, 32, 32) * 255)
    torch.testing.assert_close(answers["age_bin"], bin_probabilities(answers["age"], AGE, bins))
    settings = [
        "tasks=[age_bin, age]",
        "bins={age_bin: {of: age, edges: [30, 60]}}",
        "loss={weights: {age: 0.2}}",
        "model.heads={age: {kind: two_stage, bins: age_bin, width: 8}}",
        "distillation={weight: 1, mixed: 0.5}",
        "stages=[{size: 16, epochs: 1}]",
    ]
    info = run_tiny(*settings, teachers=[finished])
    assert [teacher["run"] for teacher in info["teachers"]] == ["tiny"]
    assert info["validation"]["loss"] > 0


def test_mixed_faces_have_no_label() -> None:
    images = torch.arange(200).float()[:, None, None, None].expand(-1, 3, 2, 2)
    batch = {"gender": torch.ones(200, dtype=torch.int64), "age_low": torch.zeros(200), "age_high": torch.zeros(200)}
    generator = torch.Generator().manual_seed(0)
    mixed, unlabelled = mix_faces(images, batch, (AGE, GENDER), 0.4, generator)
    gone = unlabelled["gender"] == -1
    assert 60 < int(gone.sum()) < 100
    assert torch.equal(gone, unlabelled["age_low"].isnan())
    assert torch.equal(gone, unlabelled["age_high"].isnan())
    assert torch.equal(mixed[~gone], images[~gone])
    assert (mixed[gone] != images[gone]).float().mean() > 0.95
    assert mixed.min() >= 0
    assert mixed.max() <= 199
    assert (batch["gender"] == 1).all()


def test_a_weight_of_one_leaves_the_labels_out(finished: Path, data: Path) -> None:
    dataset = open_dataset(data)
    teachers, _ = load_teachers([finished], TASKS, dataset, None)
    assert teachers is not None
    recipe = tiny_recipe("distillation={weight: 1}", "loss={}", "model.dropout=0", "augmentation={flip: 0}")
    module = AttributeTraining(recipe, TASKS, steps_per_epoch=1, teachers=teachers)
    module.network.load_state_dict(load_run(finished).network.state_dict())
    module.network.eval()
    images = torch.randint(0, 256, (4, 3, 32, 32)).float()
    answers = teachers.probabilities(images)
    logits = module.network(images)
    wrong = 1 - answers["gender"].argmax(dim=1)
    batch = {"source": torch.zeros(4).long(), "gender": wrong, "ethnicity": torch.zeros(4).long()}
    losses = module.task_losses(logits, {**batch, "age_low": torch.zeros(4), "age_high": torch.zeros(4)}, answers)
    # The student is the teacher: what is left is the entropy of its own answers.
    entropy = -(answers["gender"] * answers["gender"].log()).sum(dim=1).mean()
    assert losses["gender"].item() == pytest.approx(entropy.item(), rel=1e-4)
    other = module.task_losses(
        logits,
        {**batch, "gender": 1 - wrong, "age_low": torch.full((4,), 90.0), "age_high": torch.full((4,), 99.0)},
        answers,
    )
    assert all(torch.allclose(losses[task], other[task], atol=1e-4) for task in losses)


def test_teachers_count_on_the_named_sources_and_where_no_label_is() -> None:
    recipe = tiny_recipe("tasks=[gender]", "loss={}", "distillation={weight: 0.5, sources: [first]}")
    module = AttributeTraining(recipe, [GENDER], steps_per_epoch=1, sources=("first", "second"))
    logits = {"gender": torch.randn(3, 2)}
    answers = {"gender": torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])}
    batch = {"source": torch.tensor([0, 1, 1]), "gender": torch.tensor([1, 0, -1])}

    loss = module.task_losses(logits, batch, answers)["gender"]

    scores = logits["gender"].log_softmax(dim=1)
    labels = -0.5 * scores[0, 1] - scores[1, 0]
    taught = -0.5 * (answers["gender"][0] * scores[0]).sum() - 0.5 * (answers["gender"][2] * scores[2]).sum()
    assert torch.allclose(loss, labels / 2 + taught / 3, atol=1e-5)


def test_two_teachers_answer_by_their_mean(finished: Path, data: Path, run_tiny: Train, tmp_path: Path) -> None:
    run_tiny("stages=[{size: 16, epochs: 1}]", "tasks=[gender]", "loss={}", "seed=8")
    dataset = open_dataset(data)
    images = torch.rand(3, 3, 32, 32) * 255
    one, two, both = (
        load_teachers(folders, TASKS, dataset, None)[0]
        for folders in ([finished], [tmp_path / "run"], [finished, tmp_path / "run"])
    )
    assert one is not None
    assert two is not None
    assert both is not None
    assert (one.size, two.size, both.size) == (32, 16, 32)
    assert two.tasks == {"gender"}
    mean = (one.probabilities(images)["gender"] + two.probabilities(images)["gender"]) / 2
    assert torch.allclose(both.probabilities(images)["gender"], mean)
    assert torch.equal(both.probabilities(images)["age"], one.probabilities(images)["age"])


def test_teachers_count_as_much_as_the_recipe_says(finished: Path, data: Path, run_tiny: Train, tmp_path: Path) -> None:
    run_tiny("stages=[{size: 16, epochs: 1}]", "tasks=[gender]", "loss={}", "seed=8")
    dataset, images = open_dataset(data), torch.rand(3, 3, 32, 32) * 255
    folders = [finished, tmp_path / "run"]
    one, two, both = (
        load_teachers(chosen, TASKS, dataset, None, weights)[0]
        for chosen, weights in (([folders[0]], ()), ([folders[1]], ()), (folders, (3.0, 1.0)))
    )
    assert one is not None
    assert two is not None
    assert both is not None
    mean = 0.75 * one.probabilities(images)["gender"] + 0.25 * two.probabilities(images)["gender"]
    torch.testing.assert_close(both.probabilities(images)["gender"], mean)
    # Of what one alone answers, it gives the whole.
    torch.testing.assert_close(both.probabilities(images)["age"], one.probabilities(images)["age"])


def test_there_is_a_weight_for_each_teacher(finished: Path, run_tiny: Train) -> None:
    with pytest.raises(UsageError, match="has 2 numbers; there are 1 --teacher"):
        run_tiny("distillation={weight: 0.5, teachers: [1, 2]}", teachers=[finished])


def test_a_teacher_that_the_run_began_with_is_told_once(finished: Path, run_tiny: Train) -> None:
    info = run_tiny(TAUGHT, "stages=[{size: 16, epochs: 1}]", init_from=finished, teachers=[finished])
    start, (teacher,) = info["started_from"], info["teachers"]
    assert start["weights_sha256"] == teacher["weights_sha256"]
    assert "command" in start
    assert "command" not in teacher


def test_a_taught_run_says_by_whom(finished: Path, run_tiny: Train, tmp_path: Path) -> None:
    info = run_tiny(TAUGHT, "stages=[{size: 16, epochs: 1}]", teachers=[finished])
    assert [teacher["run"] for teacher in info["teachers"]] == ["tiny"]
    assert trained_licences({"teachers": [{"licences": {"a": "b"}}]}) == {"a": "b"}
    state = load_run(tmp_path / "run").network.state_dict()
    assert not any("teacher" in name for name in state)
    with pytest.raises(UsageError, match="started with other teachers"):
        run_tiny(TAUGHT, "stages=[{size: 16, epochs: 1}]", teachers=[finished, finished], resume=True)


def test_a_taught_run_goes_on_as_if_never_stopped(finished: Path, data: Path, run_tiny: Train, tmp_path: Path) -> None:
    from mien.training.train import train

    whole = tmp_path / "whole"
    train(tiny_recipe(TAUGHT), data, whole, teachers=[finished])
    with pytest.raises(Stopped):
        run_tiny(TAUGHT, teachers=[finished], callbacks=[StopAfter(1)])
    run_tiny(TAUGHT, teachers=[finished], resume=True)
    one, two = (load_run(folder).network.state_dict() for folder in (whole, tmp_path / "run"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "has no distillation"),
        ([TAUGHT, "model.heads={age: {kind: regression}}"], "'age' gives no probabilities"),
    ],
)
def test_what_does_not_go_together_is_refused(
    settings: list[str], words: str, finished: Path, run_tiny: Train, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        run_tiny(*settings, teachers=[finished])
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_without_teachers_a_recipe_trains_on_the_labels_alone(run_tiny: Train) -> None:
    assert run_tiny(TAUGHT)["teachers"] == []


def test_a_teacher_of_other_tasks_is_refused(finished: Path, data: Path, tmp_path: Path) -> None:
    dataset = open_dataset(data)
    with pytest.raises(UsageError, match="predicts none of the recipe's tasks, but age, gender, ethnicity"):
        load_teachers([finished], (), dataset, None)
    other = shutil.copytree(finished, tmp_path / "other")
    tasks = json.loads((other / "tasks.json").read_text())
    tasks[1]["classes"] = ["m", "f"]
    (other / "tasks.json").write_text(json.dumps(tasks))
    with pytest.raises(UsageError, match="has another task 'gender'"):
        load_teachers([other], TASKS, dataset, None)
