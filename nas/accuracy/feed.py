"""What a training step learns from: augmented images and their targets, by the step's number."""

from __future__ import annotations

import numpy as np
import torch

from nas.accuracy.recipe import Recipe
from nas.data import Dataset, batch_indices
from nas.data.augment import HANDWRITING, PHOTOS, normalise, to_batch, vary
from nas.data.mixing import mix, one_hot
from nas.data.random_augment import random_augment

RESIDENT_SHARE = 0.25
"""Of a GPU's free memory that the images may take; the rest is for training."""


class Feed:
    """Batches of a data set's training images at one resolution.

    A batch depends on nothing but the seed and the step. On a GPU the pixels stay there where they
    fit, and all that is random is drawn there: nothing but the order of the images travels.
    """

    def __init__(
        self, dataset: Dataset, resolution: int, recipe: Recipe, seed: int, device: torch.device
    ) -> None:
        self.dataset, self.recipe, self.seed, self.device = dataset, recipe, seed, device
        self._pixels = dataset.train.at(resolution)
        self._labels = torch.from_numpy(np.array(dataset.train.labels)).to(device)
        self._resident: torch.Tensor | None = None
        if device.type == "cuda" and fits(self._pixels.nbytes, device):
            self._resident = torch.from_numpy(np.array(self._pixels)).to(device)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised images `N x 3 x R x R`, channels-last, and targets `N x classes`."""
        recipe = self.recipe
        indices = batch_indices(len(self._pixels), recipe.batch_size, step, self.seed)
        drawn = np.random.SeedSequence([self.seed, step])
        generator = torch.Generator(self.device)
        generator.manual_seed(int(drawn.generate_state(1, np.uint64)[0] >> 1))
        where = torch.from_numpy(indices).to(self.device, non_blocking=True)
        images = self._varied(indices, where, generator)
        targets = one_hot(self._labels[where], len(self.dataset.classes))
        rng = np.random.default_rng(drawn)
        return mix(images, targets, rng, mixup=recipe.mixup, cutmix=recipe.cutmix)

    def _varied(
        self, indices: np.ndarray, where: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        mean, std = self.dataset.mean, self.dataset.std
        strength = self.recipe.random_augment
        if not strength:
            images = self._normalised(indices, where, mean, std)
        else:
            plain = self._normalised(indices, where, (0.0,) * 3, (1.0,) * 3)
            changed = random_augment(plain, generator, strength)
            images = (changed - _column(mean, changed)) / _column(std, changed)
        return vary(images, generator, PHOTOS if self.dataset.flip else HANDWRITING)

    def _normalised(
        self,
        indices: np.ndarray,
        where: torch.Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> torch.Tensor:
        if self._resident is not None:
            return normalise(self._resident[where], mean, std)
        return to_batch(self._pixels[indices], mean, std, self.device)


def fits(size_bytes: int, device: torch.device) -> bool:
    """Whether images may stay on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return size_bytes <= RESIDENT_SHARE * free


def _column(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, device=like.device)[None, :, None, None]
