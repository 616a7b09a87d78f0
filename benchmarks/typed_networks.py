"""Where the layers of one network run at JetPack 7.2.2, in float and as quantisation tools write it in INT8.

    python benchmarks/typed_networks.py [MODEL.onnx ...]

Needs, each beside dlaflow in one environment; what is missing is left out and said:

- nvidia-modelopt 0.47 (`pip install --no-deps nvidia-modelopt lief onnx-graphsurgeon nvidia-ml-py omegaconf pulp`
  and what an ImportError names): `modelopt.onnx.quantization` with `--target_dla`, in its default FP16 and in FP32;
  `modelopt.torch.quantization`, the successor of pytorch-quantization (not on PyPI), as an exported QAT model.
- onnxruntime.quantization, symmetric INT8 by channel, with float biases and with its default INT32 ones.

Models are made here with random weights (those of the zoo need torch); images are noise, as only the placement
counts. A cell is `=` where devices, loadables, switches, MACs and standalone are those of the float model judged as
converted, `+` with the Casts at float32 outputs left out, `~` where only layers differ (BatchNormalization that a QAT
tool keeps apart). Otherwise it says what differs, and which rules say why. Behind it stands the estimate, relative to
the float model's in INT8.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx

# In place of this folder, whose profile.py would stand before Python's own.
sys.path[0] = str(Path(__file__).resolve().parents[1] / "tests" / "placement")

# ruff: noqa: E402
from typed_forms import Summary, folded, half, made_up_scales, placed

from dlaflow.graph.load import as_model
from dlaflow.graph.typed import PAIR
from dlaflow.quantize.fp16 import write_fp16
from dlaflow.quantize.qdq import write_qdq
from dlaflow.types import Placement, Verdict

Writer = Callable[[Path, Path], None]
IMAGES = 4
THEIRS = "modelopt"


def noise(path: Path) -> tuple[str, np.ndarray]:
    """The name of the input, and images of its shape."""
    value = as_model(path).proto.graph.input[0]
    dims = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    return value.name, np.random.default_rng(0).standard_normal((IMAGES, *dims[1:])).astype(np.float32)


def own(source: Path, target: Path) -> None:
    """`dlaflow calibrate --qdq --io-types float16`."""
    write_qdq(source, made_up_scales(as_model(source).whole()), target, io_types="float16")


def own_float_ports(source: Path, target: Path) -> None:
    """`dlaflow calibrate --qdq`."""
    write_qdq(source, made_up_scales(as_model(source).whole()), target)


def modelopt(high_precision: str, io: str | None) -> Writer:
    """`python -m modelopt.onnx.quantization --target_dla`."""

    def write(source: Path, target: Path) -> None:
        quantize = import_module(f"{THEIRS}.onnx.quantization").quantize
        name, images = noise(source)
        options = {"high_precision_dtype": high_precision, "target_dla": True, "calibration_eps": ["cpu"]}
        direct = {"direct_io_types": True} if io else {}
        quantize(str(source), "int8", {name: images[:1]}, output_path=str(target), **options, **direct)

    return write


def onnxruntime(*, float_bias: bool) -> Writer:
    """`onnxruntime.quantization.quantize_static`, QDQ format."""

    def write(source: Path, target: Path) -> None:
        from onnxruntime import quantization

        name, images = noise(source)

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
            rest = iter([{name: images[:1]}])

            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(self.rest, None)

        options = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": not float_bias}
        kinds = {"activation_type": quantization.QuantType.QInt8, "weight_type": quantization.QuantType.QInt8}
        quantization.quantize_static(
            str(source), str(target), Reader(), per_channel=True, extra_options=options, **kinds
        )

    return write


def with_half(write: Writer) -> Writer:
    """What a tool writes, with FP16 for what it left in float32 (`dlaflow calibrate --fp16 --io-types float16`)."""

    def both(source: Path, target: Path) -> None:
        write(source, target)
        write_fp16(target, target, "float16")

    return both


def qat(net: object) -> Writer:
    """A torch network with ModelOpt's fake quantisers, exported as QAT models are."""

    def write(source: Path, target: Path) -> None:
        import torch

        mtq = import_module(f"{THEIRS}.torch.quantization")
        _, images = noise(source)
        batch = torch.from_numpy(images)
        ready = mtq.quantize(net, mtq.INT8_DEFAULT_CFG, lambda model: model(batch))
        torch.onnx.export(ready, (batch[:1],), str(target), dynamo=False, opset_version=17)

    return write


COLUMNS: dict[str, Writer] = {
    "own, FP16 ports": own,
    "own": own_float_ports,
    "ModelOpt FP16": modelopt("fp16", "fp16"),
    "ModelOpt FP32": modelopt("fp32", None),
    "ModelOpt FP32 + FP16": with_half(modelopt("fp32", None)),
    "onnxruntime": onnxruntime(float_bias=True),
    "onnxruntime + FP16": with_half(onnxruntime(float_bias=True)),
    "onnxruntime INT32 bias": onnxruntime(float_bias=False),
}


def attempt(write: Writer, source: Path, target: Path) -> str:
    """Run a tool; why it failed, or ""."""
    try:
        write(source, target)
    except ImportError as error:
        return f"left out: {error.name or error} is not installed"
    except Exception as error:  # a tool's own failure is an answer here
        return f"failed: {type(error).__name__} {(str(error).splitlines() or [''])[0][:90]}"
    return ""


def apart(write: Writer, source: Path, target: Path) -> str:
    """Run a tool in a process of its own, as ModelOpt changes onnxruntime's quantiser; why it failed, or ""."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def work() -> None:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        answers.put(attempt(write, source, target))

    process = context.Process(target=work)
    process.start()
    process.join()
    return str(answers.get()) if not answers.empty() else f"failed: exit code {process.exitcode}"


def compared(reference: Summary, found: Summary, placement: Placement) -> str:
    """`=`, `+` or what differs, and the estimate's ratio."""
    ratio = ""
    if reference.latency is not None and found.latency is not None:
        ratio = f" {found.latency.value / reference.latency.value:.2f}"
    if found.placed == reference.placed:
        return f"={ratio}"
    same = found.without_casts() == reference.without_casts()
    if same and (found.loadables, found.mac_share) == (reference.loadables, reference.mac_share):
        return f"+{ratio}"
    if replace(found.placed, layers=()) == replace(reference.placed, layers=()):
        return f"~{ratio}"
    against = [
        finding.rule
        for layer in placement.layers
        for finding in layer.findings
        if finding.verdict is not Verdict.NATIVE and layer.kind not in PAIR
    ]
    told = ",".join(sorted({*against} & {"DLA006", "DLA108", "DLA119", "DLA282", "DLA283", "DLA292"}))
    share = f"{found.mac_share:.0%}" if found.mac_share is not None else "?"
    return f"MACs {share}, {found.loadables} loadables, {found.switches} switches ({told}){ratio}"


def row(name: str, source: Path, torches: dict[str, Writer]) -> None:
    """One model in every form; what runs in torch, whose threads survive no fork, comes last and here."""
    base = folded(as_model(source).whole())
    reference, _ = placed(base)
    share = "?" if reference.mac_share is None else f"{reference.mac_share:.0%}"
    print(f"{name}: float MACs {share}, {reference.loadables} loadables, {reference.switches} switches")
    alone, placement = placed(half(base), "fp16")
    print(f"  {'float as FP16':<26} {compared(reference, alone, placement)}")
    for label, write in (COLUMNS | torches).items():
        target = source.with_name(f"{source.stem}.{''.join(filter(str.isalnum, label))}.onnx")
        cell = (attempt if label in torches else apart)(write, source, target)
        if not cell:
            found, placement = placed(onnx.load(str(target)))
            cell = compared(reference, found, placement)
            if any(finding.rule == "DLA020" for finding in placement.findings):
                cell += ", refused by the parser"
        print(f"  {label:<26} {cell}", flush=True)


def main() -> None:
    """Print a table for the zoo's networks, or for the files named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for path in arguments.models:
            copy = Path(folder) / path.name
            onnx.save(onnx.load(str(path)), str(copy))
            row(path.stem, copy, {})
        if not arguments.models:
            import torch

            from dlaflow.zoo.models import MODELS, build_model

            rows: list[tuple[str, Path, dict[str, Writer]]] = []
            for name in MODELS:
                net = build_model(name).eval()
                for parameter in net.parameters():  # equal ones would be stored once, and shared through Identity
                    torch.nn.init.uniform_(parameter, 0.1, 0.2)
                source = Path(folder) / f"{name}.onnx"
                torch.onnx.export(net, (torch.zeros(1, 3, 32, 32),), str(source), dynamo=False, opset_version=17)
                torches = {"QAT (modelopt.torch)": qat(net), "QAT + FP16": with_half(qat(net))}
                rows.append((name, source, torches))
            for each in rows:
                row(*each)


if __name__ == "__main__":
    main()
