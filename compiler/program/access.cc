#include "compiler/program/access.h"

namespace tern::program {
namespace {

// a <= b for every value of the symbols, as far as the difference being a constant shows it.
bool surely_le(const Dim& a, const Dim& b) {
  const Dim difference = b - a;
  return difference.is_const() && difference.value() >= 0;
}

}  // namespace

bool ranges_may_meet(const Dim& offset_a, const Dim& length_a, const Dim& offset_b, const Dim& length_b) {
  if (length_a.is_const(0) || length_b.is_const(0)) return false;
  return !surely_le(offset_a + length_a, offset_b) && !surely_le(offset_b + length_b, offset_a);
}

std::vector<const lower::Binding*> step_bindings(const lower::Step& step) {
  using Kind = lower::Step::Kind;
  std::vector<const lower::Binding*> out;
  if (step.kind == Kind::kDispatch) {
    for (const lower::Binding& binding : step.dispatch->bindings) out.push_back(&binding);
  } else if (step.kind == Kind::kCopy) {
    out = {&step.copy->from, &step.copy->to};
  } else if (step.kind == Kind::kFill) {
    out = {&step.fill->to};
  }
  return out;
}

bool is_command(const lower::Step& step) {
  using Kind = lower::Step::Kind;
  return step.kind == Kind::kDispatch || step.kind == Kind::kCopy || step.kind == Kind::kFill;
}

}  // namespace tern::program
