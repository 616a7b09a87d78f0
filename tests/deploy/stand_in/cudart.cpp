// Device memory that is host memory; a copy or an event on no stream, or of the wrong kind, is refused.
#include "cuda_runtime_api.h"

#include <cstdlib>
#include <cstring>

namespace {
char stream, events[16];
int made = 0;
const cudaError_t refused = static_cast<cudaError_t>(1);
}  // namespace

extern "C" {
const char* cudaGetErrorString(cudaError_t) { return "refused by the stand-in"; }
cudaError_t cudaMalloc(void** made, size_t size) { return (*made = std::malloc(size)) && size ? cudaSuccess : refused; }
cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }
cudaError_t cudaMemset(void* memory, int value, size_t size) { return std::memset(memory, value, size), cudaSuccess; }
cudaError_t cudaMemcpy(void* target, const void* source, size_t size, cudaMemcpyKind kind) {
  if (kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDeviceToHost) return refused;
  return std::memcpy(target, source, size), cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size, cudaMemcpyKind kind, cudaStream_t on) {
  return reinterpret_cast<char*>(on) == &stream ? cudaMemcpy(target, source, size, kind) : refused;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned flags) {
  *out = reinterpret_cast<cudaStream_t>(&stream);
  return flags == cudaStreamNonBlocking ? cudaSuccess : refused;
}
cudaError_t cudaStreamSynchronize(cudaStream_t on) {
  return reinterpret_cast<char*>(on) == &stream ? cudaSuccess : refused;
}
cudaError_t cudaEventCreate(cudaEvent_t* out) {
  *out = reinterpret_cast<cudaEvent_t>(&events[made++ % 16]);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t on) {
  return event && reinterpret_cast<char*>(on) == &stream ? cudaSuccess : refused;
}
cudaError_t cudaEventElapsedTime(float* out, cudaEvent_t first, cudaEvent_t last) {
  *out = 1.5F;
  return first && last && first != last ? cudaSuccess : refused;
}
}
