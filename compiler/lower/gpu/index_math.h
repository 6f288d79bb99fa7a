// Short names for the arithmetic that GPU kernels' indices are full of.
#pragma once

#include "compiler/kernel/expr_util.h"

namespace tern::lower::gpu {

inline kernel::Expr plus(const kernel::Expr& a, const kernel::Expr& b) {
  return kernel::add(a, b);
}
inline kernel::Expr times(const kernel::Expr& a, int64_t b) {
  return kernel::mul(a, kernel::int_const(b));
}
inline kernel::Expr div(const kernel::Expr& a, int64_t b) {
  return kernel::index_div(a, kernel::int_const(b));
}
inline kernel::Expr to_i32(const kernel::Expr& e) {
  return kernel::cast(e, DType::kI32);
}
inline kernel::Expr to_index(const kernel::Expr& e) {
  return kernel::cast(e, DType::kI64);
}
inline kernel::Expr rem(const kernel::Expr& a, int64_t b) {
  return kernel::index_rem(a, kernel::int_const(b));
}

}  // namespace tern::lower::gpu
