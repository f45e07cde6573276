"""One suite over every kind of head: shapes, probabilities, empty batches, number formats, exportable arithmetic."""

import pytest
import torch

from mien.models.heads import Head
from mien.models.network import HEADS, FaceAttributeNetwork, HeadChoice, NetworkShape, ProbabilityNetwork
from mien.models.ordinal_heads import OrdinalHead
from mien.models.two_stage import TwoStageHead
from mien.tasks import AGE, ETHNICITY, GENDER, Task, bin_task, parse_task

TASKS = [
    AGE,
    GENDER,
    ETHNICITY,
    parse_task("smile=ordinal:-2-1"),
    parse_task("glasses=nominal:no,yes"),
    parse_task("mask=ordinal:0-1"),
]
AGE_BIN = bin_task("age_bin", AGE, [16, 26, 29, 37, 53])
OPTIONS = {"two_stage": {"bins": AGE_BIN, "mix": "soft", "width": 8}}
ORDINAL = ["coral", "corn", "label_distribution", "mean_variance", "regression", "classification"]
SMILE = TASKS[3]
CASES = [(task.kind, task) for task in TASKS] + [("two_stage", AGE)]
CASES += [("binary_regression", GENDER)]
CASES += [(name, task) for name in ORDINAL for task in (AGE, SMILE)]
head_cases = pytest.mark.parametrize(("name", "task"), CASES, ids=[f"{name}-{task.name}" for name, task in CASES])
SHAPE = NetworkShape(backbone="test_resnet")


def test_every_kind_of_head_is_covered() -> None:
    assert {name for name, _ in CASES} == set(HEADS)


def make(name: str, task: Task, features: int = 16, dropout: float = 0.0) -> Head:
    torch.manual_seed(0)
    return HEADS[name](features, task, dropout, **OPTIONS.get(name, {}))


def companion(head: Head, n: int) -> torch.Tensor | None:
    return torch.randn(n, len(AGE_BIN.classes)) if head.companion else None


@head_cases
@pytest.mark.parametrize("n", [0, 1, 33])
def test_probabilities(name: str, task: Task, n: int) -> None:
    head = make(name, task)
    probabilities = head.probabilities(head(3 * torch.randn(n, 16)), companion(head, n))
    assert probabilities.shape == (n, task.n_outputs)
    assert probabilities.dtype == torch.float32
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(n), atol=1e-5, rtol=0)


@head_cases
def test_half_precision_logits_are_computed_in_float32(name: str, task: Task) -> None:
    head = make(name, task)
    logits, other = head(3 * torch.randn(5, 16)).bfloat16(), companion(head, 5)
    probabilities = head.probabilities(logits, other)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, head.probabilities(logits.float(), other), atol=0, rtol=0)


@head_cases
def test_extreme_logits_stay_probabilities(name: str, task: Task) -> None:
    head = make(name, task)
    n = head(torch.zeros(1, 16)).shape[1]
    logits = torch.stack([torch.full((n,), 1e4), torch.full((n,), -1e4), torch.linspace(-1e4, 1e4, n)])
    probabilities = head.probabilities(logits, companion(head, 3))
    assert torch.isfinite(probabilities).all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))


@head_cases
def test_dropout_changes_training_only(name: str, task: Task) -> None:
    head = make(name, task, 64, 0.5)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(4, 64)
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))


@head_cases
def test_losses_count_labelled_faces_only(name: str, task: Task) -> None:
    head = make(name, task)
    logits, other = head(torch.randn(2, 16)).detach().requires_grad_(), companion(head, 2)
    known = torch.tensor([float(task.lowest), float("nan")])
    labels = (torch.tensor([1, -1]),) if task.kind == "nominal" else (known, known)
    losses, counted = head.losses(logits, labels, other)
    assert counted.tolist() == [True, False]
    assert losses[1] == 0
    losses.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[1] == 0).all()


def two_stage(mix: str) -> TwoStageHead:
    return TwoStageHead(4, AGE, 0.0, bins=bin_task("half", AGE, [50]), mix=mix, width=2)


def test_a_hard_two_stage_answer_is_that_of_the_likeliest_bin() -> None:
    said, bins = torch.tensor([[20.25, 70.0]]), torch.tensor([[1.0, 0.0]])
    distribution = two_stage("hard").probabilities(said, bins)[0]
    assert distribution[20].item() == 0.75
    assert distribution[21].item() == 0.25


def test_a_soft_two_stage_answer_weights_the_bins() -> None:
    said, bins = torch.tensor([[20.0, 70.0]]), torch.tensor([[0.0, 0.0]])
    distribution = two_stage("soft").probabilities(said, bins)[0]
    assert (distribution @ torch.arange(117.0)).item() == 45.0


def test_a_regressor_answers_inside_its_bin() -> None:
    distribution = two_stage("hard").probabilities(torch.tensor([[90.0, 70.0]]), torch.tensor([[1.0, 0.0]]))[0]
    assert distribution.argmax() == 49


def test_each_regressor_learns_from_its_own_bin_only() -> None:
    """The label 20 concerns the first regressor, 60 the second; 40-60 lies in both bins and teaches neither."""
    head = two_stage("hard")
    said = torch.full((3, 2), 50.0, requires_grad=True)
    low, high = torch.tensor([20.0, 60.0, 40.0]), torch.tensor([20.0, 60.0, 60.0])
    losses, counted = head.losses(said, (low, high), torch.zeros(3, 2))
    assert losses.tolist() == [30.0, 10.0, 0.0]
    assert counted.tolist() == [True, True, False]
    losses.sum().backward()
    assert said.grad.tolist() == [[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]


def test_regressors_start_from_the_mean_of_their_bin() -> None:
    head = two_stage("hard")
    ages = torch.tensor([10.0, 20.0, 60.0, 70.0, float("nan")])
    head.fit_scale(ages, ages)
    assert head(torch.randn(1, 4)).tolist() == [[15.0, 65.0]]
    assert head.scales.tolist() == pytest.approx([50**0.5, 50**0.5])


def exceedance(probabilities: torch.Tensor) -> torch.Tensor:
    """P(level > k) of each threshold."""
    return 1 - probabilities.cumsum(dim=1)[:, :-1]


def test_exceedance_falls_with_the_threshold_and_keeps_its_sum() -> None:
    head = OrdinalHead(16, AGE, 0.0)
    torch.manual_seed(0)
    logits = head(3 * torch.randn(20, 16))
    crossing = (logits.diff(dim=1) > 0).any(dim=1)
    assert crossing.all()  # independent classifiers do cross, or this test would show nothing
    found = exceedance(head.probabilities(logits))
    assert (found.diff(dim=1) <= 1e-6).all()
    torch.testing.assert_close(found.sum(dim=1), logits.sigmoid().sum(dim=1), atol=1e-4, rtol=1e-5)


def test_ordered_logits_keep_their_probabilities_by_hand() -> None:
    """Thresholds passed with 0.8, 0.5 and 0.1 leave the levels 0.2, 0.3, 0.4 and 0.1; in any order of the logits."""
    logits = torch.tensor([[0.8, 0.5, 0.1], [0.1, 0.8, 0.5]]).logit()
    expected = torch.tensor([[0.2, 0.3, 0.4, 0.1]]).expand(2, -1)
    head = OrdinalHead(1, parse_task("smile=ordinal:0-3"), 0.0)
    torch.testing.assert_close(head.probabilities(logits), expected)


def test_a_fresh_ordinal_head_says_that_higher_levels_are_less_likely() -> None:
    head = OrdinalHead(8, AGE, 0.0)
    assert (head(torch.zeros(1, 8)).diff(dim=1) < 0).all()


def test_the_network_answers_every_task_in_order_and_normalises_inside() -> None:
    network = FaceAttributeNetwork(SHAPE, TASKS).eval()
    crops = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    logits = network(crops)
    assert list(logits) == [task.name for task in TASKS]
    torch.testing.assert_close(network(crops.float())["age"], logits["age"])
    config = network.backbone.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    torch.testing.assert_close(network.features(crops), network.backbone((crops / 255 - mean) / std))


def test_mirrored_answers_are_the_mean_of_both_sides() -> None:
    torch.manual_seed(0)
    network = FaceAttributeNetwork(SHAPE, (AGE, GENDER)).eval()
    plain, both = ProbabilityNetwork(network).eval(), ProbabilityNetwork(network, flip_tta=True).eval()
    crops = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    flipped = crops.flip(3)
    for one, other, mean in zip(plain(crops), plain(flipped), both(crops), strict=True):
        torch.testing.assert_close((one + other) / 2, mean)
    for straight, mirrored in zip(both(crops), both(flipped), strict=True):
        torch.testing.assert_close(straight, mirrored)


def test_a_grey_network_sees_the_luma_of_colours_scaled_to_one() -> None:
    network = FaceAttributeNetwork(NetworkShape(backbone="test_resnet", channels=1), (GENDER,)).eval()
    colours = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    luma = 0.299 * colours[:, :1] + 0.587 * colours[:, 1:2] + 0.114 * colours[:, 2:]
    torch.testing.assert_close(network.features(colours), network.backbone(luma / 127.5 - 1), atol=1e-4, rtol=1e-4)


def test_layer_norm_stands_before_the_heads() -> None:
    network = FaceAttributeNetwork(NetworkShape(backbone="test_resnet", layer_norm=True), (GENDER,)).eval()
    features = network.features(torch.rand(3, 3, 32, 32) * 255)
    torch.testing.assert_close(features.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)


def test_a_two_stage_network_answers_by_its_bins() -> None:
    choice = HeadChoice(name="two_stage", options=OPTIONS["two_stage"])
    network = FaceAttributeNetwork(SHAPE, (AGE, AGE_BIN), {"age": choice}).eval()
    probabilities = network.probabilities(network(torch.rand(2, 3, 32, 32) * 255))
    assert probabilities["age"].shape == (2, 117)
    assert probabilities["age_bin"].shape == (2, 6)
