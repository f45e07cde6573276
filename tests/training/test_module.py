"""The learning rate, the seeds of steps, weight decay, number formats and weight averaging, by hand."""

import copy
import math

import pytest
import torch
from torch import nn

from mien.tasks import AGE, ETHNICITY, GENDER
from mien.training.module import AttributeTraining, step_seed
from mien.training.optimisation import WarmedUpAverage
from mien.training.precision import choose_precision, speed_up_convolutions
from tests.training.tiny import tiny_recipe

TASKS = (AGE, GENDER, ETHNICITY)


def test_seeds_of_steps_do_not_repeat() -> None:
    seeds = {step_seed(seed, step) for seed in range(3) for step in range(2000)}
    assert len(seeds) == 6000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_only_weight_matrices_decay() -> None:
    recipe = tiny_recipe("optimiser.weight_decay=0.5", "loss.weighting=uncertainty")
    module = AttributeTraining(recipe, TASKS, steps_per_epoch=1)
    decayed, others = module.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    assert all(value.ndim > 1 for value in decayed["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(list(module.parameters()))
    assert any(value is module.weighting.log_variances["age"] for value in others["params"])


def test_learned_weights_have_a_rate_of_their_own() -> None:
    recipe = tiny_recipe("optimiser.learning_rate=0.01", "loss.weighting=uncertainty", "loss.weights_rate=30")
    module = AttributeTraining(recipe, TASKS, steps_per_epoch=1)
    optimiser = module.configure_optimizers()["optimizer"]
    *network, weights = optimiser.param_groups
    assert {id(value) for value in weights["params"]} == {id(value) for value in module.weighting.parameters()}
    # At the first step of the warm-up all are the same share of their peaks.
    assert all(weights["lr"] == pytest.approx(30 * group["lr"]) for group in network)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(module.parameters()))


def test_losses_are_means_over_labelled_faces() -> None:
    module = AttributeTraining(tiny_recipe("loss={}"), TASKS, steps_per_epoch=1)
    logits = {"age": torch.zeros(4, 116), "gender": torch.zeros(4, 2), "ethnicity": torch.zeros(4, 5)}
    ages = torch.tensor([30.0, math.nan, 5.0, math.nan])
    batch = {
        "age_low": ages,
        "age_high": ages,
        "gender": torch.tensor([-1, 1, 0, 1]),
        "ethnicity": torch.full((4,), -1),
    }
    losses = module.task_losses(logits, batch)
    assert losses["age"].item() == pytest.approx(116 * math.log(2), rel=1e-5)
    assert losses["gender"].item() == pytest.approx(math.log(2))
    assert losses["ethnicity"].item() == 0


def test_precision_by_name() -> None:
    assert choose_precision("bf16") == "bf16-mixed"
    assert choose_precision("fp32") == "32-true"
    assert choose_precision("auto") in ("bf16-mixed", "32-true")


def test_depthwise_convolutions_stay_in_float32_and_keep_their_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(1, 4, 3))
    network[2].groups = 1
    before = {name: value.clone() for name, value in network.state_dict().items()}
    speed_up_convolutions(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    crops = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert network[0](crops).dtype == torch.bfloat16
        assert network[1](network[0](crops)).dtype == torch.float32


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), [(3, 3, 1, 1), (7, 3, 2, 1), (6, 1, 2, 0)])
def test_weight_gradients_of_small_maps_are_those_of_torch(size: int, kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    own = nn.Sequential(nn.Conv2d(6, 8, kernel, stride, padding, bias=False))
    own = own.to(memory_format=torch.channels_last)
    plain = copy.deepcopy(own)
    speed_up_convolutions(own)
    maps = torch.randn(16, 6, size, size).contiguous(memory_format=torch.channels_last)
    gradients = []
    for network in (own, plain):
        asked = maps.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            answer = network(asked)
        answer.float().square().mean().backward()
        gradients.append((answer.detach().float(), asked.grad, network[0].weight.grad))
    assert "MatrixGradient" in type(own[0]).__name__
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.01 * theirs.abs().max().item())


def test_the_weight_average_by_hand() -> None:
    """Decay min(0.9, (1 + n) / (10 + n)): 2/11 after one step, 0.9 from n = 80 on; whole numbers are copied."""

    def average(old: float, new: float, n: torch.Tensor | int) -> float:
        averaged = [torch.tensor(old), torch.tensor(0 * old)]
        WarmedUpAverage(0.9)(averaged, [torch.tensor(new), torch.tensor(0 * new)], n)
        assert averaged[1].item() == 0
        return averaged[0].item()

    assert average(0.0, 1.0, 1) == pytest.approx(9 / 11)
    assert average(0.0, 1.0, torch.tensor(80)) == pytest.approx(0.1)
    assert average(0.0, 1.0, 5000) == pytest.approx(0.1)
    assert average(3, 7, 10) == 7
