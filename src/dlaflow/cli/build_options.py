"""The options of `dlaflow build`, and the configuration that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dlaflow.build.config import BuildConfig, IOFormat, LayerOptions, MemoryPools, Scales
from dlaflow.build.shapes import shapes_for
from dlaflow.errors import UsageError
from dlaflow.targets.target import Target

_SWITCH = Parameter(negative="")
"""No --no-X beside a switch, no --empty-X beside a list."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Placing:
    """Where the engine runs."""

    dla_core: int = 0
    """The DLA core, 0 or 1."""
    gpu_only: Annotated[bool, _SWITCH] = False
    """Build for the GPU, without the DLA."""
    no_gpu_fallback: Annotated[bool, _SWITCH] = False
    """Fail rather than run a layer on the GPU."""
    standalone: Annotated[bool, _SWITCH] = False
    """A DLA loadable for cuDLA: the same as --mode standalone."""
    input_format: Annotated[tuple[str, ...], _SWITCH] = ()
    """Type and layout of the inputs, such as int8:dla_hwc4 (standalone default: dla_linear)."""
    output_format: Annotated[tuple[str, ...], _SWITCH] = ()
    """Type and layout of the outputs, such as int8:chw32."""
    layer_device: Annotated[tuple[str, ...], _SWITCH] = ()
    """LAYER:GPU or LAYER:DLA for single layers."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Types and scales."""

    cache: Path | None = None
    """The calibration cache (INT8 up to TensorRT 10); with --data it is written."""
    scales: Literal["auto", "qdq", "none"] = "auto"
    """auto (from --cache or --data), qdq (the model holds Q/DQ nodes), none (speed only)."""
    strongly_typed: Annotated[bool, _SWITCH] = False
    """Take all types from the model (TensorRT 9.1 to 10; 11 always does)."""
    fp16_too: Annotated[bool, _SWITCH] = False
    """Let layers without INT8 scales run in FP16."""
    layer_precision: Annotated[tuple[str, ...], _SWITCH] = ()
    """LAYER:fp16 and the like for single layers; with it TensorRT prefers these precisions."""
    obey: Annotated[bool, _SWITCH] = False
    """Fail rather than leave a precision of --layer-precision."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the builder may use."""

    workspace: float | None = None
    """MiB of GPU workspace."""
    dla_sram: float | None = None
    """MiB of the DLA's SRAM for each loadable."""
    dla_local_dram: float | None = None
    """MiB of DRAM for a loadable's own tensors."""
    dla_global_dram: float | None = None
    """MiB of DRAM for a loadable's weights."""
    timing_cache: Path | None = None
    """Timings kept from build to build."""
    optimization_level: int | None = None
    """0 (fast build) to 5 (fast engine); from TensorRT 8.6."""
    sparsity: Literal["disable", "enable", "force"] = "disable"
    """Use 2:4 sparse weights."""
    detailed: Annotated[bool, _SWITCH] = False
    """Keep layer details in the engine, for layer information in profiles."""
    version_compatible: Annotated[bool, _SWITCH] = False
    """An engine that newer releases load too; from TensorRT 8.6, GPU only."""
    plugin: Annotated[tuple[Path, ...], _SWITCH] = ()
    """Plugin libraries."""


def configure(
    model: Path, target: Target, placing: Placing, numbers: Numbers, resources: Resources, *, calibrate: bool
) -> BuildConfig:
    """The configuration that the options mean; `calibrate` tells that images were given.

    Raises UsageError for options that contradict each other, InputError when the model cannot be read.
    """
    standalone = placing.standalone or target.mode == "standalone"
    if placing.gpu_only and standalone:
        raise UsageError("--gpu-only and --standalone contradict each other", then="Leave one out.")
    if not placing.gpu_only and not 0 <= placing.dla_core < target.board.dla_cores:
        cores = target.board.dla_cores
        raise UsageError(
            f"{target.board.id} has no DLA core {placing.dla_core}",
            expected=f"a core below {cores}" if cores else "a board with a DLA, or --gpu-only",
            received=f"--dla-core {placing.dla_core}",
        )
    kind = "int8" if target.precision == "int8" else "fp16"
    linear = (IOFormat(kind, ("dla_linear",)),) if standalone else ()
    return BuildConfig(
        precision="int8" if target.precision == "int8" else "fp16",
        scales=_scales(target, numbers, calibrate=calibrate),
        fp16_too=numbers.fp16_too,
        strongly_typed=numbers.strongly_typed,
        shapes=shapes_for(model, target.batch, target.shapes),
        dla_core=None if placing.gpu_only else placing.dla_core,
        gpu_fallback=not (placing.gpu_only or standalone or placing.no_gpu_fallback),
        standalone=standalone,
        input_formats=tuple(map(IOFormat.parse, placing.input_format)) or linear,
        output_formats=tuple(map(IOFormat.parse, placing.output_format)) or linear,
        pools=MemoryPools(resources.workspace, resources.dla_sram, resources.dla_local_dram, resources.dla_global_dram),
        cache=str(numbers.cache) if numbers.cache else None,
        precision_constraints=_constraints(numbers),
        layer_precisions=_wishes(numbers.layer_precision, ("fp32", "fp16", "int8")),
        layer_devices=_wishes(placing.layer_device, ("DLA", "GPU")),
        sparsity=resources.sparsity,
        timing_cache=str(resources.timing_cache) if resources.timing_cache else None,
        optimization_level=resources.optimization_level,
        profiling_verbosity="detailed" if resources.detailed else "layer_names_only",
        version_compatible=resources.version_compatible,
        plugins=tuple(map(str, resources.plugin)),
    )


def _scales(target: Target, numbers: Numbers, *, calibrate: bool) -> Scales:
    if numbers.scales == "qdq" and (numbers.cache or calibrate):
        raise UsageError("--scales qdq takes the scales from the model", received="also --cache or --data")
    if target.precision != "int8":
        return "none"
    if numbers.scales != "auto":
        return numbers.scales
    if calibrate:
        return "calibrator"
    return "cache" if numbers.cache else "none"


def _constraints(numbers: Numbers) -> Literal["default", "prefer", "obey"]:
    if numbers.obey:
        return "obey"
    return "prefer" if numbers.layer_precision else "default"


def _wishes(texts: tuple[str, ...], values: tuple[str, ...]) -> tuple[LayerOptions, ...]:
    requests = []
    for text in texts:
        layer, _, value = text.rpartition(":")
        if not layer or value not in values:
            raise UsageError(
                "cannot read a request for a layer", expected=f"LAYER:{'|'.join(values)}", received=repr(text)
            )
        requests.append(LayerOptions(layer, value))
    return tuple(requests)
