#include "compiler/program/liveness.h"

#include <algorithm>
#include <unordered_map>

namespace tern::program {
namespace {

using lower::is_command;
using lower::MemoryAccess;
using lower::Step;

// One appearance of a root in a step.
struct Use {
  int step = 0;  // number of the step in program order
  int tick = 0;
  bool write = false;
};
struct LoopSpan {
  int first_step = 0, last_step = 0;
  int first_tick = 0, last_tick = 0;
};

class Walker {
 public:
  Walker(const lower::LoweredProgram& program, const std::vector<Resolved>& resolved, bool side_by_side)
      : resolved_(resolved), side_by_side_(side_by_side), uses(program.buffers.size()) {}

  void walk(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      const int number = step_++;
      if (is_command(step)) {
        command(step, number);
      } else {
        control(step, number);
      }
    }
    separate();
  }

  int ticks() const { return tick_ + 1; }

 private:
  const std::vector<Resolved>& resolved_;
  bool side_by_side_;
  int step_ = 0, tick_ = 0;
  std::unordered_map<int, std::vector<MemoryAccess>> together_;  // accesses of the current tick, by root

 public:
  std::vector<std::vector<Use>> uses;  // by root
  std::vector<LoopSpan> loops;
  struct Dispatch {
    const lower::DispatchStep* step;
    int number;
  };
  std::vector<Dispatch> dispatches;

 private:
  void separate() {
    together_.clear();
    ++tick_;
  }
  void use(int buffer, int number, bool write) {
    if (buffer < 0) return;
    uses[static_cast<size_t>(resolved_[static_cast<size_t>(buffer)].root)].push_back({number, tick_, write});
  }

  void command(const Step& step, int number) {
    const std::vector<MemoryAccess> accesses = lower::step_accesses(step, resolved_);
    if (!side_by_side_ || conflicts(accesses)) separate();
    for (const MemoryAccess& access : accesses) {
      together_[access.space].push_back(access);
      uses[static_cast<size_t>(access.root)].push_back({number, tick_, access.write});
    }
    if (step.kind == Step::Kind::kDispatch) dispatches.push_back({step.dispatch.get(), number});
  }

  bool conflicts(const std::vector<MemoryAccess>& accesses) const {
    for (const MemoryAccess& access : accesses) {
      const auto earlier = together_.find(access.space);
      if (earlier == together_.end()) continue;
      for (const MemoryAccess& other : earlier->second) {
        if ((access.write || other.write) &&
            lower::ranges_may_meet(access.offset, access.length, other.offset, other.length))
          return true;
      }
    }
    return false;
  }

  void control(const Step& step, int number) {
    separate();
    switch (step.kind) {
      case Step::Kind::kRead:
        use(step.read->buffer, number, false);
        break;
      case Step::Kind::kCheck:
        if (step.check->condition >= 0) use(step.check->condition, number, false);
        break;
      case Step::Kind::kSwap:
        use(step.swap->a, number, false);
        use(step.swap->a, number, true);
        use(step.swap->b, number, false);
        use(step.swap->b, number, true);
        break;
      case Step::Kind::kIf:
        use(step.branch->condition, number, false);
        separate();
        walk(step.branch->then_steps);
        walk(step.branch->else_steps);
        break;
      case Step::Kind::kLoop: {
        const size_t index = loops.size();
        loops.push_back({number, number, tick_, tick_});
        use(step.loop->condition, number, false);
        separate();
        walk(step.loop->body);
        loops[index].last_step = step_ - 1;
        loops[index].last_tick = tick_;
        break;
      }
      default:
        break;
    }
    separate();
  }
};

// carried: a swap step names the buffer, so that its memory may hold another one's value when an iteration
// ends.
LiveRange range_of(const std::vector<Use>& uses, const std::vector<LoopSpan>& loops, bool carried) {
  LiveRange range;
  if (uses.empty()) return range;
  range = {uses.front().tick, uses.front().tick};
  for (const Use& use : uses) {
    range.begin = std::min(range.begin, use.tick);
    range.end = std::max(range.end, use.tick);
  }
  const int first = uses.front().step, last = uses.back().step;
  const bool starts_with_write =
      std::any_of(uses.begin(), uses.end(), [&](const Use& u) { return u.step == first && u.write; }) &&
      std::none_of(uses.begin(), uses.end(), [&](const Use& u) { return u.step == first && !u.write; });
  const LiveRange plain = range;
  for (const LoopSpan& loop : loops) {
    const bool inside = first >= loop.first_step && last <= loop.last_step;
    if (inside && starts_with_write && !carried) continue;
    const bool touched = std::any_of(uses.begin(), uses.end(), [&](const Use& u) {
      return u.step >= loop.first_step && u.step <= loop.last_step;
    });
    const bool spans = plain.begin <= loop.last_tick && plain.end >= loop.first_tick;
    if (!touched && !spans) continue;
    range.begin = std::min(range.begin, loop.first_tick);
    range.end = std::max(range.end, loop.last_tick);
  }
  return range;
}

void collect_swaps(const std::vector<Step>& steps, const std::vector<Resolved>& resolved,
                   std::vector<std::pair<size_t, size_t>>& out) {
  const auto root = [&](int buffer) {
    return static_cast<size_t>(resolved[static_cast<size_t>(buffer)].root);
  };
  for (const Step& step : steps) {
    if (step.kind == Step::Kind::kSwap) out.emplace_back(root(step.swap->a), root(step.swap->b));
    if (step.kind == Step::Kind::kLoop) collect_swaps(step.loop->body, resolved, out);
    if (step.kind == Step::Kind::kIf) {
      collect_swaps(step.branch->then_steps, resolved, out);
      collect_swaps(step.branch->else_steps, resolved, out);
    }
  }
}

// Every variant of the dispatch allows binding `output` to share memory with an input of equal size.
bool kernels_allow(const lower::DispatchStep& step, size_t output) {
  for (const lower::KernelVariant& variant : step.variants) {
    if (!variant.kernel->bindings[output]->may_alias) return false;
  }
  return !step.variants.empty();
}

class InPlaceFinder {
 public:
  InPlaceFinder(const lower::LoweredProgram& program, const std::vector<Resolved>& resolved,
                const Walker& walker, Liveness& live)
      : program_(program),
        resolved_(resolved),
        walker_(walker),
        live_(live),
        given_(program.buffers.size()),
        taken_(program.buffers.size()) {}

  void find() {
    for (const Walker::Dispatch& dispatch : walker_.dispatches) {
      const auto& bindings = dispatch.step->bindings;
      for (size_t o = 0; o < bindings.size(); ++o) {
        if (bindings[o].access == kernel::Access::kRead) continue;
        for (size_t i = 0; i < bindings.size(); ++i) {
          if (i != o && bindings[i].access == kernel::Access::kRead && kernels_allow(*dispatch.step, o) &&
              alone(*dispatch.step, i, o) && fits(bindings[i], bindings[o], dispatch.number)) {
            const int input = root(bindings[i]), output = root(bindings[o]);
            live_.in_place.push_back({input, output});
            given_[static_cast<size_t>(input)] = taken_[static_cast<size_t>(output)] = true;
            break;
          }
        }
      }
    }
  }

 private:
  const lower::LoweredProgram& program_;
  const std::vector<Resolved>& resolved_;
  const Walker& walker_;
  Liveness& live_;
  std::vector<bool> given_, taken_;  // roots that are the input, the output of a pair

  int root(const lower::Binding& binding) const {
    return resolved_[static_cast<size_t>(binding.buffer)].root;
  }
  // No other binding of the dispatch touches either: a view of the input may be read in another order.
  bool alone(const lower::DispatchStep& step, size_t input, size_t output) const {
    for (size_t i = 0; i < step.bindings.size(); ++i) {
      if (i == input || i == output) continue;
      const int other = root(step.bindings[i]);
      if (other == root(step.bindings[output]) || other == root(step.bindings[input])) return false;
    }
    return true;
  }
  bool whole(const lower::Binding& binding) const {
    const Resolved& place = resolved_[static_cast<size_t>(binding.buffer)];
    const lower::BufferDef& def = program_.buffers[static_cast<size_t>(place.root)];
    return def.kind == lower::BufferKind::kTemporary && binding.offset.is_const(0) &&
           place.offset.is_const(0) && binding.length == def.bytes &&
           !live_.swapped[static_cast<size_t>(place.root)];
  }
  bool fits(const lower::Binding& in, const lower::Binding& out, int number) const {
    if (!whole(in) || !whole(out) || in.length != out.length) return false;
    const size_t input = static_cast<size_t>(root(in)), output = static_cast<size_t>(root(out));
    if (input == output || taken_[output] || given_[input]) return false;
    // The input dies exactly here, nobody else looks at it in this tick, and the output is born here; neither
    // range was widened by a loop.
    const auto& reads = walker_.uses[input];
    const auto& writes = walker_.uses[output];
    if (reads.back().step != number || writes.front().step != number) return false;
    const int tick = reads.back().tick;
    for (const Use& use : reads) {
      if (use.tick == tick && use.step != number) return false;
    }
    for (const Use& use : writes) {
      if (use.tick == tick && use.step != number) return false;
    }
    return live_.ranges[input].end == tick && live_.ranges[output].begin == tick;
  }
};

}  // namespace

Liveness compute_liveness(const lower::LoweredProgram& program, const std::vector<Resolved>& resolved,
                          bool side_by_side) {
  Walker walker(program, resolved, side_by_side);
  walker.walk(program.steps);
  Liveness live;
  live.ticks = walker.ticks();
  std::vector<std::pair<size_t, size_t>> swaps;
  collect_swaps(program.steps, resolved, swaps);
  live.swapped.resize(program.buffers.size());
  for (const auto& [a, b] : swaps) live.swapped[a] = live.swapped[b] = true;
  live.ranges.resize(program.buffers.size());
  for (size_t i = 0; i < live.ranges.size(); ++i)
    live.ranges[i] = range_of(walker.uses[i], walker.loops, live.swapped[i]);
  // Either may hold the other's value: both live as long as one does. Chains of swaps need another round
  // each.
  for (size_t round = 0; round < swaps.size(); ++round) {
    for (const auto& [a, b] : swaps) {
      LiveRange &x = live.ranges[a], &y = live.ranges[b];
      x = y = {std::min(x.begin, y.begin), std::max(x.end, y.end)};
    }
  }
  InPlaceFinder(program, resolved, walker, live).find();
  return live;
}

}  // namespace tern::program
