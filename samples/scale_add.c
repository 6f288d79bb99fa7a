// The kernels of scale_add.tvm, written as ternc writes them: freestanding, position-independent, without
// imports.
#include "schemas/abi/kernel_abi.h"

int32_t add(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch, int64_t scratch_size) {
  (void)scratch, (void)scratch_size;
  const float* a = args->bindings[0];
  const float* b = args->bindings[1];
  float* out = args->bindings[2];
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t k = 0; k < 4; ++k) out[4 * i + k] = a[4 * i + k] + b[k];
  }
  return TERN_KERNEL_OK;
}

int32_t scale(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
              int64_t scratch_size) {
  (void)scratch, (void)scratch_size;
  const float* in = args->bindings[0];
  float* out = args->bindings[1];
  const float factor = (float)args->params[0];
  for (int64_t i = begin * 4; i < end * 4; ++i) out[i] = in[i] * factor;
  return TERN_KERNEL_OK;
}
