"""Networks of the Caffe and Keras days, written by hand with the names that their logs print."""

from __future__ import annotations

from pathlib import Path

from graphs.writer import Window, Writer

_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels of 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5 and pool_proj."""


def googlenet(path: Path) -> Path:
    """BVLC GoogLeNet with LRN; the classifier is a 1x1 convolution, as Caffe's InnerProduct keeps four dimensions."""
    pen = Writer()
    x = _trunk(pen, pen.input("data", [1, 3, 224, 224]), ("3b", "4e"))
    x = pen.pool("AveragePool", "pool5/7x7_s1", x, 7, 1)
    x = pen.conv("loss3/classifier", x, 1000, 1)
    return pen.save(path, [pen.node("Softmax", "prob", [x], axis=1)])


def pednet(path: Path) -> Path:
    """DetectNet on the same trunk with one pooling less: coverage and boxes as two convolutions."""
    pen = Writer()
    x = _trunk(pen, pen.input("data", [1, 3, 512, 1024]), ("3b",))
    coverage = pen.node("Sigmoid", "coverage/sig", [pen.conv("cvg/classifier", x, 1, 1)])
    return pen.save(path, [coverage, pen.conv("bbox/regressor", x, 4, 1)])


def _trunk(pen: Writer, x: str, pooled_after: tuple[str, ...]) -> str:
    """Everything up to the last inception block."""

    def conv(name: str, x: str, channels: int, kernel: int, stride: int = 1) -> str:
        out = pen.conv(name, x, channels, kernel, Window(stride=stride))
        folder, last = name.rsplit("/", 1)
        return pen.node("Relu", f"{folder}/relu_{last.removesuffix('_s2')}", [out])

    x = conv("conv1/7x7_s2", x, 64, 7, 2)
    x = pen.pool("MaxPool", "pool1/3x3_s2", x, 3, 2, ceil=True)
    x = pen.node("LRN", "pool1/norm1", [x], size=5, alpha=0.0001, beta=0.75)
    x = conv("conv2/3x3", conv("conv2/3x3_reduce", x, 64, 1), 192, 3)
    x = pen.node("LRN", "conv2/norm2", [x], size=5, alpha=0.0001, beta=0.75)
    x = pen.pool("MaxPool", "pool2/3x3_s2", x, 3, 2, ceil=True)
    for block, (c1, r3, c3, r5, c5, pp) in _INCEPTIONS.items():
        name = f"inception_{block}"
        parts = [
            conv(f"{name}/1x1", x, c1, 1),
            conv(f"{name}/3x3", conv(f"{name}/3x3_reduce", x, r3, 1), c3, 3),
            conv(f"{name}/5x5", conv(f"{name}/5x5_reduce", x, r5, 1), c5, 5),
            conv(f"{name}/pool_proj", pen.pool("MaxPool", f"{name}/pool", x, 3, 1, 1), pp, 1),
        ]
        x = pen.concat(f"{name}/output", parts)
        if block in pooled_after:
            x = pen.pool("MaxPool", f"pool{int(block[0])}/3x3_s2", x, 3, 2, ceil=True)
    return x


def resnet50(path: Path) -> Path:
    """Caffe's ResNet-50 with its stride in the first 1x1, a norm and a scale after each convolution."""
    pen = Writer()

    def unit(block: str, branch: str, x: str, channels: int, kernel: int, stride: int = 1) -> str:
        x = pen.conv(f"res{block}_branch{branch}", x, channels, kernel, Window(stride=stride, bias=False))
        return pen.norm(f"scale{block}_branch{branch}", pen.norm(f"bn{block}_branch{branch}", x))

    x = pen.conv("conv1", pen.input("data", [1, 3, 224, 224]), 64, 7, Window(stride=2))
    x = pen.node("Relu", "conv1_relu", [pen.norm("scale_conv1", pen.norm("bn_conv1", x))])
    x = pen.pool("MaxPool", "pool1", x, 3, 2, ceil=True)
    for stage, count in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for index in range(count):
            block, stride = f"{stage + 2}{'abcdef'[index]}", 2 if stage and not index else 1
            side = x if index else unit(block, "1", x, 4 * width, 1, stride)
            x = pen.node("Relu", f"res{block}_branch2a_relu", [unit(block, "2a", x, width, 1, stride)])
            x = pen.node("Relu", f"res{block}_branch2b_relu", [unit(block, "2b", x, width, 3)])
            x = pen.node("Add", f"res{block}", [unit(block, "2c", x, 4 * width, 1), side])
            x = pen.node("Relu", f"res{block}_relu", [x])
    return pen.save(path, [pen.conv("fc1000", pen.pool("AveragePool", "pool5", x, 7, 1), 1000, 1)])


def keras_unet(path: Path) -> Path:
    """Keras' U-Net as the UFF importer made it: unpadded transposed convolutions, a cropping slice, the bias as Scale.

    The kernel is not in the record: 2x2 is Keras' habit, and TensorRT 8.2 asked for a stride equal to the kernel.
    """
    pen = Writer()
    count = 0

    def pair(x: str, channels: int) -> str:
        nonlocal count
        for _ in range(2):
            count += 1
            x = pen.conv(f"conv2d_{count}/convolution", x, channels, 3)
            x = pen.node("Relu", f"conv2d_{count}/Relu", [x])
        return x

    x = pen.input("input_1", [1, 1, 512, 512])
    kept = []
    for level, channels in enumerate((32, 64, 128, 256, 512)):
        if level:
            x = pen.pool("MaxPool", f"max_pooling2d_{level}/MaxPool", x, 2, 2)
        x = pair(x, channels)
        kept.append(x)
    starts, axes = pen.constant("starts", [0, 0], "int64"), pen.constant("axes", [2, 3], "int64")
    for index, layer in enumerate((67, 95, 123, 151), start=1):
        channels, size = 512 >> index, 32 << index
        x = pen.deconv(f"(Unnamed Layer* {layer}) [Deconvolution]", x, channels, 2, 2)
        ends = pen.constant(f"ends_{index}", [size, size], "int64")
        x = pen.node("Slice", f"conv2d_transpose_{index}/conv2d_transpose", [x, starts, ends, axes])
        x = pen.norm(f"conv2d_transpose_{index}/BiasAdd", x)
        x = pair(pen.concat(f"concatenate_{index}/concat", [x, kept[4 - index]]), channels)
    x = pen.conv("conv2d_19/convolution", x, 1, 3)
    x = pen.node("Sigmoid", "conv2d_19/Sigmoid_HL_1804289383", [x])
    return pen.save(path, [pen.node("Transpose", "conv2d_19/Sigmoid", [x], perm=[0, 2, 3, 1])])


def super_resolution(path: Path) -> Path:
    """The sub-pixel network of PyTorch's examples: four convolutions, then the pixel shuffle; nodes carry no names."""
    pen = Writer()
    x = pen.input("input", [1, 1, 224, 224])
    for index, (channels, kernel) in enumerate(((64, 5), (64, 3), (32, 3), (9, 3))):
        x = pen.conv(str(9 + 2 * index), x, channels, kernel)
        if index < 3:
            x = pen.node("Relu", str(10 + 2 * index), [x])
    x = pen.node("Reshape", "17", [x, pen.constant("16", [-1, 1, 3, 3, 224, 224], "int64")])
    x = pen.node("Transpose", "18", [x], perm=[0, 1, 4, 2, 5, 3])
    x = pen.node("Reshape", "output_0", [x, pen.constant("19", [-1, 1, 672, 672], "int64")])
    return pen.save(path, [x], named=False)
