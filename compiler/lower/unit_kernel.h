// Kernels of init steps: one dispatch whose threads, or iterations on a CPU, each compute one unit of the
// result. What a unit is, its steps say.
#pragma once

#include <string>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/program_ir.h"

namespace tern::lower {

class UnitKernel {
 public:
  UnitKernel(const Target& target, const LoweredProgram& program, int from, int to, DType element);

  kernel::Buffer source, result;
  std::vector<kernel::Stmt> body;  // of one unit

  kernel::Expr unit() const { return kernel::var_expr(unit_); }
  // A size of the weights. A parameter: kernels differ in no size.
  kernel::Expr size(const char* name, int64_t value);
  kernel::Expr named(const char* name, kernel::Expr value);
  Step finish(const std::string& name, int64_t units);

 private:
  const Target& target_;
  const LoweredProgram& program_;
  const int from_, to_;
  std::vector<kernel::Param> params_;
  kernel::Var unit_ = kernel::make_var("unit");
};

inline int64_t panel_count(int64_t n) {
  return (n + kPanelColumns - 1) / kPanelColumns;
}

}  // namespace tern::lower
