"""The real builds that can be re-created: which network, for which target, and what is known to differ.

The target is what the record states; where it states less, `assumed` says what was taken. `not_recreated.py`
tells of every other record why there is no network for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from graphs import caffe, cifar, darknet, resnet, segmentation, small, vision, yolo, yolo26

from dlaflow.observed.shared import read_shared

Draw = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One build.

    `record` is a file of evidence/placement (without .json) or of evidence/artefacts/open. `graph` names the network
    (cases of the same name share the file), `draw` writes it. `everywhere` is the device on which all layers ran, where
    the record says no more. `differs` names layers on which prediction and build are known to disagree,
    `count_differs` that the number of loadables does, `why` the reason. `skip` names entries of parts that are not
    re-created, `means` the layers of ours that a family in the record stands for, `means_ends` those that a shortened
    end of a loadable does, `part` that too little is re-created to count loadables.
    """

    record: str
    graph: str
    draw: Draw
    board: str
    tensorrt: str
    precision: str
    batch: int | None = None
    mode: str = "hybrid"
    everywhere: str = ""
    assumed: str = ""
    differs: tuple[str, ...] = ()
    count_differs: bool = False
    why: str = ""
    skip: tuple[str, ...] = ()
    means: tuple[str, ...] = ()
    means_ends: Mapping[str, str] = field(default_factory=dict, hash=False)
    part: bool = False


def _given(path: Path, build: str) -> Path:
    """Write the graph that stands in the facts of a build."""
    return read_shared(BUILDS / f"{build}.json").save_graph(path)


BUILDS = Path(__file__).resolve().parent.parent / "builds"
_ORIN, _XAVIER, _NX = "agx-orin-64gb", "agx-xavier-32gb", "xavier-nx-8gb"
_slim8 = partial(yolo.yolo11n, classes=8)
_slim80 = partial(yolo.yolo11n)
_raw80 = partial(yolo.yolo11n, slim=False)
_gn_why = (
    "the record lists five subgraphs and no Gemm, while model_bn of the same session has its Gemm on the DLA; the "
    "README shortens its lists, so whether the Gemm's subgraph was cut from the text or left on the GPU cannot be told"
)

LOGS = (
    Case("trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log", "yolo11n-8", _slim8, _XAVIER, "8.5.2", "fp16"),
    Case("nsys_2023.4.4_orin_dla0_trt8.5.2_enq1-6.sqlite", "yolo11n-8", _slim8, _ORIN, "8.5.2", "fp16"),
    Case(
        "trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log",
        "resnet50",
        resnet.resnet50,
        _ORIN,
        "10.3.0",
        "fp16",
    ),
    Case("profile_8.5.2_dla_yolo11n.json", "yolo11n-8", _slim8, _XAVIER, "8.5.2", "fp16"),
    Case("profile_7.1_xavier_googlenet_dla_mark_at_-1.json", "googlenet", caffe.googlenet, _XAVIER, "7.1.3", "fp16"),
    Case(
        "profile_7.1_xavier_googlenet_dla_mark_at_24.json",
        "googlenet",
        caffe.googlenet,
        _XAVIER,
        "7.1.3",
        "fp16",
        assumed="the build's extra output is not marked in the graph",
    ),
)
"""Whole logs, profiles and a capture: every node of the engine is named."""

TUTORIAL = (
    Case(
        "tutorial_model_bn-agx_orin-trt84-1",
        "bn-flat",
        partial(cifar.flat, name="model_bn"),
        _ORIN,
        "8.4.1",
        "int8",
        32,
    ),
    Case("tutorial_model_bn_modified-agx_orin-trt84-1", "bn-pooled", cifar.pooled, _ORIN, "8.4.1", "int8", 32),
    Case(
        "tutorial_model_gn-agx_orin-trt84-1",
        "gn-flat",
        partial(cifar.flat, name="model_gn"),
        _ORIN,
        "8.4.1",
        "int8",
        32,
        count_differs=True,
        why=_gn_why,
    ),
    Case(
        "tutorial_model_bn-agx_orin_64gb-trt852-1",
        "bn",
        partial(cifar.scoped, name="model_bn"),
        _ORIN,
        "8.5.2",
        "int8",
        32,
    ),
    Case(
        "tutorial_model_gn-xavier_nx-trt852-1", "gn", partial(cifar.scoped, name="model_gn"), _NX, "8.5.2", "int8", 32
    ),
)
"""The walk-through on three boards. The first releases are dated 2022 on Orin: 8.4.1 of JetPack 5.0.2."""

CLASSIFIERS = (
    Case("torchvision_resnet50_fp16-agx_orin_64gb-trt103-1", "resnet50", resnet.resnet50, _ORIN, "10.3.0", "fp16"),
    Case("torchvision_resnet50_int8-agx_orin_64gb-trt103-1", "resnet50", resnet.resnet50, _ORIN, "10.3.0", "int8"),
    Case(
        "resnet50_v1_mlperf_int8-agx_orin-trt85-1",
        "resnet50-prepared",
        resnet.resnet50_prepared,
        _ORIN,
        "8.5.2",
        "int8",
        everywhere="DLA",
        assumed="stride in the 3x3, torchvision's symmetric padding",
    ),
    Case(
        "resnet34_backbone_1280x768_int8-agx_orin-trt85-1",
        "resnet34",
        resnet.resnet34_trunk,
        _ORIN,
        "8.5.2",
        "int8",
        everywhere="DLA",
    ),
    Case(
        "caffe_googlenet-agx_orin-trt852-1",
        "googlenet",
        caffe.googlenet,
        "agx-orin-32gb",
        "8.5.2",
        "int8",
        differs=("prob",),
        why="the build allowed no FP16 beside INT8, which SoftMax needs; its script can also put the last layer there",
    ),
    Case("caffe_googlenet-agx_xavier-trt713-1", "googlenet", caffe.googlenet, _XAVIER, "7.1.3", "fp16"),
    Case(
        "resnet50_caffe-xavier_nx-unknown-1",
        "resnet50-caffe",
        caffe.resnet50,
        _NX,
        "7.1.3",
        "fp16",
        everywhere="DLA",
        assumed="7.1.3; the record's group is cut, it holds res2 to res4",
    ),
    Case(
        "pednet_detectnet-xavier_nx-trt71-1",
        "pednet",
        caffe.pednet,
        _NX,
        "7.1.3",
        "fp16",
        everywhere="DLA",
        assumed="7.1.3, input 1024x512",
    ),
    Case(
        "resnet18_convtranspose-agx_xavier-trt713-1",
        "resnet18-deconv",
        resnet.resnet18_deconv,
        _XAVIER,
        "7.1.3",
        "fp16",
        everywhere="DLA",
        assumed="kernel 2, stride 2 of the transposed convolutions",
    ),
)

DETECTORS = (
    Case(
        "retinanet_resnet34_1280x768_int8-agx_orin-trt85-1",
        "retinanet",
        resnet.retinanet,
        _ORIN,
        "8.5.2",
        "int8",
        everywhere="DLA",
    ),
    Case(
        "ssd_mobilenet_v1_int8-agx_orin-trt85-1",
        "ssd",
        vision.ssd_mobilenet,
        _ORIN,
        "8.5.2",
        "int8",
        everywhere="DLA",
    ),
    Case("yolo11n_dla_fp16_strict-orin_62gb-trt1030-1", "yolo11n-dla", yolo.yolo11n_dla, _ORIN, "10.3.0", "fp16"),
    Case("yolo11n_dla_int8_strict-orin_62gb-trt1030-1", "yolo11n-dla", yolo.yolo11n_dla, _ORIN, "10.3.0", "int8"),
    Case("yolo11n_fp16-agx_orin-trt852-1", "yolo11n", _slim80, _ORIN, "8.5.2", "fp16", skip=("(Unnamed",)),
    Case("yolo11n_fp16_strict-orin_62gb-trt1030-1", "yolo11n-raw", _raw80, _ORIN, "10.3.0", "fp16"),
    Case(
        "yolo11s_attention_standalone-agx_orin_64gb-trt10330-1",
        "yolo11n-raw",
        _raw80,
        _ORIN,
        "10.3.0",
        "int8",
        mode="standalone",
        assumed="the nano in place of the small width",
    ),
    Case(
        "yolo26s_fp16-xavier-trt8522-1",
        "yolo26-parts",
        yolo26.yolo26,
        _NX,
        "8.5.2",
        "fp16",
        part=True,
        skip=("(Unnamed", "Concat_6"),
        assumed="a short trunk; both attentions and the head, whose last Concat has another number",
    ),
    Case(
        "yolov5_custom_fp16-unknown-unknown-1",
        "yolov5-head",
        vision.yolov5_head,
        _ORIN,
        "8.5.2",
        "fp16",
        assumed="AGX Orin, 8.5.2; a short trunk before the head",
        skip=("(Unnamed",),
        part=True,
    ),
    Case("yolov4_608-xavier_nx-trt713-1", "yolov4", darknet.yolov4, _NX, "7.1.3", "fp16"),
    Case(
        "yolov4_pytorch-xavier-trt71-1",
        "yolov4-torch",
        darknet.yolov4_torch,
        _NX,
        "7.1.3",
        "fp16",
        count_differs=True,
        skip=("scale_operand_of_", "Cast_", "[Constant]", "Conv_567", "(Unnamed"),
        differs=("Tanh_3", "Mul_4", "Conv_5", "BatchNormalization_6"),
        why="the decoding head is not re-created: its constants enlarge the first group, and it numbers the last Conv",
        assumed="Xavier NX, 7.1.3",
    ),
    Case(
        "yolov4_tiny_416-unknown-trt7-1",
        "yolov4-tiny",
        darknet.yolov4_tiny,
        _NX,
        "7.1.3",
        "fp16",
        skip=("(Unnamed", "route_3"),
        differs=("conv_1", "batch_norm_1", "conv_8", "conv_16", "conv_24", "conv_30", "conv_36"),
        why=(
            "the limit of 8 keeps the larger groups; here the builder did not count a Concat whose inputs come from "
            "the GPU to the group behind it (or had removed it), which makes other groups the larger ones"
        ),
        assumed="Xavier NX, 7.1.3",
    ),
)

OTHERS = (
    *(
        Case(
            f"paceseg_{level}_fp16-{board}-trt8522-1",
            f"paceseg-{level}",
            partial(segmentation.pace_seg, level=level),
            ours,
            "8.5.2",
            "fp16",
        )
        for level in ("tiny", "small", "medium", "large")
        for board, ours in (("agx_xavier", _XAVIER), ("xavier_nx", _NX))
    ),
    Case(
        "onnx_super_resolution_bsd500-unknown-trt8-1",
        "super-resolution",
        caffe.super_resolution,
        _XAVIER,
        "8.2.1",
        "int8",
        assumed="AGX Xavier, 8.2.1 (the record is of February 2022), 224x224",
    ),
    Case(
        "uff_unet_segmentation-unknown-trt8-1",
        "keras-unet",
        caffe.keras_unet,
        _XAVIER,
        "8.2.1",
        "int8",
        assumed="AGX Xavier, 8.2.1 (the record is of February 2022), kernel 2",
    ),
    Case(
        "unet_tf_deconv_same-orin-unknown-1",
        "tf-unet",
        segmentation.tf_unet,
        _ORIN,
        "8.5.2",
        "int8",
        assumed="8.5.2",
        means=("/dec_deconv_1/ConvTranspose", "/dec_deconv_2/ConvTranspose"),
        part=True,
    ),
    Case(
        "sam21_memory_encoder_fp16-orin_nx_16gb-trt10330-1",
        "sam",
        vision.memory_encoder,
        "orin-nx-16gb",
        "10.3.0",
        "fp16",
        skip=("312 layers",),
    ),
    Case("ceil_single_op-drive_orin-trt8612-1", "ceil", small.ceil, "drive-orin", "8.6.12", "int8"),
    Case("sampleCudla_elementwise-orin-trt8-1", "add", small.add, _ORIN, "8.4.1", "fp16", assumed="AGX Orin, 8.4.1"),
    Case(
        "robonav_resnet18_kinogoal_fp16-orin_nx-trt103-1",
        "gates",
        small.gates,
        "orin-nx-16gb",
        "10.3.0",
        "fp16",
        assumed="only the operators that the rewrite had to replace",
        part=True,
    ),
    Case(
        "shufflenet_v2_tf2onnx-unknown-trt7_8-1",
        "open-shapes",
        small.open_shapes,
        _XAVIER,
        "7.1.3",
        "fp16",
        assumed="AGX Xavier, 7.1.3; one unit, height and width open too",
        skip=("Transpose__566", "Reshape", "/transpose", "(Unnamed", "/split"),
    ),
    Case(
        "yolov8_chunk_unsimplified_standalone-agx_orin_64gb-trt10330-1",
        "chunk",
        small.chunk,
        _ORIN,
        "10.3.0",
        "int8",
        mode="standalone",
    ),
    Case(
        "yolov8_chunk_onnxsim_standalone-agx_orin_64gb-trt10330-1",
        "chunk-simplified",
        small.chunk_simplified,
        _ORIN,
        "10.3.0",
        "int8",
        mode="standalone",
    ),
)

LATER = (
    Case(
        "trtexec_10.3.0_orin_dla0_fp16_detr_verbose.log.gz",
        "detr",
        partial(_given, build="trtexec_10.3.0_orin_dla0_fp16_detr_verbose"),
        _ORIN,
        "10.3.0",
        "fp16",
        assumed="the graph is read from the log's own lines; strides and permutations follow from its shapes",
        why="the log lists folded constants and broadcasts as GPU layers, and the builder's shuffles by other names",
    ),
    Case(
        "yolo26n_640_int8-orin_nx_16gb-trt10330-1",
        "yolo26n",
        yolo26.yolo26n,
        "orin-nx-16gb",
        "10.3.0",
        "int8",
        skip=("about 20",),
        why="one layer of the head has another number than in this export",
        means_ends={"/model.23/cv2.0": "/model.23/cv2.0/cv2.0.0/conv/Conv"},
    ),
    Case(
        "resnet34_dualhead_int8_b16-orin_nx_16gb-trt103-1",
        "resnet34-heads",
        resnet.resnet34_heads,
        "orin-nx-16gb",
        "10.3.0",
        "int8",
        everywhere="DLA",
        assumed="ReLU6; the two heads as one convolution",
    ),
    Case(
        "yolo11n_int8_ultralytics-agx_xavier-trt852-1",
        "yolo11n-dynamic",
        yolo.yolo11n_dynamic,
        _XAVIER,
        "8.5.2",
        "int8",
        everywhere="GPU",
        assumed="three raw maps in place of the decoding head",
    ),
    Case(
        "sam21_image_encoder_fp16-orin_nx_16gb-trt103-1",
        "sam-operators",
        small.sam_operators,
        "orin-nx-16gb",
        "10.3.0",
        "fp16",
        assumed="one layer of each operator that the report counts",
        means=("div", "floor", "sqrt", "erf", "sin", "cos", "less", "greater"),
        part=True,
    ),
    Case(
        "sam21_mask_decoder_fp16-orin_nx_16gb-trt103-1",
        "sam-operators",
        small.sam_operators,
        "orin-nx-16gb",
        "10.3.0",
        "fp16",
        assumed="one layer of each operator that the report counts",
        means=("div", "sqrt", "mean", "erf", "pow"),
        part=True,
    ),
    Case(
        "pyramid_064_128_256_fp16-agx_orin-trt8522-1",
        "pyramid-wide",
        partial(small.pyramid_stage, width=256),
        _ORIN,
        "8.5.2",
        "fp16",
        assumed="the convolution that the message fits; the build fails there",
        why="the buffer's rule counted the weights of one kernel where the builder counts 32",
        means=("stage1/conv2",),
        part=True,
    ),
)
"""Builds that were added after the rules and the grouping had been made: what they scored that day is kept."""

CASES = (*LOGS, *TUTORIAL, *CLASSIFIERS, *DETECTORS, *OTHERS, *LATER)
