"""Sharing among tasks: what is common and what is not, and that the start is the backbone itself."""

import subprocess
import sys

import pytest
import timm
import torch

from mien.errors import UsageError
from mien.models.network import FaceAttributeNetwork, NetworkShape
from mien.models.sharing import BranchedBackbone, CrossStitchBackbone, freeze, stages_of
from mien.tasks import AGE, ETHNICITY, GENDER

FAMILIES = ["test_efficientnet", "test_resnet"]


def backbone(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=0).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_one_after_the_other_are_the_backbone(name: str) -> None:
    model, images = backbone(name), torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(torch.nn.Sequential(*stages_of(model, name))(images), model(images))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shared", [0, 1, 2])
def test_branches_start_as_the_backbone_and_are_their_own(name: str, shared: int) -> None:
    model, images = backbone(name), torch.randn(2, 3, 64, 64)
    expected = model(images)
    branched = BranchedBackbone(stages_of(model, name), shared, 3, name).eval()
    torch.testing.assert_close(branched(images), torch.cat([expected] * 3, dim=1))
    branched(images)[:, : expected.shape[1]].sum().backward()
    taught = [sum(value.grad.abs().sum().item() for value in branch.parameters()) for branch in branched.branches]
    assert taught[0] > 0
    assert taught[1:] == [0, 0]
    assert bool(list(branched.trunk.parameters())) == (shared > 0)


def test_more_shared_stages_have_fewer_weights() -> None:
    sizes = [
        sum(
            value.numel()
            for value in BranchedBackbone(stages_of(backbone(FAMILIES[0]), ""), shared, 3, "").parameters()
        )
        for shared in (0, 1, 2, 3)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


@pytest.mark.parametrize("name", FAMILIES)
def test_cross_stitches_mix_what_is_alike_into_the_same(name: str) -> None:
    """Copies give equal maps and every mixture sums to one: the start is the backbone. Then tasks teach each other."""
    model, images = backbone(name), torch.randn(2, 3, 64, 64)
    expected = model(images)
    stitched = CrossStitchBackbone(stages_of(model, name), 2).eval()
    torch.testing.assert_close(stitched(images), torch.cat([expected] * 2, dim=1), atol=1e-4, rtol=1e-4)
    stitched(images)[:, : expected.shape[1]].sum().backward()
    other = [value.grad for value in stitched.columns[1][0].parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in other)


def test_the_stitches_weigh_the_maps_of_all_tasks() -> None:
    torch.manual_seed(0)
    first = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    last = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    stitched, images = CrossStitchBackbone([first, last], 3), torch.randn(5, 3, 6, 6)
    for value in stitched.parameters():
        torch.nn.init.normal_(value)
    maps = torch.stack([column[0](images) for column in stitched.columns])
    mixed = torch.einsum("ij,jnchw->inchw", stitched.stitches[0], maps)
    expected = [column[1](each) for column, each in zip(stitched.columns, mixed, strict=True)]
    torch.testing.assert_close(stitched(images), torch.cat(expected, dim=1))


#: Ended the process by a division by zero when the stitch was one matrix product.
STITCH_IN_BFLOAT16 = """
import torch
from mien.models.sharing import CrossStitchBackbone
torch.set_num_threads(1)
stages = [torch.nn.Sequential(torch.nn.Conv2d(3, 16, 1)), torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1))]
backbone = CrossStitchBackbone(stages, 3)
with torch.autocast("cpu", torch.bfloat16):
    backbone(torch.randn(32, 3, 32, 32).to(memory_format=torch.channels_last)).float().sum().backward()
assert backbone.stitches[0].grad.abs().sum() > 0
"""


@pytest.mark.slow
def test_a_stitch_of_many_pixels_in_bfloat16_is_survived() -> None:
    done = subprocess.run([sys.executable, "-c", STITCH_IN_BFLOAT16], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "shape", [NetworkShape(backbone=FAMILIES[1], branch_at=1), NetworkShape(backbone=FAMILIES[1], cross_stitch=True)]
)
def test_each_head_takes_its_own_embedding(shape: NetworkShape) -> None:
    network = FaceAttributeNetwork(shape, (AGE, GENDER, ETHNICITY)).eval()
    crops = torch.rand(2, 3, 32, 32) * 255
    features = network.features(crops)
    assert features.shape == (2, 3 * network.width)
    second = features[:, network.width : 2 * network.width]
    torch.testing.assert_close(network(crops)["gender"], network.head("gender")(second))


def test_what_cannot_be_split_is_said() -> None:
    with pytest.raises(UsageError, match="none of these"):
        stages_of(timm.create_model("test_vit", pretrained=False), "test_vit")
    with pytest.raises(UsageError, match="branch_at must be 0 to"):
        BranchedBackbone(stages_of(backbone("test_resnet"), "test_resnet"), 9, 2, "test_resnet")


def test_frozen_depthwise_kernels_leave_the_rest_of_later_stages_trainable() -> None:
    model = backbone("test_efficientnet").train()
    freeze(model, "test_efficientnet", 1, depthwise=True)
    kernels = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d) and module.groups > 1]
    assert kernels
    assert not any(module.weight.requires_grad for module in kernels)
    assert not any(value.requires_grad for part in (model.conv_stem, model.blocks[0]) for value in part.parameters())
    assert not model.blocks[0].training
    assert model.conv_head.weight.requires_grad
    assert any(value.requires_grad for value in model.blocks[2].parameters())
    assert model.blocks[2].training
