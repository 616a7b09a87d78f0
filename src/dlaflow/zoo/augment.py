"""Batches made on the device: uint8 images live there once, and cropping, flipping and scaling happen beside them.

Imported only once torch is known to be there.
"""

from __future__ import annotations

import torch

from dlaflow.zoo.data import Dataset, Split

CROP = 4
"""A crop moves by up to this many pixels on each axis; the border is mirrored into what it uncovers."""


class DeviceImages:
    """The images of a split on a device, and batches of them: float32 [n, 3, h, w], normalised, channels last."""

    def __init__(self, split: Split, dataset: Dataset, device: torch.device) -> None:
        # Pixels interleaved (n, h, w, 3): one gather crops and flips, and its result is channels last as it stands.
        self._images = torch.from_numpy(split.images).to(device).permute(0, 2, 3, 1).contiguous()
        self.labels = torch.from_numpy(split.labels).to(device)
        self._mirrored = dataset.mirrored
        mean = torch.tensor(dataset.mean, device=device)
        std = torch.tensor(dataset.std, device=device)
        self._scale = 1 / (255 * std)
        self._offset = -mean / std

    def __len__(self) -> int:
        return len(self.labels)

    def plain(self, chosen: torch.Tensor | slice) -> torch.Tensor:
        """The images as they are."""
        return self._normalised(self._images[chosen])

    def augmented(self, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The images `chosen` (int64 [n]), each shifted at random, and half of them flipped where that is harmless.

        `generator` is a CPU one, so that a seed means the same on every device.
        """
        count, height, width = len(chosen), *self._images.shape[1:3]
        shift = torch.randint(-CROP, CROP + 1, (2, count, 1), generator=generator)
        rows = _mirrored_at_border(torch.arange(height) + shift[0], height)
        columns = _mirrored_at_border(torch.arange(width) + shift[1], width)
        if self._mirrored:
            flipped = torch.rand(count, 1, generator=generator) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        device = self._images.device
        rows, columns = rows.to(device), columns.to(device)
        return self._normalised(self._images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]])

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * self._scale + self._offset).permute(0, 3, 1, 2)


def _mirrored_at_border(position: torch.Tensor, size: int) -> torch.Tensor:
    last = size - 1
    return last - (last - position.abs()).abs()
