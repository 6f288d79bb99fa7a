#include "drivers/cuda/cuda_status.h"

namespace tern::cuda {

tern_status_code_t cuda_status_code(CUresult result) {
  switch (result) {
    case CUDA_SUCCESS:
      return TERN_STATUS_OK;
    case CUDA_ERROR_OUT_OF_MEMORY:
      return TERN_STATUS_OUT_OF_MEMORY;
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
      return TERN_STATUS_INCOMPATIBLE;
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_INVALID_SOURCE:
      return TERN_STATUS_MALFORMED;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_NOT_FOUND:
      return TERN_STATUS_NOT_FOUND;
    case CUDA_ERROR_NOT_PERMITTED:
      return TERN_STATUS_PERMISSION_DENIED;
    case CUDA_ERROR_OPERATING_SYSTEM:
      return TERN_STATUS_IO_ERROR;
    // The context is unusable from here on.
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_INVALID_CONTEXT:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_SYSTEM_NOT_READY:
      return TERN_STATUS_DEVICE_LOST;
    default:
      // 714 … 719: a kernel did something that the hardware stopped.
      return result >= CUDA_ERROR_HARDWARE_STACK_ERROR && result <= CUDA_ERROR_LAUNCH_FAILED
                 ? TERN_STATUS_DEVICE_LOST
                 : TERN_STATUS_INTERNAL;
  }
}

tern_status_t cuda_status([[maybe_unused]] tern_allocator_t allocator, const Symbols* symbols,
                          CUresult result, [[maybe_unused]] const char* call) {
  if (__builtin_expect(result == CUDA_SUCCESS, 1)) return TERN_OK;
  const char *name = nullptr, *text = nullptr;
  if (symbols->GetErrorName(result, &name) != CUDA_SUCCESS || !name) name = "an error unknown to the driver";
  if (symbols->GetErrorString(result, &text) != CUDA_SUCCESS || !text) text = "no description";
  return tern_status_make(allocator, cuda_status_code(result), "%s failed with %s (%d): %s.", call, name,
                          result, text);
}

}  // namespace tern::cuda
