"""Training crops in, changed crops out: every change is drawn for each face, and computed for the whole batch at once.

torchvision's transforms draw once a call, so a batch would share one rotation; here each face has its own. The
random numbers come from a generator that the caller seeds by step, so that a resumed run draws what an uninterrupted
one would.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from mien.training.recipe import AugmentationRecipe

#: Luma weights of ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def augment(crops: Tensor, recipe: AugmentationRecipe, size: int, generator: Generator) -> Tensor:
    """Change and resize a batch.

    Args:
        crops: uint8, n x 3 x S x S, RGB.
        recipe: what to draw.
        size: side of the result in pixels.
        generator: source of all randomness, on the CPU.

    Returns:
        float32, n x 3 x size x size, 0-255.
    """
    images = crops.float()
    images = _move(images, recipe, generator)
    images = resize(images, size)
    images = _blur(images, recipe, generator)
    images = _recolour(images, recipe, generator)
    images = _add_noise(images, recipe, generator)
    return _erase(images, recipe, generator)


def resize(images: Tensor, size: int) -> Tensor:
    """Average down (or interpolate up) to ``size``; float, n x 3 x S x S in, n x 3 x size x size out."""
    side = images.shape[-1]
    if side == size:
        return images
    if side % size == 0:
        return functional.avg_pool2d(images, side // size)
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def _uniform(n: int, low: float, high: float, generator: Generator, like: Tensor) -> Tensor:
    return (torch.rand(n, generator=generator) * (high - low) + low).to(like.device)


def _chosen(n: int, probability: float, generator: Generator, like: Tensor) -> Tensor:
    """Bool, n: which faces a change of this probability takes."""
    return (torch.rand(n, generator=generator) < probability).to(like.device)


def _move(images: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Mirror, rotate, zoom and shift, by one interpolation."""
    n = len(images)
    mirror = 1 - 2 * _chosen(n, recipe.flip, generator, images).float()
    angle = _uniform(n, -recipe.rotation, recipe.rotation, generator, images) * math.pi / 180
    scale = 1 + _uniform(n, -recipe.zoom, recipe.zoom, generator, images)
    shift_x = 2 * _uniform(n, -recipe.shift, recipe.shift, generator, images)
    shift_y = 2 * _uniform(n, -recipe.shift, recipe.shift, generator, images)
    if not (recipe.rotation or recipe.zoom or recipe.shift):
        return torch.where(mirror[:, None, None, None] < 0, images.flip(3), images)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [torch.stack([mirror * cos, -sin, shift_x], 1), torch.stack([mirror * sin, cos, shift_y], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


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
    luma = (images * images.new_tensor(_LUMA)[None, :, None, None]).sum(dim=1, keepdim=True)
    images = luma + (images - luma) * saturation
    mean = luma.mean(dim=(2, 3), keepdim=True)
    return (((images - mean) * contrast + mean) * brightness).clamp(0, 255)


def _add_noise(images: Tensor, recipe: AugmentationRecipe, generator: Generator) -> Tensor:
    """Gaussian noise of a drawn standard deviation on the chosen faces."""
    if not recipe.noise:
        return images
    n = len(images)
    level = _uniform(n, 0, recipe.noise_level, generator, images) * _chosen(n, recipe.noise, generator, images)
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + noise * level[:, None, None, None]).clamp(0, 255)


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
