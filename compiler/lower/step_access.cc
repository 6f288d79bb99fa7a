#include "compiler/lower/step_access.h"

namespace tern::lower {
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

std::vector<const Binding*> step_bindings(const Step& step) {
  using Kind = Step::Kind;
  std::vector<const Binding*> out;
  if (step.kind == Kind::kDispatch) {
    for (const Binding& binding : step.dispatch->bindings) out.push_back(&binding);
  } else if (step.kind == Kind::kCopy) {
    out = {&step.copy->from, &step.copy->to};
  } else if (step.kind == Kind::kFill) {
    out = {&step.fill->to};
  }
  return out;
}

bool is_command(const Step& step) {
  using Kind = Step::Kind;
  return step.kind == Kind::kDispatch || step.kind == Kind::kCopy || step.kind == Kind::kFill;
}

std::vector<MemoryAccess> step_accesses(const Step& step, const std::vector<Resolved>& resolved) {
  std::vector<MemoryAccess> accesses;
  for (const Binding* binding : step_bindings(step)) {
    const Resolved& place = resolved[static_cast<size_t>(binding->buffer)];
    bool write = binding->access != kernel::Access::kRead;
    if (step.kind == Step::Kind::kCopy) write = binding == &step.copy->to;
    if (step.kind == Step::Kind::kFill) write = true;
    accesses.push_back({place.root, place.offset + binding->offset, binding->length, write, place.root});
  }
  return accesses;
}

std::vector<Resolved> resolve_aliases(const LoweredProgram& program) {
  std::vector<Resolved> out(program.buffers.size());
  for (size_t i = 0; i < out.size(); ++i) {
    int at = static_cast<int>(i);
    Dim offset;
    for (size_t hops = 0; program.buffers[static_cast<size_t>(at)].alias_of >= 0; ++hops) {
      TERN_CHECK(hops <= out.size(), "buffer {} aliases itself", i);
      offset = offset + program.buffers[static_cast<size_t>(at)].alias_offset;
      at = program.buffers[static_cast<size_t>(at)].alias_of;
    }
    out[i] = {at, offset};
  }
  return out;
}

}  // namespace tern::lower
