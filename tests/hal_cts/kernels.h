// The conformance suite's kernels: a row is a name, its number of bindings and of parameters. Order is the
// entry index.
#pragma once

#include "schemas/abi/kernel_abi.h"

#define CTS_KERNELS(ROW)  \
  ROW(add, 3, 1)          \
  ROW(affine, 2, 3)       \
  ROW(fail, 0, 2)         \
  ROW(scratch, 1, 1)      \
  ROW(store_params, 1, 4) \
  ROW(mark, 1, 0)

#ifdef __cplusplus
extern "C" {
#endif

#define ROW(name, bindings, params) \
  int32_t cts_##name(const tern_kernel_args_t*, int64_t, int64_t, void*, int64_t);
CTS_KERNELS(ROW)
#undef ROW

enum {
#define ROW(name, bindings, params) CTS_KERNEL_##name,
  CTS_KERNELS(ROW)
#undef ROW
      CTS_KERNEL_COUNT
};

#ifdef __cplusplus
}  // extern "C"
#endif
