// Copies and fills as kernels, so that a recording is nothing but calls. Tiles are kTileBytes of the range.
#pragma once

#include "schemas/abi/kernel_abi.h"

namespace tern::cpu {

constexpr int64_t kTileBytes = 128 * 1024;

// bindings: source, target; params: length.
int32_t copy_kernel(const tern_kernel_args_t* args, int64_t tile_begin, int64_t tile_end, void* scratch,
                    int64_t scratch_size);

// bindings: target; params: length, pattern, pattern size.
int32_t fill_kernel(const tern_kernel_args_t* args, int64_t tile_begin, int64_t tile_end, void* scratch,
                    int64_t scratch_size);

}  // namespace tern::cpu
