#include "tests/native/op_cases.h"

#include <algorithm>

#include "compiler/render/c_target.h"

namespace tern::test {

using namespace kernel;

const std::vector<DType>& all_types() {
  static const std::vector<DType> kTypes = {
#define TERN_DTYPE(id, name, text, bits, kind) DType::k##name,
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
  };
  return kTypes;
}

namespace {

double allowed_ulps(ScalarOp op, DType dtype) {
  if (!scalar::info(op).expensive || !is_float(dtype)) return 0;
  return dtype == DType::kF64 ? 4 : 2;
}

bool skip_op(ScalarOp op, DType dtype, const std::string& level) {
  if (op == ScalarOp::kPow && is_complex(dtype)) return true;                             // no C form
  if (op == ScalarOp::kFma && dtype == DType::kF64 && level == "x86_64_v2") return true;  // no C form
  return false;
}

void add_op_cases(ScalarOp op, DType dtype, const std::string& level, bool with_scalars,
                  std::vector<Case>& cases) {
  const auto& row = scalar::info(op);
  std::vector<DType> operands(static_cast<size_t>(row.arity), dtype);
  if (row.rule == scalar::TypeRule::kSelect) operands[0] = DType::kBool;
  if (dtype == DType::kString || !scalar::result_type(op, operands).ok() || skip_op(op, dtype, level)) return;
  int vector = render::c_target(level)->vector_bits / std::max(dtype_bits(dtype), 32);
  for (int lanes : {1, vector}) {
    if (lanes == 1 && !with_scalars) continue;
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

}  // namespace

std::vector<Case> op_cases(const std::string& level, bool with_scalars) {
  std::vector<Case> cases;
  for (DType dtype : all_types()) {
    for (size_t op = 0; op < static_cast<size_t>(ScalarOp::kCount); ++op) {
      add_op_cases(static_cast<ScalarOp>(op), dtype, level, with_scalars, cases);
    }
  }
  return cases;
}

}  // namespace tern::test
