"""The backbone with published MobileNet weights: the file is read in its order, and the network gives its answers."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import MienError
from mien.models import face_mobilenet
from mien.models.backbones import create_backbone, lacks_statistics
from mien.models.face_mobilenet import HEADS, NAME, read_weights, weights_file

#: Output channels and stride of the thirteen pairs of a depthwise convolution and one of 1 x 1.
PAIRS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
BOUNDS = np.array([6, 0], np.float32)


def made_up_layers() -> list[tuple[np.ndarray, ...]]:
    """The convolutions in the file's order and layout: kernels (k, k, in, out), a scale for the depthwise ones, and
    offsets."""
    random = np.random.default_rng(0)

    def numbers(*shape: int, scale: float) -> np.ndarray:
        return (scale * random.standard_normal(shape)).astype(np.float32)

    layers: list[tuple[np.ndarray, ...]] = [(numbers(3, 3, 3, 32, scale=0.01), numbers(32, scale=0.1))]
    before = 32
    for width, _ in PAIRS:
        kernels = numbers(3, 3, before, 1, scale=0.4)
        layers.append((kernels, 1 + numbers(before, scale=0.1), numbers(before, scale=0.1)))
        layers.append((numbers(1, 1, before, width, scale=(2 / before) ** 0.5), numbers(width, scale=0.1)))
        before = width
    return layers


def published_file(layers: list[tuple[np.ndarray, ...]]) -> bytes:
    content = np.zeros(HEADS, np.float32).tobytes()
    for layer in layers:
        content += b"".join(part.tobytes() for part in (*layer, BOUNDS))
    return content + np.array([1, 2], np.int32).tobytes()


def answer_of_layers(layers: list[tuple[np.ndarray, ...]], pixels: Tensor) -> Tensor:
    """What the published graph computes of red, green and blue from 0 to 255, but for where its borders lie."""
    left = iter(layers)
    mean = torch.tensor([103.939, 116.779, 123.68])[:, None, None]

    def convolve(maps: Tensor, stride: int) -> Tensor:
        kernels, *scale, offsets = (torch.from_numpy(part) for part in next(left))
        order = (2, 3, 0, 1) if scale else (3, 2, 0, 1)
        made = functional.conv2d(
            maps,
            kernels.permute(*order),
            stride=stride,
            padding=kernels.shape[0] // 2,
            groups=maps.shape[1] if scale else 1,
        )
        made = made * scale[0][:, None, None] if scale else made
        return (made + offsets[:, None, None]).clamp(0, 6)

    maps = convolve(pixels.flip(1) - mean, 2)
    for _, stride in PAIRS:
        maps = convolve(convolve(maps, stride), 1)
    return maps.mean(dim=(2, 3))


@pytest.fixture
def layers() -> list[tuple[np.ndarray, ...]]:
    return made_up_layers()


@pytest.fixture
def cached(layers: list[tuple[np.ndarray, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = weights_file()
    path.parent.mkdir()
    path.write_bytes(published_file(layers))
    return path


def test_the_published_file_gives_its_network(layers: list[tuple[np.ndarray, ...]], cached: Path) -> None:
    backbone, origin = create_backbone(NAME, pretrained=True)
    assert origin == "hub"
    assert lacks_statistics(NAME, origin)
    pixels = 255 * torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    shape = backbone.pretrained_cfg
    mean, std = (torch.tensor(shape[part])[:, None, None] for part in ("mean", "std"))
    with torch.no_grad():
        wanted = answer_of_layers(layers, pixels)
        found = backbone.eval()((pixels / 255 - mean) / std)
    assert wanted.std() > 0.01
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())


@pytest.mark.parametrize("change", [-4, 4, -(10**7)])
def test_a_file_of_another_size_is_one_sentence(cached: Path, change: int) -> None:
    content = cached.read_bytes()
    cached.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(MienError, match="is not the file of face_mobilenet's weights"):
        read_weights(cached)


def test_without_a_connection_it_starts_at_random_and_says_where_the_file_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise URLError("no connection")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    backbone, origin = create_backbone(NAME, pretrained=True)
    assert origin == "random"
    assert isinstance(backbone, nn.Module)
    printed = "".join("".join(capsys.readouterr()).split())
    assert "noconnection" in printed
    assert str(weights_file()) in printed
    assert face_mobilenet.URL in printed


def test_fetched_weights_are_kept(
    layers: list[tuple[np.ndarray, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        fetched.append((url, hash_prefix))
        Path(path).write_bytes(published_file(layers))

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        assert create_backbone(NAME, pretrained=True)[1] == "hub"
    assert fetched == [(face_mobilenet.URL, face_mobilenet.HASH)]


def test_the_narrow_network_has_no_published_weights_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    backbone, origin = create_backbone(face_mobilenet.NARROW, pretrained=True)
    assert origin == "random"
    assert "--init-from a run of face_mobilenet" in " ".join("".join(capsys.readouterr()).split())
    with torch.no_grad():
        assert backbone.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, face_mobilenet.WIDTHS[-1])
