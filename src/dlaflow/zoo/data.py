"""Data sets by name.

`cifar10` is read from the official binary archive or its unpacked folder, or downloaded; `digits` needs no network.
Which folder: the argument, else the environment's DLAFLOW_DATA, else data/cifar10.
"""

from __future__ import annotations

import os
from pathlib import Path

from dlaflow.errors import EnvironmentLacksError, unknown_name
from dlaflow.progress import Progress, silent
from dlaflow.zoo.cifar import load_cifar10
from dlaflow.zoo.dataset import Dataset
from dlaflow.zoo.digits import load_digits

DATASETS = ("cifar10", "digits")
DEFAULT_FOLDER = Path("data/cifar10")
FOLDER_VARIABLE = "DLAFLOW_DATA"


def load_dataset(name: str, data_dir: Path | None = None, progress: Progress = silent) -> Dataset:
    """Load the data set `name` ("cifar10" or "digits"); `data_dir` holds (or will hold) CIFAR-10.

    Raises UsageError for another name, InputError for files that are not CIFAR-10, EnvironmentLacksError when CIFAR-10
    is neither there nor can be downloaded.
    """
    if name == "digits":
        return load_digits()
    if name == "cifar10":
        return load_cifar10(cifar_folder(data_dir), progress)
    raise unknown_name("data set", name, DATASETS)


def find_or_digits(data_dir: Path | None = None, progress: Progress = silent) -> tuple[Dataset, str | None]:
    """CIFAR-10 when it can be had, else the built-in digits and a notice to show loudly.

    Files that are there but broken are an error (InputError), not a reason to go on with something else.
    """
    try:
        return load_dataset("cifar10", data_dir, progress), None
    except EnvironmentLacksError as error:
        return load_digits(), (
            f"CIFAR-10 CANNOT BE HAD ({error.what}). Going on with scikit-learn's handwritten digits instead: the "
            "steps are the same, the accuracies are NOT comparable with CIFAR-10's. For the real run, put "
            f"cifar-10-binary.tar.gz into a folder and pass it with --data-dir or {FOLDER_VARIABLE}."
        )


def cifar_folder(data_dir: Path | None = None) -> Path:
    """Where CIFAR-10 is looked for: `data_dir`, else DLAFLOW_DATA, else data/cifar10."""
    if data_dir is not None:
        return data_dir
    from_environment = os.environ.get(FOLDER_VARIABLE)
    return Path(from_environment) if from_environment else DEFAULT_FOLDER
