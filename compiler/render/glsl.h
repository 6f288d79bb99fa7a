// Kernel IR to GLSL: one compute shader a kernel, for Vulkan 1.1 (the calling convention is
// schemas/abi/kernel_abi.h's Vulkan part). What a device may lack (64-bit numbers, shuffles) is used only by
// kernels that need it, and is said in `needs`, so that the module's executable can ask for it.
//
// Buffers of types below 32 bits are words: loads shift and mask, stores that do not fill whole words are
// atomic, so that neighbours keep their bits; GlslTarget says where 16 and 8 bits are elements of their own.
// Narrow floats travel as float and are rounded after each operation; i64 that is an index is computed with
// 32 bits (kernel/narrow_indices.h), i64 that is data needs 64-bit integers.
#pragma once

#include <string>

#include "compiler/kernel/ir.h"
#include "compiler/support/result.h"

namespace tern::render {

struct GlslNeeds {
  bool int64 = false, float64 = false, shuffle = false;
  bool dots = false;   // GlslTarget::dots
  bool tiles = false;  // cooperative matrices, a newer Shaderc (toolchain/shaderc.h)
};

// What every device that the text is for has.
struct GlslTarget {
  // 16- and 8-bit elements in storage buffers, 16-bit float arithmetic that rounds to nearest even.
  bool narrow = false;
  // Integer dot products of four bytes in a word (VK_KHR_shader_integer_dot_product).
  bool dots = false;
};

struct GlslKernel {
  std::string name;
  std::string text;  // a whole shader with the entry point `main`
  GlslNeeds needs;
};

// The kernel must verify, without kVector loops, with vectors of at most four lanes and with its memory
// assigned. An Error names what has no form in GLSL.
Result<GlslKernel> render_glsl(const kernel::Kernel& kernel, const GlslTarget& target = {});

}  // namespace tern::render
