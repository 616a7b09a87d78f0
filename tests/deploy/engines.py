"""Engines with manifests to put somewhere: the walk-through's network, and one whose names are hostile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.manifest import BuildRecord, BuiltFor, write_manifest

WALKTHROUGH = """
<ir_version: 8, opset_import: ["" : 13]>
model_bn (float[N, 3, 32, 32] input) => (float[N, 10] output)
{
   hidden = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (input, weight)
   active = Relu (hidden)
   pooled = GlobalAveragePool (active)
   flat = Flatten (pooled)
   output = MatMul (flat, last)
}
"""
HOSTILE = "a\"'; import os #\\\n%n $HOME {{ENGINE}} ??/ é\u202e\U0001f600"
"""What a name may hold: quotes of every language, a newline, `%`, `$`, a backslash, a trigraph, marks of direction."""
PLAIN = BuildConfig(
    precision="int8",
    scales="cache",
    shapes=(InputShape("input", ShapeRange.fixed((32, 3, 32, 32))),),
    dla_core=0,
    gpu_fallback=True,
)


@dataclass(frozen=True)
class Engines:
    """Writes engines with their manifests into one folder."""

    folder: Path

    def write(self, name: str = "model_bn.engine", config: BuildConfig = PLAIN, **how: object) -> Path:
        """An engine of the walk-through's network; `tensor` renames its input and output."""
        tensor = how.get("tensor")
        engine, model = self.folder / name, self.folder / "model_bn.onnx"
        proto = onnx.parser.parse_model(WALKTHROUGH)
        for stored, shape in (("weight", (16, 3, 3, 3)), ("last", (16, 10))):
            values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(values, stored))
        if tensor is not None:
            proto.graph.input[0].name = proto.graph.node[0].input[0] = f"{tensor}in"
            proto.graph.output[0].name = proto.graph.node[-1].output[0] = f"{tensor}out"
            shapes = (InputShape(f"{tensor}in", config.shapes[0].shapes),)
            config = replace(config, shapes=shapes)
        onnx.save(proto, model)
        cache = self.folder / "calib.cache"
        cache.write_text("TRT-8502-EntropyCalibration2\ninput: 3c010a14\noutput: 3dc5cbd3\n")
        if config.scales == "cache":
            config = replace(config, cache=str(cache))
        engine.write_bytes(how.get("content", b"plan"))
        built_for = BuiltFor("tensorrt", how.get("tensorrt", "8.5.2"), "agx-orin-64gb", "5.1.1", "8.7")
        write_manifest(engine, model, config, built_for, BuildRecord("trtexec", 1.0))
        return engine
