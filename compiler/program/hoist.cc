#include "compiler/program/hoist.h"

#include <algorithm>
#include <vector>

#include "compiler/kernel/expr_util.h"

namespace tern::program {
namespace {

using lower::BufferDef;
using lower::BufferKind;
using lower::DispatchStep;
using lower::Step;

class Hoister {
 public:
  explicit Hoister(lower::LoweredProgram& program)
      : program_(program), writes_(program.buffers.size()), aliased_(program.buffers.size()) {
    for (const BufferDef& b : program.buffers) {
      if (b.alias_of >= 0) aliased_[static_cast<size_t>(b.alias_of)] = true;
    }
    count_writes(program.steps);
  }

  void run() {
    std::vector<Step> staying;
    for (Step& step : program_.steps) {
      if (!is_constant_work(step)) {
        staying.push_back(std::move(step));
        continue;
      }
      for (const lower::Binding& b : step.dispatch->bindings) {
        if (b.access != kernel::Access::kRead) buffer(b.buffer).kind = BufferKind::kDerived;
      }
      program_.init_steps.push_back(std::move(step));
    }
    program_.steps = std::move(staying);
    mark_for_init();
  }

 private:
  BufferDef& buffer(int number) { return program_.buffers[static_cast<size_t>(number)]; }
  const BufferDef& root(int number) {
    while (buffer(number).alias_of >= 0) number = buffer(number).alias_of;
    return buffer(number);
  }

  template <typename Visit>
  static void each_buffer(const std::vector<Step>& steps, const Visit& visit) {
    for (const Step& s : steps) {
      switch (s.kind) {
        case Step::Kind::kDispatch:
          for (const lower::Binding& b : s.dispatch->bindings)
            visit(b.buffer, b.access != kernel::Access::kRead);
          break;
        case Step::Kind::kCopy:
          visit(s.copy->from.buffer, false);
          visit(s.copy->to.buffer, true);
          break;
        case Step::Kind::kFill:
          visit(s.fill->to.buffer, true);
          break;
        case Step::Kind::kRead:
          visit(s.read->buffer, false);
          break;
        case Step::Kind::kAllocate:
          visit(s.allocate->buffer, true);
          break;
        case Step::Kind::kSwap:
          visit(s.swap->a, true);
          visit(s.swap->b, true);
          break;
        case Step::Kind::kIf:
          visit(s.branch->condition, false);
          each_buffer(s.branch->then_steps, visit);
          each_buffer(s.branch->else_steps, visit);
          break;
        case Step::Kind::kLoop:
          if (s.loop->condition >= 0) visit(s.loop->condition, false);
          each_buffer(s.loop->body, visit);
          break;
        case Step::Kind::kCheck:
          if (s.check->condition >= 0) visit(s.check->condition, false);
          break;
        case Step::Kind::kBind:
          break;
      }
    }
  }

  void count_writes(const std::vector<Step>& steps) {
    each_buffer(steps, [&](int b, bool written) {
      if (written) ++writes_[static_cast<size_t>(b)];
    });
  }

  bool is_constant_work(const Step& step) {
    if (step.kind != Step::Kind::kDispatch) return false;
    const DispatchStep& d = *step.dispatch;
    if (d.each_run) return false;
    const auto known = [](const Dim& dim) { return dim.is_const(); };
    if (!std::all_of(d.params.begin(), d.params.end(), known)) return false;
    for (const lower::KernelVariant& v : d.variants) {
      if (!known(v.tiles) || kernel::can_fail(*v.kernel)) return false;
    }
    return std::all_of(d.bindings.begin(), d.bindings.end(), [&](const lower::Binding& b) {
      if (!known(b.offset) || !known(b.length)) return false;
      if (b.access == kernel::Access::kRead) {
        const BufferKind kind = root(b.buffer).kind;
        return kind == BufferKind::kConstant || kind == BufferKind::kDerived;
      }
      const size_t at = static_cast<size_t>(b.buffer);
      const BufferDef& to = program_.buffers[at];
      return b.access == kernel::Access::kWrite && to.kind == BufferKind::kTemporary && to.alias_of < 0 &&
             !aliased_[at] && to.bytes.is_const() && writes_[at] == 1;
    });
  }

  // Constants that only init reads need no memory after it.
  void mark_for_init() {
    std::vector<bool> running(program_.buffers.size()), initial(program_.buffers.size());
    const auto note = [&](std::vector<bool>& in) {
      return [&](int b, bool) {
        while (buffer(b).alias_of >= 0) b = buffer(b).alias_of;
        in[static_cast<size_t>(b)] = true;
      };
    };
    each_buffer(program_.steps, note(running));
    each_buffer(program_.init_steps, note(initial));
    for (const lower::IoDef& io : program_.outputs) note(running)(io.buffer, false);
    for (size_t b = 0; b < program_.buffers.size(); ++b) {
      if (program_.buffers[b].kind == BufferKind::kConstant && initial[b] && !running[b])
        program_.buffers[b].for_init = true;
    }
  }

  lower::LoweredProgram& program_;
  std::vector<int> writes_;    // by steps
  std::vector<bool> aliased_;  // a part of it has a buffer of its own
};

}  // namespace

void hoist_constant_work(lower::LoweredProgram& program) {
  Hoister(program).run();
}

}  // namespace tern::program
