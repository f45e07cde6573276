"""One suite over every kind of head: shapes, probabilities, empty batches, number formats, exportable arithmetic."""

import pytest
import torch

from mien.labels import AGE, ETHNICITY, GENDER, Task, parse_task
from mien.models.heads import HEADS, OrdinalHead
from mien.models.network import FaceAttributeNetwork, ProbabilityNetwork

TASKS = [
    AGE,
    GENDER,
    ETHNICITY,
    parse_task("smile=ordinal:-2-1"),
    parse_task("glasses=nominal:no,yes"),
    parse_task("mask=ordinal:0-1"),
]
task_cases = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def test_every_kind_of_head_is_covered() -> None:
    assert {task.kind for task in TASKS} == set(HEADS)


def random_logits(task: Task, n: int) -> torch.Tensor:
    torch.manual_seed(0)
    head = HEADS[task.kind](16, task, 0.0)
    return head(3 * torch.randn(n, 16))


@task_cases
@pytest.mark.parametrize("n", [0, 1, 33])
def test_probabilities(task: Task, n: int) -> None:
    logits = random_logits(task, n)
    assert logits.shape == (n, task.n_outputs - (task.kind == "ordinal"))
    probabilities = HEADS[task.kind].probabilities(logits)
    assert probabilities.shape == (n, task.n_outputs)
    assert probabilities.dtype == torch.float32
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(n), atol=1e-5, rtol=0)


@task_cases
def test_half_precision_logits_are_computed_in_float32(task: Task) -> None:
    logits = random_logits(task, 5).bfloat16()
    probabilities = HEADS[task.kind].probabilities(logits)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, HEADS[task.kind].probabilities(logits.float()), atol=0, rtol=0)


@task_cases
def test_extreme_logits_stay_probabilities(task: Task) -> None:
    n = task.n_outputs - (task.kind == "ordinal")
    logits = torch.stack([torch.full((n,), 1e4), torch.full((n,), -1e4), torch.linspace(-1e4, 1e4, n)])
    probabilities = HEADS[task.kind].probabilities(logits)
    assert torch.isfinite(probabilities).all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))


@task_cases
def test_dropout_changes_training_only(task: Task) -> None:
    torch.manual_seed(0)
    head = HEADS[task.kind](64, task, 0.5)
    features = torch.randn(4, 64)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))


def exceedance(probabilities: torch.Tensor) -> torch.Tensor:
    """P(level > k) of each threshold."""
    return 1 - probabilities.cumsum(dim=1)[:, :-1]


def test_exceedance_falls_with_the_threshold_and_keeps_its_sum() -> None:
    logits = random_logits(AGE, 20)
    crossing = (logits.diff(dim=1) > 0).any(dim=1)
    assert crossing.all()  # independent classifiers do cross, or this test would show nothing
    found = exceedance(OrdinalHead.probabilities(logits))
    assert (found.diff(dim=1) <= 1e-6).all()
    torch.testing.assert_close(found.sum(dim=1), logits.sigmoid().sum(dim=1), atol=1e-4, rtol=1e-5)


def test_ordered_logits_keep_their_probabilities_by_hand() -> None:
    """Thresholds passed with 0.8, 0.5 and 0.1 leave the levels 0.2, 0.3, 0.4 and 0.1; in any order of the logits."""
    logits = torch.tensor([[0.8, 0.5, 0.1], [0.1, 0.8, 0.5]]).logit()
    expected = torch.tensor([[0.2, 0.3, 0.4, 0.1]]).expand(2, -1)
    torch.testing.assert_close(OrdinalHead.probabilities(logits), expected)


def test_a_fresh_ordinal_head_says_that_higher_levels_are_less_likely() -> None:
    head = OrdinalHead(8, AGE, 0.0)
    assert (head(torch.zeros(1, 8)).diff(dim=1) < 0).all()


def test_the_network_answers_every_task_in_order_and_normalises_inside() -> None:
    network = FaceAttributeNetwork("test_resnet", TASKS).eval()
    crops = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    logits = network(crops)
    assert list(logits) == [task.name for task in TASKS]
    torch.testing.assert_close(network(crops.float())["age"], logits["age"])
    config = network.backbone.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(network.features(crops), network.backbone((crops / 255 - mean) / std))


def test_mirrored_answers_are_the_mean_of_both_sides() -> None:
    torch.manual_seed(0)
    network = FaceAttributeNetwork("test_resnet", (AGE, GENDER)).eval()
    plain, both = ProbabilityNetwork(network).eval(), ProbabilityNetwork(network, mirror=True).eval()
    crops = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    flipped = crops.flip(3)
    for one, other, mean in zip(plain(crops), plain(flipped), both(crops), strict=True):
        torch.testing.assert_close((one + other) / 2, mean)
    for straight, mirrored in zip(both(crops), both(flipped), strict=True):
        torch.testing.assert_close(straight, mirrored)
