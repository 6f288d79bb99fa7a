// Kernel IR to C text, or CUDA C++ (cuda_frame.cc) for GPU levels. A kernel is rendered once a level; kernels
// of one level are joined to translation units by unit_text. The text is freestanding C for clang (vector
// extensions): no headers, no library, no undefined behaviour. Compile it with the toolchain's flags
// (-fwrapv, -ffp-contract=off, …).
#pragma once

#include <string>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/render/c_target.h"
#include "compiler/render/helpers.h"
#include "compiler/support/result.h"

namespace tern::render {

struct RenderedKernel {
  std::string name;
  const Dialect* dialect = nullptr;
  std::string comment;  // source nodes and schedule
  std::string head;     // what stands before the name
  // From the parameter list on: equal bodies (with equal helpers) are the same code under other names.
  std::string body;
  std::vector<Helper> helpers;
};

// The kernel must verify, without kVector loops, and with scratch assigned. An Error names what the target
// cannot express.
Result<RenderedKernel> render_c(const kernel::Kernel& kernel, const CTarget& target);

// One translation unit: definitions that its kernels need, each once, then the kernels.
std::string unit_text(const std::vector<const RenderedKernel*>& kernels);

}  // namespace tern::render
