"""All rewrites, named one by one: a rewrite that is not here is never tried."""

from __future__ import annotations

from dlaflow.rewrites.arithmetic import Arithmetic
from dlaflow.rewrites.attention import Attention
from dlaflow.rewrites.base import SAFETIES, Rewrite, Safety
from dlaflow.rewrites.batch_normalization import BatchNormFolding
from dlaflow.rewrites.broadcasting import Broadcasting, Expansion
from dlaflow.rewrites.channel_scale import ChannelScale
from dlaflow.rewrites.channels_first import ChannelsFirst
from dlaflow.rewrites.convolution_parts import ConvolutionParts
from dlaflow.rewrites.data_movement import DataMovement
from dlaflow.rewrites.fully_connected import FullyConnected
from dlaflow.rewrites.group_normalization import GroupNormalizationShape
from dlaflow.rewrites.hard_activations import ClipByElements, HardActivation, IdleClamp, LeakyByElements
from dlaflow.rewrites.padding import Padding
from dlaflow.rewrites.pooling_windows import PoolingWindows
from dlaflow.rewrites.reductions import ChannelReduction, MaxPooling, MeanPooling
from dlaflow.rewrites.resize import ResizeByScales
from dlaflow.rewrites.smooth_activations import GeluBySigmoid, MishBySigmoid, SoftplusBySigmoid
from dlaflow.rewrites.transposed_convolution import TransposedConvolution

REWRITES: tuple[type[Rewrite], ...] = (
    MeanPooling,
    MaxPooling,
    FullyConnected,
    BatchNormFolding,
    IdleClamp,
    HardActivation,
    ClipByElements,
    LeakyByElements,
    Arithmetic,
    ChannelScale,
    Broadcasting,
    Padding,
    PoolingWindows,
    DataMovement,
    TransposedConvolution,
    ResizeByScales,
    ChannelsFirst,
    Attention,
    ConvolutionParts,
    ChannelReduction,
    Expansion,
    GroupNormalizationShape,
    GeluBySigmoid,
    MishBySigmoid,
    SoftplusBySigmoid,
)


def allowed(allow: Safety) -> tuple[Rewrite, ...]:
    """The rewrites that are at least as safe as `allow`."""
    reach = SAFETIES.index(allow.value)
    return tuple(rewrite() for rewrite in REWRITES if SAFETIES.index(rewrite.safety.value) <= reach)
