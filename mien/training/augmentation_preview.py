"""A picture of what the network will see: the same faces as prepared (left) and as augmented (the rest of each row)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mien.files import atomic_path
from mien.recipes.recipe import Recipe
from mien.training.augmentation import Minority, augment_batch, resize
from mien.training.batches import FaceBatches

FACES, DRAWS = 8, 9


def write_augmented_page(
    path: Path, faces: FaceBatches, rows: NDArray[np.int64], recipe: Recipe, minority: Minority | None = None
) -> None:
    """Write the picture: one row a face, first the crop, then `DRAWS` draws at the last stage's size."""
    size = recipe.stages[-1].size
    chosen = np.random.default_rng(recipe.seed).choice(rows, size=min(FACES, len(rows)), replace=False)
    batch = faces[np.sort(chosen)]
    generator = torch.Generator().manual_seed(recipe.seed)
    columns = [resize(batch["crops"].float(), size)]
    columns += [augment_batch(batch, recipe, minority, recipe.size_at(recipe.epochs), generator) for _ in range(DRAWS)]
    page = torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)
    with atomic_path(path) as temporary:
        Image.fromarray(page.permute(1, 2, 0).round().byte().numpy()).save(temporary)
