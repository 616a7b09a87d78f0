"""`dlaflow calibrate`: images → one calibration → a TensorRT cache and a Q/DQ model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlaflow.api.calibrate import CalibrateOptions, calibrate_model
from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import MaybeSource, group
from dlaflow.errors import UsageError
from dlaflow.files import together
from dlaflow.quantize.calibration import Calibration, write_calibration
from dlaflow.quantize.fp16 import write_fp16
from dlaflow.quantize.recover import RecoveryStep


@group
@dataclass(frozen=True, kw_only=True)
class Calibrating(CalibrateOptions):
    """How to calibrate, and what to write: at least one file."""

    fp16: Written | None = None
    """The FP16 model; of a Q/DQ model the same with FP16 for what has no pair."""
    json: Written | None = None
    """Also write every scale and how it was found to this file (it stands beside the cache anyway)."""
    quiet: terminal.Quiet = False


def calibrate(model: Path, /, *, source: MaybeSource = MaybeSource(), how: Calibrating = Calibrating()) -> None:
    """Find INT8 scales for every tensor of a model from a few hundred images.

    Images are taken with a fixed seed, without augmentation and, where labels exist, the same number of each class.

    For example:

        dlaflow calibrate model.onnx --data cifar10 --samples 512 --cache calib.cache --qdq int8.onnx

        dlaflow calibrate model.onnx --fp16 half.onnx --io-types float16

        dlaflow calibrate model.onnx --data images/ --recover plain.onnx --max-drop 0.5 --cache calib.cache
            --layer-precisions fp16.txt

        dlaflow calibrate model.onnx --data images/ --resize 256 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
            --method auto --cache calib.cache

    Parameters
    ----------
    model
        The float32 ONNX model.
    """
    if how.cache is None and how.qdq is None and how.fp16 is None:
        raise UsageError("nothing to write", expected="--cache, --qdq or --fp16", received="none of them")
    if how.fp16 is not None and how.recover is not None:
        raise UsageError("--recover makes no sense with --fp16", then="FP16 needs no recovery: write it alone.")
    if how.layer_precisions is not None and how.cache is None and how.qdq is None:
        raise UsageError("--layer-precisions is said beside scales", expected="--cache or --qdq", received="--fp16")
    how.check_recovery()
    say = partial(terminal.say, quiet=how.quiet)
    with together():
        found = None
        if how.cache is not None or how.qdq is not None:
            found = calibrate_model(model, source.data, source, how, terminal.progress(quiet=how.quiet))
            if how.json is not None:
                write_calibration(found.calibration, how.json)
        if how.fp16 is not None:
            write_fp16(model, how.fp16, how.io_types)
    if found is not None:
        terminal.say(*(f"warning: {warning}" for warning in found.calibration.warnings), stderr=True)
        say(_summary(found.calibration, found.images))
        say(*(_step(step) for step in found.steps))
        if how.recover is not None:
            what = "top-1" if found.steps[0].damage.top1 is not None else "agreement"
            say(f"INT8 loses {found.drop:.2f} points of {what}; in FP16: {', '.join(found.float_nodes) or 'nothing'}")
            if how.max_drop is not None and found.drop > how.max_drop:
                say(f"That is more than {how.max_drop:g}: try more images, or training with quantisation.")
            say(f"Wrote {how.recover}: float32, what the other files are of")
        if how.cache is not None:
            say(f"Wrote {how.cache}: {found.header}, {found.scales} scales")
        if how.layer_precisions is not None:
            say(f"Wrote {how.layer_precisions}: {len(found.float_nodes)} layers for trtexec's --layerPrecisions")
        if how.qdq is not None:
            say(f"Wrote {how.qdq}: INT8 with Q/DQ, symmetric, weights per output channel")
            if how.recover is not None:
                say("By onnxruntime, that is: `dlaflow evaluate --numerics dla` tells what the DLA's integers do.")
    if how.fp16 is not None:
        say(f"Wrote {how.fp16}: float16 inside, {how.io_types} inputs and outputs")


def _step(step: RecoveryStep) -> str:
    """One line: what INT8 does to the outputs behind a step of a recovery."""
    damage = step.damage
    same = f"agreement {damage.agreement:.2%}" if damage.top1 is None else f"top-1 {damage.top1:.2%}"
    verdict = "kept" if step.kept else "not kept"
    return f"  {step.name:<24} relative error {damage.error**0.5:7.3%}, {same}, {verdict} ({step.seconds:.1f} s)"


def _summary(calibration: Calibration, images: str) -> str:
    kinds = Counter("followed" if tensor.origin else "measured" for tensor in calibration.tensors)
    return (
        f"Calibrated on {images} by {calibration.method}: {kinds['measured']} tensors measured, "
        f"{kinds['followed']} take the scale of another"
    )
