"""What dlaflow calls of TensorRT's Python API, as types: the bindings themselves have none.

Each class is named in its docstring as TensorRT names it. A member that not every release has says so; tests compare
this file with dumps of the real bindings (8.6.1, 10.3.0, 10.16.1, 11.4.0 and TensorRT-RTX).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Named(Protocol):
    """An enum value."""

    @property
    def name(self) -> str: ...


class Serialized(Protocol):
    """IHostMemory: bytes through the buffer protocol."""

    @property
    def nbytes(self) -> int: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


class TensorObject(Protocol):
    """ITensor. `dtype` can be set up to 10.x."""

    name: str
    shape: Sequence[int]
    dtype: object
    allowed_formats: int


class LayerObject(Protocol):
    """ILayer. `precision` ends with 10.x."""

    name: str
    precision: object

    @property
    def type(self) -> Named: ...


class NetworkObject(Protocol):
    """INetworkDefinition."""

    @property
    def num_inputs(self) -> int: ...
    @property
    def num_outputs(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    def get_input(self, index: int) -> TensorObject: ...
    def get_output(self, index: int) -> TensorObject: ...
    def get_layer(self, index: int) -> LayerObject: ...


class ProfileObject(Protocol):
    """IOptimizationProfile."""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...


class TimingCache(Protocol):
    """ITimingCache."""

    def serialize(self) -> Serialized: ...


class Settings(Protocol):
    """IBuilderConfig. Calibration ends with 10.x; levels came with 8.6, the monitor with 10.0."""

    default_device_type: object
    DLA_core: int
    engine_capability: object
    profiling_verbosity: object
    builder_optimization_level: int
    int8_calibrator: object
    progress_monitor: object

    def set_flag(self, flag: object) -> None: ...
    def set_memory_pool_limit(self, pool: object, pool_size: int) -> None: ...
    def set_device_type(self, layer: LayerObject, device_type: object) -> None: ...
    def can_run_on_DLA(self, layer: LayerObject) -> bool: ...
    def add_optimization_profile(self, profile: ProfileObject) -> int: ...
    def set_calibration_profile(self, profile: ProfileObject) -> bool: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> TimingCache: ...


class RtxSettings(Settings, Protocol):
    """IBuilderConfig of TensorRT-RTX, which also takes the GPUs to build for."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: object, index: int) -> bool: ...


class BuilderObject(Protocol):
    """Builder."""

    @property
    def num_DLA_cores(self) -> int: ...
    def create_network(self, flags: int = 0) -> NetworkObject: ...
    def create_builder_config(self) -> Settings: ...
    def create_optimization_profile(self) -> ProfileObject: ...
    def build_serialized_network(self, network: NetworkObject, config: Settings) -> Serialized | None: ...


class ParserComplaint(Protocol):
    """ParserError. Node names and operators came with 10.0."""

    def node(self) -> int: ...
    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class ParserObject(Protocol):
    """OnnxParser. Subgraph questions came with 10.1 to 10.3, the builder config with 10.15."""

    @property
    def num_errors(self) -> int: ...
    @property
    def num_subgraphs(self) -> int: ...
    def parse_from_file(self, model: str) -> bool: ...
    def get_error(self, index: int) -> ParserComplaint: ...
    def set_flag(self, flag: object) -> None: ...
    def set_builder_config(self, builder_config: Settings) -> bool: ...
    def supports_model_v2(self, model: bytes, path: str = ...) -> bool: ...
    def is_subgraph_supported(self, index: int) -> bool: ...
    def get_subgraph_nodes(self, index: int) -> Sequence[int]: ...
