"""What `dlaflow fix` makes of 20 architectures: switches, loadables and MACs on the DLA before and after; the proof.

    python benchmarks/fix.py [--only NAME ...] [--board B] [--jetpack R]

The networks are built in plain PyTorch with random weights (fix_networks.py, fix_detectors.py) and exported with
opset 17. `kept` keeps the shape of the outputs. In the last group they may be (N, C, 1, 1) (--output-4d), and
detectors are cut before their decode part (--cut auto): the numbers are then the backbone's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

import fix_detectors as detectors
import fix_networks as networks

from dlaflow.rewrites.fix import fix, write_cut
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Summary
from dlaflow.zoo.networks import model_bn, model_gn


@dataclass(frozen=True)
class Case:
    """A network, the side of its square input, whether it is a detector (to be cut) or a convolutional classifier."""

    build: Callable[[], nn.Module]
    side: int = 224
    detector: bool = False
    classifier: bool = True


CASES: dict[str, Case] = {
    "model_bn": Case(model_bn, 32),
    "model_gn": Case(model_gn, 32, classifier=False),
    "resnet18": Case(lambda: networks.resnet((2, 2, 2, 2), basic=True)),
    "resnet50": Case(lambda: networks.resnet((3, 4, 6, 3), basic=False)),
    "mobilenet_v2": Case(networks.mobilenet_v2),
    "mobilenet_v1-tf": Case(networks.MobileNetOfTensorFlow),
    "mobilenet_v3": Case(networks.mobilenet_v3),
    "efficientnet_b0": Case(networks.efficientnet_b0),
    "regnety_400mf": Case(networks.regnet),
    "squeezenet": Case(networks.squeezenet),
    "densenet121": Case(networks.densenet),
    "googlenet": Case(networks.googlenet),
    "shufflenet_v2": Case(networks.shufflenet_v2),
    "unet": Case(networks.UNet, 128, classifier=False),
    "fcn8s": Case(networks.Fcn, 128, classifier=False),
    "yolov5-style": Case(lambda: detectors.Yolo(5), 320, detector=True, classifier=False),
    "yolov8-style": Case(lambda: detectors.Yolo(8), 320, detector=True, classifier=False),
    "yolo11-style": Case(lambda: detectors.Yolo(11), 320, detector=True, classifier=False),
    "convnext_t": Case(detectors.convnext_t, classifier=False),
    "vit_s": Case(detectors.VitS, classifier=False),
}


def export(case: Case, path: Path) -> None:
    """Random weights and random statistics, so that nothing is shared and no activation is always off."""
    torch.manual_seed(0)
    module = case.build().eval()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
                layer.weight.uniform_(0.8, 1.2)
                layer.bias.normal_(0, 0.1)
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
            elif isinstance(getattr(layer, "bias", None), nn.Parameter):
                layer.bias.normal_(0, 0.1)
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 1e-3)
    sample = torch.rand(1, 3, case.side, case.side)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (sample,), str(path), dynamo=False, opset_version=17)


def row(name: str, case: Case, path: Path, target: Target) -> Summary:
    """Fix one model both ways and print its line; the summary is that of the goal (4-D, or the cut backbone)."""
    kept = fix(path, target, FixConfig())
    seconds = kept.report.seconds
    began = time.perf_counter()
    if case.detector:
        cut = write_cut(kept, path.with_name("backbone.onnx"), [], target).report.cut
        goal = cut.summary if cut is not None else kept.report.after
        seconds += time.perf_counter() - began
    else:
        goal = fix(path, target, FixConfig(output_4d=True)).report.after
    before, after = kept.report.before, kept.report.after
    error = max(each.relative for each in kept.report.proof)
    used = ", ".join(f"{each.rewrite} x{len(each.sites)}" for each in kept.report.applied) or "nothing helps"
    print(
        f"{name:<16} {before.switches:4} {before.loadables:4} {before.dla_mac_share:7.1%}   "
        f"{after.switches:4} {after.loadables:4} {after.dla_mac_share:7.1%}   "
        f"{goal.switches:4} {goal.loadables:4} {goal.dla_mac_share:7.1%}   {error:7.1e} {seconds:6.1f}  {used}",
        flush=True,
    )
    return goal


def main() -> None:
    """Export, fix and print each, then the medians against the goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--board", default="agx-orin-64gb")
    parser.add_argument("--jetpack", default=None)
    options = parser.parse_args()
    target = resolve_target(options.board, options.jetpack)
    print(f"{target.board.id}, TensorRT {target.release.tensorrt}, int8, --allow exact")
    print(f"{'':<16} {'before':<17}   {'after, kept':<17}   {'4-D or cut':<17}   {'error':<7} {'s':>6}")
    print(f"{'model':<16} {'sw':>4} {'ld':>4} {'MACs':>7}   " * 1 + f"{'sw':>4} {'ld':>4} {'MACs':>7}   " * 2)
    goals: dict[str, Summary] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            path = Path(folder) / f"{name}.onnx"
            export(CASES[name], path)
            goals[name] = row(name, CASES[name], path, target)
            path.unlink()
    switches = statistics.median(goal.switches for goal in goals.values())
    loadables = statistics.median(goal.loadables for goal in goals.values())
    print(f"\nmedian of {len(goals)}: {switches:g} switches, {loadables:g} loadables (goal: 0 and 1)")
    asked = [name for name in goals if CASES[name].classifier]
    whole = [name for name in asked if (goals[name].switches, goals[name].loadables) == (0, 1)]
    print(f"convolutional classifiers with 0 switches and 1 loadable: {len(whole)} of {len(asked)}")


if __name__ == "__main__":
    main()
