// Counts of arrivals. The threads run in lockstep, so whoever a wait needs has arrived when it is reached;
// copies that an arrival waits for happen at the wait that needs them, so that a missing one is seen.
#include <algorithm>

#include "compiler/kernel/evaluator.h"

namespace tern::kernel {

void Evaluator::arrival(const Stmt& s, const EvalMask& mask) {
  if (mask.count == 0) return;
  if (s->arrival == ArrivalOp::kArrive || s->arrival == ArrivalOp::kCopied) return arrive(s, mask);
  if (s->arrival == ArrivalOp::kWait) return wait_for_arrivals(s, mask);
  if (!is_full(mask))
    return fault("Arrivals at '{}' are started by {} of {} threads.", s->buffer->name, mask.count, threads_);
  ValueRef index = expr(s->index, mask);
  EvalMemory* memory = memory_of(s->buffer, "touched");
  const int64_t at = index->of(0)[0].i;
  for (int t = 1; t < threads_; ++t) {
    if (index->of(t)[0].i != at) return fault("Threads start different counters of '{}'.", s->buffer->name);
  }
  if (memory == nullptr || !in_bounds(s->buffer, at, *memory, "arrival")) return;
  Counter& counter = counters_[{s->buffer.get(), at}];
  for (const PendingArrival& arrival : counter.pending) {
    if (!arrival.boxes.empty())
      return fault("Arrivals at '{}' start again before copies end.", s->buffer->name);
  }
  const auto subgroups = static_cast<size_t>(threads_ / kernel_.subgroup);
  counter = Counter();
  counter.id = next_counter_++;
  counter.ending.subgroups.assign(subgroups, -1);
  counter.expected = static_cast<int>(subgroups);
  if (s->value) counter.expected = static_cast<int>(expr(s->value, mask)->of(0)[0].i);
  counter.started.resize(subgroups);
  counter.waited.assign(subgroups, -1);
}

// The counter that each subgroup which takes part names, all its threads the same one.
std::vector<std::pair<int, Evaluator::Counter*>> Evaluator::counters_of(const Stmt& s, const EvalMask& mask,
                                                                        std::string_view what) {
  ValueRef index = expr(s->index, mask);
  EvalMemory* memory = memory_of(s->buffer, "touched");
  std::vector<std::pair<int, Counter*>> out;
  for (int first = 0; first < threads_ && memory != nullptr && !failed_; first += width()) {
    int active = 0;
    bool same = true;
    for (int t = first; t < first + width(); ++t) {
      if (!mask.on(t, 0)) continue;
      ++active;
      same &= index->of(t)[0].i == index->of(first)[0].i;
    }
    if (active == 0) continue;
    const int64_t at = index->of(first)[0].i;
    if (active != width()) {
      fault("A subgroup {} '{}' with {} of {} threads.", what, s->buffer->name, active, width());
    } else if (!same) {
      fault("Threads of a subgroup name different counters of '{}'.", s->buffer->name);
    } else if (in_bounds(s->buffer, at, *memory, "arrival")) {
      const auto counter = counters_.find({s->buffer.get(), at});
      if (counter == counters_.end()) {
        fault("Arrivals at '{}[{}]' have not started.", s->buffer->name, at);
      } else {
        out.push_back({first / width(), &counter->second});
      }
    }
  }
  return out;
}

void Evaluator::arrive(const Stmt& s, const EvalMask& mask) {
  for (const auto& [subgroup, counter] : counters_of(s, mask, "arrives at")) {
    if (failed_) return;
    Clock& own = clocks_[static_cast<size_t>(subgroup)];
    PendingArrival arriving{subgroup, own, {}, {}};
    for (int t = subgroup * width(); t < (subgroup + 1) * width() && s->arrival == ArrivalOp::kCopied; ++t) {
      CopyGroups& groups = copies_[static_cast<size_t>(t)];
      for (const std::vector<PendingCopy>& group : groups)
        arriving.copies.insert(arriving.copies.end(), group.begin(), group.end());
      groups = CopyGroups(1);
    }
    int64_t& started = counter->started[static_cast<size_t>(subgroup)];
    if (started > Clock::value(own.phases, counter->id) + 1)
      return fault("Subgroup {} arrives at '{}' again before it waits for phase {}.", subgroup,
                   s->buffer->name, started - 1);
    ++started;
    arriving.clock.subgroups[static_cast<size_t>(subgroup)] = epoch_;
    std::swap(arriving.boxes, counter->boxes[subgroup]);
    if (!arriving.boxes.empty()) Clock::raise(arriving.clock.copies, counter->id, epoch_);
    counter->pending.push_back(std::move(arriving));
  }
  ++epoch_;
}

void Evaluator::wait_for_arrivals(const Stmt& s, const EvalMask& mask) {
  ValueRef wanted = expr(s->value, mask);
  for (const auto& [subgroup, counter] : counters_of(s, mask, "waits for")) {
    if (failed_) return;
    const int64_t phase = wanted->of(subgroup * width())[0].i;
    for (int t = subgroup * width(); t < (subgroup + 1) * width(); ++t) {
      if (wanted->of(t)[0].i != phase)
        return fault("Threads wait for different phases of '{}'.", s->buffer->name);
    }
    int64_t& waited = counter->waited[static_cast<size_t>(subgroup)];
    if (phase != waited && phase != waited + 1)
      return fault("A wait for phase {} of '{}' follows one for phase {}.", phase, s->buffer->name, waited);
    while (counter->phase <= phase && !counter->pending.empty()) {
      count_arrival(*counter, counter->pending.front());
      counter->pending.pop_front();
    }
    if (counter->phase <= phase)
      return fault("A wait for phase {} of '{}' finds {} of {} subgroups in phase {}.", phase,
                   s->buffer->name, counter->arrived, counter->expected, counter->phase);
    waited = phase;
    Clock& clock = clocks_[static_cast<size_t>(subgroup)];
    clock.join(counter->ended[static_cast<size_t>(phase)]);
    Clock::raise(clock.phases, counter->id, phase);
  }
  find_common();
}

void Evaluator::count_arrival(Counter& counter, const PendingArrival& arriving) {
  for (const PendingCopy& copy : arriving.copies) perform(copy, 0);
  for (const PendingBox& box : arriving.boxes) copy_box(box);
  counter.ending.join(arriving.clock);
  if (++counter.arrived < counter.expected) return;
  counter.arrived = 0;
  counter.ended.push_back(counter.ending);
  ++counter.phase;
}

}  // namespace tern::kernel
