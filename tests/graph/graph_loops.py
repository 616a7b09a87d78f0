"""Loops, branches and recurrent cells in ONNX's text form, for the comparison with NVIDIA's parser."""

from __future__ import annotations

import numpy as np
from graph_operators import Operator


def _cell(
    operator: str, gates: int, attributes: str = "", more: str = "", directions: int = 1, *, whole: bool = True
) -> Operator:
    """A recurrent node with a bias; `more` are its inputs from the lengths on, `whole` asks for all steps."""
    weights = {
        "w": np.full((directions, gates * 4, 8), 0.5, np.float32),
        "r": np.full((directions, gates * 4, 4), 0.5, np.float32),
        "b": np.full((directions, 2 * gates * 4), 0.5, np.float32),
        "l": np.array([5, 3], np.int32),
        "p": np.full((directions, 3 * 4), 0.5, np.float32),
    }
    used = {name: value for name, value in weights.items() if name in "wrb" or name in more.split(",")}
    nodes = f"[n] {'y' if whole else ''},h = {operator}<hidden_size=4{attributes}>(x,w,r,b{more}) [m] z = Relu(h)"
    outputs = "float[] y, float[] z" if whole else "float[] z"
    return Operator(nodes, inputs="float[5,2,8] x", outputs=outputs, weights=used)


_BODY = (
    "body = b (int64 i, bool c, float[2,3] s) => (bool co, float[2,3] so) { [nb] co = Identity(c) [na] so = Add(s,o) }"
)
_SCANNED = (
    "body = b (int64 i, bool c, float[2,3] s) => (bool co, float[2,3] so, float[2,3] sc) "
    "{ [nb] co = Identity(c) [nc] f = Cast<to=1>(i) [na] so = Add(s,f) sc = Relu(so) }"
)
_STEP = "body = b (float[3] s, float[3] t) => (float[3] so, float[3] sc) { [na] so = Add(s,t) sc = Relu(so) }"
_COUNTED = {"m": np.array(3, np.int64), "c": np.array(True), "o": np.array(1, np.float32)}


def _if(then: str, other: str, inputs: str = "float[2,3] x, bool c") -> Operator:
    branches = f"then_branch = t () => (float[] ty) {{ {then} }}, else_branch = e () => (float[] ey) {{ {other} }}"
    return Operator(f"[n] y = If<{branches}>(c) [m] z = Abs(y)", inputs=inputs, outputs="float[] z")


LOOPS: dict[str, Operator] = {
    "lstm_both_ways_with_lengths": _cell("LSTM", 4, ',direction="bidirectional"', ",l", 2),
    "lstm_backwards_with_peepholes": _cell("LSTM", 4, ',direction="reverse"', ",l,,,p"),
    "lstm_clipped": _cell("LSTM", 4, ",clip=3.0"),
    "gru_backwards_with_lengths": _cell("GRU", 3, ',direction="reverse"', ",l"),
    "gru_both_ways_reset_after": _cell("GRU", 3, ',direction="bidirectional",linear_before_reset=1', "", 2),
    "rnn_both_ways_with_lengths": _cell("RNN", 1, ',direction="bidirectional"', ",l", 2),
    "lstm_last_alone": _cell("LSTM", 4, whole=False),
    "gru_last_alone": _cell("GRU", 3, ',direction="reverse"', ",l", whole=False),
    "rnn_last_alone": _cell("RNN", 1, ',direction="bidirectional"', ",l", 2, whole=False),
    "loop": Operator(f"[n] y = Loop<{_BODY}>(m,c,x)", "float[2,3] x", "float[] y", 13, _COUNTED),
    "loop_that_stacks": Operator(
        f"[n] y,z = Loop<{_SCANNED}>(m,c,x)", "float[2,3] x", "float[] y,float[] z", 13, _COUNTED
    ),
    "loop_given_from_outside": Operator(
        f"[n] y = Loop<{_BODY}>(m,c,x)", "float[2,3] x, int64[1] m, bool[1] c", "float[] y", 13, {"o": _COUNTED["o"]}
    ),
    "loops_with_one_body": Operator(
        f"[n] t = Loop<{_BODY}>(m,c,x) [k] y = Loop<{_BODY}>(m,c,t)", "float[2,3] x", "float[] y", 13, _COUNTED
    ),
    "scan": Operator(
        f"[n] h,y = Scan<num_scan_inputs=1,scan_input_axes=[1],scan_output_axes=[1],{_STEP}>(s0,x)",
        "float[3] s0, float[3,5] x",
        "float[] y",
    ),
    "scan8": Operator(
        f"[n] h,y = Scan<num_scan_inputs=1,{_STEP}>(,s0,x)", "float[1,3] s0, float[1,5,3] x", "float[] y", 8
    ),
    "if": _if("[ta] ty = Relu(x)", "[ea] ey = Sigmoid(x)"),
    "if_of_a_vector": _if("[ta] ty = Relu(x)", "[ea] ey = Sigmoid(x)", "float[2,3] x, bool[1] c"),
    "if_with_weights": _if(
        "[ta] ty = Constant<value = float[1,3] {1.0,2.0,3.0}>()", "[ea] ey = Tanh(x)", "float[1,3] x, bool c"
    ),
    "if_with_a_name_twice": _if(
        "k = Constant<value = float[3] {1.0,2.0,3.0}>() ty = Add(x,k)",
        "k = Constant<value = float[2,3] {1.0,2.0,3.0,4.0,5.0,6.0}>() ey = Mul(x,k)",
    ),
    "if_in_if": _if(
        "q = If<then_branch = tt () => (float[] ty) { ty = Relu(x) }, "
        "else_branch = te () => (float[] ey) { ey = Tanh(x) }>(d) [tb] ty = Abs(q)",
        "[ea] ey = Sigmoid(x)",
        "float[2,3] x, bool c, bool d",
    ),
    "trilu_shifted": Operator("[n] y = Trilu(x,k)", "float[2,4,5] x", weights={"k": np.array(1, np.int64)}),
    "hardmax11": Operator("[n] y = Hardmax(x)", "float[2,3,4] x", opset=11),
    "infinities_of_one_sign": Operator("[n] y = IsInf<detect_negative=0>(x)", outputs="bool y"),
    "image_scaler": Operator("[n] y = ImageScaler<bias=[1.0,2.0],scale=2.0>(x)", "float[1,2,4,4] x", "float[] y"),
    "scatter": Operator("[n] y = ScatterND(x,i,u)", "float[4,8] x, int64[2,1] i, float[2,8] u"),
}
