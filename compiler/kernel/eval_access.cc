// What the evaluator does to memory: loads, stores, allocations, asynchronous copies; bounds and races.
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/evaluator.h"
#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

using scalar::ScalarValue;

namespace {

constexpr uint8_t kUndefined = 0xcd;  // a pattern that no test expects

}  // namespace

// Buffers with offsets lie in one memory, so that those that share bytes are seen to.
void Evaluator::prepare_workgroup() {
  if (kernel_.workgroup_bytes == 0) return;
  workgroup_.unit_bits = 32;
  visit(kernel_.body, [&](const Stmt& s) {
    if (s->kind != StmtKind::kAlloc || s->buffer->scope != Scope::kWorkgroup) return;
    workgroup_.unit_bits = std::min(workgroup_.unit_bits, std::max(8, dtype_bits(s->buffer->type.dtype)));
  });
  const int64_t bytes = kernel_.workgroup_bytes * kernel_.cluster;
  workgroup_.owned.assign(static_cast<size_t>(bytes), kUndefined);
  workgroup_.races = std::make_shared<RaceTracker>(bytes * 8 / workgroup_.unit_bits);
}

EvalMemory* Evaluator::memory_of(const Buffer& buffer, const char* what) {
  auto it = memory_.find(buffer.get());
  if (it != memory_.end()) return &it->second;
  fault("Buffer '{}' is {} outside its scope.", buffer->name, what);
  return nullptr;
}

bool Evaluator::in_bounds(const Buffer& b, int64_t i, const EvalMemory& memory, const char* what) {
  if (i >= 0 && i < memory.elements) return true;
  fault("A {} of buffer '{}' at element {} lies outside its {} elements.", what, b->name, i, memory.elements);
  return false;
}

void Evaluator::subgroup_barrier(const EvalMask& mask) {
  const int width = kernel_.subgroup;
  for (int first = 0; first < threads_; first += width) {
    int active = 0;
    for (int t = first; t < std::min(first + width, threads_); ++t) active += mask.on(t, 0) ? 1 : 0;
    if (active == 0) continue;
    if (active != std::min(width, threads_ - first))
      return fault("A subgroup's barrier is reached by {} of the {} threads of subgroup {}.", active, width,
                   first / width);
    ++subgroup_epochs_[static_cast<size_t>(first / width)];
  }
}

// Renderers make loads of GPU kernels' prefetches.
void Evaluator::prefetch(const Stmt& s, const EvalMask& mask) {
  if (kernel_.threads == 0) return;
  const EvalMemory* memory = memory_of(s->buffer, "prefetched");
  const ValueRef index = expr(s->index, mask);
  for (int t = 0; t < threads_ && !stopped(); ++t) {
    if (mask.on(t, 0)) in_bounds(s->buffer, std::as_const(*index).of(t)[0].i, *memory, "prefetch");
  }
}

void Evaluator::order_all() {
  const auto subgroups = static_cast<size_t>(threads_ / width());
  clocks_.resize(subgroups);
  Clock all{std::vector<int64_t>(subgroups, epoch_++), {}, {}, common_.start};
  for (const Clock& clock : clocks_) all.join(clock);
  for (Clock& clock : clocks_) clock = all;
  common_ = std::move(all);
}

void Evaluator::find_common() {
  common_ = clocks_[0];
  for (const Clock& clock : clocks_) {
    for (size_t k = 0; k < common_.subgroups.size(); ++k)
      common_.subgroups[k] = std::min(common_.subgroups[k], clock.subgroups[k]);
    for (auto& [counter, epoch] : common_.copies)
      epoch = std::min(epoch, Clock::value(clock.copies, counter));
  }
}

void Evaluator::touch(const Buffer& b, const EvalMemory& memory, int64_t i, bool write, int thread,
                      int counter) {
  if (memory.races == nullptr || ends_only_) return;
  const int bits = dtype_bits(b->type.dtype);
  const int64_t from =
      i * bits / memory.unit_bits + rank(thread) * memory.workgroup_bytes * 8 / memory.unit_bits;
  const int64_t units = std::max(1, bits / memory.unit_bits);
  for (int64_t unit = from; unit < from + units; ++unit) {
    RaceTracker::Party party{.group = memory.is_global ? group_ + rank(thread) : 0,
                             .epoch = epoch_,
                             .thread = thread,
                             .subgroup = RaceTracker::kSeveral};
    if (thread >= 0) party.subgroup = thread / width();
    const Clock& clock = thread >= 0 ? clocks_[static_cast<size_t>(party.subgroup)] : common_;
    if (counter >= 0) {
      party.thread = party.subgroup = RaceTracker::kCopies - counter;
    } else if (kernel_.subgroup > 0 && thread >= 0) {
      party.subgroup_epoch = subgroup_epochs_[static_cast<size_t>(party.subgroup)];
    }
    std::string parties = memory.races->touch(memory.first_unit + unit, write, party, clock, cluster_epoch_);
    if (parties.empty()) continue;
    return fault(
        "There is a race on element {} of buffer '{}': {} touch it without a barrier between, and one "
        "writes.",
        i, b->name, parties);
  }
}

void Evaluator::load_lanes(const Expr& e, const EvalMemory& memory, int thread, int reader, LaneValues at,
                           const EvalValue* count, const EvalMask& mask, std::span<ScalarValue> out) {
  if (e->buffer->type.lanes > 1) {
    if (!in_bounds(e->buffer, at[0].i, memory, "load")) return;
    auto from = memory.registers.begin() + (thread * memory.elements + at[0].i) * e->type.lanes;
    std::copy(from, from + e->type.lanes, out.begin());
    return;
  }
  const bool by_lane = mask.lanes == e->type.lanes;
  const uint8_t* data = bytes_of(memory, thread);
  for (size_t k = 0; k < out.size(); ++k) {
    if (by_lane && reader >= 0 && !mask.on(reader, static_cast<int>(k))) continue;
    if (count != nullptr) {
      LaneValues limit = count->of(thread);
      if (limit[0].dtype == DType::kBool ? limit[k].i == 0 : static_cast<int64_t>(k) >= limit[0].i) continue;
    }
    int64_t i = at.size() > 1 ? at[k].i : at[0].i + static_cast<int64_t>(k);
    if (!in_bounds(e->buffer, i, memory, "load")) return;
    touch(e->buffer, memory, i, false, reader);
    out[k] = read_element(e->type.dtype, data, i);
  }
}

ValueRef Evaluator::load_value(const Expr& e, const EvalMask& mask) {
  auto out = std::make_shared<EvalValue>();
  out->type = e->type;
  EvalMemory* memory = memory_of(e->buffer, "read");
  ValueRef at = expr(e->args[0], mask);
  ValueRef count = e->args.size() > 1 ? expr(e->args[1], mask) : nullptr;
  const bool same = memory != nullptr && !memory->is_private && at->uniform &&
                    (kernel_.cluster == 1 || memory->races == nullptr) &&
                    (count == nullptr || count->uniform) && mask.lanes == 1;
  out->uniform = same || threads_ == 1;
  const int copies = out->uniform ? 1 : threads_;
  out->data.assign(static_cast<size_t>(copies * e->type.lanes), zero_of(e->type.dtype));
  if (memory == nullptr) return out;
  for (int t = 0; t < copies && !failed_; ++t) {
    if (!out->uniform && !mask.any(t)) continue;
    int reader = t;
    if (same && threads_ > 1) {
      reader = RaceTracker::kSeveral;
      if (mask.count == 1)
        reader = static_cast<int>(std::find(mask.bits.begin(), mask.bits.end(), 1) - mask.bits.begin());
    }
    load_lanes(e, *memory, t, reader, std::as_const(*at).of(t), count.get(), mask, out->of(t));
  }
  return out;
}

// Four elements of another workgroup's copy.
ValueRef Evaluator::peer_value(const Expr& e, const EvalMask& mask) {
  EvalMemory* memory = memory_of(e->buffer, "read");
  ValueRef at = expr(e->args[0], mask), peer = expr(e->args[1], mask);
  auto out = std::make_shared<EvalValue>(EvalValue{e->type, false, {}});
  out->data.assign(static_cast<size_t>(threads_ * e->type.lanes), zero_of(e->type.dtype));
  for (int t = 0; t < threads_ && memory != nullptr && !failed_; ++t) {
    if (!mask.any(t)) continue;
    const int64_t from = at->of(t)[0].i, who = peer->of(t)[0].i;
    if (from % e->type.lanes != 0 || who < 0 || who >= kernel_.cluster) {
      fault("A peer_load reads from element {} of '{}' of workgroup {}.", from, e->buffer->name, who);
      break;
    }
    for (int64_t k = 0; k < e->type.lanes; ++k) {
      if (!in_bounds(e->buffer, from + k, *memory, "load")) break;
      const int64_t start = who * memory->workgroup_bytes;
      const std::string parties = memory->races->peer_read(
          memory->first_unit + ((from + k) * dtype_bits(e->type.dtype) + start * 8) / memory->unit_bits,
          cluster_epoch_);
      if (!parties.empty())
        fault(
            "There is a race on element {} of buffer '{}': {} touch it without a barrier between, and one "
            "writes.",
            from + k, e->buffer->name, parties);
      out->of(t)[static_cast<size_t>(k)] = read_element(e->type.dtype, memory->data + start, from + k);
    }
    last_peer_read_ = cluster_epoch_;
  }
  return out;
}

void Evaluator::store_value(const Stmt& s, const EvalMask& mask) {
  ValueRef value = expr(s->value, mask), index = expr(s->index, mask);
  ValueRef count = s->count != nullptr ? expr(s->count, mask) : nullptr;
  EvalMemory* memory = memory_of(s->buffer, "written");
  if (memory == nullptr) return;
  for (int t = 0; t < threads_; ++t) {
    if (!mask.on(t, 0)) continue;
    LaneValues values = std::as_const(*value).of(t), at = std::as_const(*index).of(t);
    if (s->buffer->type.lanes > 1) {
      if (!in_bounds(s->buffer, at[0].i, *memory, "store")) return;
      std::copy(values.begin(), values.end(),
                memory->registers.begin() + (t * memory->elements + at[0].i) * s->buffer->type.lanes);
      continue;
    }
    uint8_t* data = bytes_of(*memory, t);
    for (size_t k = 0; k < values.size(); ++k) {
      if (count != nullptr) {
        LaneValues limit = std::as_const(*count).of(t);
        if (limit[0].dtype == DType::kBool ? limit[k].i == 0 : static_cast<int64_t>(k) >= limit[0].i)
          continue;
      }
      int64_t i = at.size() > 1 ? at[k].i : at[0].i + static_cast<int64_t>(k);
      if (!in_bounds(s->buffer, i, *memory, "store")) return;
      touch(s->buffer, *memory, i, true, t);
      write_element(s->buffer->type.dtype, data, i, values[k]);
    }
  }
}

void Evaluator::allocate(const Stmt& s) {
  const DType dtype = s->buffer->type.dtype;
  EvalMemory memory;
  memory.elements = s->buffer->size;
  const int64_t bytes = dtype_storage_bytes(dtype, memory.elements);
  if (s->buffer->type.lanes > 1) {
    memory.is_private = true;
    memory.registers.assign(static_cast<size_t>(threads_ * memory.elements * s->buffer->type.lanes),
                            zero_of(dtype));
  } else if (s->buffer->scope == Scope::kWorkgroup && workgroup_.races != nullptr) {
    memory.data = workgroup_.owned.data() + s->code;
    memory.races = workgroup_.races;
    memory.unit_bits = workgroup_.unit_bits;
    memory.first_unit = s->code * 8 / memory.unit_bits;
    memory.workgroup_bytes = kernel_.workgroup_bytes;
    for (int k = 0; k < kernel_.cluster; ++k)
      std::fill_n(memory.data + k * memory.workgroup_bytes, bytes, kUndefined);
  } else if (s->buffer->scope == Scope::kWorkgroup) {
    memory.owned.assign(static_cast<size_t>(bytes * kernel_.cluster), kUndefined);
    memory.unit_bits = std::max(8, dtype_bits(dtype));
    memory.workgroup_bytes = bytes;
    // What a loop allocates again is the same memory.
    memory.races = memory_[s->buffer.get()].races;
    if (memory.races == nullptr)
      memory.races = memory.races =
          std::make_shared<RaceTracker>(bytes * kernel_.cluster * 8 / memory.unit_bits);
  } else {
    memory.is_private = true;
    memory.thread_bytes = bytes;
    memory.owned.assign(static_cast<size_t>(bytes * threads_), kUndefined);
  }
  EvalMemory& kept = memory_[s->buffer.get()] = std::move(memory);
  if (!kept.owned.empty()) kept.data = kept.owned.data();
}

void Evaluator::async_copy(const Stmt& s, const EvalMask& mask) {
  const Expr& from = s->value;
  const int lanes = from->type.lanes;
  ValueRef index = expr(s->index, mask), at = expr(from->args[0], mask);
  ValueRef count = from->args.size() > 1 ? expr(from->args[1], mask) : nullptr;
  EvalMemory *memory = memory_of(s->buffer, "written"), *source = memory_of(from->buffer, "read");
  const int64_t aligned = lanes * dtype_bits(from->type.dtype) / 8;
  for (int t = 0; t < threads_ && !failed_; ++t) {
    if (!mask.on(t, 0)) continue;
    PendingCopy copy{s, memory, index->of(t)[0].i, source->data, at->of(t)[0].i, lanes};
    if (count != nullptr) copy.count = std::clamp<int64_t>(count->of(t)[0].i, 0, lanes);
    if (copy.index % lanes != 0 || (copy.count > 0 && copy.source_index % lanes != 0)) {
      return fault(
          "An asynchronous copy of {} bytes from element {} of '{}' to element {} of '{}' is not aligned.",
          aligned, copy.source_index, from->buffer->name, copy.index, s->buffer->name);
    }
    for (int k = 0; k < lanes; ++k) {
      if (!in_bounds(s->buffer, copy.index + k, *memory, "store")) return;
      touch(s->buffer, *memory, copy.index + k, true, t);
      if (k >= copy.count) continue;
      if (!in_bounds(from->buffer, copy.source_index + k, *source, "load")) return;
      touch(from->buffer, *source, copy.source_index + k, false, t);
    }
    if (ends_only_) {
      perform(copy, t);
    } else {
      copies_[static_cast<size_t>(t)].back().push_back(std::move(copy));
    }
  }
}

void Evaluator::perform(const PendingCopy& copy, int thread) {
  const DType dtype = copy.stmt->buffer->type.dtype;
  for (int64_t k = 0; k < copy.stmt->value->type.lanes; ++k) {
    ScalarValue value = zero_of(dtype);
    if (k < copy.count) value = read_element(dtype, copy.source, copy.source_index + k);
    write_element(dtype, bytes_of(*copy.memory, thread), copy.index + k, value);
  }
}

void Evaluator::async_wait(int thread, int64_t groups_left) {
  CopyGroups& groups = copies_[static_cast<size_t>(thread)];
  while (static_cast<int64_t>(groups.size()) - 1 > groups_left) {
    for (const PendingCopy& copy : groups.front()) {
      for (int64_t k = 0; k < copy.stmt->value->type.lanes; ++k)
        touch(copy.stmt->buffer, *copy.memory, copy.index + k, true, thread);
      perform(copy, thread);
    }
    groups.pop_front();
  }
}

}  // namespace tern::kernel
