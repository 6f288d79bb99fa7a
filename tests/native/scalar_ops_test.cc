// Every scalar op on every type that takes it, and every conversion: evaluator against machine code, as
// scalars and as vectors with tails.
#include <doctest/doctest.h>

#include "compiler/render/c_target.h"
#include "tests/native/kernel_factory.h"
#include "tests/native/native_kernel.h"

namespace tern::test {
namespace {

using namespace kernel;

const std::vector<DType>& all_types() {
  static const std::vector<DType> kTypes = {
#define TERN_DTYPE(id, name, text, bits, kind) DType::k##name,
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
  };
  return kTypes;
}

struct Case {
  Kernel kernel;
  std::string what;
  double ulps;
};

double allowed_ulps(ScalarOp op, DType dtype) {
  if (!scalar::info(op).expensive || !is_float(dtype)) return 0;
  return dtype == DType::kF64 ? 4 : 2;
}

bool skip_op(ScalarOp op, DType dtype, const std::string& level) {
  if (op == ScalarOp::kPow && is_complex(dtype)) return true;                             // no C form
  if (op == ScalarOp::kFma && dtype == DType::kF64 && level == "x86_64_v2") return true;  // no C form
  return false;
}

void add_op_cases(ScalarOp op, DType dtype, const std::string& level, std::vector<Case>& cases) {
  const auto& row = scalar::info(op);
  std::vector<DType> operands(static_cast<size_t>(row.arity), dtype);
  if (row.rule == scalar::TypeRule::kSelect) operands[0] = DType::kBool;
  if (dtype == DType::kString || !scalar::result_type(op, operands).ok() || skip_op(op, dtype, level)) return;
  int vector = render::c_target(level)->vector_bits / std::max(dtype_bits(dtype), 32);
  for (int lanes : {1, vector}) {
    if (lanes == 1 && level != native_levels().front()) continue;
    if (is_complex(dtype) && lanes > 1) continue;
    Var i = make_var("i");
    std::vector<Buffer> inputs;
    std::vector<Expr> args;
    for (size_t a = 0; a < operands.size(); ++a) {
      inputs.push_back(input_buffer(fmt::format("x{}", a), operands[a]));
      args.push_back(load(inputs.back(), var_expr(i)));
    }
    Expr value = kernel::op(op, args);
    std::string name = fmt::format("k{}", cases.size());
    cases.push_back({elementwise_kernel(name, inputs, value->type.dtype, i, value, lanes),
                     fmt::format("{} on {} x {}", row.name, dtype_name(dtype), lanes),
                     allowed_ulps(op, dtype)});
  }
}

void run_cases(const std::vector<Case>& cases, const std::string& level) {
  std::vector<Kernel> kernels;
  for (const Case& c : cases) kernels.push_back(c.kernel);
  auto image = compile(kernels, level);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
  LoadedImage loaded(*image);
  std::mt19937 random(7);
  for (size_t k = 0; k < cases.size(); ++k) {
    for (int round = 0; round < 3; ++round) {
      std::string problem =
          compare_runs(cases[k].kernel, reinterpret_cast<void*>(loaded.function(k)), random, cases[k].ulps);
      CHECK_MESSAGE(problem.empty(), level << ": " << cases[k].what << ": " << problem);
      if (!problem.empty()) break;
    }
  }
}

TEST_CASE("scalar ops agree with the evaluator on every level") {
  for (const std::string& level : native_levels()) {
    std::vector<Case> cases;
    for (DType dtype : all_types()) {
      for (size_t op = 0; op < static_cast<size_t>(ScalarOp::kCount); ++op) {
        add_op_cases(static_cast<ScalarOp>(op), dtype, level, cases);
      }
    }
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
