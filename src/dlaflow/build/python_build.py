"""`--via python`: one way through TensorRT's Python API for every release that has had a DLA since 8.4.

Up to 10.x types are the builder's choice within flags, and INT8 scales come from a calibrator or a cache; 11.x and
TensorRT-RTX take all types from the model. The two differ in `_implicit` and `_typed`; all else is shared.
"""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from pathlib import Path

from dlaflow.build.api import load_plugins
from dlaflow.build.calibrator import Feed, make_calibrator
from dlaflow.build.config import BuildConfig
from dlaflow.build.monitor import Phases, make_monitor
from dlaflow.build.parsing import flags_for_dla, parse_onnx
from dlaflow.build.plan import CalibrationImages, Plan, Session, finished, require_core
from dlaflow.build.refusals import ask_layers, ask_parser
from dlaflow.build.release import version_of
from dlaflow.build.settings import (
    add_profile,
    apply_common,
    apply_devices,
    apply_dla,
    apply_formats,
    apply_precisions,
    load_timing_cache,
    save_timing_cache,
)
from dlaflow.build.surface import BuilderObject, NetworkObject, ParserObject, Settings
from dlaflow.errors import InputError, UsageError
from dlaflow.progress import stoppable

_EXPLICIT_BATCH_ASKED = (10, 0, 0)
_TYPED = (11, 0, 0)


def build_with_python(
    session: Session, model: Path, config: BuildConfig, images: CalibrationImages | None = None
) -> Plan:
    """Build `model` with the bindings of `session`.

    `images` is needed for `scales="calibrator"`; a cache named in `config` is then written. Raises InputError,
    UsageError or EnvironmentLacksError with the cause in plain words.
    """
    trt = session.trt
    release = version_of(trt.__version__)
    load_plugins(trt, session.logger, config.plugins)
    builder: BuilderObject = trt.Builder(session.logger)
    require_core(builder.num_DLA_cores, config.dla_core, trt.__version__)
    typed = release >= _TYPED or config.strongly_typed
    network = builder.create_network(_network_flags(session, config, typed=typed))
    parser: ParserObject = trt.OnnxParser(network, session.logger)
    settings = builder.create_builder_config()
    if config.on_dla:
        for flag in flags_for_dla(trt, quantized_in_model=config.scales == "qdq"):
            parser.set_flag(flag)
    parse_onnx(parser, model, session.messages)
    apply_common(trt, settings, config, release)
    apply_dla(trt, settings, config)
    apply_devices(trt, settings, network, config)
    apply_formats(trt, network, config, typed=typed)
    profile = add_profile(builder, settings, network, config.shapes)
    feed = None
    if not typed:
        apply_precisions(trt, network, config)
        feed = _set_implicit_precision(session, settings, config, images)
        if feed is not None and profile is not None:
            settings.set_calibration_profile(profile)
    load_timing_cache(settings, config.timing_cache)
    answers = ask_layers(settings, network) if config.on_dla else ()
    refused = ask_parser(trt, builder, settings, model, session.logger) if config.on_dla else None
    content, seconds, phases = build_serialized(session, builder, network, settings, feed)
    save_timing_cache(settings, config.timing_cache)
    lines = tuple(session.messages.lines)
    return Plan(content, seconds, network.num_layers, answers, refused, phases, lines)


def build_serialized(
    session: Session, builder: BuilderObject, network: NetworkObject, settings: Settings, feed: Feed | None = None
) -> tuple[bytes, float, tuple[str, ...]]:
    """Run the build itself: the engine's bytes, its seconds and the phases that TensorRT reported.

    Raises what the messages explain; InputError when a cache was given and TensorRT did not take it.
    """
    phases = Phases(session.progress)
    calibrator = make_calibrator(session.trt, feed) if feed else None
    if calibrator is not None:
        settings.int8_calibrator = calibrator
    started = time.monotonic()
    with stoppable() as requested, closing(phases):
        monitor = make_monitor(session.trt, phases, requested)
        if monitor is not None:
            settings.progress_monitor = monitor
        # One bar at a time: TensorRT's own phases where it reports them, else one bar that the calibrator moves.
        with nullcontext() if monitor is not None else session.progress("TensorRT builds", None) as task:
            if feed:
                feed.task = task
            serialized = builder.build_serialized_network(network, settings)
    seconds = time.monotonic() - started
    if feed is not None and feed.asked_in_vain:
        raise InputError(
            f"TensorRT did not accept the calibration cache {feed.cache} and asked for images",
            expected="a cache that names every tensor of this model",
            received="another one",
            then="Make it again from this very model: `dlaflow calibrate MODEL --cache FILE`.",
        )
    return finished(serialized, session.messages), seconds, tuple(phases.names)


def _network_flags(session: Session, config: BuildConfig, *, typed: bool) -> int:
    known = session.trt.NetworkDefinitionCreationFlag
    flags = 0
    if version_of(session.trt.__version__) < _EXPLICIT_BATCH_ASKED:
        flags |= 1 << int(known.EXPLICIT_BATCH)
    if typed:
        flags |= 1 << int(known.STRONGLY_TYPED)
    return flags


def _set_implicit_precision(
    session: Session, settings: Settings, config: BuildConfig, images: CalibrationImages | None
) -> Feed | None:
    """The flags of releases up to 10.x; the feed when INT8 scales come from a cache or from images."""
    flags = session.trt.BuilderFlag
    if config.precision == "fp16" or config.fp16_too:
        settings.set_flag(flags.FP16)
    if config.precision_constraints == "obey":
        settings.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
    elif config.precision_constraints == "prefer":
        settings.set_flag(flags.PREFER_PRECISION_CONSTRAINTS)
    if config.precision != "int8":
        return None
    settings.set_flag(flags.INT8)
    cache = Path(config.cache) if config.cache else None
    if config.scales == "calibrator":
        if images is None:
            raise UsageError("calibrating needs images", expected="--data", received="none")
        return Feed(images.batches, images.batch_size, cache, session.trt.__version__, images.memory)
    if config.scales == "cache":
        if cache is None or not cache.is_file():
            raise InputError(f"cannot read the calibration cache {config.cache}", received="no such file")
        return Feed(None, 1, cache, session.trt.__version__)
    return None
