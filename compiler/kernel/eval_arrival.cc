// Counts of arrivals. The threads run in lockstep, so whoever a wait needs has arrived when it is reached;
// copies that an arrival waits for happen at the wait that needs them, so that a missing one is seen.
#include <algorithm>

#include "compiler/kernel/evaluator.h"

namespace tern::kernel {

void Evaluator::arrival(const Stmt& s, const EvalMask& mask) {
  if (mask.count == 0) return;
  if (s->arrival == ArrivalOp::kArrive || s->arrival == ArrivalOp::kCopied) return arrive(s, mask);
  if (!is_full(mask))
    return fault("Arrivals at '{}' are waited for by {} of {} threads.", s->buffer->name, mask.count,
                 threads_);
  ValueRef index = expr(s->index, mask);
  EvalMemory* memory = memory_of(s->buffer, "touched");
  const int64_t at = index->of(0)[0].i;
  for (int t = 1; t < threads_; ++t) {
    if (index->of(t)[0].i != at)
      return fault("Threads wait for different counters of '{}'.", s->buffer->name);
  }
  if (memory == nullptr || !in_bounds(s->buffer, at, *memory, "arrival")) return;
  Counter& counter = counters_[{s->buffer.get(), at}];
  if (s->arrival == ArrivalOp::kWait) return wait_for_arrivals(s, mask, counter);
  counter = Counter();
  counter.started.resize(static_cast<size_t>(threads_ / kernel_.subgroup));
}

void Evaluator::arrive(const Stmt& s, const EvalMask& mask) {
  ValueRef index = expr(s->index, mask);
  EvalMemory* memory = memory_of(s->buffer, "touched");
  const int width = kernel_.subgroup;
  for (int first = 0; first < threads_ && memory != nullptr; first += width) {
    PendingArrival arriving{first / width, epoch_, {}};
    int active = 0;
    for (int t = first; t < first + width; ++t) {
      if (!mask.on(t, 0)) continue;
      ++active;
      if (s->arrival != ArrivalOp::kCopied) continue;
      CopyGroups& groups = copies_[static_cast<size_t>(t)];
      for (const std::vector<PendingCopy>& group : groups)
        arriving.copies.insert(arriving.copies.end(), group.begin(), group.end());
      groups = CopyGroups(1);
    }
    if (active == 0) continue;
    if (active != width)
      return fault("A subgroup arrives at '{}' with {} of {} threads.", s->buffer->name, active, width);
    const int64_t at = index->of(first)[0].i;
    if (!in_bounds(s->buffer, at, *memory, "arrival")) return;
    const auto counter = counters_.find({s->buffer.get(), at});
    if (counter == counters_.end())
      return fault("Arrivals at '{}[{}]' have not started.", s->buffer->name, at);
    int64_t& started = counter->second.started[static_cast<size_t>(arriving.subgroup)];
    if (started > counter->second.waited + 1)
      return fault("Subgroup {} arrives at '{}' again before it waits for phase {}.", arriving.subgroup,
                   s->buffer->name, started - 1);
    ++started;
    counter->second.pending.push_back(std::move(arriving));
  }
  ++epoch_;
}

void Evaluator::wait_for_arrivals(const Stmt& s, const EvalMask& mask, Counter& counter) {
  ValueRef wanted = expr(s->value, mask);
  const int64_t phase = wanted->of(0)[0].i;
  for (int t = 1; t < threads_; ++t) {
    if (wanted->of(t)[0].i != phase)
      return fault("Threads wait for different phases of '{}'.", s->buffer->name);
  }
  if (phase != counter.waited && phase != counter.waited + 1)
    return fault("A wait for phase {} of '{}' follows one for phase {}.", phase, s->buffer->name,
                 counter.waited);
  while (counter.phase <= phase && !counter.pending.empty()) {
    count_arrival(counter, counter.pending.front());
    counter.pending.pop_front();
  }
  if (counter.phase != phase + 1)
    return fault("A wait for phase {} of '{}' finds {} of {} subgroups in phase {}.", phase, s->buffer->name,
                 counter.arrived, threads_ / kernel_.subgroup, counter.phase);
  counter.waited = phase;
  ordered_ = std::max(ordered_, counter.ended);
}

void Evaluator::count_arrival(Counter& counter, const PendingArrival& arriving) {
  for (const PendingCopy& copy : arriving.copies) perform(copy, 0);
  if (counter.arrived++ == 0) counter.first = arriving.epoch;
  if (counter.arrived < threads_ / kernel_.subgroup) return;
  counter.arrived = 0;
  counter.ended = counter.first;
  ++counter.phase;
}

}  // namespace tern::kernel
