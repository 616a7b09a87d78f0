"""What the agent knows of TensorRT: written by scripts/generate_docs from targets/features.toml."""

TYPED_ONLY_SINCE = (11, 0)
EXPLICIT_BATCH_UNTIL = (9,)
TAKES_FILE = """
    calib deploy engine exportLayerInfo exportOutput exportProfile exportTimes loadEngine onnx saveEngine
"""
TAKES_FILES = """
    plugins staticPlugins
"""
TAKES_TENSORS = """
    loadInputs
"""
TAKES_TEXT = """
    adjustForDLA allowGPUFallback avgRuns batch buildDLAStandalone buildOnly builderOptimizationLevel
    dumpLayerInfo dumpProfile duration explicitBatch fp16 idleTime includeDataTransfers inputIOFormats int8
    iterations layerDeviceTypes layerPrecisions maxShapes memPoolSize minShapes noCudaGraph noDataTransfers
    noSpinWait optShapes output outputIOFormats precisionConstraints profilingVerbosity safe
    separateProfileRun shapes skipInference sparsity stronglyTyped uint8AsymmetricQuantizationDLA useCudaGraph
    useDLACore useSpinWait verbose versionCompatible warmUp workspace
"""
