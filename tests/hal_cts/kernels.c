// The kernels that the conformance suite dispatches. Freestanding: compiled into the test program, and into
// an ELF image that the cpu driver loads. A driver for another kind of device brings the same kernels in its
// own format (see cts.h).
#include "tests/hal_cts/kernels.h"

// target[i] = a[i] + b[i]; params: elements. 64 elements a tile.
int32_t cts_add(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                int64_t scratch_size) {
  (void)scratch, (void)scratch_size;
  const int32_t* a = (const int32_t*)args->bindings[0];
  const int32_t* b = (const int32_t*)args->bindings[1];
  int32_t* target = (int32_t*)args->bindings[2];
  const int64_t count = args->params[0];
  for (int64_t i = begin * 64; i < end * 64 && i < count; ++i) target[i] = a[i] + b[i];
  return TERN_KERNEL_OK;
}

// target[i] = source[i] * params[1] + params[2]; params[0]: elements. 64 elements a tile.
int32_t cts_affine(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                   int64_t scratch_size) {
  (void)scratch, (void)scratch_size;
  const int32_t* source = (const int32_t*)args->bindings[0];
  int32_t* target = (int32_t*)args->bindings[1];
  const int64_t count = args->params[0];
  for (int64_t i = begin * 64; i < end * 64 && i < count; ++i) {
    target[i] = (int32_t)(source[i] * args->params[1] + args->params[2]);
  }
  return TERN_KERNEL_OK;
}

// Fails with the code params[1] on the tile params[0].
int32_t cts_fail(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                 int64_t scratch_size) {
  (void)scratch, (void)scratch_size;
  return begin <= args->params[0] && args->params[0] < end ? (int32_t)args->params[1] : TERN_KERNEL_OK;
}

// target[tile] = the sum of 0 … scratch_size - 1 mod 251, by way of the scratch memory.
int32_t cts_scratch(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                    int64_t scratch_size) {
  int32_t* target = (int32_t*)args->bindings[0];
  volatile uint8_t* bytes = (volatile uint8_t*)scratch;
  if (scratch_size < args->params[0]) return TERN_KERNEL_SCRATCH_TOO_SMALL;
  for (int64_t tile = begin; tile < end; ++tile) {
    int32_t sum = 0;
    for (int64_t i = 0; i < args->params[0]; ++i) bytes[i] = (uint8_t)((i + tile) % 251);
    for (int64_t i = 0; i < args->params[0]; ++i) sum += bytes[i];
    target[tile] = sum;
  }
  return TERN_KERNEL_OK;
}

// target[i] = params[i], four of them, 64 bits each. One tile.
int32_t cts_store_params(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                         int64_t scratch_size) {
  (void)scratch, (void)scratch_size, (void)begin, (void)end;
  int64_t* target = (int64_t*)args->bindings[0];
  target[0] = args->params[0];
  target[1] = args->params[1];
  target[2] = args->params[2];
  target[3] = args->params[3];
  return TERN_KERNEL_OK;
}

// target[tile] += 1.
int32_t cts_mark(const tern_kernel_args_t* args, int64_t begin, int64_t end, void* scratch,
                 int64_t scratch_size) {
  (void)scratch, (void)scratch_size;
  uint8_t* target = (uint8_t*)args->bindings[0];
  for (int64_t tile = begin; tile < end; ++tile) target[tile] = (uint8_t)(target[tile] + 1);
  return TERN_KERNEL_OK;
}
