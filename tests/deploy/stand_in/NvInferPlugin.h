// The one call of TensorRT's plugin library.
#pragma once
#include "NvInfer.h"

extern "C" inline bool initLibNvInferPlugins(void*, char const*) { return true; }
