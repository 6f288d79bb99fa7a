#include "compiler/lower/wide_arithmetic.h"

namespace tern::lower {

using kernel::Expr;
using scalar::ScalarOp;

bool is_computed_wide(DType type, Arch arch) {
  return !is_gpu(arch) && (type == DType::kF16 || type == DType::kBF16);
}

bool is_smooth(ScalarOp op) {
  switch (op) {
    case ScalarOp::kNeg:
    case ScalarOp::kAbs:
    case ScalarOp::kSqrt:
    case ScalarOp::kExp:
    case ScalarOp::kLog:
    case ScalarOp::kLog1p:
    case ScalarOp::kExpm1:
    case ScalarOp::kAtan:
    case ScalarOp::kTanh:
    case ScalarOp::kErf:
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
    case ScalarOp::kDiv:
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kFma:
      return true;
    default:
      return false;
  }
}

Expr unrounded(const Expr& e) {
  const bool rounds = e->kind == kernel::ExprKind::kCast && e->args[0]->type.dtype == DType::kF32;
  return rounds ? e->args[0] : kernel::cast(e, DType::kF32);
}

double half_unit(DType type) {
  return type == DType::kF16 ? 0x1p-12 : type == DType::kBF16 ? 0x1p-9 : 0x1p-23;
}

}  // namespace tern::lower
