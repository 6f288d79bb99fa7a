#include "compiler/kernel/evaluator.h"

namespace tern::kernel {
namespace {

// Of a loop by a condition whose values mean nothing.
constexpr int kRounds = 4;

}  // namespace

bool EvalMask::any(int thread) const {
  auto from = bits.begin() + static_cast<ptrdiff_t>(thread) * lanes;
  for (int k = 0; k < lanes; ++k) {
    if (from[k] != 0) return true;
  }
  return false;
}

Evaluator::Evaluator(const Kernel& kernel)
    : kernel_(kernel),
      tile_parts_(kernel),
      threads_(std::max(1, kernel.threads * kernel.cluster)),
      copies_(static_cast<size_t>(threads_)),
      subgroup_epochs_(kernel.subgroup > 0 ? static_cast<size_t>(threads_ / kernel.subgroup + 1) : 0) {}

void Evaluator::bind(const Var& var, int64_t value) {
  vars_[var.get()] =
      std::make_shared<EvalValue>(EvalValue{var->type, true, {scalar::scalar_from_int(DType::kI64, value)}});
}

EvalMask Evaluator::where(const EvalValue& condition, const EvalMask& mask, bool is_true) {
  EvalMask out{1, 0, std::vector<uint8_t>(static_cast<size_t>(threads_))};
  for (int t = 0; t < threads_; ++t) {
    if (!mask.on(t, 0) || (condition.of(t)[0].i != 0) != is_true) continue;
    out.bits[static_cast<size_t>(t)] = 1;
    ++out.count;
  }
  return out;
}

void Evaluator::body(const std::vector<Stmt>& statements, const EvalMask& mask) {
  if (mask.count == 0) return;
  for (const Stmt& s : statements) {
    if (stopped()) return;
    stmt(s, mask);
  }
}

void Evaluator::for_stmt(const Stmt& s, const EvalMask& mask) {
  ValueRef begin = expr(s->begin, mask), extent = expr(s->extent, mask);
  if (begin->uniform && extent->uniform) {
    const int64_t rounds = extent->data[0].i, step = ends_only_ ? std::max<int64_t>(rounds - 1, 1) : 1;
    for (int64_t i = 0; i < rounds && !stopped(); i += step) {
      bind(s->var, begin->data[0].i + i);
      body(s->body, mask);
    }
    return;
  }
  int64_t step = 1;
  for (int t = 0; ends_only_ && t < threads_; ++t) {
    if (mask.on(t, 0)) step = std::max(step, extent->of(t)[0].i - 1);
  }
  for (int64_t i = 0; !stopped(); i += step) {
    EvalMask inside{1, 0, std::vector<uint8_t>(static_cast<size_t>(threads_))};
    EvalValue value{s->var->type, false, std::vector<scalar::ScalarValue>(static_cast<size_t>(threads_))};
    for (int t = 0; t < threads_; ++t) {
      if (!mask.on(t, 0) || i >= extent->of(t)[0].i) continue;
      inside.bits[static_cast<size_t>(t)] = 1;
      ++inside.count;
      value.of(t)[0] = scalar::scalar_from_int(DType::kI64, begin->of(t)[0].i + i);
    }
    if (inside.count == 0) return;
    vars_[s->var.get()] = std::make_shared<EvalValue>(std::move(value));
    body(s->body, inside);
  }
}

void Evaluator::assign(const Stmt& s, const EvalMask& mask) {
  ValueRef value = expr(s->value, mask);
  ValueRef& kept = vars_[s->var.get()];
  if (is_full(mask) || kept == nullptr) {
    kept = std::move(value);
    return;
  }
  EvalValue merged{value->type, false, {}};
  merged.data.resize(static_cast<size_t>(threads_ * value->type.lanes));
  for (int t = 0; t < threads_; ++t) {
    LaneValues from = mask.on(t, 0) ? value->of(t) : std::as_const(*kept).of(t);
    std::copy(from.begin(), from.end(), merged.of(t).begin());
  }
  kept = std::make_shared<EvalValue>(std::move(merged));
}

// What orders rounds of loops that are not walked, and products whose values mean nothing.
bool Evaluator::passed_over(const Stmt& s) const {
  if (!ends_only_) return false;
  switch (s->kind) {
    case StmtKind::kBarrier:
    case StmtKind::kAsyncCommit:
    case StmtKind::kAsyncWait:
    case StmtKind::kArrival:
    case StmtKind::kTensorCopy:
    case StmtKind::kGroupMma:
    case StmtKind::kGroupMmaCommit:
    case StmtKind::kGroupMmaWait:
      return true;
    case StmtKind::kTile:
      return s->tile == TileOp::kMultiply;
    default:
      return false;
  }
}

void Evaluator::stmt(const Stmt& s, const EvalMask& mask) {
  if (passed_over(s)) return;
  switch (s->kind) {
    case StmtKind::kBlock:
      return body(s->body, mask);
    case StmtKind::kFor:
      return for_stmt(s, mask);
    case StmtKind::kLet:
    case StmtKind::kDeclare:
      vars_[s->var.get()] = expr(s->value, mask);
      return;
    case StmtKind::kAssign:
      return assign(s, mask);
    case StmtKind::kStore:
      return store_value(s, mask);
    case StmtKind::kIf: {
      ValueRef condition = expr(s->value, mask);
      if (condition->uniform) return body(condition->data[0].i != 0 ? s->body : s->else_body, mask);
      body(s->body, where(*condition, mask, true));
      return body(s->else_body, where(*condition, mask, false));
    }
    case StmtKind::kWhile: {
      EvalMask left = mask;
      for (int round = 0; !stopped() && (!ends_only_ || round < kRounds); ++round) {
        left = where(*expr(s->value, left), left, true);
        if (left.count == 0) return;
        body(s->body, left);
      }
      return;
    }
    case StmtKind::kAlloc:
      return allocate(s);
    case StmtKind::kFail:
      code_ = static_cast<int32_t>(s->code);
      return;
    case StmtKind::kBarrier:
      if (is_barrier(s, BarrierScope::kSubgroup)) return subgroup_barrier(mask);
      order_all();
      if (is_barrier(s, BarrierScope::kCluster)) ++cluster_epoch_;
      if (!is_full(mask)) fault("A barrier is reached by {} of {} threads.", mask.count, threads_);
      return;
    case StmtKind::kPrefetch:
      return prefetch(s, mask);
    case StmtKind::kAsyncCopy:
      return async_copy(s, mask);
    case StmtKind::kAsyncCommit:
    case StmtKind::kAsyncWait:
      for (int t = 0; t < threads_ && !stopped(); ++t) {
        if (!mask.on(t, 0)) continue;
        if (s->kind == StmtKind::kAsyncWait) {
          async_wait(t, s->code);
        } else {
          copies_[static_cast<size_t>(t)].emplace_back();
        }
      }
      return;
    case StmtKind::kArrival:
      return arrival(s, mask);
    case StmtKind::kTensorCopy:
      return tensor_copy(s, mask);
    case StmtKind::kTile:
      return tile(s, mask);
    case StmtKind::kGroupMma:
      return group_mma(s, mask);
    case StmtKind::kGroupMmaCommit:
      group_mma_groups_.emplace_back();
      return;
    case StmtKind::kGroupMmaWait:
      if (s->value) expr(s->value, mask);
      return group_mma_wait(s->code);
    case StmtKind::kGridWait:
    case StmtKind::kComment:
      return;
  }
}

void Evaluator::bind_tile(int64_t tile, const std::vector<int64_t>& extents) {
  int64_t rest = tile;
  for (size_t k = kernel_.grid.size(); k-- > 0;) {
    bind(kernel_.grid[k].var, extents[k] > 0 ? rest % extents[k] : 0);
    if (extents[k] > 0) rest /= extents[k];
  }
  group_ = tile;
  if (kernel_.cluster == 1) return;
  EvalValue ranks{{DType::kI64, 1}, false, {}};
  for (int t = 0; t < threads_; ++t) ranks.data.push_back(scalar::scalar_from_int(DType::kI64, rank(t)));
  vars_[kernel_.grid.back().var.get()] = std::make_shared<EvalValue>(std::move(ranks));
}

Status Evaluator::take(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params) {
  if (bindings.size() != kernel_.bindings.size() || params.size() != kernel_.params.size()) {
    return tern::error("Kernel '{}' has {} bindings and {} parameters but is given {} and {}.", kernel_.name,
                       kernel_.bindings.size(), kernel_.params.size(), bindings.size(), params.size());
  }
  for (size_t k = 0; k < bindings.size(); ++k) {
    const Buffer& buffer = kernel_.bindings[k];
    EvalMemory& memory = memory_[buffer.get()];
    memory.data = bindings[k].data;
    memory.elements = bindings[k].bytes * 8 / dtype_bits(buffer->type.dtype);
    if (kernel_.threads != 0 && buffer->access != Access::kRead && !ends_only_) {
      memory.unit_bits = std::max(8, dtype_bits(buffer->type.dtype));
      memory.races = std::make_shared<RaceTracker>(bindings[k].bytes * 8 / memory.unit_bits);
      memory.is_global = true;
    }
  }
  for (size_t k = 0; k < params.size(); ++k) bind(kernel_.params[k].var, params[k]);
  if (kernel_.threads != 0) {
    EvalValue number{kernel_.thread->type, false, {}};
    for (int t = 0; t < threads_; ++t)
      number.data.push_back(scalar::scalar_from_int(DType::kI64, t % kernel_.threads));
    vars_[kernel_.thread.get()] = std::make_shared<EvalValue>(std::move(number));
    prepare_workgroup();
  }
  return Ok{};
}

std::vector<int64_t> Evaluator::grid_extents(const EvalMask& all) {
  std::vector<int64_t> extents;
  for (const GridAxis& axis : kernel_.grid) extents.push_back(expr(axis.extent_expr, all)->data[0].i);
  return extents;
}

Result<int32_t> Evaluator::run(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params,
                               int64_t begin, int64_t end) {
  TERN_TRY(take(bindings, params));
  const EvalMask all{1, threads_, std::vector<uint8_t>(static_cast<size_t>(threads_), 1)};
  const std::vector<int64_t> extents = grid_extents(all);
  if (begin % kernel_.cluster != 0 || end % kernel_.cluster != 0)
    return tern::error("Tiles {} to {} of kernel '{}' are no whole clusters of {}.", begin, end, kernel_.name,
                       kernel_.cluster);
  for (int64_t tile = begin; tile < end && !stopped(); tile += kernel_.cluster) {
    bind_tile(tile, extents);
    for (CopyGroups& groups : copies_) groups = CopyGroups(1);
    group_mma_groups_ = decltype(group_mma_groups_)(1);
    counters_.clear();
    clocks_.clear();
    order_all();
    common_.start = epoch_ - 1;
    for (Clock& clock : clocks_) clock.start = common_.start;
    ++cluster_epoch_;
    body(kernel_.body, all);
    for (const auto& [at, counter] : counters_) {
      bool copies = false;
      for (const auto& [subgroup, boxes] : counter.boxes) copies |= !boxes.empty();
      for (const PendingArrival& arrival : counter.pending) copies |= !arrival.boxes.empty();
      if (copies) fault("A workgroup may end before copies end that '{}' counts.", at.first->name);
    }
    if (last_peer_read_ == cluster_epoch_)
      fault("A workgroup may end while another one of its cluster reads its memory.");
  }
  if (failed_) return std::move(error_).note(fmt::format("While evaluating kernel '{}'", kernel_.name));
  return code_;
}

Status Evaluator::run_ends(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params) {
  ends_only_ = true;
  TERN_TRY(take(bindings, params));
  const EvalMask all{1, threads_, std::vector<uint8_t>(static_cast<size_t>(threads_), 1)};
  const std::vector<int64_t> extents = grid_extents(all);
  std::vector<int64_t> tiles = {0};
  for (const int64_t extent : extents) {
    std::vector<int64_t> longer;
    for (const int64_t before : tiles) {
      for (const int64_t at : {int64_t{0}, extent - 2, extent - 1}) {
        if (at >= 0 && at < extent && (at != 0 || longer.empty() || longer.back() != before * extent))
          longer.push_back(before * extent + at);
      }
    }
    tiles = std::move(longer);
  }
  for (const int64_t each : tiles) {
    const int64_t tile = each / kernel_.cluster * kernel_.cluster;
    bind_tile(tile, extents);
    order_all();
    body(kernel_.body, all);
    code_ = 0;
    if (failed_)
      return std::move(error_).note(
          fmt::format("While evaluating tile {} of kernel '{}'", tile, kernel_.name));
  }
  return Ok{};
}

Status check_bounds(const Kernel& kernel, const std::vector<EvalBinding>& bindings,
                    const std::vector<int64_t>& params) {
  return Evaluator(kernel).run_ends(bindings, params);
}

Result<int32_t> evaluate(const Kernel& kernel, const std::vector<EvalBinding>& bindings,
                         const std::vector<int64_t>& params, int64_t tile_begin, int64_t tile_end) {
  return Evaluator(kernel).run(bindings, params, tile_begin, tile_end);
}

}  // namespace tern::kernel
