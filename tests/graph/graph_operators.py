"""One small graph for each ONNX operator and each way to write it, in ONNX's text form."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper, parser


@dataclass(frozen=True)
class Operator:
    """Nodes in text form, with inputs, outputs and initializers."""

    nodes: str
    inputs: str = "float[2,8,16,16] x"
    outputs: str = "float y"
    opset: int = 17
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def _integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def operator_model(name: str) -> bytes:
    """The ONNX file of a graph in OPERATORS."""
    return model_of(OPERATORS[name])


def model_of(case: Operator) -> bytes:
    """The ONNX file of a graph."""
    text = (
        f'<ir_version: 8, opset_import: ["" : {case.opset}]> g ({case.inputs}) => ({case.outputs}) {{ {case.nodes} }}'
    )
    model: onnx.ModelProto = parser.parse_model(text)
    for key, value in case.weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), key))
    return model.SerializeToString()


OPERATORS: dict[str, Operator] = {
    "clip": Operator("[n] y = Clip(x,lo,hi)", weights={"lo": np.float32(0.0), "hi": np.float32(6.0)}),
    "leaky": Operator("[n] y = LeakyRelu(x)"),
    "prelu": Operator("[n] y = PRelu(x,s)", weights={"s": _floats(8, 1, 1)}),
    "elu": Operator("[n] y = Elu(x)"),
    "hs": Operator("[n] y = HardSwish(x)"),
    "hsig": Operator("[n] y = HardSigmoid(x)"),
    "mish": Operator("[n] y = Mish(x)", opset=18),
    "softplus": Operator("[n] y = Softplus(x)"),
    "softsign": Operator("[n] y = Softsign(x)"),
    "gelu": Operator("[n] y = Gelu(x)", opset=20),
    "gelut": Operator('[n] y = Gelu<approximate="tanh">(x)', opset=20),
    "erf": Operator("[n] y = Erf(x)"),
    "celu": Operator("[n] y = Celu(x)"),
    "thr": Operator("[n] y = ThresholdedRelu(x)"),
    "shrink": Operator("[n] y = Shrink(x)"),
    "selu": Operator("[n] y=Selu(x)"),
    "maxpool": Operator("[n] y = MaxPool<kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]>(x)"),
    "maxpoolceil": Operator("[n] y = MaxPool<kernel_shape=[3,3],strides=[2,2],ceil_mode=1>(x)"),
    "avgpool": Operator("[n] y = AveragePool<kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]>(x)"),
    "avgpoolsame": Operator('[n] y = AveragePool<kernel_shape=[3,3],strides=[2,2],auto_pad="SAME_UPPER">(x)'),
    "lppool": Operator("[n] y = LpPool<kernel_shape=[3,3]>(x)"),
    "gmp": Operator("[n] y = GlobalMaxPool(x)"),
    "glp": Operator("[n] y = GlobalLpPool(x)"),
    "flat": Operator("[n] y = Flatten(x)"),
    "reshape": Operator("[n] y = Reshape(x,s)", weights={"s": _integers(0, -1)}),
    "transpose": Operator("[n] y = Transpose<perm=[0,2,3,1]>(x)"),
    "squeeze": Operator("[n] y = Squeeze(x,a)", inputs="float[2,8,1,1] x", weights={"a": _integers(2, 3)}),
    "unsqueeze": Operator("[n] y = Unsqueeze(x,a)", weights={"a": _integers(0)}),
    "gemm": Operator(
        "[n] y = Gemm<transB=1>(x,w,b)", inputs="float[2,8] x", weights={"w": _floats(4, 8), "b": _floats(4)}
    ),
    "gemmnob": Operator("[n] y = Gemm<transB=1,alpha=0.5>(x,w)", inputs="float[2,8] x", weights={"w": _floats(4, 8)}),
    "matmul": Operator("[n] y = MatMul(x,w)", inputs="float[2,5,8] x", weights={"w": _floats(8, 4)}),
    "matmul2": Operator("[n] y = MatMul(x,z)", inputs="float[2,5,8] x, float[8,4] z"),
    "matmul1d": Operator("[n] y = MatMul(x,w)", inputs="float[2,5,8] x", weights={"w": _floats(8)}),
    "addscalar": Operator("[n] y = Add(x,c)", weights={"c": np.float32(1.0)}),
    "addtwice": Operator("[n] z = Add(x,c) [m] y = Mul(z,c)", weights={"c": _floats(1, 8, 1, 1)}),
    "constnode": Operator("k = Constant<value = float[1] {2.0}>() [n] y = Mul(x,k)"),
    "constnamed": Operator("[kk] k = Constant<value = float[1] {2.0}>() [n] y = Mul(x,k)"),
    "add3": Operator("[n] y = Sum(x,z,w)", inputs="float[2,8,16,16] x,float[8,1,1] z,float[1] w"),
    "mean": Operator("[n] y = Mean(x,z)", inputs="float[2,8,16,16] x,float[8,1,1] z"),
    "max1": Operator("[n] y = Max(x)"),
    "pow": Operator("[n] y = Pow(x,c)", weights={"c": np.float32(2.0)}),
    "powi": Operator("[n] y = Pow(x,c)", weights={"c": np.int64(2)}),
    "sub": Operator("[n] y = Sub(c,x)", weights={"c": np.float32(1.0)}),
    "mod": Operator("[n] y = Mod<fmod=1>(x,z)", inputs="float[2,8] x,float[2,8] z"),
    "bn": Operator(
        "[n] y = BatchNormalization(x,s,b,m,v)",
        weights={"s": _floats(8), "b": _floats(8), "m": _floats(8), "v": _floats(8)},
    ),
    "inorm": Operator("[n] y = InstanceNormalization(x,s,b)", weights={"s": _floats(8), "b": _floats(8)}),
    "inorm3": Operator(
        "[n] y = InstanceNormalization(x,s,b)", inputs="float[2,8,16] x", weights={"s": _floats(8), "b": _floats(8)}
    ),
    "gnorm": Operator(
        "[n] y = GroupNormalization<num_groups=2>(x,s,b)", opset=21, weights={"s": _floats(8), "b": _floats(8)}
    ),
    "gnorm18": Operator(
        "[n] y = GroupNormalization<num_groups=2>(x,s,b)", opset=18, weights={"s": _floats(2), "b": _floats(2)}
    ),
    "lnorm": Operator("[n] y = LayerNormalization(x,s,b)", weights={"s": _floats(16), "b": _floats(16)}),
    "lnormnob": Operator("[n] y = LayerNormalization(x,s)", weights={"s": _floats(16)}),
    "mvn": Operator("[n] y = MeanVarianceNormalization(x)"),
    "lpn": Operator("[n] y = LpNormalization(x)"),
    "softmax": Operator("[n] y = Softmax<axis=1>(x)"),
    "softmax11": Operator("[n] y = Softmax<axis=1>(x)", opset=11),
    "logsoftmax": Operator("[n] y = LogSoftmax(x)"),
    "hardmax": Operator("[n] y = Hardmax(x)"),
    "concat": Operator("[n] y = Concat<axis=1>(x,x)"),
    "concatw": Operator("[n] y = Concat<axis=1>(x,c)", weights={"c": _floats(2, 1, 16, 16)}),
    "slice": Operator("[n] y = Slice(x,s,e,a)", weights={"s": _integers(1), "e": _integers(5), "a": _integers(1)}),
    "slicestep": Operator(
        "[n] y = Slice(x,s,e,a,t)",
        weights={"s": _integers(0), "e": _integers(9223372036854775807), "a": _integers(2), "t": _integers(2)},
    ),
    "split": Operator("[n] y,z = Split<axis=1>(x,s)", outputs="float y, float z", weights={"s": _integers(4, 4)}),
    "split2": Operator("[n] y,z = Split<axis=1>(x) ", outputs="float y, float z", opset=11),
    "split3": Operator(
        "[n] y,z,w = Split<axis=1>(x,s) [n2] a,b=Split<axis=1>(x,t)",
        outputs="float y, float z,float w,float a,float b",
        weights={"s": _integers(4, 2, 2), "t": _integers(2, 6)},
    ),
    "pad": Operator("[n] y = Pad(x,p)", weights={"p": _integers(0, 0, 1, 1, 0, 0, 1, 1)}),
    "padr": Operator('[n] y = Pad<mode="reflect">(x,p)', weights={"p": _integers(0, 0, 1, 1, 0, 0, 1, 1)}),
    "pade": Operator('[n] y = Pad<mode="edge">(x,p)', weights={"p": _integers(0, 0, 1, 1, 0, 0, 1, 1)}),
    "padneg": Operator("[n] y = Pad(x,p)", weights={"p": _integers(0, 0, -1, -1, 0, 0, -1, -1)}),
    "padzero": Operator("[n] y = Pad(x,p)", weights={"p": _integers(0, 0, 0, 0, 0, 0, 0, 0)}),
    "expand": Operator("[n] y = Expand(x,s)", inputs="float[2,8,1,1] x", weights={"s": _integers(2, 8, 4, 4)}),
    "tile": Operator("[n] y = Tile(x,s)", weights={"s": _integers(1, 1, 2, 2)}),
    "d2s": Operator("[n] y = DepthToSpace<blocksize=2>(x)"),
    "d2scrd": Operator('[n] y = DepthToSpace<blocksize=2,mode="CRD">(x)'),
    "s2d": Operator("[n] y = SpaceToDepth<blocksize=2>(x)"),
    "resizes": Operator(
        '[n] y = Resize<mode="nearest",coordinate_transformation_mode="asymmetric",nearest_mode="floor">(x,,s)',
        weights={"s": np.array([1.0, 1.0, 2.0, 2.0], np.float32)},
    ),
    "resizez": Operator('[n] y = Resize<mode="linear">(x,,,s)', weights={"s": _integers(2, 8, 32, 32)}),
    "upsample": Operator(
        '[n] y = Upsample<mode="nearest">(x,s)', opset=9, weights={"s": np.array([1.0, 1.0, 2.0, 2.0], np.float32)}
    ),
    "rmean": Operator("[n] y = ReduceMean<axes=[2,3],keepdims=1>(x)"),
    "rmeannk": Operator("[n] y = ReduceMean<axes=[2,3],keepdims=0>(x)"),
    "rl2": Operator("[n] y = ReduceL2<axes=[1]>(x)"),
    "rl1": Operator("[n] y = ReduceL1<axes=[1]>(x)"),
    "rlse": Operator("[n] y = ReduceLogSumExp<axes=[1]>(x)"),
    "rls": Operator("[n] y = ReduceLogSum<axes=[1]>(x)"),
    "rss": Operator("[n] y = ReduceSumSquare<axes=[1]>(x)"),
    "rmax": Operator("[n] y = ReduceMax<axes=[1]>(x)"),
    "rsum": Operator("[n] y = ReduceSum(x,a)", weights={"a": _integers(1)}),
    "rsumnoaxes": Operator("[n] y = ReduceSum(x)"),
    "argmax": Operator("[n] y = ArgMax<axis=1>(x)", outputs="int64 y"),
    "argmaxnk": Operator("[n] y = ArgMax<axis=1,keepdims=0>(x)", outputs="int64 y"),
    "topk": Operator("[n] y,z = TopK<axis=1>(x,k)", outputs="float y,int64 z", weights={"k": _integers(2)}),
    "gather": Operator("[n] y = Gather<axis=1>(x,k)", weights={"k": _integers(2, 3)}),
    "gather0": Operator("[n] y = Gather<axis=1>(x,k)", weights={"k": np.int64(0)}),
    "gathernd": Operator("[n] y = GatherND(x,k)", weights={"k": np.array([[0, 1]], np.int64)}),
    "gatherel": Operator("[n] y = GatherElements<axis=1>(x,k)", weights={"k": np.zeros((2, 1, 16, 16), np.int64)}),
    "scatternd": Operator(
        "[n] y = ScatterND(x,k,u)", weights={"k": np.array([[0, 1]], np.int64), "u": _floats(1, 16, 16)}
    ),
    "scatterel": Operator(
        "[n] y = ScatterElements<axis=1>(x,k,u)",
        weights={"k": np.zeros((2, 1, 16, 16), np.int64), "u": _floats(2, 1, 16, 16)},
    ),
    "cast": Operator("[n] y = Cast<to=10>(x)", outputs="float16 y"),
    "castsame": Operator("[n] y = Cast<to=1>(x)"),
    "where": Operator("[n] y = Where(c,x,k)", inputs="float[2,8] x, bool[2,8] c", weights={"k": np.float32(0.0)}),
    "greater": Operator("[n] c = Greater(x,k) [m] y = Cast<to=1>(c)", weights={"k": np.float32(0.0)}),
    "ge": Operator("[n] c = GreaterOrEqual(x,k) [m] y = Cast<to=1>(c)", weights={"k": np.float32(0.0)}),
    "equal": Operator("[n] y = Equal(x,k)", outputs="bool y", weights={"k": np.float32(0.0)}),
    "and": Operator("[n] y = And(x,z)", inputs="bool[2,8] x,bool[2,8] z", outputs="bool y"),
    "not": Operator("[n] y = Not(x)", inputs="bool[2,8] x", outputs="bool y"),
    "identity": Operator("[n] y = Identity(x)"),
    "dropout": Operator("[n] z = Dropout(x) [m] y = Relu(z)"),
    "dropoutout": Operator("[n] z = Relu(x) [m] y=Dropout(z)"),
    "einsum": Operator('[n] y = Einsum<equation="bij,bjk->bik">(x,z)', inputs="float[2,3,4] x, float[2,4,5] z"),
    "gridsample": Operator("[n] y = GridSample(x,g)", inputs="float[2,8,16,16] x,float[2,4,4,2] g"),
    "conv1d": Operator("[n] y = Conv(x,w)", inputs="float[2,8,16] x", weights={"w": _floats(4, 8, 3)}),
    "conv": Operator("[n] y = Conv(x,w,b)", weights={"w": _floats(4, 8, 3, 3), "b": _floats(4)}),
    "convsame": Operator('[n] y = Conv<auto_pad="SAME_UPPER",strides=[2,2]>(x,w)', weights={"w": _floats(4, 8, 3, 3)}),
    "convdyn": Operator("[n] y = Conv(x,w)", inputs="float[2,8,16,16] x,float[4,8,3,3] w"),
    "deconv": Operator(
        "[n] y = ConvTranspose<strides=[2,2]>(x,w,b)", weights={"w": _floats(8, 4, 2, 2), "b": _floats(4)}
    ),
    "deconvop": Operator(
        "[n] y = ConvTranspose<strides=[2,2],pads=[1,1,1,1],output_padding=[1,1]>(x,w,b)",
        weights={"w": _floats(8, 4, 3, 3), "b": _floats(4)},
    ),
    "deconvos": Operator(
        "[n] y = ConvTranspose<strides=[2,2],output_shape=[32,32]>(x,w,b)",
        weights={"w": _floats(8, 4, 3, 3), "b": _floats(4)},
    ),
    "deconv1d": Operator(
        "[n] y = ConvTranspose<strides=[2]>(x,w)", inputs="float[2,8,16] x", weights={"w": _floats(8, 4, 2)}
    ),
    "lrn": Operator("[n] y = LRN<size=5>(x)"),
    "shape": Operator(
        "s = Shape(x) [g] b = Gather(s,z) [u] b1=Unsqueeze(b,z1) [c] cc=Concat<axis=0>(b1,m1) [r] y=Reshape(x,cc)",
        weights={"z": np.int64(0), "z1": _integers(0), "m1": _integers(-1)},
    ),
    "range": Operator(
        "[n] y=Range(a,b,c)",
        inputs="float[2] x",
        outputs="int64 y",
        weights={"a": np.int64(0), "b": np.int64(5), "c": np.int64(1)},
    ),
    "cos": Operator(
        "[n] s=ConstantOfShape<value=float[1]{1.0}>(a) [m] y=Add(x,s)",
        inputs="float[2,8] x",
        weights={"a": _integers(2, 8)},
    ),
    "onehot": Operator(
        "[n] y=OneHot(x,d,v)", inputs="int64[2] x", weights={"d": np.int64(5), "v": np.array([0.0, 1.0], np.float32)}
    ),
    "cumsum": Operator("[n] y=CumSum(x,a)", inputs="float[2,8] x", weights={"a": np.int64(1)}),
    "trilu": Operator("[n] y=Trilu(x)", inputs="float[4,4] x"),
    "q": Operator(
        "[n] q=QuantizeLinear(x,s,z) [d] y=DequantizeLinear(q,s,z)",
        weights={"s": np.float32(0.10000000149011612), "z": np.int8(0)},
    ),
    "qw": Operator(
        "[qw] wq=DequantizeLinear<axis=0>(w,ws,wz) [n] q=QuantizeLinear(x,s,z) "
        "[d] dq=DequantizeLinear(q,s,z) [c] y=Conv(dq,wq)",
        weights={
            "s": np.float32(0.10000000149011612),
            "z": np.int8(0),
            "w": np.ones((4, 8, 3, 3), np.int8),
            "ws": _floats(4),
            "wz": np.zeros((4,), np.int8),
        },
    ),
    "lstm": Operator(
        "[n] y,h,c = LSTM<hidden_size=4>(x,w,r,b)",
        inputs="float[5,2,8] x",
        outputs="float y,float h,float c",
        weights={"w": _floats(1, 16, 8), "r": _floats(1, 16, 4), "b": _floats(1, 32)},
    ),
    "gru": Operator(
        "[n] y,h = GRU<hidden_size=4>(x,w,r,b)",
        inputs="float[5,2,8] x",
        outputs="float y,float h",
        weights={"w": _floats(1, 12, 8), "r": _floats(1, 12, 4), "b": _floats(1, 24)},
    ),
    "rnn": Operator(
        "[n] y,h = RNN<hidden_size=4>(x,w,r,b)",
        inputs="float[5,2,8] x",
        outputs="float y,float h",
        weights={"w": _floats(1, 4, 8), "r": _floats(1, 4, 4), "b": _floats(1, 8)},
    ),
    "rev": Operator("[n] y = ReverseSequence(x,s)", inputs="float[5,2,8] x", weights={"s": _integers(5, 5)}),
    "neg": Operator("[n] y=Neg(x)"),
    "sign": Operator("[n] y=Sign(x)"),
    "isnan": Operator("[n] y=IsNaN(x)", outputs="bool y"),
    "recip": Operator("[n] y=Reciprocal(x)"),
    "sqrt": Operator("[n] y=Sqrt(x)"),
    "constfold": Operator("[n] a=Mul(k,k) [m] y=Add(x,a)", weights={"k": _floats(1, 8, 1, 1)}),
    "tw": Operator(
        "[n] a=Transpose<perm=[1,0]>(k) [m] y=MatMul(x,a)", inputs="float[2,8] x", weights={"k": _floats(4, 8)}
    ),
    "uw": Operator(
        "[n] a=Unsqueeze(k,z) [m] y=Add(x,a)", inputs="float[2,8] x", weights={"k": _floats(8), "z": _integers(0)}
    ),
    "rw": Operator(
        "[n] a=Reshape(k,z) [m] y=Add(x,a)", inputs="float[2,8] x", weights={"k": _floats(8), "z": _integers(1, 8)}
    ),
    "cw": Operator(
        "[n] a=Cast<to=1>(k) [m] y=Add(x,a)", inputs="float[2,8] x", weights={"k": np.ones((8,), np.float64)}
    ),
    "cat0": Operator(
        "[n] s=Concat<axis=0>(k,l) [m] y=Reshape(x,s)",
        inputs="float[2,8] x",
        weights={"k": _integers(2), "l": _integers(4, 2)},
    ),
    "relu_noname": Operator("y=Relu(x)"),
    "identw": Operator("[n] a=Identity(k) [m] y=Add(x,a)", inputs="float[2,8] x", weights={"k": _floats(8)}),
    "divi": Operator("[n] y=Div(x,z)", inputs="int64[2] x,int64[2] z", outputs="int64 y"),
    "reshape_id": Operator("[n] y=Reshape(x,s)", weights={"s": _integers(2, 8, 16, 16)}),
    "floor": Operator("[n] y=Floor(x)"),
    "round": Operator("[n] y=Round(x)"),
    "bn3": Operator(
        "[n] y = BatchNormalization(x,s,b,m,v)",
        inputs="float[2,8,16] x",
        weights={"s": _floats(8), "b": _floats(8), "m": _floats(8), "v": _floats(8)},
    ),
    "bn2": Operator(
        "[n] y = BatchNormalization(x,s,b,m,v)",
        inputs="float[2,8] x",
        weights={"s": _floats(8), "b": _floats(8), "m": _floats(8), "v": _floats(8)},
    ),
    "bn5": Operator(
        "[n] y = BatchNormalization(x,s,b,m,v)",
        inputs="float[2,8,4,4,4] x",
        weights={"s": _floats(8), "b": _floats(8), "m": _floats(8), "v": _floats(8)},
    ),
    "bnt": Operator(
        "[n] y = BatchNormalization(x,s,b,m,v)",
        inputs="float[2,8,4,4] x, float[8] s",
        weights={"b": _floats(8), "m": _floats(8), "v": _floats(8)},
    ),
    "sqrt0": Operator("[n] y = Sqrt(x)", inputs="float x"),
    "deconvop2": Operator(
        "[n] y = ConvTranspose<strides=[2,2],output_padding=[1,1]>(x,w,b)",
        weights={"w": _floats(8, 4, 3, 3), "b": _floats(4)},
    ),
    "deconvsame": Operator(
        '[n] y = ConvTranspose<strides=[2,2],auto_pad="SAME_UPPER">(x,w,b)',
        weights={"w": _floats(8, 4, 3, 3), "b": _floats(4)},
    ),
    "deconvdyn": Operator("[n] y = ConvTranspose<strides=[2,2]>(x,w)", inputs="float[2,8,16,16] x,float[8,4,2,2] w"),
    "negi": Operator("[n] y=Neg(x)", inputs="int32[2] x", outputs="int32 y"),
    "castf": Operator("[n] y=Cast<to=6>(x)", outputs="int32 y"),
    "clip1": Operator("[n] y = Clip(x,lo)", weights={"lo": np.float32(0.0)}),
    "clip0": Operator("[n] y = Clip(x)"),
    "clip6": Operator("[n] y = Clip<min=0.0,max=6.0>(x)", opset=6),
    "squeezeall": Operator("[n] y = Squeeze(x)", inputs="float[2,8,1,1] x"),
    "squeeze11": Operator("[n] y = Squeeze<axes=[2,3]>(x)", inputs="float[2,8,1,1] x", opset=11),
    "unsq11": Operator("[n] y = Unsqueeze<axes=[0]>(x)", opset=11),
    "gathersh": Operator(
        "s = Shape(x) [g] b = Gather(s,z) [m] c=Mul(b,z2) [u] b1=Unsqueeze(c,z1) "
        "[cc] q=Concat<axis=0>(b1,m1) [r] y=Reshape(x,q)",
        weights={"z": np.int64(1), "z2": np.int64(2), "z1": _integers(0), "m1": _integers(-1)},
    ),
    "pool1d": Operator("[n] y = MaxPool<kernel_shape=[3]>(x)", inputs="float[2,8,16] x"),
    "avg3d": Operator("[n] y = AveragePool<kernel_shape=[2,2,2]>(x)", inputs="float[2,8,4,4,4] x"),
    "if": Operator(
        "[n] y = If(c)<then_branch = g1 () => (float[2] a) { a = Relu(x) }, "
        "else_branch = g2 () => (float[2] b) { b = Sigmoid(x) }>",
        inputs="float[2] x, bool c",
    ),
    "resizec": Operator(
        's=Shape(x) [g] t=Slice(s,a0,a2) [cc] q=Concat<axis=0>(t,hw) [n] y=Resize<mode="nearest">(x,,,q)',
        weights={"a0": _integers(0), "a2": _integers(2), "hw": _integers(32, 32)},
    ),
    "instrank5": Operator(
        "[n] y = InstanceNormalization(x,s,b)", inputs="float[2,8,4,4,4] x", weights={"s": _floats(8), "b": _floats(8)}
    ),
    "sumone": Operator("[n] y = Sum(x)"),
    "topk1": Operator(
        "[n] y,z = TopK<axis=0>(x,k)", inputs="float[16] x", outputs="float y,int64 z", weights={"k": _integers(2)}
    ),
    "lpp1": Operator("[n] y = LpPool<kernel_shape=[3,3],p=1>(x)"),
    "nms": Operator(
        "[n] y = NonMaxSuppression(b,s,m,i,t)",
        inputs="float[1,100,4] b, float[1,8,100] s",
        outputs="int64 y",
        weights={"m": _integers(5), "i": np.array([0.5], np.float32), "t": np.array([0.1], np.float32)},
    ),
}
