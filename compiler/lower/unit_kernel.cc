#include "compiler/lower/unit_kernel.h"

#include "compiler/kernel/simplify.h"
#include "compiler/kernel/unroll.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::var_expr;

constexpr int kThreads = 128;         // of a GPU's workgroup
constexpr int64_t kTileUnits = 1024;  // of a CPU's tile

}  // namespace

UnitKernel::UnitKernel(const Target& target, const LoweredProgram& program, int from, int to, DType element)
    : target_(target), program_(program), from_(from), to_(to) {
  source = kernel::make_buffer("from", {element, 1}, kernel::Scope::kGlobal, kernel::Access::kRead);
  result = kernel::make_buffer("to", {element, 1}, kernel::Scope::kGlobal, kernel::Access::kWrite);
}

Expr UnitKernel::size(const char* name, int64_t value) {
  params_.push_back({kernel::make_var(name), Dim(value)});
  return var_expr(params_.back().var);
}

Expr UnitKernel::named(const char* name, Expr value) {
  const kernel::Var v = kernel::make_var(name, value->type);
  body.push_back(kernel::let(v, std::move(value)));
  return var_expr(v);
}

Step UnitKernel::finish(const std::string& name, int64_t units) {
  const bool gpu = is_gpu(target_.arch);
  const int64_t tile = gpu ? kThreads : kTileUnits;
  const Expr count = size("units", units), tiles = size("tiles", (units + tile - 1) / tile);
  auto k = std::make_shared<kernel::Kernel>();
  k->name = name;
  k->bindings = {source, result};
  k->params = params_;
  const kernel::Var group = kernel::make_var("group");
  k->grid.push_back({group, Dim((units + tile - 1) / tile), tiles});
  const Expr first = kernel::mul(var_expr(group), int_const(tile));
  if (gpu) {
    k->threads = kThreads;
    k->thread = kernel::make_var("t");
    k->body.push_back(kernel::let(unit_, kernel::add(first, var_expr(k->thread))));
    k->body.push_back(kernel::if_then(kernel::compare(ScalarOp::kLt, unit(), count), std::move(body)));
  } else {
    const kernel::Var i = kernel::make_var("i");
    body.insert(body.begin(), kernel::let(unit_, kernel::add(first, var_expr(i))));
    k->body.push_back(kernel::loop(i, int_const(0), kernel::min(int_const(tile), kernel::sub(count, first)),
                                   kernel::LoopKind::kSerial, std::move(body)));
  }
  k->schedule = "weights from another encoding";
  kernel::unroll(*k);
  kernel::simplify(*k);
  const std::string problems = kernel::verify(*k);
  TERN_CHECK(problems.empty(), "the kernel of {} does not verify:\n{}\n{}", name, problems,
             kernel::print_kernel(*k));
  auto dispatch = std::make_shared<DispatchStep>();
  dispatch->label = name;
  const auto bytes = [&](int buffer) { return program_.buffers[static_cast<size_t>(buffer)].bytes; };
  dispatch->bindings = {{from_, 0, bytes(from_), kernel::Access::kRead},
                        {to_, 0, bytes(to_), kernel::Access::kWrite}};
  for (const kernel::Param& p : params_) dispatch->params.push_back(p.value);
  dispatch->variants.push_back({target_.levels.front(), k, k->grid[0].extent});
  Step step;
  step.kind = Step::Kind::kDispatch;
  step.dispatch = std::move(dispatch);
  return step;
}

}  // namespace tern::lower
