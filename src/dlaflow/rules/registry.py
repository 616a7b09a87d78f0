"""All rules, named one by one: a rule that is not here does not exist."""

from __future__ import annotations

from dlaflow.errors import unknown_name
from dlaflow.rules import (
    activation,
    convolution,
    deconvolution,
    elementwise,
    general,
    joining,
    model,
    moving,
    normalization,
    pooling,
    products,
    reductions,
    typed,
    unsupported,
)
from dlaflow.rules.base import ModelRule, Rule
from dlaflow.rules.convolution_buffer import ConvBuffer
from dlaflow.rules.limits_of_model import LoadableLimit, LoadableMemory, PlacementRule, StandaloneLeftovers
from dlaflow.rules.reading import READING_RULES

PLACEMENT_RULES: tuple[type[PlacementRule], ...] = (
    LoadableLimit,
    StandaloneLeftovers,
    LoadableMemory,
    typed.FloatPorts,
)

MODEL_RULES: tuple[type[ModelRule], ...] = (
    model.BoardHasDla,
    model.ReleaseHasDla,
    model.GenerationOnRelease,
    model.FixedInputs,
    model.ExplicitQuantization,
    model.StronglyTyped,
    model.Fp16OnOrin,
    typed.AsymmetricPairs,
    typed.ActivationAxis,
    *PLACEMENT_RULES,
    model.SliceNumbers,
    *READING_RULES,
)

LAYER_RULES: tuple[type[Rule], ...] = (
    unsupported.NotListed,  # first: the size of a layer that never runs on the DLA says nothing
    general.EffectiveBatch,
    general.Dimensions,
    general.StaticShapes,
    general.KnownShapes,
    general.NumberTypes,
    general.FourDimensions,
    general.LiftedRank,
    typed.FloatLayer,
    convolution.ConvKernelSize,
    convolution.ConvPadding,
    convolution.ConvPaddingBelowKernel,
    convolution.ConvStride,
    convolution.ConvDilation,
    convolution.ConvOutputChannels,
    convolution.ConvInputChannels,
    convolution.ConvGroups,
    convolution.ConvTwoDimensional,
    convolution.ConvConstantWeights,
    ConvBuffer,
    deconvolution.DeconvKernelSize,
    deconvolution.DeconvStride,
    deconvolution.DeconvLargeSquare,
    deconvolution.DeconvPadding,
    deconvolution.DeconvOutputPadding,
    deconvolution.DeconvGroups,
    deconvolution.DeconvDilation,
    deconvolution.DeconvChannels,
    deconvolution.DeconvStrideIsKernel,
    deconvolution.DeconvTwoDimensional,
    pooling.PoolWindow,
    pooling.PoolPadding,
    pooling.PoolPaddingBelowWindow,
    pooling.PoolStride,
    pooling.PoolInclusive,
    pooling.PoolDilation,
    pooling.PoolTwoDimensional,
    activation.ActivationType,
    activation.ClipRange,
    activation.SmoothInInt8,
    activation.PreluSlope,
    elementwise.ElementWiseOperation,
    elementwise.Broadcast,
    elementwise.SameTensorTwice,
    elementwise.ConstantOperand,
    elementwise.Comparison,
    elementwise.EqualRanges,
    products.ConstantMatrix,
    products.FeatureCount,
    products.ProductRank,
    normalization.LrnWindow,
    normalization.NormalizationLayer,
    joining.ConcatAxis,
    joining.ConcatInputs,
    joining.ConcatConstant,
    joining.ConcatOfPoints,
    joining.ResizeAvailable,
    joining.ResizeMode,
    joining.ResizeScales,
    joining.ResizeBySize,
    moving.SliceAvailable,
    moving.SliceStatic,
    moving.SliceSteps,
    moving.SliceBatch,
    moving.SliceRank,
    moving.SliceMode,
    moving.Repeat,
    moving.ShuffleAvailable,
    moving.ShuffleRank,
    moving.ShuffleBatch,
    moving.ShuffleBesideSlice,
    reductions.ReduceOperation,
    reductions.ReduceAxes,
    reductions.SoftmaxAvailable,
    reductions.SoftmaxAxis,
    reductions.SoftmaxSize,
    reductions.UnaryOperation,
    unsupported.GatherLayer,
    unsupported.SelectLayer,
    unsupported.IdentityLayer,
    unsupported.CastLayer,
    unsupported.ConstantLayer,
    unsupported.UnknownOperator,
    unsupported.QuantizeLayer,
    typed.UnequalScales,
    typed.PairRank,
    typed.DoubtfulPair,
)

RULES: tuple[type[Rule], ...] = (*MODEL_RULES, *LAYER_RULES)


def find_rule(id: str) -> type[Rule]:
    """The rule of an id such as DLA110 (or its class name), whatever its case.

    Raises UsageError that names the nearest rule.
    """
    wanted = id.strip().lower()
    for rule in RULES:
        if wanted in {rule.id.lower(), rule.__name__.lower()}:
            return rule
    raise unknown_name("rule", id, [rule.id for rule in RULES], [rule.__name__ for rule in RULES])
