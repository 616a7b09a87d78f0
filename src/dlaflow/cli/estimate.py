"""`dlaflow estimate`: a model and a target → about how long, how sure, where the time goes, and whether it pays."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from dlaflow.cli.target_options import TargetOptions
from dlaflow.cli.unread import say_unread
from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.version import __version__

if TYPE_CHECKING:
    from dlaflow.estimate.answer import Estimate
    from dlaflow.estimate.learn import Sample

SCHEMA = "dlaflow.estimate/1"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """How to estimate and where the answer goes."""

    power_mode: str | None = None
    """The power mode of the board, such as MAXN, 30W or 15W. Default: MAXN, clocks locked."""
    learn: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative="")] = ()
    """Your own measurements of this model on this board: trtexec logs, --exportProfile files or dlaflow's measurements.
    They refit this board's parameters, which are stored apart from the shipped ones."""
    json: Path | None = None
    """Write the estimate to this file (schema dlaflow.estimate/1)."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


def estimate(model: Path, /, *, on: TargetOptions | None = None, how: EstimateOptions | None = None) -> None:
    """Estimate latency, throughput and energy before there is a board, with honest error bars.

    Fitted on public measurements; every number is an 80% interval, and what nobody measured is `unknown`.

    For example:

        dlaflow estimate model.onnx --board agx-orin-64gb --jetpack 5.1.1 --precision int8

        dlaflow estimate model.onnx --board agx-orin-64gb --power-mode 15W --batch 8 --json estimate.json

        dlaflow estimate model.onnx --board agx-orin-64gb --learn trtexec.log

    Parameters
    ----------
    model
        The ONNX file. Its large weights are not read.
    """
    from dlaflow.estimate.latency import estimate as run_estimate
    from dlaflow.estimate.text import estimate_text
    from dlaflow.graph.load import load_model
    from dlaflow.placement.check import check_network, network_of
    from dlaflow.rewrites.gain import with_gain
    from dlaflow.rewrites.matching import with_rewrites

    options = how or EstimateOptions()
    target = (on or TargetOptions()).target()
    loaded = load_model(model)
    network = network_of(loaded, target)
    placement = with_rewrites(check_network(loaded, network, target), loaded, target)
    if options.learn:
        from dlaflow.estimate.learn import learn

        outcome = learn(network, placement, target, options.power_mode, read_samples(options.learn))
        if not options.quiet:
            for name, before, after in zip(outcome.samples, outcome.before, outcome.after, strict=True):
                sys.stdout.write(f"learned from {name}: {before:+.0%} off before, {after:+.0%} now\n")
            sys.stdout.write(f"stored in {outcome.stored}\n\n")
    say_unread(placement, quiet=options.quiet)
    found = run_estimate(network, placement, target, options.power_mode)
    found = with_gain(found, placement, loaded, target, options.power_mode)
    if options.json:
        write_atomic(options.json, estimate_json(found, str(model)))
    if not options.quiet:
        sys.stdout.write(estimate_text(found, str(model)) + "\n")


def estimate_json(found: Estimate, model: str) -> bytes:
    """The file of `--json`: the estimate field by field, and its totals as measurements."""
    body = {
        "schema": SCHEMA,
        "dlaflow": __version__,
        "model": model,
        "estimate": msgspec.to_builtins(found),
        "measurements": msgspec.to_builtins(found.measurements()),
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=1) + b"\n"


def read_samples(paths: Sequence[Path]) -> list[Sample]:
    """The times in the user's files.

    Raises InputError for a file without a time of a whole inference.
    """
    samples: list[Sample] = []
    for path in paths:
        found = _samples_of(path)
        if not found:
            raise InputError(
                f"{path} holds no time of a whole inference",
                expected="a trtexec log with a performance summary, an --exportProfile file, or dlaflow's measurements",
                received="none of them",
            )
        samples += found
    return samples


def _samples_of(path: Path) -> list[Sample]:
    from dlaflow.estimate.learn import Sample
    from dlaflow.parse.detect import Kind, detect
    from dlaflow.parse.profile_json import parse_profile
    from dlaflow.parse.trtexec import parse_log

    kind = detect(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    found: list[Sample] = []
    if kind is Kind.PROFILE:
        for profile in parse_profile(path).profiles:
            total = sum(row.average_ms for row in profile.rows)
            inside = sum(row.average_ms for row in profile.rows if "ForeignNode" in row.name)
            found.append(Sample(path.stem, digest, total, inside or None))
    elif kind in (Kind.TRTEXEC_LOG, Kind.TENSORRT_LOG):
        for run in parse_log(path).runs:
            times = run.performance.gpu_compute if run.performance else None
            time = (times.median or times.mean) if times else None
            if time:
                found.append(Sample(path.stem, digest, time))
    elif path.suffix == ".json":
        from dlaflow.report.json import read_measurements

        found = [
            Sample(path.stem, digest, row.value)
            for row in read_measurements(path)
            if (row.quantity, row.unit) == ("latency", "ms")
        ]
    return found
