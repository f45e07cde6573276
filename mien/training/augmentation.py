"""Augment training crops: each operation is random for each face and computed for the whole batch.

torchvision's transforms draw once a call, so a batch would share one rotation; here each face has its own. The
random numbers come from a generator that the caller seeds by step, so that a resumed run draws what an uninterrupted
one would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from mien.errors import UsageError
from mien.models.network import LUMA
from mien.recipes.recipe import AugmentationRecipe, Recipe
from mien.tasks import UNLABELLED, Task
from mien.training.batches import Batch
from mien.vision.compress import jpeg_again

#: A task and the numbers of its classes that are augmented further.
Minority = tuple[Task, list[int]]


def augment_batch(
    batch: Batch, recipe: Recipe, minority: Minority | None, size: int, generator: Generator, *, largest: int = 0
) -> Tensor:
    """Return what a training step sees of a batch; see `augment`. ``minority``: of `minority_classes`; ``largest``: the
    side of the result where it is more than ``size``, the side to which the student's crops will be averaged down."""
    factor, size = max(largest, size) / size, max(largest, size)
    images = augment(batch["crops"], enlarged(recipe.augmentation, factor), size, generator)
    if recipe.minority is None or minority is None:
        return images
    task, classes = minority
    chosen = torch.isin(batch[task.name], torch.tensor(classes, device=images.device))
    if recipe.minority.probability < 1:
        chosen &= _chosen(len(images), recipe.minority.probability, generator, images)
    if not chosen.any():
        return images
    further = enlarged(recipe.minority.augmentation, factor)
    return images.index_put((chosen,), augment(images[chosen], further, size, generator))


def enlarged(recipe: AugmentationRecipe, factor: float) -> AugmentationRecipe:
    """Return the same changes on crops whose side is ``factor`` times as long: what counts in pixels grows along, and
    so does noise, which averaging down weakens."""
    if factor == 1:
        return recipe
    return replace(
        recipe, crop_padding=min(round(recipe.crop_padding * factor), 64), noise_level=recipe.noise_level * factor
    )


def minority_classes(recipe: Recipe, tasks: Sequence[Task]) -> Minority | None:
    """Return the task (trained or not) and class numbers that ``minority`` names; None where the recipe has none.

    Raises:
        UsageError: it names a task or a class that the data lacks.
    """
    if recipe.minority is None:
        return None
    task = next((found for found in tasks if found.name == recipe.minority.task and found.kind == "nominal"), None)
    unknown = sorted(set(recipe.minority.classes) - set(task.classes if task else ()))
    if task is None or unknown:
        raise UsageError(f"minority names {recipe.minority.task} {', '.join(unknown)}, which the data does not have.")
    return task, [task.classes.index(name) for name in recipe.minority.classes]


def augment(crops: Tensor, recipe: AugmentationRecipe, size: int, generator: Generator) -> Tensor:
    """Change and resize a batch.

    Args:
        crops: uint8 or float, n x 3 x S x S, RGB, 0-255.
        recipe: what to draw.
        size: side of the result in pixels.
        generator: source of all randomness, on the CPU.

    Returns:
        float32, n x 3 x size x size, 0-255.
    """
    images = crops.float()
    images = _move(images, recipe, size, generator)
    images = resize(images, size)
    images = _blur(images, recipe, generator)
    images = _recolour(images, recipe, generator)
    images = _add_noise(images, recipe, generator)
    images = _compress(images, recipe, generator)
    return _erase(images, recipe, generator)


def mix_faces(
    images: Tensor, batch: Batch, tasks: Sequence[Task], share: float, generator: Generator
) -> tuple[Tensor, Batch]:
    """Mix some faces with others of the batch (Zhang et al. 2018; the share of each drawn evenly): the images, and the
    batch without the labels of those faces.

    Args:
        images: float, n x 3 x S x S.
        share: probability that a face is mixed.
        generator: source of all randomness, on the CPU.
    """
    n = len(images)
    taken = torch.rand(n, generator=generator) < share
    kept = torch.where(taken, torch.rand(n, generator=generator), torch.ones(n)).to(images)[:, None, None, None]
    order = torch.randperm(n, generator=generator).to(images.device)
    there = taken.to(images.device)
    unlabelled = {
        name: batch[name].masked_fill(there, UNLABELLED if task.kind == "nominal" else torch.nan)
        for task in tasks
        for name in task.columns
    }
    return kept * images + (1 - kept) * images[order], {**batch, **unlabelled}


def resize(images: Tensor, size: int) -> Tensor:
    """Average down (or interpolate up) to ``size``, as `mien.vision.resize.resize_crops` does, so that a network learns
    from faces as sharp as those that it answers; float, n x 3 x S x S in, n x 3 x size x size out."""
    side = images.shape[-1]
    if side == size:
        return images
    if side % size == 0:
        return functional.avg_pool2d(images, side // size)
    if side < size:
        return functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    shares = _area_shares(side, size).to(images)
    return shares @ (images @ shares.T)


@lru_cache(maxsize=16)
def _area_shares(side: int, size: int) -> Tensor:
    """Return the share of each of ``side`` pixels in each of the ``size`` larger ones that cover the same line;
    float32, size x side, rows sum to 1."""
    ends = torch.arange(size + 1, dtype=torch.float64) * side / size
    pixels = torch.arange(side, dtype=torch.float64)
    overlap = torch.minimum(ends[1:, None], pixels + 1) - torch.maximum(ends[:-1, None], pixels)
    return (overlap.clamp(min=0) * size / side).float()


def _uniform(n: int, low: float, high: float, generator: Generator, like: Tensor) -> Tensor:
    return (torch.rand(n, generator=generator) * (high - low) + low).to(like.device)


def _chosen(n: int, probability: float, generator: Generator, like: Tensor) -> Tensor:
    """Bool, n: which faces a change of this probability takes."""
    return (torch.rand(n, generator=generator) < probability).to(like.device)


def _move(images: Tensor, recipe: AugmentationRecipe, size: int, generator: Generator) -> Tensor:
    """Mirror, rotate, zoom, shift and cut out, by one interpolation. ``size``: of the result, for whole pixels."""
    n = len(images)
    mirror = 1 - 2 * _chosen(n, recipe.flip, generator, images).float()
    angle = _uniform(n, -recipe.rotation, recipe.rotation, generator, images) * math.pi / 180
    scale = 1 + _uniform(n, -recipe.zoom, recipe.zoom, generator, images)
    shift_x = 2 * _uniform(n, -recipe.shift, recipe.shift, generator, images)
    shift_y = 2 * _uniform(n, -recipe.shift, recipe.shift, generator, images)
    width = height = torch.ones_like(scale)
    if recipe.crop_padding:
        step = 2 / size
        shift_x = shift_x + step * _whole(n, recipe.crop_padding, generator, images)
        shift_y = shift_y + step * _whole(n, recipe.crop_padding, generator, images)
    if recipe.resized_crop != (1.0, 1.0):
        width, height, left, top = _cut_out(n, recipe.resized_crop, generator, images)
        shift_x, shift_y = shift_x + left, shift_y + top
    elif not (recipe.rotation or recipe.zoom or recipe.shift or recipe.crop_padding):
        return torch.where(mirror[:, None, None, None] < 0, images.flip(3), images)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [
        torch.stack([width * mirror * cos, -height * sin, shift_x], 1),
        torch.stack([width * mirror * sin, height * cos, shift_y], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _whole(n: int, most: int, generator: Generator, like: Tensor) -> Tensor:
    """Whole numbers within +- ``most``, float, n."""
    return torch.randint(-most, most + 1, (n,), generator=generator).to(like)


def _cut_out(
    n: int, area_range: tuple[float, float], generator: Generator, like: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random rectangles inside the image: width and height as shares of the side, and their centre from the image's, in
    half sides. As torchvision's RandomResizedCrop, but every draw fits."""
    area = _uniform(n, *area_range, generator, like)
    # A rectangle of this area fits while neither side is longer than the image.
    widest = torch.minimum(-torch.log(area), torch.full_like(area, math.log(4 / 3)))
    ratio = torch.exp(_uniform(n, -1, 1, generator, like) * widest)
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    left = _uniform(n, -1, 1, generator, like) * (1 - width)
    top = _uniform(n, -1, 1, generator, like) * (1 - height)
    return width, height, left, top


def _blur(images: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Shrink the chosen faces to one drawn side and enlarge them again: what small and compressed photos look like."""
    taken = _chosen(len(images), recipe.blur, generator, images)
    side = max(round(float(_uniform(1, *recipe.blur_side, generator, images)) * images.shape[-1]), 8)
    if not recipe.blur or not taken.any():
        return images
    small = functional.interpolate(images[taken], size=(side, side), mode="bilinear", antialias=True)
    blurred = functional.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return images.index_put((taken,), blurred)


def _recolour(images: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Saturation, contrast and brightness by factors; some faces grey."""
    n = len(images)

    def factor(spread: float) -> Tensor:
        return _uniform(n, 1 - spread, 1 + spread, generator, images)[:, None, None, None]

    saturation, contrast, brightness = factor(recipe.saturation), factor(recipe.contrast), factor(recipe.brightness)
    grey = _chosen(n, recipe.grey, generator, images)[:, None, None, None]
    saturation = torch.where(grey, torch.zeros_like(saturation), saturation)
    luma = (images * images.new_tensor(LUMA)[None, :, None, None]).sum(dim=1, keepdim=True)
    images = luma + (images - luma) * saturation
    mean = luma.mean(dim=(2, 3), keepdim=True)
    return (((images - mean) * contrast + mean) * brightness).clamp(0, 255)


def _add_noise(images: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Gaussian noise of a drawn standard deviation on the chosen faces."""
    if not recipe.noise:
        return images
    n = len(images)
    level = _uniform(n, 0, recipe.noise_level, generator, images) * _chosen(n, recipe.noise, generator, images)
    # A GPU draws so many numbers itself; elsewhere they are the generator's own.
    if images.device.type == "cuda":
        generator = Generator(images.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    return (images + noise * level[:, None, None, None]).clamp(0, 255)


def _compress(images: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """JPEG compression of the chosen faces, each of a drawn quality."""
    if not recipe.jpeg:
        return images
    taken = _chosen(len(images), recipe.jpeg, generator, images).nonzero()[:, 0]
    low, high = recipe.jpeg_quality
    qualities = torch.randint(low, high + 1, (len(taken),), generator=generator).tolist()
    if not len(taken):
        return images
    crops = images[taken].round().byte().permute(0, 2, 3, 1).cpu().numpy()
    again = np.stack([jpeg_again(crop, quality) for crop, quality in zip(crops, qualities, strict=True)])
    return images.index_put((taken,), torch.from_numpy(again).permute(0, 3, 1, 2).to(images))


def _erase(images: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Cover one rectangle of the chosen faces with grey (Zhong et al. 2017)."""
    n, side = len(images), images.shape[-1]
    taken = _chosen(n, recipe.erase, generator, images)
    area = _uniform(n, *recipe.erase_area, generator, images)
    ratio = torch.exp(_uniform(n, math.log(0.3), math.log(3.3), generator, images))
    height, width = (area * ratio).sqrt() * side, (area / ratio).sqrt() * side
    top = _uniform(n, 0, 1, generator, images) * (side - height).clamp(min=0)
    left = _uniform(n, 0, 1, generator, images) * (side - width).clamp(min=0)
    place = torch.arange(side, device=images.device)
    inside_y = (place >= top[:, None]) & (place < (top + height)[:, None])
    inside_x = (place >= left[:, None]) & (place < (left + width)[:, None])
    mask = (inside_y[:, :, None] & inside_x[:, None, :] & taken[:, None, None])[:, None]
    return images.masked_fill(mask, 127.0)
