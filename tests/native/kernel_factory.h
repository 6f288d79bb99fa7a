// Small kernels for tests: one op (or a random expression) applied element by element, as a scalar loop or as
// vector code with a masked tail, and the inputs they run on.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::test {

struct CaseBuffer {
  DType dtype;
  std::vector<uint8_t> bytes;
};

constexpr int64_t kCaseElements = 75;  // several vectors and a tail for every width

// out[i] = value(i), vectorised by `lanes` (1: scalar loop); reads are of `inputs`, kCaseElements long each.
kernel::Kernel elementwise_kernel(const std::string& name, const std::vector<kernel::Buffer>& inputs,
                                  DType out, const kernel::Var& i, const kernel::Expr& value, int lanes);

kernel::Buffer input_buffer(const std::string& name, DType dtype);
// Random elements with the type's special values among them.
std::vector<uint8_t> random_bytes(DType dtype, int64_t elements, std::mt19937& random);

// One run: the bindings' contents before, on both sides the same.
using Contents = std::vector<std::vector<uint8_t>>;
Contents random_contents(const kernel::Kernel& kernel, std::mt19937& random);
// The last binding as the evaluator writes it against what was `written`: bit for bit, any NaN for any NaN, 0
// for -0, and `ulps` apart at most for floats. The first difference, or "".
std::string compare_with_evaluator(const kernel::Kernel& kernel, const Contents& before, int32_t code,
                                   const Contents& written, double ulps);

}  // namespace tern::test
