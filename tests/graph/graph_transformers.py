"""Vision models of the transformers library with few, narrow layers and random weights, for the differential test."""

from __future__ import annotations

from collections.abc import Callable

from graph_networks import Case
from torch import Tensor, nn


class First(nn.Module):
    """The first tensor of a model's answer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        answer = self.model(pixel_values=pixels)
        return next(value for value in answer.to_tuple() if isinstance(value, Tensor))


def _model(name: str, **settings: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config_class = getattr(transformers, f"{name}Config")
        kind = settings.pop("head", "ForImageClassification")
        config = config_class(**settings)
        config._attn_implementation = "eager"
        config.return_dict = True
        return First(getattr(transformers, f"{name}{kind}")(config).eval())

    return build


_SIZE = ((1, 3, 64, 64),)

TRANSFORMERS: dict[str, Case] = {
    "resnet": Case(_model("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"), _SIZE),
    "mobilenet_v1": Case(_model("MobileNetV1", depth_multiplier=0.25, image_size=64), _SIZE),
    "mobilenet_v2": Case(_model("MobileNetV2", depth_multiplier=0.25, image_size=64), _SIZE),
    "regnet": Case(_model("RegNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4), _SIZE),
    "convnext": Case(_model("ConvNext", hidden_sizes=[8, 16], depths=[1, 1], num_stages=2), _SIZE),
    "convnext_v2": Case(_model("ConvNextV2", hidden_sizes=[8, 16], depths=[1, 1], num_stages=2), _SIZE),
    "vit": Case(
        _model("ViT", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=64),
        _SIZE,
    ),
    "deit": Case(
        _model("DeiT", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=64),
        _SIZE,
    ),
    "swin": Case(_model("Swin", image_size=64, embed_dim=8, depths=[2], num_heads=[2], window_size=4), _SIZE),
    "segformer": Case(
        _model(
            "Segformer",
            head="ForSemanticSegmentation",
            hidden_sizes=[8, 16],
            depths=[1, 1],
            num_encoder_blocks=2,
            num_attention_heads=[1, 2],
            sr_ratios=[4, 2],
            patch_sizes=[7, 3],
            strides=[4, 2],
            mlp_ratios=[2, 2],
            decoder_hidden_size=16,
        ),
        _SIZE,
    ),
    "mobilevit": Case(
        _model("MobileViT", image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 16, 16, 32]),
        _SIZE,
    ),
    "poolformer": Case(
        _model("PoolFormer", hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], num_encoder_blocks=4), _SIZE
    ),
    "levit": Case(
        _model(
            "Levit",
            image_size=64,
            hidden_sizes=[16, 24, 32],
            num_attention_heads=[2, 2, 2],
            depths=[1, 1, 1],
            key_dim=[8, 8, 8],
        ),
        _SIZE,
    ),
    "yolos": Case(
        _model(
            "Yolos",
            head="ForObjectDetection",
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=[64, 64],
            num_detection_tokens=5,
            use_mid_position_embeddings=False,
        ),
        _SIZE,
    ),
    "dpt": Case(
        _model(
            "DPT",
            head="ForDepthEstimation",
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=64,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 8, 8, 8],
            fusion_hidden_size=8,
        ),
        _SIZE,
    ),
    "textnet": Case(
        _model("TextNet", stem_num_channels=3, stem_out_channels=8, hidden_sizes=[8, 8, 16, 16, 16]), _SIZE
    ),
    "hgnet_v2": Case(_model("HGNetV2"), _SIZE),
    "pvt_v2": Case(
        _model(
            "PvtV2",
            hidden_sizes=[8, 16],
            depths=[1, 1],
            num_encoder_blocks=2,
            num_attention_heads=[1, 2],
            image_size=64,
            sr_ratios=[4, 2],
            patch_sizes=[7, 3],
            strides=[4, 2],
            mlp_ratios=[2, 2],
        ),
        _SIZE,
    ),
}
