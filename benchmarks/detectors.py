"""Real detectors cut for the DLA: `yolo export`, `dlaflow fix --cut auto`, and the decode of examples/decode_yolo.py.

    python benchmarks/detectors.py [--yolo PROGRAM] [--size 320] [FILE.onnx ...]

`yolo` is the command of the package ultralytics (AGPL), which is started where you have it and imported nowhere; from a
`.yaml` it exports the network with random weights and fetches nothing. `decode` is the largest difference of the numpy
decode to the whole network, over the network's largest value; `-` where the example has none for the form.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from dlaflow.rewrites.fix import fix, write_cut
from dlaflow.rewrites.records import Cut
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import Target, resolve_target

EXPORTS = {
    "yolov5n (anchor-free)": ["model=yolov5n.yaml"],
    "yolov8n": ["model=yolov8n.yaml"],
    "yolov10n": ["model=yolov10n.yaml"],
    "yolo11n": ["model=yolo11n.yaml"],
    "yolo26n": ["model=yolo26n.yaml"],
    "yolo26n end2end": ["model=yolo26n.yaml", "end2end=True"],
    "yolo11n-pose": ["model=yolo11n-pose.yaml"],
    "yolov8n-seg": ["model=yolov8n-seg.yaml"],
}
spec = importlib.util.spec_from_file_location("decode_yolo", Path(__file__).parents[1] / "examples" / "decode_yolo.py")
decode_yolo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(decode_yolo)


def exported(program: str, words: list[str], size: int, folder: Path) -> Path:
    """The ONNX file that the program writes."""
    command = [program, "export", *words, "format=onnx", f"imgsz={size}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return next(folder.glob("*.onnx"))


def decoded(cut: Cut, maps: list[np.ndarray], height: int, wanted: np.ndarray) -> np.ndarray | None:
    """What the example makes of the maps, in the form of the whole network's output."""
    meanings = {run.meaning for each in cut.outputs for run in each.channels}
    strides = sorted({height // x.shape[2] for x in maps})
    if meanings == {"box", "objectness", "classes"}:
        return decode_yolo.decode_v5(maps, strides)
    if meanings == {"box sides", "classes"}:
        bins = next(int(run.through.split()[1]) for run in cut.outputs[0].channels if run.meaning == "box sides")
        return decode_yolo.decode_v8(maps, strides, bins)
    if meanings == {"box", "classes"}:
        end2end = wanted.shape[2] == 6
        return (
            decode_yolo.best_of(decode_yolo.decode_v26(maps, strides))
            if end2end
            else decode_yolo.decode_v8(maps, strides)
        )
    return None


def row(name: str, path: Path, size: int, target: Target) -> str:
    """Cut one file and compare."""
    backbone = path.with_name("backbone.onnx")
    report = write_cut(fix(path, target, FixConfig()), backbone, [], target).report
    if report.cut is None:
        return f"{name:<22} nothing to cut off"
    whole, part = onnxruntime.InferenceSession(path), onnxruntime.InferenceSession(backbone)
    feeds = {whole.get_inputs()[0].name: np.random.default_rng(0).random((1, 3, size, size)).astype(np.float32)}
    wanted = whole.run(None, feeds)[0]
    found = decoded(report.cut, part.run(None, feeds), size, wanted)
    told = "-" if found is None else f"{np.abs(found - wanted).max() / np.abs(wanted).max():.1e}"
    before, after = report.before, report.cut.summary
    return (
        f"{name:<22} {before.switches:>3} -> {after.switches:<3} {before.loadables:>3} -> {after.loadables:<3} "
        f"{len(report.cut.tensors):>7} {report.cut.relative:>9.1e} {told:>8}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--yolo", default="yolo")
    parser.add_argument("--size", type=int, default=320)
    given = parser.parse_args()
    target = resolve_target("agx-orin-64gb", "6.2")
    program = shutil.which(given.yolo)
    print(f"{'network':<22} {'switches':>10} {'loadables':>10} {'tensors':>7} {'chain':>9} {'decode':>8}")
    for name, words in EXPORTS.items() if program else ():
        with tempfile.TemporaryDirectory() as place:
            print(row(name, exported(program, words, given.size, Path(place)), given.size, target), flush=True)
    for path in given.files:
        with tempfile.TemporaryDirectory() as place:
            copy = Path(shutil.copy(path, place))
            print(row(path.stem, copy, given.size, target), flush=True)
    if not program:
        print(f"{given.yolo} is not installed: no network of its own was exported")


if __name__ == "__main__":
    main()
