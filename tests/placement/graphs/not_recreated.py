"""Records of public builds that have no network here, and why."""

from __future__ import annotations

NOT_RECREATED = {
    "backboneV2-drive_orin-trt83-1": "a private network, and a build that fails before it places a layer",
    "caffe_inception_v4-unknown-trt8-1": "a remark without a list: all but the SoftMax on the DLA",
    "caffe_prob0_net-xavier_nx-trt71-1": "a private network; its SoftMax on Xavier is a rule of its own",
    "detr_resnet50_fp16_verbose-agx_orin_64gb-trt10330-2": "the build of the verbose log, which is scored in its place",
    "drive_model_327_layers-drive_orin-drive6010-1": "an undisclosed network",
    "hrnet_w32_2048x2560-orin-trt840-1": "fails when the program is submitted, which no placement shows",
    "mtmi_depth_head_int8-drive_orin-trt86-1": "the network lies in a file that is not read here",
    "mtmi_seg_head_int8-drive_orin-trt86-1": "the network lies in a file that is not read here",
    "resnet18_cifar_prefix_int8-unknown-unknown-1": "names no layer, no board and no release; the author calls it open",
    "resnet50_user_fp16-agx_orin-trt8502-1": "a private file whose head is unknown; lists only as images",
    "resnet50_user_int8-agx_orin-trt8502-1": "a private file; some INT8 convolutions fail to compile, unforeseen",
    "sampleNMT-agx_xavier-trt7-1": "a network that a sample builds through TensorRT's API, not from ONNX",
    "sparsedrive_full_int8-orin-unknown-1": "a private graph with plugins",
    "ssd-xavier_nx-unknown-1": "a private network; the names are those of copies",
    "unknown_all_dla-unknown-unknown-1": "an unknown network",
    "unknown_detector_head3-orin-unknown-1": "an unknown network",
    "yolov3-agx_xavier-trt5_6-1": "a Caffe network with a plugin; LeakyReLU is a rule of its own",
    "yolov4_tiny_416-xavier_nx-trt7134-1": "a build that fails inside TensorRT before it places a layer",
    "yolov5_qat_qdq_640_standalone-orin-trt8502-1": "needs quantisation-aware training; Q/DQ in 8.5 has its rule",
    "pyramid_016_032_064_fp16-agx_orin-trt8522-1": "builds on both cores; no layer and no loadable is named",
    "pyramid_int8-agx_orin-trt8522-1": "fails at the formats of its inputs before it places a layer",
    "yolov5s_int8_standalone-orin-trt841-1": "the network lies in a file that is not read here",
}
"""Record → why no network stands for it."""
