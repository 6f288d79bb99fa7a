// Executables: a CUDA module and one function an entry.
#pragma once

#include "drivers/cuda/cuda_device.h"

namespace tern::cuda {

struct Function {
  CUfunction handle;
  uint32_t dynamic_limit;  // bytes of dynamic shared memory that a launch may ask for
  uint32_t tensor_count;   // arguments behind its parameters
  const tern_hal_tensor_t* tensors;
};

TERN_MUST_USE tern_status_t cuda_executable_create(tern_hal_device_t* device,
                                                   const tern_hal_executable_desc_t* desc,
                                                   tern_hal_executable_t** out_executable);

const Function& cuda_executable_function(const tern_hal_executable_t* executable, uint32_t entry);

}  // namespace tern::cuda
