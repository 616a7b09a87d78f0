// TensorRT's C++ API as far as the program calls it, written by us after the classes and signatures of 8.6.1 to 11.
// Its engine has one input and one output of 2x3 floats, named in the environment, and doubles what it is given.
// It ends the program where the core is set after the engine is loaded, or a buffer is missing.
#pragma once
#include "cuda_runtime_api.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int32_t getInferLibVersion() noexcept;

namespace nvinfer1 {

[[noreturn]] inline void wrong(const char* what) {
  std::fprintf(stderr, "stand-in: %s\n", what);
  std::exit(9);
}

enum class DataType : int32_t { kFLOAT = 0, kHALF = 1, kINT8 = 2, kINT32 = 3, kBOOL = 4, kUINT8 = 5 };
enum class TensorFormat : int32_t { kLINEAR = 0 };
enum class TensorIOMode : int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };

struct Dims {
  static constexpr int32_t MAX_DIMS{8};
  int32_t nbDims;
  int64_t d[MAX_DIMS];
};

class ILogger {
 public:
  enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
  virtual void log(Severity severity, const char* message) noexcept = 0;
  virtual ~ILogger() = default;
};

inline std::string nameOf(bool input) { return std::getenv(input ? "STAND_IN_INPUT" : "STAND_IN_OUTPUT"); }

class IExecutionContext {
 public:
  bool setInputShape(char const* name, Dims const& dims) noexcept {
    return name == nameOf(true) && dims.nbDims == 2 && dims.d[0] == 2 && dims.d[1] == 3;
  }
  Dims getTensorShape(char const*) const noexcept { return {2, {2, 3}}; }
  bool setTensorAddress(char const* name, void* data) noexcept {
    (name == nameOf(true) ? mInput : mOutput) = static_cast<float*>(data);
    return name == nameOf(true) || name == nameOf(false);
  }
  bool enqueueV3(cudaStream_t) noexcept {
    if (!mInput || !mOutput) wrong("a buffer is missing");
    for (int index = 0; index < 6; ++index) mOutput[index] = 2 * mInput[index];
    return true;
  }

 private:
  float* mInput{};
  float* mOutput{};
};

class ICudaEngine {
 public:
  IExecutionContext* createExecutionContext() noexcept { return new IExecutionContext; }
  int32_t getNbIOTensors() const noexcept { return 2; }
  char const* getIOTensorName(int32_t index) const noexcept { return (index ? mOutput : mInput).c_str(); }
  TensorIOMode getTensorIOMode(char const* name) const noexcept {
    return name == mInput ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  DataType getTensorDataType(char const*) const noexcept { return DataType::kFLOAT; }
  TensorFormat getTensorFormat(char const*) const noexcept { return TensorFormat::kLINEAR; }

 private:
  std::string mInput{nameOf(true)}, mOutput{nameOf(false)};
};

class IRuntime {
 public:
  int32_t getNbDLACores() const noexcept { return 2; }
  void setDLACore(int32_t core) noexcept {
    if (mLoaded) wrong("the core is set after the engine is loaded");
    std::printf("core %d\n", core);
  }
  void setEngineHostCodeAllowed(bool) noexcept {}
  ICudaEngine* deserializeCudaEngine(void const* plan, std::size_t size) noexcept {
    mLoaded = true;
    return size == 4 && !std::memcmp(plan, "plan", 4) ? new ICudaEngine : nullptr;
  }

 private:
  bool mLoaded{};
};

inline IRuntime* createInferRuntime(ILogger&) noexcept { return new IRuntime; }

}  // namespace nvinfer1

extern "C" inline int32_t getInferLibVersion() noexcept { return 8602; }
