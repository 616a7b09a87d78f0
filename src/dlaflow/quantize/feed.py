"""What a network is fed with: one array for the usual one input, or one array an input for networks with several."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """One input: `shape` without the batch (None: an open dimension), `dtype` as numpy calls it."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    batch: int | None = None


@dataclass(frozen=True, eq=False)
class Feed:
    """A batch of a network with several inputs: arrays [n, ...] by the inputs' names, all of the same n."""

    arrays: Mapping[str, NDArray[np.generic]] = field(repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, part: slice, /) -> Feed:
        return Feed({name: array[part] for name, array in self.arrays.items()})


Batch: TypeAlias = NDArray[np.generic] | Feed
"""[n, ...] for a network with one input, a Feed for several."""


class Samples(Protocol):
    """A sequence of what a network is fed with, cut lazily; an array will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Batch:
        """The batch of the part."""


def by_name(batch: Batch, inputs: Sequence[NetworkInput]) -> dict[str, NDArray[np.generic]]:
    """The arrays of a batch by the inputs' names, in their order.

    Raises InputError when the batch has other arrays than the network has inputs.
    """
    arrays = batch.arrays if isinstance(batch, Feed) else {inputs[0].name: batch} if inputs else {}
    names = [each.name for each in inputs]
    if {*arrays} != {*names}:
        raise InputError(
            "the model's inputs cannot be fed with this data",
            expected=f"{len(names)} arrays, {', '.join(names)}" if len(names) > 1 else "one array",
            received=", ".join(arrays) if isinstance(batch, Feed) else "one array",
            then="Name a source for each input: a .npz with these names, or --data NAME=FOLDER for each.",
        )
    return {name: arrays[name] for name in names}


def only_array(batch: Batch) -> NDArray[np.generic]:
    """The array of a batch for what takes one input alone.

    Raises InputError for a batch of several.
    """
    if isinstance(batch, Feed):
        raise InputError("one input is fed here", expected="one array", received=", ".join(batch.arrays))
    return batch


def npz_of(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Arrays by name as a compressed .npz; numpy's own `savez` cannot hold one called `file`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(values), allow_pickle=False)
    return packed.getvalue()
