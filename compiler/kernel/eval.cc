// The evaluator: walks statements and expressions one by one. Slow and obvious; every access is checked.
#include <cstring>

#include "compiler/kernel/eval_intrinsics.h"
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/ir.h"

namespace tern::kernel {

namespace {

using scalar::ScalarValue;

struct Memory {
  uint8_t* data = nullptr;
  int64_t elements = 0;
  std::vector<uint8_t> owned;
  std::vector<EvalValue> registers;  // registers with vector elements
};

class Evaluator {
 public:
  explicit Evaluator(const Kernel& kernel) : kernel_(kernel) {}
  Result<int32_t> run(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params,
                      int64_t begin, int64_t end);

 private:
  template <typename... Args>
  void fault(fmt::format_string<Args...> format, Args&&... args) {
    if (!failed_) error_ = tern::error(format, std::forward<Args>(args)...);
    failed_ = true;
  }
  bool stopped() const { return failed_ || code_ != 0; }
  // A null mask reads all lanes.
  using Mask = const std::vector<bool>*;
  EvalValue expr(const Expr& e, Mask active = nullptr);
  EvalValue load_value(const Expr& e, Mask active);
  EvalValue select_value(const Expr& e, Mask active);
  EvalValue bitcast_value(const Expr& e, Mask active);
  int64_t index(const Expr& e) { return expr(e).lanes[0].i; }
  std::vector<bool> lanes_allowed(const Expr& count, int lanes);
  bool in_bounds(const Buffer& b, int64_t i, const Memory& memory, const char* what);
  void store_value(const Stmt& s);
  void allocate(const Stmt& s);
  void stmt(const Stmt& s);
  void body(const std::vector<Stmt>& statements) {
    for (const Stmt& s : statements) {
      if (stopped()) return;
      stmt(s);
    }
  }
  void bind_scalar(const Var& var, int64_t value) {
    vars_[var.get()] = {var->type, {scalar::scalar_from_int(DType::kI64, value)}};
  }

  const Kernel& kernel_;
  std::unordered_map<const VarNode*, EvalValue> vars_;
  std::unordered_map<const BufferNode*, Memory> memory_;
  Error error_;
  bool failed_ = false;
  int32_t code_ = 0;
};

ScalarValue zero_of(DType dtype) {
  ScalarValue value;
  value.dtype = dtype;
  return value;
}

bool Evaluator::in_bounds(const Buffer& b, int64_t i, const Memory& memory, const char* what) {
  if (i >= 0 && i < memory.elements) return true;
  fault("A {} of buffer '{}' at element {} lies outside its {} elements.", what, b->name, i, memory.elements);
  return false;
}

std::vector<bool> Evaluator::lanes_allowed(const Expr& count, int lanes) {
  std::vector<bool> allowed(static_cast<size_t>(lanes), true);
  if (count == nullptr) return allowed;
  EvalValue value = expr(count);
  for (size_t k = 0; k < allowed.size(); ++k) {
    allowed[k] = count->type.dtype == DType::kBool ? value.lanes[k].i != 0
                                                   : static_cast<int64_t>(k) < value.lanes[0].i;
  }
  return allowed;
}

EvalValue Evaluator::load_value(const Expr& e, Mask active) {
  EvalValue out{e->type,
                std::vector<ScalarValue>(static_cast<size_t>(e->type.lanes), zero_of(e->type.dtype))};
  auto it = memory_.find(e->buffer.get());
  if (it == memory_.end()) {
    fault("Buffer '{}' is read outside its scope.", e->buffer->name);
    return out;
  }
  Memory& memory = it->second;
  EvalValue at = expr(e->args[0], active);
  if (e->buffer->type.lanes > 1) {
    if (!in_bounds(e->buffer, at.lanes[0].i, memory, "load")) return out;
    return memory.registers[static_cast<size_t>(at.lanes[0].i)];
  }
  std::vector<bool> allowed = lanes_allowed(e->args.size() > 1 ? e->args[1] : nullptr, e->type.lanes);
  for (size_t k = 0; k < out.lanes.size(); ++k) {
    if (!allowed[k] || (active != nullptr && active->size() == out.lanes.size() && !(*active)[k])) continue;
    int64_t i = at.lanes.size() > 1 ? at.lanes[k].i : at.lanes[0].i + static_cast<int64_t>(k);
    if (!in_bounds(e->buffer, i, memory, "load")) return out;
    out.lanes[k] = read_element(e->type.dtype, memory.data, i);
  }
  return out;
}

EvalValue Evaluator::select_value(const Expr& e, Mask active) {
  EvalValue condition = expr(e->args[0], active);
  auto lanes = static_cast<size_t>(e->type.lanes);
  std::vector<bool> yes(lanes), no(lanes);
  bool any_yes = false, any_no = false;
  for (size_t k = 0; k < lanes; ++k) {
    bool alive = active == nullptr || active->size() != lanes || (*active)[k];
    bool c = condition.lanes[k].i != 0;
    yes[k] = alive && c;
    no[k] = alive && !c;
    any_yes |= yes[k];
    any_no |= no[k];
  }
  EvalValue nothing{e->type, std::vector<ScalarValue>(lanes, zero_of(e->type.dtype))};
  EvalValue a = any_yes ? expr(e->args[1], &yes) : nothing;
  EvalValue b = any_no ? expr(e->args[2], &no) : nothing;
  for (size_t k = 0; k < lanes; ++k) {
    if (!yes[k]) a.lanes[k] = b.lanes[k];
  }
  return a;
}

EvalValue Evaluator::bitcast_value(const Expr& e, Mask active) {
  EvalValue in = expr(e->args[0], active);
  int from = dtype_bits(in.type.dtype) / 8, to = dtype_bits(e->type.dtype) / 8;
  std::vector<uint8_t> bytes(static_cast<size_t>(from) * in.lanes.size());
  for (size_t k = 0; k < in.lanes.size(); ++k) {
    write_element(in.type.dtype, bytes.data(), static_cast<int64_t>(k), in.lanes[k]);
  }
  EvalValue out{e->type, {}};
  for (int k = 0; k < static_cast<int>(bytes.size()) / to; ++k) {
    out.lanes.push_back(read_element(e->type.dtype, bytes.data(), k));
  }
  return out;
}

EvalValue Evaluator::expr(const Expr& e, Mask active) {
  if (active != nullptr && e->type.lanes > 1 && active->size() != static_cast<size_t>(e->type.lanes)) {
    active = nullptr;
  }
  EvalValue out{e->type, {}};
  switch (e->kind) {
    case ExprKind::kConst:
      out.lanes = {const_value(e)};
      return out;
    case ExprKind::kVar: {
      auto it = vars_.find(e->var.get());
      if (it != vars_.end()) return it->second;
      fault("Variable '{}' is read before it has a value.", e->var->name);
      out.lanes.resize(static_cast<size_t>(e->type.lanes), zero_of(e->type.dtype));
      return out;
    }
    case ExprKind::kOp: {
      if (e->op == ScalarOp::kSelect) return select_value(e, active);
      std::vector<EvalValue> args;
      for (const Expr& a : e->args) args.push_back(expr(a, active));
      std::vector<ScalarValue> operands(args.size());
      for (size_t k = 0; k < static_cast<size_t>(e->type.lanes); ++k) {
        for (size_t a = 0; a < args.size(); ++a) operands[a] = args[a].lanes[k];
        if (e->is_index && e->type.lanes == 1 && (operands[0].i < 0 || operands[1].i <= 0)) {
          fault("An index division of {} by {} breaks its contract.", operands[0].i, operands[1].i);
        }
        out.lanes.push_back(scalar::eval_scalar(e->op, operands));
      }
      return out;
    }
    case ExprKind::kCast:
      for (const ScalarValue& v : expr(e->args[0], active).lanes) {
        out.lanes.push_back(scalar::eval_cast(v, e->type.dtype, e->saturate));
      }
      return out;
    case ExprKind::kBitcast:
      return bitcast_value(e, active);
    case ExprKind::kLoad:
      return load_value(e, active);
    case ExprKind::kRamp: {
      int64_t base = index(e->args[0]);
      for (int k = 0; k < e->type.lanes; ++k) {
        out.lanes.push_back(scalar::scalar_from_int(DType::kI64, base + k * e->i));
      }
      return out;
    }
    case ExprKind::kBroadcast:
      out.lanes.assign(static_cast<size_t>(e->type.lanes), expr(e->args[0]).lanes[0]);
      return out;
    case ExprKind::kReduce: {
      // A pairwise tree: lane k with lane k + n/2, and so on.
      std::vector<ScalarValue> lanes = expr(e->args[0]).lanes;
      while (lanes.size() > 1) {
        size_t half = lanes.size() / 2;
        for (size_t k = 0; k < half; ++k) {
          ScalarValue pair[2] = {lanes[k], lanes[k + half]};
          lanes[k] = scalar::eval_scalar(e->op, pair);
        }
        lanes.resize(half);
      }
      out.lanes = std::move(lanes);
      return out;
    }
    case ExprKind::kShuffle: {
      std::vector<ScalarValue> all = expr(e->args[0]).lanes;
      if (e->args.size() > 1) {
        for (const ScalarValue& v : expr(e->args[1]).lanes) all.push_back(v);
      }
      for (int lane : e->lanes) {
        out.lanes.push_back(lane < 0 ? zero_of(e->type.dtype) : all[static_cast<size_t>(lane)]);
      }
      return out;
    }
    case ExprKind::kIntrinsic: {
      std::vector<EvalValue> args;
      for (const Expr& a : e->args) args.push_back(expr(a));
      return eval_intrinsic(e->intrinsic, args, e->type);
    }
  }
  TERN_UNREACHABLE("expression kind");
}

void Evaluator::store_value(const Stmt& s) {
  EvalValue value = expr(s->value), at = expr(s->index);
  auto it = memory_.find(s->buffer.get());
  if (it == memory_.end()) return fault("Buffer '{}' is written outside its scope.", s->buffer->name);
  Memory& memory = it->second;
  if (s->buffer->type.lanes > 1) {
    if (!in_bounds(s->buffer, at.lanes[0].i, memory, "store")) return;
    memory.registers[static_cast<size_t>(at.lanes[0].i)] = value;
    return;
  }
  std::vector<bool> allowed = lanes_allowed(s->count, value.type.lanes);
  for (size_t k = 0; k < value.lanes.size(); ++k) {
    if (!allowed[k]) continue;
    int64_t i = at.lanes.size() > 1 ? at.lanes[k].i : at.lanes[0].i + static_cast<int64_t>(k);
    if (!in_bounds(s->buffer, i, memory, "store")) return;
    write_element(s->buffer->type.dtype, memory.data, i, value.lanes[k]);
  }
}

void Evaluator::allocate(const Stmt& s) {
  Memory memory;
  memory.elements = s->buffer->size;
  if (s->buffer->type.lanes > 1) {
    EvalValue zero{s->buffer->type, std::vector<ScalarValue>(static_cast<size_t>(s->buffer->type.lanes),
                                                             zero_of(s->buffer->type.dtype))};
    memory.registers.assign(static_cast<size_t>(memory.elements), zero);
  } else {
    // Undefined at entry: a pattern that no test expects.
    memory.owned.assign(static_cast<size_t>(dtype_storage_bytes(s->buffer->type.dtype, memory.elements)),
                        0xcd);
  }
  Memory& kept = memory_[s->buffer.get()] = std::move(memory);
  kept.data = kept.owned.data();
}

void Evaluator::stmt(const Stmt& s) {
  switch (s->kind) {
    case StmtKind::kBlock:
      return body(s->body);
    case StmtKind::kFor: {
      int64_t begin = index(s->begin), extent = index(s->extent);
      for (int64_t i = 0; i < extent && !stopped(); ++i) {
        bind_scalar(s->var, begin + i);
        body(s->body);
      }
      return;
    }
    case StmtKind::kLet:
    case StmtKind::kDeclare:
    case StmtKind::kAssign:
      vars_[s->var.get()] = expr(s->value);
      return;
    case StmtKind::kStore:
      return store_value(s);
    case StmtKind::kIf:
      return body(expr(s->value).lanes[0].i != 0 ? s->body : s->else_body);
    case StmtKind::kWhile:
      while (!stopped() && expr(s->value).lanes[0].i != 0) body(s->body);
      return;
    case StmtKind::kAlloc:
      return allocate(s);
    case StmtKind::kFail:
      code_ = static_cast<int32_t>(s->code);
      return;
    case StmtKind::kBarrier:
    case StmtKind::kComment:
      return;
  }
}

Result<int32_t> Evaluator::run(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params,
                               int64_t begin, int64_t end) {
  if (bindings.size() != kernel_.bindings.size() || params.size() != kernel_.params.size()) {
    return tern::error("Kernel '{}' has {} bindings and {} parameters but is given {} and {}.", kernel_.name,
                       kernel_.bindings.size(), kernel_.params.size(), bindings.size(), params.size());
  }
  for (size_t k = 0; k < bindings.size(); ++k) {
    Memory& memory = memory_[kernel_.bindings[k].get()];
    memory.data = bindings[k].data;
    memory.elements = bindings[k].bytes * 8 / dtype_bits(kernel_.bindings[k]->type.dtype);
  }
  for (size_t k = 0; k < params.size(); ++k) bind_scalar(kernel_.params[k].var, params[k]);
  std::vector<int64_t> extents;
  for (const GridAxis& axis : kernel_.grid) extents.push_back(index(axis.extent_expr));
  for (int64_t tile = begin; tile < end && !stopped(); ++tile) {
    int64_t rest = tile;
    for (size_t k = kernel_.grid.size(); k-- > 0;) {
      bind_scalar(kernel_.grid[k].var, extents[k] > 0 ? rest % extents[k] : 0);
      if (extents[k] > 0) rest /= extents[k];
    }
    body(kernel_.body);
  }
  if (failed_) return std::move(error_).note(fmt::format("While evaluating kernel '{}'", kernel_.name));
  return code_;
}

}  // namespace

Result<int32_t> evaluate(const Kernel& kernel, const std::vector<EvalBinding>& bindings,
                         const std::vector<int64_t>& params, int64_t tile_begin, int64_t tile_end) {
  return Evaluator(kernel).run(bindings, params, tile_begin, tile_end);
}

}  // namespace tern::kernel
