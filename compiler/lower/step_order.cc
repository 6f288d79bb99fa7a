#include "compiler/lower/step_order.h"

#include <algorithm>
#include <unordered_map>

#include "compiler/lower/step_access.h"

namespace tern::lower {
namespace {

using Steps = std::vector<Step>;

constexpr double kLongSeconds = 10e-6;  // predicted, of a dispatch that is worth making others earlier

// Commands [begin, end) of a list of steps, numbered from 0.
class Run {
 public:
  Run(Steps& steps, size_t begin, size_t end, const std::vector<Resolved>& resolved)
      : steps_(steps), begin_(begin), count_(end - begin), before_(count_) {
    std::unordered_map<int, std::vector<Touch>> touched;  // by root
    for (size_t i = 0; i < count_; ++i) {
      const std::vector<MemoryAccess> accesses = step_accesses(steps_[begin + i], resolved);
      for (const MemoryAccess& access : accesses) find_earlier(i, access, touched[access.root]);
      for (const MemoryAccess& access : accesses) touched[access.root].push_back({i, access});
    }
  }

  void reorder() {
    const std::vector<size_t> group = groups();
    std::vector<std::pair<size_t, size_t>> order;  // (group, number)
    for (size_t i = 0; i < count_; ++i) order.emplace_back(group[i], i);
    std::sort(order.begin(), order.end());
    Steps sorted;
    for (const auto& [at, i] : order) sorted.push_back(std::move(steps_[begin_ + i]));
    std::move(sorted.begin(), sorted.end(), steps_.begin() + static_cast<ptrdiff_t>(begin_));
  }

 private:
  struct Touch {
    size_t command;
    MemoryAccess access;
  };

  void find_earlier(size_t command, const MemoryAccess& access, const std::vector<Touch>& touched) {
    for (const Touch& other : touched) {
      if (!(access.write || other.access.write)) continue;
      if (ranges_may_meet(access.offset, access.length, other.access.offset, other.access.length))
        before_[command].push_back(other.command);
    }
  }

  // Long commands that need not wait for each other run side by side, where each may have processors that the
  // others leave idle: one that could stand where another one stands goes there, and what it waits for before
  // it.
  void gather_long(const std::vector<size_t>& first, std::vector<size_t>& last) const {
    std::vector<std::pair<size_t, size_t>> all;  // (last, number)
    std::vector<size_t> seen;
    for (size_t i = 0; i < count_; ++i)
      if (is_long(steps_[begin_ + i])) all.emplace_back(last[i], i);
    std::sort(all.begin(), all.end());
    for (const auto& [late, i] : all) {
      size_t best = first[i];
      bool meets = false;
      for (const size_t j : seen) {
        if (last[j] < best || last[j] > last[i]) continue;
        best = last[j];
        meets = true;
      }
      seen.push_back(i);
      if (!meets || best == last[i]) continue;
      last[i] = best;
      for (size_t k = count_; k-- > 0;) {
        for (const size_t j : before_[k]) last[j] = std::min(last[j], last[k] - 1);
      }
    }
  }
  static bool is_long(const Step& step) {
    return step.kind == Step::Kind::kDispatch && !step.dispatch->variants.empty() &&
           step.dispatch->variants.back().predicted > kLongSeconds;
  }

  // The last group that each command can be in.
  std::vector<size_t> groups() const {
    std::vector<size_t> first(count_), last(count_);
    size_t deepest = 0;
    for (size_t i = 0; i < count_; ++i) {
      for (size_t j : before_[i]) first[i] = std::max(first[i], first[j] + 1);
      deepest = std::max(deepest, first[i]);
    }
    std::fill(last.begin(), last.end(), deepest);
    for (size_t i = count_; i-- > 0;) {
      for (size_t j : before_[i]) last[j] = std::min(last[j], last[i] - 1);
    }
    gather_long(first, last);
    return last;
  }

  Steps& steps_;
  size_t begin_, count_;
  std::vector<std::vector<size_t>> before_;  // what each command must come after
};

void reorder(Steps& steps, const std::vector<Resolved>& resolved) {
  for (size_t i = 0; i < steps.size();) {
    if (steps[i].kind == Step::Kind::kIf) {
      reorder(steps[i].branch->then_steps, resolved);
      reorder(steps[i].branch->else_steps, resolved);
    } else if (steps[i].kind == Step::Kind::kLoop) {
      reorder(steps[i].loop->body, resolved);
    }
    size_t end = i;
    while (end < steps.size() && is_command(steps[end])) ++end;
    if (end > i + 1) Run(steps, i, end, resolved).reorder();
    i = std::max(end, i + 1);
  }
}

}  // namespace

void share_barriers(LoweredProgram& program) {
  reorder(program.steps, resolve_aliases(program));
}

}  // namespace tern::lower
