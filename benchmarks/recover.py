"""What `calibrate --recover` brings, beside other quantisers: top-1, agreement, seconds and memory, in one run.

    python benchmarks/recover.py --cifar ../shared/cifar10 --networks MODEL.onnx ...
        [--modelopt VENV/bin/python] [--aimet VENV/bin/python] [--test 10000] [--timeout 600] [--out table.md]

The networks: the demo's, and depthwise ones that benchmarks/depthwise.py trains.
512 training images calibrate, without labels; all sides are evaluated by the same runner on images that nobody
calibrated on. Each side is a process of its own: seconds by the clock and of the processor, and peak memory, are what
the system reports of that process. All are held to what the DLA has:

- onnxruntime `quantize_static`: QInt8 activations, ActivationSymmetric, one scale a tensor; weights per channel.
- ModelOpt (`nvidia-modelopt[onnx]`): its own `--target_dla` in int8, rest in fp32.
- AIMET (`aimet-onnx`): its default configuration with symmetric activations as well, strict and signed (-127..127);
  batch normalization folded, then plain, or cross-layer equalisation and AdaRound (2,000 iterations a layer, not the
  10,000 of its default); exported by its `to_onnx_qdq`.

ModelOpt and AIMET bring versions of onnx and onnxruntime of their own: each has its own interpreter, and a row that
says so where none is named. `*` is as good as the best of its network: the 95% interval of its agreement reaches the
best.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlaflow.quantize.accuracy import Accuracy, evaluate, wilson
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.images import ImageArray, Preparation, balanced
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.recover import Wanted, recover
from dlaflow.quantize.sensitivity import Sample
from dlaflow.runtime.ort import OrtRunner
from dlaflow.zoo.data import load_dataset

Images = NDArray[np.float32]
CALIBRATION = 512
BATCH = 64
SIDES = (
    *("dlaflow entropy", "dlaflow auto", "dlaflow --recover", "dlaflow --recover --max-drop 1"),
    *("onnxruntime entropy", "onnxruntime percentile", "onnxruntime minmax"),
    *("ModelOpt entropy", "ModelOpt max", "AIMET plain", "AIMET CLE + AdaRound"),
)


@dataclass(frozen=True)
class Row:
    """One side on one network; `found` is None where it did not run, `why` says the reason."""

    side: str
    found: Accuracy | None = None
    agreement: float = 0.0
    seconds: float = 0.0
    processor: float = 0.0
    megabytes: float = 0.0
    why: str = ""


def ours(side: str, model: Path, images: Images, out: Path) -> None:
    """As the commands do it; a recovery measures on half of the images."""
    if "--recover" not in side:
        config = CalibrationConfig(side.split()[-1])
        write_qdq(model, calibrate(model, lambda: np.split(images, len(images) // BATCH), config), out)
        return
    pixels, half = ImageArray(images, np.arange(len(images)), Preparation()), len(images) // 2
    sample = Sample(pixels.only(slice(half, None)), None, BATCH)
    wanted = Wanted(float(side.split()[-1]) if "--max-drop" in side else None)
    found = recover(model, pixels.only(slice(half)), sample, CalibrationConfig(), wanted)
    for step in found.steps:
        damage = step.damage
        print(
            f"    {step.name}: error {damage.error:.2e}, agreement {damage.agreement:.2%}, kept {step.kept}", flush=True
        )
    plain = out.with_suffix(".plain.onnx")
    plain.write_bytes(found.model.SerializeToString())
    write_qdq(plain, found.calibration, out, float_nodes=found.float_nodes)


def onnxruntimes(side: str, model: Path, images: Images, out: Path) -> None:
    """onnxruntime's own quantiser."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(np.split(images, len(images) // BATCH))

        def get_next(self) -> dict[str, Images] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"input": batch}

    methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
    quantize_static(
        str(model),
        str(out),
        Reader(),
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=getattr(CalibrationMethod, methods[side.split()[-1]]),
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
    )


AIMET = """
import copy, json, pathlib, sys
import numpy, onnx, aimet_onnx
from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight
from aimet_onnx.cross_layer_equalization import equalize_model
model, images, out, recover = sys.argv[1:]
folder = pathlib.Path(aimet_onnx.__file__).parent / "common" / "quantsim_config"
config = json.loads((folder / "default_config_per_channel.json").read_text())
config["defaults"]["ops"]["is_symmetric"] = "True"
config["defaults"]["strict_symmetric"] = "True"
config["defaults"]["unsigned_symmetric"] = "False"
written = pathlib.Path(out).with_suffix(".json")
written.write_text(json.dumps(config))
proto = onnx.load(model)
batches = [{"input": batch} for batch in numpy.split(numpy.load(images), 8)]
fold_all_batch_norms_to_weight(proto)
if recover == "1":
    equalize_model(proto)
sim = aimet_onnx.QuantizationSimModel(proto, config_file=str(written), providers=["CPUExecutionProvider"])
if recover == "1":
    aimet_onnx.apply_adaround(sim, batches, num_iterations=2000)
sim.compute_encodings(batches)
onnx.save(sim.to_onnx_qdq(force_activation_as="signed"), out)
"""


_TOO_LATE = 124
"""What `timeout` exits with."""

WATCH = """
import pathlib, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cost = time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
pathlib.Path(sys.argv[1]).write_text(" ".join(map(str, cost)))
sys.exit(code)
"""
"""A small process in between: Linux counts what the parent held at the fork as the child's peak memory."""


def command_of(side: str, model: Path, files: tuple[Path, Path], peers: dict[str, Path | None]) -> list[str]:
    """What runs a side; nothing where it is not installed."""
    images, out = files
    name, way = side.split(" ", 1)
    python = peers.get(name, Path(sys.executable))
    if python is None:
        return []
    if name == "ModelOpt":
        words = ["-m", "modelopt.onnx.quantization", "--target_dla", "--quantize_mode", "int8"]
        words += ["--high_precision_dtype", "fp32", "--calibration_eps", "cpu", "--calibration_method", way]
        words += ["--onnx_path", str(model), "--calibration_data_path", str(images), "--output_path", str(out)]
    elif name == "AIMET":
        words = ["-c", AIMET, str(model), str(images), str(out), "0" if way == "plain" else "1"]
    else:
        words = [__file__, "--side", side, "--model", str(model), "--images", str(images), "--out", str(out)]
    return [str(python), *words]


def run(side: str, command: Sequence[str], log: Path, timeout: float) -> Row:
    """Run a side to its end; its cost is what the system reports of the process and of those that it waited for."""
    if not command:
        return Row(side, why="not installed")
    # A peer in an environment of its own must not find this one's packages first.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or "--side" in command}
    cost = log.with_suffix(".cost")
    with log.open("wb") as file:
        watched = ["timeout", str(timeout), sys.executable, "-I", "-c", WATCH, str(cost), *command]
        code = subprocess.run(watched, stdout=file, stderr=subprocess.STDOUT, env=own, check=False).returncode
    if code == _TOO_LATE:
        return Row(side, why=f"not within {timeout:.0f} s")
    if code:
        lines = log.read_text(errors="replace").strip().splitlines()
        return Row(side, why=f"failed: {lines[-1][:120] if lines else code}")
    seconds, processor, megabytes = map(float, cost.read_text().split())
    return Row(side, seconds=seconds, processor=processor, megabytes=megabytes)


def pixels_of(cifar: Path, tests: int) -> tuple[Images, tuple[Images, NDArray[np.int64]]]:
    """Images to calibrate on, and test images with their labels, normalised."""
    if cifar.suffix == ".npz":
        with np.load(cifar) as held:
            raw, test, labels = held["calibration"], held["test"], held["labels"].astype(np.int64)
            prepared = Preparation(tuple(held["mean"]), tuple(held["std"])).normalised
    else:
        data = load_dataset("cifar10", cifar)
        raw = data.train.images[balanced(data.train.labels, len(data.train), CALIBRATION)]
        test, labels = data.test.images, data.test.labels
        prepared = Preparation(data.mean, data.std).normalised
    return np.asarray(prepared(raw), np.float32), (np.asarray(prepared(test[:tests]), np.float32), labels[:tests])


def measured(row: Row, out: Path, test: tuple[Images, NDArray[np.int64]], reference: Accuracy) -> Row:
    """The row with what its model answers."""
    if row.why:
        return row
    try:
        found = evaluate(OrtRunner(out), *test)
    except Exception as error:
        return replace(row, why=f"cannot be run: {str(error)[:120]}")
    return replace(row, found=found, agreement=found.agreement(reference))


def table(name: str, reference: Accuracy, rows: Sequence[Row]) -> list[str]:
    """The rows of one network in Markdown, the best marked."""
    best = max(row.agreement for row in rows)
    low, high = reference.interval
    lines = [f"| {name} | fp32 | {reference.top1:.2%} (±{50 * (high - low):.2f}) | | | | |"]
    for row in rows:
        if row.found is None:
            lines.append(f"| | {row.side} | {row.why} | | | | |")
            continue
        low, high = wilson(round(row.agreement * row.found.total), row.found.total)
        cost = f"{row.seconds:.1f} | {row.processor:.1f} | {row.megabytes:.0f}"
        agreement = f"{row.agreement:.2%} (±{50 * (high - low):.2f}){' *' if high >= best else ''}"
        lines.append(f"| | {row.side} | {row.found.top1:.2%} | {agreement} | {cost} |")
    return lines


def main() -> None:
    """The whole table, or one side for the process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="folder with CIFAR-10, or its images in a .npz")
    parser.add_argument("--networks", type=Path, nargs="+", help="classifiers of CIFAR-10, normalised images in")
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--modelopt", type=Path, help="a Python that has nvidia-modelopt[onnx]")
    parser.add_argument("--aimet", type=Path, help="a Python that has aimet-onnx")
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=SIDES, help="AdaRound takes minutes a network")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a side")
    parser.add_argument("--out", type=Path)
    for hidden in ("--side", "--model", "--images"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side = ours if options.side.startswith("dlaflow") else onnxruntimes
        side(options.side, Path(options.model), np.load(options.images), options.out)
        return
    calibration, test = pixels_of(options.cifar, options.test)
    peers = {"ModelOpt": options.modelopt, "AIMET": options.aimet}
    lines = [
        "| network | | top-1 | agreement with float | s | processor s | MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        np.save(work / "images.npy", calibration)
        for model in options.networks:
            reference = evaluate(OrtRunner(model), *test)
            rows = []
            for side in options.sides:
                out = work / f"{model.stem}.int8.onnx"
                out.unlink(missing_ok=True)
                row = run(
                    side, command_of(side, model, (work / "images.npy", out), peers), work / "log", options.timeout
                )
                rows.append(measured(row, out, test, reference))
                print(table(model.stem, reference, rows)[-1], flush=True)
                if "--recover" in side:
                    print((work / "log").read_text(), end="")
            lines += table(model.stem, reference, rows)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
