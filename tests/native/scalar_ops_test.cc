// Every scalar op on every type that takes it, and every conversion: evaluator against machine code, as
// scalars and as vectors with tails.
#include <doctest/doctest.h>

#include "tests/native/guarded_run.h"
#include "tests/native/native_kernel.h"
#include "tests/native/op_cases.h"

namespace tern::test {
namespace {

using namespace kernel;

void run_cases(const std::vector<Case>& cases, const std::string& level) {
  std::vector<Kernel> kernels;
  for (const Case& c : cases) kernels.push_back(c.kernel);
  auto image = compile(kernels, level);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
  LoadedImage loaded(*image);
  std::mt19937 random(7);
  for (size_t k = 0; k < cases.size(); ++k) {
    for (int round = 0; round < 3; ++round) {
      std::string problem = compare_runs(cases[k].kernel, loaded.function(k), random, cases[k].ulps);
      CHECK_MESSAGE(problem.empty(), level << ": " << cases[k].what << ": " << problem);
      if (!problem.empty()) break;
    }
  }
}

TEST_CASE("scalar ops agree with the evaluator on every level") {
  for (const std::string& level : native_levels()) {
    std::vector<Case> cases = op_cases(level, level == native_levels().front());
    CHECK(cases.size() > 500);
    run_cases(cases, level);
  }
}

TEST_CASE("conversions agree with the evaluator on every level") {
  for (const std::string& level : native_levels()) {
    std::vector<Case> cases;
    for (DType from : all_types()) {
      for (DType to : all_types()) {
        if (from == DType::kString || to == DType::kString || from == to) continue;
        for (int lanes : {1, 8}) {
          if (lanes == 1 && level != native_levels().front()) continue;
          if (lanes > 1 && (is_complex(from) || is_complex(to))) continue;
          Var i = make_var("i");
          std::vector<Buffer> inputs = {input_buffer("x", from)};
          Expr value = cast(load(inputs[0], var_expr(i)), to);
          cases.push_back({elementwise_kernel(fmt::format("k{}", cases.size()), inputs, to, i, value, lanes),
                           fmt::format("cast {} to {} x {}", dtype_name(from), dtype_name(to), lanes), 0});
        }
      }
    }
    run_cases(cases, level);
  }
}

}  // namespace
}  // namespace tern::test
