#include <doctest/doctest.h>

#include "tests/native/cuda_on_host.h"

namespace tern::test {
namespace {

using namespace kernel;

TEST_CASE("cuda text on the host: scalar ops agree with the evaluator") {
  check_cuda_on_host(op_cases("cuda_sm_80", true), "ops");
}

TEST_CASE("cuda text on the host: conversions agree with the evaluator") {
  std::vector<Case> cases;
  for (DType from : all_types()) {
    for (DType to : all_types()) {
      if (from == DType::kString || to == DType::kString || from == to) continue;
      const bool scalar = is_complex(from) || is_complex(to) || cases.size() % 2 == 0;
      const int lanes = scalar ? 1 : 4;
      Var i = make_var("i");
      std::vector<Buffer> inputs = {input_buffer("x", from)};
      Expr value = cast(load(inputs[0], var_expr(i)), to);
      cases.push_back({elementwise_kernel(fmt::format("k{}", cases.size()), inputs, to, i, value, lanes),
                       fmt::format("cast {} to {} x {}", dtype_name(from), dtype_name(to), lanes), 0});
    }
  }
  check_cuda_on_host(cases, "conversions");
}

}  // namespace
}  // namespace tern::test
