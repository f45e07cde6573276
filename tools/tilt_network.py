"""Train the network that says how far a face is turned: ``python -m tools.tilt_network DATA``.

In: prepared data whose images are still there. The main face of each FairFace image of the training split is cut out
with its surroundings as it is found upright, and turned by a random angle; and as the detector finds it in the image
turned by random angles. The angle is the label. No label of the data is used, and no image that `benchmarks.detection`
measures. Out: the ONNX file that `mien.vision.tilt` reads, and a JSON
file with its errors on the validation split of all sources.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn
from torch.nn import functional as F

from benchmarks.facts import console, machine_facts, save_results
from mien.errors import UsageError
from mien.export.graph import check_parity, to_graph
from mien.files import atomic_path
from mien.inference.metadata import INPUT_NAME
from mien.onnx.sessions import open_session
from mien.vision.tilt import BINS, FIELD, INPUT_SIDE, OUTPUT_NAME
from tools.results.tables import RESULTS
from tools.tilt_faces import KEPT_FIELD, KEPT_SIDE, Faces, kept_faces

#: Its images may be used for any purpose (CC BY 4.0), and so may the network.
SOURCES = ("fairface",)
#: Of the angles that faces are measured at.
SEED = 7
#: Standard deviation of the soft label, in degrees.
SPREAD = 5.0
#: A face that was found turned is turned further by so many degrees at most.
MOST_MORE = 10.0
#: How far the box may be off: its size (natural logarithm) and place (fractions of its side).
SIZE_JITTER, PLACE_JITTER = 0.15, 0.1
#: Greatest learning rate; what a checkpoint holds.
RATE = 4e-3
PARTS = ("network", "average", "optimiser", "schedule")
#: Channels after each halving.
WIDTHS = (16, 32, 64, 128, 160)


class TiltNetwork(nn.Module):
    """Faces (uint8, N x 3 x 64 x 64, RGB) in, probabilities of 72 angles (N x 72) out. Only the disc is seen."""

    def __init__(self) -> None:
        super().__init__()
        first, *others = WIDTHS
        layers: list[nn.Module] = [_convolution(3, first, 3, 2)]
        for before, after in zip(WIDTHS, others, strict=False):
            layers += [_convolution(before, before, 3, 2, before), _convolution(before, after, 1)]
            layers += [_convolution(after, after, 3, 1, after), _convolution(after, after, 1)]
        self.layers = nn.Sequential(*layers)
        side = INPUT_SIDE // 2 ** len(WIDTHS)
        self.head = nn.Linear(others[-1] * side * side, BINS)
        steps = (torch.arange(INPUT_SIDE) + 0.5) / INPUT_SIDE * 2 - 1
        self.disc: torch.Tensor
        self.register_buffer("disc", ((steps**2 + steps[:, None] ** 2) < 1).float(), persistent=False)

    def logits(self, faces: torch.Tensor) -> torch.Tensor:
        """Return N x 72 logits of faces with values from 0 to 255."""
        seen = (faces.float() - 127.0) / 64.0 * self.disc
        return self.head(self.layers(seen).flatten(1))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Return N x 72 probabilities."""
        return self.logits(faces).softmax(1)


def _convolution(before: int, after: int, side: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _turned(faces: torch.Tensor, degrees: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the faces (N x 3 x 96 x 96) turned clockwise, as they would be cut out by a box that is somewhat off."""
    n, radians = len(faces), degrees * math.pi / 180
    scale = FIELD / KEPT_FIELD * torch.exp(_within(n, SIZE_JITTER, generator))
    shift = torch.stack([_within(n, PLACE_JITTER, generator) * 2 / KEPT_FIELD for _ in range(2)], 1)
    cos, sin = torch.cos(radians) * scale, torch.sin(radians) * scale
    # From where a pixel is to where it comes from: turned back.
    matrix = torch.stack([torch.stack([cos, sin, shift[:, 0]], 1), torch.stack([-sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(matrix, [n, 3, INPUT_SIDE, INPUT_SIDE], align_corners=False)
    return F.grid_sample(faces.float(), grid, padding_mode="border", align_corners=False)


def _turns(turned: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return by how many degrees to turn each face: a little where it was found turned, so that its box fits."""
    return torch.where(turned, _within(len(turned), MOST_MORE, generator), _within(len(turned), 180, generator))


def _within(n: int, most: float, generator: torch.Generator) -> torch.Tensor:
    """Return N numbers, uniform between -most and most."""
    return (torch.rand(n, generator=generator) * 2 - 1) * most


def _perturbed(faces: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return faces with other light, colours, sharpness and noise, and with edges of images at any angle."""
    n = len(faces)
    faces = _with_edges(faces, generator)
    for part in torch.arange(n).chunk(8):
        if torch.rand(1, generator=generator) < 0.4:
            side = int(torch.randint(10, 48, (1,), generator=generator))
            small = F.interpolate(faces[part], size=(side, side), mode="bilinear", antialias=True)
            faces[part] = F.interpolate(small, size=(INPUT_SIDE, INPUT_SIDE), mode="bilinear")
    grayscale = (torch.rand(n, 1, 1, 1, generator=generator) < 0.2).float()
    faces = faces * (1 - grayscale) + faces.mean(1, keepdim=True) * grayscale
    contrast = torch.exp(_within(n, 0.5, generator))[:, None, None, None]
    light = (_within(3 * n, 12, generator).view(n, 3, 1, 1)) + _within(n, 40, generator)[:, None, None, None]
    noise = torch.randn(faces.shape, generator=generator) * (torch.rand(n, 1, 1, 1, generator=generator) ** 3 * 20)
    return ((faces - 127) * contrast + 127 + light + noise).clamp(0, 255)


def _with_edges(faces: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return faces most of which end at straight lines of any direction or at a circle, with a plain colour or another
    image beyond: neither edges nor what lies around a head must tell the angle."""
    n = len(faces)
    steps = (torch.arange(INPUT_SIDE) + 0.5) / INPUT_SIDE * 2 - 1
    circle = (steps**2 + steps[:, None] ** 2).sqrt() > 0.65 + 0.6 * torch.rand(n, 1, 1, generator=generator)
    for beyond in (_half_plane(n, steps, generator), _half_plane(n, steps, generator), circle):
        chosen = beyond & (torch.rand(n, 1, 1, generator=generator) < 0.5)
        plain = (torch.rand(n, 1, 1, 1, generator=generator) * 255).expand_as(faces)
        other = faces[torch.randperm(n, generator=generator)]
        fill = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.4, plain, other)
        faces = torch.where(chosen[:, None], fill, faces)
    return faces


def _half_plane(n: int, steps: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the pixels of each face (bool, N x 64 x 64) beyond a line."""
    angle = torch.rand(n, 1, 1, generator=generator) * 2 * math.pi
    distance = 0.5 + torch.rand(n, 1, 1, generator=generator)
    return torch.cos(angle) * steps + torch.sin(angle) * steps[:, None] > distance


def _soft_labels(degrees: torch.Tensor) -> torch.Tensor:
    """Return N x 72 probabilities around the angles."""
    centres = torch.arange(BINS) * (360 / BINS)
    apart = (degrees[:, None] - centres + 180) % 360 - 180
    return torch.softmax(-0.5 * (apart / SPREAD) ** 2, 1)


class Training:
    """The network in training: a step on chosen faces, the moving average of its weights, and all of it in a file."""

    def __init__(self, faces: Faces, batch: int, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.pixels, self.tilts = torch.from_numpy(faces.pixels), torch.from_numpy(faces.tilts)
        self.turned = torch.from_numpy(faces.turned)
        self.batch, self.done = batch, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.network = TiltNetwork()
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=RATE, weight_decay=0.02)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, RATE, total_steps=steps, pct_start=0.1)

    def epoch(self) -> float:
        """Train on all faces once, each turned by a random angle, and return the mean loss."""
        self.network.train()
        order = torch.randperm(len(self.tilts), generator=self.generator)
        losses = [self._step(rows) for rows in torch.split(order, self.batch) if len(rows) == self.batch]
        return sum(losses) / len(losses)

    def _step(self, rows: torch.Tensor) -> float:
        degrees = _turns(self.turned[rows], self.generator)
        seen = _turned(self.pixels[rows].permute(0, 3, 1, 2), degrees, self.generator)
        logits = self.network.logits(_perturbed(seen, self.generator))
        loss = F.cross_entropy(logits, _soft_labels(degrees + self.tilts[rows]))
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.schedule.step()
        self.done += 1
        decay = min(0.998, self.done / (self.done + 9))
        with torch.no_grad():
            states = self.average.state_dict().values(), self.network.state_dict().values()
            for mean, value in zip(*states, strict=True):
                mean.lerp_(value, 1 - decay) if mean.is_floating_point() else mean.copy_(value)
        return float(loss.detach())

    def save(self, file: Path, epoch: int) -> None:
        """Write everything that the next epoch depends on."""
        state = {name: getattr(self, name).state_dict() for name in PARTS}
        with atomic_path(file) as path:
            about = {"epoch": epoch, "done": self.done, "generator": self.generator.get_state()}
            torch.save(state | about, path)

    def load(self, file: Path) -> int:
        """Read what `save` wrote and return the number of epochs trained."""
        state = torch.load(file, weights_only=True)
        if state["schedule"]["total_steps"] != self.schedule.total_steps:
            raise UsageError(f"{file} is of a training of another length; choose another --run or remove it.")
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.done = int(state["done"])
        return int(state["epoch"])


def fit(faces: Faces, epochs: int, batch: int, seed: int, checkpoint: Path) -> TiltNetwork:
    """Train the network and return the moving average of its weights; a checkpoint that is there is continued."""
    training = Training(faces, batch, epochs * (len(faces.tilts) // batch), seed)
    first = training.load(checkpoint) if checkpoint.exists() else 0
    for epoch in range(first + 1, epochs + 1):
        start = time.perf_counter()
        loss = training.epoch()
        console.print(f"epoch {epoch}: loss {loss:.3f}, {time.perf_counter() - start:.0f} s")
        training.save(checkpoint, epoch)
    return training.average.eval()


def measure(network: TiltNetwork, faces: Faces) -> dict[str, Any]:
    """Return per source how far the network's angle is off, the faces turned as in training."""
    generator = torch.Generator().manual_seed(SEED)
    degrees = _turns(torch.from_numpy(faces.turned), generator)
    with torch.no_grad():
        seen = _turned(torch.from_numpy(faces.pixels).permute(0, 3, 1, 2), degrees, generator)
        output = torch.cat([network(part) for part in torch.split(seen, 256)]).numpy()
    predicted = output.argmax(1) * (360 / BINS)
    off = np.abs((predicted - degrees.numpy() - faces.tilts + 180) % 360 - 180)
    found = {}
    for name in sorted(set(faces.sources.tolist())):
        errors = off[faces.sources == name]
        within = {f"within {limit}": round(float((errors <= limit).mean()), 4) for limit in (10, 15, 30)}
        found[name] = {"n": len(errors), "median": round(float(np.median(errors)), 2), **within}
    return found


def export(network: TiltNetwork, faces: Faces, out: Path) -> None:
    """Write the network as an ONNX file that computes the same."""
    with atomic_path(out) as path:
        path.write_bytes(to_graph(network, INPUT_SIDE, [OUTPUT_NAME]).SerializeToString())
    start = (KEPT_SIDE - INPUT_SIDE) // 2
    crops = faces.pixels[:64, start : start + INPUT_SIDE, start : start + INPUT_SIDE].transpose(0, 3, 1, 2).copy()
    with torch.no_grad():
        expected = network(torch.from_numpy(crops)).numpy()
    got = open_session(out.read_bytes()).run([OUTPUT_NAME], {INPUT_NAME: crops})
    check_parity({OUTPUT_NAME: expected}, {OUTPUT_NAME: got[0]}, 1e-4)


def main(
    data: Annotated[Path, typer.Argument(help="Prepared data.")],
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    batch: Annotated[int, typer.Option(min=2)] = 128,
    seed: Annotated[int, typer.Option()] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Images of each source and split; 0 for all.")] = 0,
    turns: Annotated[int, typer.Option(min=0, help="Faces found in each image turned.")] = 2,
    run: Annotated[Path, typer.Option(help="Folder of what is kept between calls.")] = Path("runs/tilt-network"),
    out: Annotated[Path, typer.Option(help="ONNX file.")] = Path("mien/vision/tilt.onnx"),
    results: Annotated[Path, typer.Option(help="Result file.")] = RESULTS / "detection" / "tilt_network.json",
) -> None:
    """Cut the faces out, train, measure and export."""
    facts = machine_facts()
    run.mkdir(parents=True, exist_ok=True)
    trained = kept_faces(data, SOURCES, "train", limit, turns, run)
    held = kept_faces(data, (), "val", limit, turns, run)
    network = fit(trained, epochs, batch, seed, run / "last.pt")
    errors = measure(network, held)
    export(network, held, out)
    about = {"faces": len(trained.tilts), "epochs": epochs, "batch": batch, "seed": seed}
    save_results(results, {**about, "validation errors in degrees": errors, "machine": facts})


if __name__ == "__main__":
    typer.run(main)
