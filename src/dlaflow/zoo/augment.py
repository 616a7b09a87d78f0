"""Batches made on the device: uint8 images live there once, and cropping, flipping and scaling happen beside them.

Imported only once torch is known to be there.
"""

from __future__ import annotations

import torch

from dlaflow.zoo.dataset import Dataset, Split

CROP = 4
"""A crop moves by up to this many pixels on each axis; the border is mirrored into what it uncovers."""


def draw_epoch(images: int, seed: int) -> torch.Tensor:
    """All that is random in one pass over `images` images: int64 [4, images], on the CPU.

    Each image once, in random order; pixels it moves down and right (-CROP..CROP); whether it is flipped (0 or 1).
    Drawn on the CPU, so that a seed means the same on every device, and for a whole epoch at once, which is cheap.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(images, generator=generator)
    shift = torch.randint(-CROP, CROP + 1, (2, images), generator=generator)
    flipped = torch.randint(0, 2, (images,), generator=generator)
    return torch.stack([order, *shift, flipped])


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

    def batches(self, seed: int, count: int, size: int) -> tuple[torch.Tensor, ...]:
        """What `augmented` takes for `count` whole batches of `size` images, drawn without repetition from `seed`."""
        draws = draw_epoch(len(self), seed)[:, : count * size].to(self.labels.device)
        return draws.view(4, count, size).transpose(0, 1).contiguous().unbind()

    def plain(self, chosen: torch.Tensor | slice) -> torch.Tensor:
        """The images as they are."""
        return self._normalised(self._images[chosen])

    def augmented(self, draws: torch.Tensor) -> torch.Tensor:
        """The images of `draws` (int64 [4, n], as `draw_epoch` makes them), on the device.

        Each is shifted, and flipped where its draw says so and that is harmless. Arithmetic on indices and one gather,
        so that a compiler makes one kernel of it.
        """
        chosen, down, right, flipped = draws.unbind()
        height, width = self._images.shape[1:3]
        rows = _mirrored_at_border(torch.arange(height, device=draws.device) + down[:, None], height)
        columns = _mirrored_at_border(torch.arange(width, device=draws.device) + right[:, None], width)
        if self._mirrored:
            columns = torch.where(flipped[:, None] > 0, columns.flip(1), columns)
        return self._normalised(self._images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]])

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * self._scale + self._offset).permute(0, 3, 1, 2)


def _mirrored_at_border(position: torch.Tensor, size: int) -> torch.Tensor:
    last = size - 1
    return last - (last - position.abs()).abs()
