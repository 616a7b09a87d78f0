"""Tensors of fewer than four dimensions: what TensorRT's builder inserts, and what it erases.

The DLA knows (N, C, H, W) alone. A product with a constant becomes a 1x1 convolution on (rows, features, 1, 1); other
layers see trailing ones appended. Where two neighbours disagree about the form of a tensor, a shuffle on the GPU stands
between them; where they agree, the shuffles between them vanish (TensorRT's ShuffleErasure: a Flatten between a pooling
and a Gemm leaves nothing behind). Seen in the build logs of TensorRT 8.4, 8.5.2 and 10.3.0.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from dlaflow.graph.layer import RESHAPES, Dims, ElementWise, MatrixMultiply, Network, Shuffle, Tensor
from dlaflow.placement.nodes import Node, Wiring
from dlaflow.rules.case import dims
from dlaflow.rules.examine import doubted
from dlaflow.rules.moving import ShuffleRank
from dlaflow.targets.version import Version
from dlaflow.types import Confidence, Device, Finding, Verdict

_PRODUCTS = frozenset({"MATRIX_MULTIPLY", "FULLY_CONNECTED"})
_PRODUCTS_APART_SINCE = Version.parse("10.0")


def settle_shapes(nodes: list[Node], network: Network, version: Version) -> list[Node]:
    """Erase the reshapes that disappear, add the helpers that appear; the nodes come back in network order.

    Nodes are changed in place: erased ones become FOLDED, readers are rewired to the tensor that they really read.
    """
    wiring = Wiring.of(nodes)
    _fuse_transposes(nodes, wiring, {tensor.name for tensor in network.outputs})
    _fuse_biases(nodes, wiring)
    forms = _Forms(wiring, apart=version >= _PRODUCTS_APART_SINCE)
    kept: set[int] = set()
    helpers: dict[tuple[str, Dims], Node] = {}
    for node in nodes:
        if node.runs and not _is_reshape(node):
            node.inputs = tuple(
                tensor if tensor.constant else _settle(tensor, node, forms, kept, helpers) for tensor in node.inputs
            )
    for tensor in network.outputs:
        _settle(tensor, None, forms, kept, helpers)
    for node in nodes:
        if node.runs and _is_reshape(node) and id(node) not in kept and wiring.after(node):
            _erase(node)
    for node in nodes:
        if node.device is Device.DLA:
            node.batch = forms.batch(node)
    settled = sorted([*nodes, *helpers.values()], key=lambda node: node.order)
    for node in settled:
        node.findings = [doubted(each, version) if each.rule == ShuffleRank.id else each for each in node.findings]
    return settled


def _fuse_transposes(nodes: list[Node], wiring: Wiring, outputs: set[str]) -> None:
    """A transpose whose only neighbour is a reshape on the GPU becomes part of it (TensorRT's ShuffleShuffleFusion)."""
    for node in nodes:
        if node.device is not Device.DLA or node.kind not in RESHAPES or not _moves(node):
            continue
        makers, readers = wiring.before(node), wiring.after(node)
        alone = [maker for maker in makers if len(wiring.after(maker)) == 1 and maker.outputs[0].name not in outputs]
        if len(readers) == 1 and node.outputs[0].name not in outputs:
            alone += readers
        partner = next((near for near in alone if near.kind in RESHAPES and near.device is Device.GPU), None)
        if partner is None:
            continue
        node.device = Device.GPU
        node.findings.append(
            Finding(
                rule=ShuffleRank.id,
                layer=node.name,
                verdict=Verdict.FALLBACK,
                message=f"a transpose that the builder fuses with {partner.name}, which runs on the GPU",
                expected="no reshape on the GPU beside it",
                received=f"{partner.name} ({dims(partner.inputs[0])} to {dims(partner.outputs[0])})",
                source="build logs of TensorRT 8.5.2 (YOLO11n: dfl/Reshape + dfl/Transpose) and 10.3.0 (DETR)",
                fix="keep four dimensions and the order of axes between the layers around it.",
                confidence=Confidence.MEASURED,
            )
        )


def _fuse_biases(nodes: list[Node], wiring: Wiring) -> None:
    """The bias of a product with a constant is part of its convolution and follows it to the GPU."""
    for node in nodes:
        if node.device is not Device.DLA or not adds_bias(node, wiring):
            continue
        product = next(maker for maker in wiring.before(node) if maker.kind in _PRODUCTS)
        made = product.layer.attributes if product.layer else None
        refused = next((finding for finding in product.findings if finding.verdict is not Verdict.NATIVE), None)
        if product.device is Device.GPU and refused and isinstance(made, MatrixMultiply) and made.constant_input == 1:
            node.device = Device.GPU
            message = f"the bias of {product.name}, which runs on the GPU: {refused.message}"
            node.findings.append(replace(refused, layer=node.name, message=message))


def _moves(node: Node) -> bool:
    shuffle = node.layer.attributes if node.layer else None
    return isinstance(shuffle, Shuffle) and bool(shuffle.first_transpose or shuffle.second_transpose)


def _settle(
    tensor: Tensor, reader: Node | None, forms: _Forms, kept: set[int], helpers: dict[tuple[str, Dims], Node]
) -> Tensor:
    """The tensor that `reader` (None: the network's output) really reads in place of `tensor`."""
    root, path = tensor, list[Node]()
    while (producer := forms.wiring.producers.get(root.name)) is not None and _is_reshape(producer):
        if producer in path or not producer.inputs:  # two graphs of a loop may use one name for different tensors
            break
        path.append(producer)
        root = producer.inputs[0]
    source = forms.wiring.producers.get(root.name)
    made, wanted = forms.of(source, root), forms.of(reader, tensor)
    if made is not None and made == wanted and not forms.differ(source, root, reader, tensor):
        return root if reader is not None else tensor
    if path:
        kept.update(id(node) for node in path)
        return tensor
    lifted = (source is not None and made != root.shape) or wanted != tensor.shape
    if not lifted or wanted is None:
        return tensor
    key = (root.name, wanted)
    if key not in helpers:
        helpers[key] = _helper(root, source, reader, wanted)
    return helpers[key].outputs[0]


def _helper(tensor: Tensor, source: Node | None, reader: Node | None, wanted: Dims) -> Node:
    """The shuffle that the builder adds, under the name that it gives."""
    if reader is not None and reader.device is Device.DLA:
        name = f"reshape_before_{reader.name}" if reader.kind in _PRODUCTS else f"unsqueeze_node_after_{tensor.name}"
        order = reader.order - 0.5
    else:
        origin = source.name if source else tensor.name
        product = source is not None and (source.kind in _PRODUCTS or _biased_product(source) is not None)
        name = f"reshape_after_{_product_name(source)}" if product else f"squeeze_after_{origin}"
        order = (source.order if source else 0.0) + 0.5
    output = replace(tensor, name=f"{tensor.name}_{name}", shape=wanted)
    finding = Finding(
        rule=ShuffleRank.id,
        layer=name,
        verdict=Verdict.FALLBACK,
        message=f"a shuffle that the builder adds around {tensor.name} ({dims(tensor)})",
        expected="four dimensions on either side",
        received=dims(tensor),
        source="build logs of TensorRT 8.4, 8.5.2 and 10.3.0: reshape_after_ and squeeze_after_ layers on the GPU",
        fix="keep four dimensions: a 1x1 convolution instead of Flatten and Gemm, (N, C, 1, 1) instead of (N, C).",
        confidence=Confidence.MEASURED,
    )
    return Node(name, "SHUFFLE", order, Device.GPU, (tensor,), (output,), findings=[finding])


def _product_name(node: Node | None) -> str:
    """The product behind a helper: of a bias addition the product that it belongs to."""
    return (_biased_product(node) or node.name) if node is not None else ""


def _biased_product(node: Node) -> str | None:
    """The name of the product whose bias this element-wise node adds, when it was noted by the forms."""
    return node.layer.onnx_nodes[0] if node.layer and node.kind == "ELEMENTWISE" and node.layer.op in _BIASED else None


_BIASED = frozenset({"Gemm"})


def _is_reshape(node: Node) -> bool:
    """A reshape without a transpose that may vanish: one on the GPU, or one that changes nothing."""
    if node.kind not in RESHAPES or node.layer is None or not node.inputs:
        return False
    shuffle = node.layer.attributes
    if isinstance(shuffle, Shuffle) and (shuffle.first_transpose or shuffle.second_transpose):
        return False
    shape = node.inputs[0].shape
    unchanged = shape is not None and None not in shape and shape == node.outputs[0].shape
    return node.device is Device.GPU or unchanged


def _erase(node: Node) -> None:
    node.device = Device.FOLDED
    node.findings = [
        Finding(
            rule=finding.rule,
            layer=finding.layer,
            verdict=Verdict.NATIVE,
            message=f"{finding.received}, but its neighbours agree on the form: the reshape disappears",
            expected=finding.expected,
            received=finding.received,
            source="build log of TensorRT 10.3.0: ShuffleErasure",
            fix="",
            confidence=Confidence.MEASURED,
        )
        for finding in node.findings[:1]
    ]


class _Forms:
    """In which shape a node writes or reads a tensor: its own on the GPU, four dimensions on the DLA."""

    def __init__(self, wiring: Wiring, *, apart: bool) -> None:
        self.wiring = wiring
        self.apart = apart
        """Whether a product and another layer of fewer than four dimensions keep the shuffles between them."""

    def batch(self, node: Node) -> int | None:
        """The product of the dimensions before C, H, W in the form of a DLA node."""
        for tensor in (*node.outputs, *node.inputs):
            form = self.of(node, tensor)
            if form and None not in form and not tensor.constant:
                return prod(dim for dim in form[:-3] if dim is not None)
        return None

    def of(self, node: Node | None, tensor: Tensor) -> Dims | None:
        """The form in which `node` (None: the network's input or output) writes or reads `tensor`."""
        shape = tensor.shape
        if shape is None or node is None or node.device is not Device.DLA or len(shape) >= 4:
            return shape
        if self._as_convolution(node) and None not in shape:
            return (prod(dim for dim in shape[:-1] if dim is not None), shape[-1] if shape else 1, 1, 1)
        return shape + (1,) * (4 - len(shape))

    def differ(self, maker: Node | None, made: Tensor, reader: Node | None, read: Tensor) -> bool:
        """Whether shuffles stay between two nodes of equal form: one is a product, the other was lifted for itself.

        In DETR under 10.3 each Relu between two products is a candidate of its own, though all see the same four.
        """
        if not self.apart or maker is None or reader is None or maker.device is not reader.device:
            return False
        of_maker, of_reader = self._as_convolution(maker), self._as_convolution(reader)
        other = made if of_reader else read
        return of_maker is not of_reader and other.shape is not None and len(other.shape) < 4

    def _as_convolution(self, node: Node) -> bool:
        """A product with a constant, or the addition of its bias, which the builder fuses into it."""
        return node.kind in _PRODUCTS or adds_bias(node, self.wiring)


def adds_bias(node: Node, wiring: Wiring) -> bool:
    """Whether an element-wise node adds the constant bias of the product before it."""
    added = node.layer.attributes if node.layer else None
    if not isinstance(added, ElementWise) or added.constant_input is None:
        return False
    return any(producer.kind in _PRODUCTS for producer in wiring.before(node))
