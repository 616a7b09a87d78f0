"""All rewrites, named one by one: a rewrite that is not here is never tried. Unrolling is tried when asked for."""

from __future__ import annotations

from dlaflow.rewrites.arithmetic import Arithmetic
from dlaflow.rewrites.attention import Attention
from dlaflow.rewrites.base import SAFETIES, Rewrite, Safety
from dlaflow.rewrites.batch_normalization import BatchNormFolding
from dlaflow.rewrites.broadcasting import Broadcasting, Expansion
from dlaflow.rewrites.channel_scale import ChannelScale
from dlaflow.rewrites.channels_first import ChannelsFirst
from dlaflow.rewrites.constant_mask import ConstantMask
from dlaflow.rewrites.constant_selection import ConstantSelection
from dlaflow.rewrites.convolution_parts import ConvolutionParts
from dlaflow.rewrites.cumulative_sum import CumulativeSum
from dlaflow.rewrites.data_movement import DataMovement
from dlaflow.rewrites.fully_connected import FullyConnected
from dlaflow.rewrites.group_normalization import GroupNormalizationShape
from dlaflow.rewrites.hard_activations import ClipByElements, HardActivation, IdleClamp, LeakyByElements
from dlaflow.rewrites.masks import ComparisonByStep, LogicInFloats, SelectByMask
from dlaflow.rewrites.padding import Padding
from dlaflow.rewrites.pooling_windows import PoolingWindows
from dlaflow.rewrites.recurrence import Unrolling
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
    ConstantSelection,
    DataMovement,
    ConstantMask,
    CumulativeSum,
    SelectByMask,
    LogicInFloats,
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
    ComparisonByStep,
)


def allowed(allow: Safety, unroll: int = 0) -> tuple[Rewrite, ...]:
    """The rewrites that are at least as safe as `allow`, and that of recurrences of at most `unroll` steps."""
    reach = SAFETIES.index(allow.value)
    found = tuple(rewrite() for rewrite in REWRITES if SAFETIES.index(rewrite.safety.value) <= reach)
    return (*found, Unrolling(unroll)) if unroll else found
