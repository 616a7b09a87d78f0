"""What is known beforehand to fail or to disappoint in one build: its model, its cache and its formats together.

A build that runs and a command that is only printed are examined here alike; `capability` knows the release,
`dlaflow check` the layers, `cache lint` the scales.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

from dlaflow.build.capability import Caution, Via, examine
from dlaflow.build.config import BuildConfig, IOFormat
from dlaflow.build.manifest import BuiltFor
from dlaflow.build.model import examine_model, examine_reading, require_usable_types
from dlaflow.errors import UsageError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.inputs import fed_inputs
from dlaflow.graph.layer import Layer, Network, Tensor
from dlaflow.graph.load import Model, load_model
from dlaflow.placement.check import check_network, network_of
from dlaflow.quantize.cache import read_cache
from dlaflow.quantize.lint import Problem, lint_for_model
from dlaflow.targets.features import has
from dlaflow.targets.target import Target, resolve_target
from dlaflow.targets.version import Version
from dlaflow.types import Device, Verdict

_SHOWN = 3
_IMAGE_LAYOUTS = {"dla_hwc4", "chw4"}
_IMAGE_CHANNELS = (1, 3, 4)


def precheck(
    model: Path, config: BuildConfig, built_for: BuiltFor, via: Via, *, printed: bool = False
) -> list[Caution]:
    """The cautions for this build; `printed` means that dlaflow will not run it, so that nobody fits its cache.

    Raises UsageError for what surely cannot be, InputError when model or cache cannot be read and, unless `printed`,
    where the model's types rule out the DLA that was asked for.
    """
    tensorrt = built_for.tensorrt
    cautions = examine(config, tensorrt, via)
    loaded = load_model(model, digest=False)
    cautions += (examine_model if printed else require_usable_types)(loaded, config, tensorrt)
    cautions += examine_reading(loaded, tensorrt, config.plugins)
    _refuse_numbers(loaded, config, broadcast=via == "python" or has("one_format_for_all", tensorrt))
    problems = _problems(model, config, tensorrt)
    if printed and via == "trtexec" and config.scales == "cache":
        cautions += _about_printed_cache(problems, model, config.cache or "", tensorrt)
    cautions += _about_scales(problems, model, config, tensorrt)
    if config.on_dla and not config.gpu_fallback and built_for.board:
        target = _target(config, built_for)
        network = network_of(loaded, target)
        cautions += _about_layers(loaded, network, target, config)
        cautions += _about_inputs(network, config, {one.tensor for one in problems if one.kind == "missing"})
    return cautions


def _refuse_numbers(model: Model, config: BuildConfig, *, broadcast: bool) -> None:
    """Raises UsageError unless there is a format for every input and output, or, with `broadcast`, one for all."""
    graph = model.proto.graph
    for side, formats, count in (
        ("input", config.input_formats, len(fed_inputs(graph))),
        ("output", config.output_formats, len(graph.output)),
    ):
        if formats and len(formats) != count and not (broadcast and len(formats) == 1):
            expected = f"one or {count}" if broadcast and count > 1 else str(count)
            raise UsageError(
                f"the {side} formats do not match the {side}s",
                expected=expected,
                received=len(formats),
                then=f"Give --{side}-format once for each.",
            )


def _target(config: BuildConfig, built_for: BuiltFor) -> Target:
    precision = "int8" if config.precision == "int8" else "fp16"
    mode = "standalone" if config.standalone else "hybrid"
    found = resolve_target(built_for.board, precision=precision, mode=mode, tensorrt=built_for.tensorrt)
    return replace(found, shapes=tuple(FixedShape(one.name, one.shapes.usual) for one in config.shapes))


def _about_layers(model: Model, network: Network, target: Target, config: BuildConfig) -> Iterator[Caution]:
    """Layers that have no place without the GPU."""
    placed = check_network(model, network, target).layers
    sent_away = {one.layer for one in config.layer_devices if one.value == "GPU"}
    away = [each.name for each in placed if each.device is Device.GPU and each.verdict is not Verdict.UNKNOWN]
    away = [name for name in away if name not in sent_away]
    unsure = [each.name for each in placed if each.verdict is Verdict.UNKNOWN and each.device is not Device.FOLDED]
    option = "--standalone" if config.standalone else "--no-gpu-fallback"
    if away:
        yield Caution(
            f"`dlaflow check` says that {_names(away)} cannot run on the DLA: without GPU fallback the build fails.",
            f"Leave {option} out, or repair the model first (`dlaflow fix {model.path}`).",
        )
    elif unsure:
        yield Caution(
            f"`dlaflow check` cannot tell whether {_names(unsure)} can run on the DLA; one that cannot ends a build "
            "without GPU fallback.",
            f"If it does, leave {option} out.",
        )


def _about_inputs(network: Network, config: BuildConfig, missing: set[str]) -> Iterator[Caution]:
    """Input formats that the first layers do not take as they are, where nothing can reformat."""
    given = config.input_formats
    for tensor, one in zip(network.inputs, given * len(network.inputs) if len(given) == 1 else given, strict=False):
        for layer in network.layers:
            if not layer.folded and any(each.name == tensor.name for each in layer.inputs):
                yield from _about_first(layer, tensor, one, _type_of(layer, config, missing))


def _about_first(layer: Layer, tensor: Tensor, given: IOFormat, takes: str) -> Iterator[Caution]:
    packed = "chw32" if (takes or given.type) == "int8" else "chw16"
    if takes and given.type != takes:
        yield Caution(
            f"The first layer {layer.name} takes {takes.upper()}, so the input {tensor.name} as {given} would need a "
            "reformat that the DLA cannot do.",
            f"Give {takes}:{packed} (for an image {takes}:dla_hwc4), or ask that layer into {given.type}.",
        )
    channels = tensor.shape[1] if tensor.shape and len(tensor.shape) > 1 else None
    fits = layer.kind == "CONVOLUTION" and (channels is None or channels in _IMAGE_CHANNELS)
    if set(given.layouts) & _IMAGE_LAYOUTS and not fits:
        yield Caution(
            f"{given} is for images of {', '.join(map(str, _IMAGE_CHANNELS))} channels into a convolution; "
            f"{tensor.name} has {channels or 'unknown'} and goes into {layer.name} ({layer.kind}).",
            f"Use {takes or given.type}:{packed}.",
        )


def _type_of(layer: Layer, config: BuildConfig, missing: set[str]) -> str:
    """The type that a first layer takes; empty where the model's own types decide."""
    if config.scales == "qdq" or config.strongly_typed or config.precision == "model":
        return ""
    asked = {one.layer: one.value for one in config.layer_precisions}
    wanted = asked.get(layer.name, asked.get("*", ""))
    if config.precision == "fp16" or wanted == "fp16":
        return "fp16"
    touched = {tensor.name for tensor in (*layer.inputs, *layer.outputs)}
    return "fp16" if touched & missing and config.fp16_too else "int8"


def _problems(model: Path, config: BuildConfig, tensorrt: str) -> list[Problem]:
    """What lint finds in the cache for this release; none without a cache (a missing file is spoken of elsewhere)."""
    path = Path(config.cache or "")
    if config.scales != "cache" or not path.is_file():
        return []
    return lint_for_model(read_cache(path), path, model, str(Version.parse(tensorrt).release))


def _about_printed_cache(problems: list[Problem], model: Path, path: str, tensorrt: str) -> Iterator[Caution]:
    """What dlaflow sees to where it runs trtexec itself: that the file is there, and its first line."""
    release = Version.parse(tensorrt).release
    if not Path(path).is_file():
        yield Caution(
            f"{path} is not here; without the file trtexec invents every range and says nothing.",
            "Make it with `dlaflow calibrate`, or see that it lies there when the command runs.",
        )
    if any(one.kind == "release" for one in problems):
        yield Caution(
            f"The first line of {path} names another release than {tensorrt}; TensorRT 10 refuses that.",
            f"`dlaflow cache rename {quote(path)} --tensorrt {release} --model {quote(str(model))} --out NEW.cache` "
            "writes a fitting one.",
        )


def _about_scales(problems: list[Problem], model: Path, config: BuildConfig, tensorrt: str) -> Iterator[Caution]:
    path, release = config.cache or "", Version.parse(tensorrt).release
    if faults := [one for one in problems if one.kind != "release"]:
        counted = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in faults).items())
        yield Caution(
            f"{path} has faults ({counted}), first {faults[0].tensor or 'the file'}: {faults[0].message}.",
            f"`dlaflow cache lint {quote(path)} --model {quote(str(model))} --tensorrt {release}` lists them.",
        )
    missing = [one.tensor for one in problems if one.kind == "missing"]
    if missing and config.on_dla and not config.fp16_too:
        yield Caution(
            f"INT8 alone: what touches {_names(missing)} has no scale, and without FP16 beside INT8 it leaves the DLA.",
            "Build with --fp16-too, as `dlaflow check` counts on, or calibrate again.",
        )


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
