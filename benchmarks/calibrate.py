"""Calibration: time, memory and accuracy beside onnxruntime's own calibrators, on the same images in one run.

    python benchmarks/calibrate.py --cifar ../shared/cifar10 --models ../shared/models [--images 256] [--test 10000]
        [--modelopt OTHER_VENV/bin/python] [--more NET.onnx ...]

Time and memory: ResNet-18 at 224 (random weights), each side in a process of its own; peak memory is what the system
reports for that process, above the one that only runs the network. On a computer that others use too, the processor
time says more than the clock. Accuracy: the trained CIFAR-10 demo networks, 512 calibration images, all sides evaluated
by the same runner; --more adds classifiers of CIFAR-10 of one's own, --models may be left out then. NVIDIA ModelOpt
(`nvidia-modelopt[onnx]`) brings torch and CUDA packages with it and is no dependency of dlaflow: --modelopt names the
interpreter of an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from resnet18 import write_resnet18

from dlaflow.quantize.accuracy import Accuracy, evaluate
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.feed import Batch, Feed
from dlaflow.quantize.fp16 import write_fp16
from dlaflow.quantize.images import ImageArray, Preparation, balanced
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.recover import recover
from dlaflow.quantize.sensitivity import Sample
from dlaflow.quantize.session import Session
from dlaflow.rewrites.reductions import replace_global_average_pool
from dlaflow.runtime.ort import OrtRunner
from dlaflow.targets.target import resolve_target
from dlaflow.zoo.data import load_dataset

Images = NDArray[np.float32]
BATCH = 8


@dataclass(frozen=True)
class Cost:
    """What one process took: seconds of the work itself by the clock and of all cores, peak memory in MB."""

    seconds: float
    processor: float
    megabytes: float


def batches(count: int, inputs: Sequence[str] = ("input",)) -> Iterator[Batch]:
    """`count` images of smooth noise at 224, always the same, for each of the inputs."""
    coarse = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    for start in range(0, count, BATCH):
        picked = coarse[np.arange(start, min(start + BATCH, count)) % 64]
        images = picked.repeat(28, 2).repeat(28, 3)
        yield images if len(inputs) == 1 else Feed(dict.fromkeys(inputs, images))


def run_side(side: str, model: Path, count: int) -> None:
    """The body of a process of its own; prints its cost."""
    inputs = [value.name for value in onnx.load(model, load_external_data=False).graph.input]
    spent = time.process_time()
    if side == "plain":
        runner = Session(model)
        spent, began = time.process_time(), time.perf_counter()
        for batch in batches(count, inputs):
            runner.run(batch)
    elif side == "onnxruntime entropy":
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            ort_calibrate(model, Path(folder) / "augmented.onnx", batches(count), "entropy")
    else:
        began = time.perf_counter()
        calibrate(model, lambda: batches(count, inputs), CalibrationConfig(side.split()[-1]))
    seconds = [time.perf_counter() - began, time.process_time() - spent]
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def ort_calibrate(model: Path, augmented: Path, images: Iterator[Images], method: str) -> None:
    """onnxruntime's calibrator as `quantize_static` drives it."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    options = {"symmetric": True}
    chosen = getattr(CalibrationMethod, method.capitalize())
    calibrator = create_calibrator(model, None, str(augmented), chosen, extra_options=options)
    with redirect_stdout(StringIO()):
        calibrator.collect_data(_reader(images))
        calibrator.compute_data()


def _reader(images: Iterator[Images]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Images] | None:
            batch = next(images, None)
            return None if batch is None else {"input": batch}

    return Reader()


def cost_of(side: str, model: Path, count: int) -> Cost:
    """Run one side in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--resnet", str(model), "--images", str(count)]
    return Cost(*json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def compare_times(model: Path, count: int, pairs: int) -> None:
    """Time as the median of interleaved pairs."""
    print(f"\n{model.stem} at 224, {count} images, batch {BATCH}: time over plain inference, {pairs} pairs in turns")
    clock, processor = [], []
    for _ in range(pairs):
        plain, ours = cost_of("plain", model, count), cost_of("dlaflow entropy", model, count)
        clock.append(ours.seconds / plain.seconds)
        processor.append(ours.processor / plain.processor)
        print(
            f"  plain {_cost(plain)}   dlaflow entropy {_cost(ours)}   {clock[-1]:.2f} ({processor[-1]:.2f})",
            flush=True,
        )
    print(f"  median {statistics.median(clock):.2f} by the clock, {statistics.median(processor):.2f} of processor time")
    print("  (goal: at most 1.3)")


def compare_peer(model: Path, counts: Sequence[int], peer_count: int) -> None:
    """onnxruntime's calibrator, and memory for several numbers of images."""
    plain, peer = cost_of("plain", model, peer_count), cost_of("onnxruntime entropy", model, peer_count)
    ratio, more = peer.seconds / plain.seconds, peer.megabytes - plain.megabytes
    print(f"  onnxruntime's own entropy, {peer_count} images: {_cost(peer)}, {ratio:.2f} times plain, +{more:.0f} MB")
    print("Peak memory above plain inference (goal: at most 150 MB, within 5% of each other)")
    for number in counts:
        base, ours = cost_of("plain", model, number), cost_of("dlaflow entropy", model, number)
        more = ours.megabytes - base.megabytes
        print(f"  {number:5d} images: +{more:.0f} MB ({ours.megabytes:.0f} against {base.megabytes:.0f})", flush=True)


def _cost(cost: Cost) -> str:
    return f"{cost.seconds:6.1f} s (processor {cost.processor:6.1f} s)"


def compare_accuracy(networks: Sequence[Path], cifar: Path, tests: int, work: Path, modelopt: Path | None) -> None:
    """fp32, fp16 and int8 by every method of all sides, on the same images."""
    data = load_dataset("cifar10", cifar)
    order = balanced(data.train.labels, len(data.train), 512)
    prepared = Preparation(data.mean, data.std).normalised
    calibration = prepared(data.train.images[order])
    images, labels = prepared(data.test.images[:tests]), data.test.labels[:tests]
    for model in networks:
        reference = evaluate(OrtRunner(model), images, labels)
        print(f"\n{model.stem}: {tests} test images, {len(calibration)} calibration images")
        _row("fp32", reference, reference)
        write_fp16(model, work / "fp16.onnx")
        _row("fp16", evaluate(OrtRunner(work / "fp16.onnx"), images, labels), reference)
        writers = _writers(model, calibration)
        if modelopt is not None:
            np.save(work / "images.npy", calibration)
            writers |= _modelopt_writers(modelopt, model, work / "images.npy")
        for name, write in writers.items():
            began = time.perf_counter()
            write(work / "int8.onnx")
            seconds = time.perf_counter() - began
            _row(name, evaluate(OrtRunner(work / "int8.onnx"), images, labels), reference, f"  {seconds:.0f} s")


def _writers(model: Path, calibration: Images) -> dict[str, Callable[[Path], None]]:
    def parts() -> Iterator[Images]:
        return (calibration[start : start + 64] for start in range(0, len(calibration), 64))

    def ours(method: str) -> Callable[[Path], None]:
        return lambda out: write_qdq(model, calibrate(model, parts, CalibrationConfig(method)), out)

    def peer(method: str) -> Callable[[Path], None]:
        return lambda out: _ort_quantise(model, out, parts(), method)

    writers = {f"dlaflow {method}": ours(method) for method in ("auto", "entropy", "percentile", "mse", "minmax")}
    writers["dlaflow --recover"] = lambda out: _recover(model, calibration, out)
    return writers | {f"onnxruntime {method}": peer(method) for method in ("percentile", "entropy", "minmax")}


def _recover(model: Path, calibration: Images, out: Path) -> None:
    """As `dlaflow calibrate --recover` does: one half calibrates, the other measures, without labels."""
    pixels, half = ImageArray(calibration, np.arange(len(calibration)), Preparation()), len(calibration) // 2
    sample = Sample(pixels.only(slice(half, None)), None, 64)
    found = recover(model, pixels.only(slice(half)), sample, CalibrationConfig())
    (out.parent / "recovered.onnx").write_bytes(found.model.SerializeToString())
    write_qdq(out.parent / "recovered.onnx", found.calibration, out)


def _demo(models: Path, work: Path) -> list[Path]:
    """The networks of the walk-through."""
    average = work / "model_bn_averagepool.onnx"
    replace_global_average_pool(models / "model_bn.onnx", average, resolve_target("agx-orin-64gb", "5.1.1"))
    return [models / "model_bn.onnx", average, models / "model_gn.onnx"]


def _modelopt_writers(python: Path, model: Path, images: Path) -> dict[str, Callable[[Path], None]]:
    """ModelOpt's ONNX PTQ in the mode for the DLA, by both of its methods."""

    def quantise(method: str) -> Callable[[Path], None]:
        options = {
            "onnx_path": model,
            "calibration_data_path": images,
            "calibration_method": method,
            "quantize_mode": "int8",
            "high_precision_dtype": "fp32",
            "calibration_eps": "cpu",
        }
        command = [str(python), "-m", "modelopt.onnx.quantization", "--target_dla"]
        command += [word for name, value in options.items() for word in (f"--{name}", str(value))]

        def run(out: Path) -> None:
            subprocess.run([*command, "--output_path", str(out)], check=True, capture_output=True)

        return run

    return {f"ModelOpt {method}": quantise(method) for method in ("entropy", "max")}


def _ort_quantise(model: Path, out: Path, images: Iterator[Images], method: str) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    name = {"minmax": "MinMax"}.get(method, method.capitalize())
    with redirect_stdout(StringIO()):
        quantize_static(
            str(model),
            str(out),
            _reader(images),
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=getattr(CalibrationMethod, name),
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
        )


def _row(name: str, found: Accuracy, reference: Accuracy, more: str = "") -> None:
    low, high = found.interval
    drop = 100 * (reference.top1 - found.top1)
    agreement = f"agreement {found.agreement(reference):.2%}{more}"
    print(
        f"  {name:<24} top-1 {found.top1:.2%} ({low:.2%} to {high:.2%})  loses {drop:+.2f}  {agreement}",
        flush=True,
    )


def main() -> None:
    """Both comparisons, or one side of one for the process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder with model_bn.onnx and model_gn.onnx")
    parser.add_argument("--cifar", type=Path, help="folder with CIFAR-10")
    parser.add_argument("--images", type=int, default=256, help="images for the time of ResNet-18 (0: leave it out)")
    parser.add_argument("--peer-images", type=int, default=64, help="for onnxruntime's calibrator (30 MB each; 0: no)")
    parser.add_argument("--memory", type=int, nargs="*", default=[64, 1024], help="numbers of images for peak memory")
    parser.add_argument("--test", type=int, default=10_000, help="test images for the accuracy")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs for the time")
    parser.add_argument("--modelopt", type=Path, help="a Python that has nvidia-modelopt[onnx]")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="further classifiers of CIFAR-10")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--resnet", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options.resnet, options.images)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.images:
            write_resnet18(work / "resnet18.onnx")
            write_resnet18(work / "resnet18-of-two-inputs.onnx", inputs=("left", "right"))
            for model in ("resnet18.onnx", "resnet18-of-two-inputs.onnx"):
                compare_times(work / model, options.images, options.pairs)
            if options.peer_images:
                compare_peer(work / "resnet18.onnx", options.memory, options.peer_images)
        networks = [*(_demo(options.models, work) if options.models else []), *options.more]
        if networks and options.cifar:
            compare_accuracy(networks, options.cifar, options.test, work, options.modelopt)
    if options.modelopt is None:
        print("\nNo --modelopt: ModelOpt is not compared.")


if __name__ == "__main__":
    main()
