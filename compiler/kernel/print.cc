#include <cmath>
#include <unordered_set>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/ir.h"
#include "compiler/kernel/plain_text.h"
#include "compiler/kernel/text.h"

namespace tern::kernel {

std::string_view infix_text(ScalarOp op) {
  switch (op) {
    case ScalarOp::kAdd:
      return "+";
    case ScalarOp::kSub:
      return "-";
    case ScalarOp::kMul:
      return "*";
    case ScalarOp::kDiv:
      return "/";
    case ScalarOp::kRem:
      return "%";
    case ScalarOp::kLt:
      return "<";
    case ScalarOp::kLe:
      return "<=";
    case ScalarOp::kGt:
      return ">";
    case ScalarOp::kGe:
      return ">=";
    case ScalarOp::kEq:
      return "==";
    case ScalarOp::kNe:
      return "!=";
    default:
      return "";
  }
}

std::string_view intrinsic_name(Intrinsic which) {
  static constexpr std::string_view kNames[] = {
#define TERN_INTRINSIC(name, text, arity, trait, meaning) text,
#include "compiler/kernel/intrinsics.def"
#undef TERN_INTRINSIC
  };
  return kNames[static_cast<size_t>(which)];
}

int intrinsic_arity(Intrinsic which) {
  static constexpr int kArity[] = {
#define TERN_INTRINSIC(name, text, arity, trait, meaning) arity,
#include "compiler/kernel/intrinsics.def"
#undef TERN_INTRINSIC
  };
  return kArity[static_cast<size_t>(which)];
}

IntrinsicTrait intrinsic_trait(Intrinsic which) {
  static constexpr IntrinsicTrait kTraits[] = {
#define TERN_INTRINSIC(name, text, arity, trait, meaning) IntrinsicTrait::trait,
#include "compiler/kernel/intrinsics.def"
#undef TERN_INTRINSIC
  };
  return kTraits[static_cast<size_t>(which)];
}

std::string type_text(VType type) {
  std::string text(dtype_name(type.dtype));
  if (type.lanes > 1) text += fmt::format("x{}", type.lanes);
  return text;
}

std::string_view scope_name(Scope scope) {
  constexpr std::string_view kNames[] = {"global", "scratch", "stack", "register", "workgroup"};
  return kNames[static_cast<size_t>(scope)];
}

std::string_view arrival_op_name(ArrivalOp op) {
  static constexpr std::string_view kNames[] = {"", "arrivals_start", "arrive", "arrive_copied",
                                                "arrivals_wait"};
  return kNames[static_cast<size_t>(op)];
}

std::string_view tile_op_name(TileOp op) {
  static constexpr std::string_view kNames[] = {
      "", "tile_fill", "tile_load", "tile_load_columns", "tile_load_groups", "tile_store", "tile_multiply"};
  return kNames[static_cast<size_t>(op)];
}

std::string_view loop_kind_name(LoopKind kind) {
  constexpr std::string_view kNames[] = {"serial", "unroll", "vector", "thread"};
  return kNames[static_cast<size_t>(kind)];
}

namespace {

std::string float_text(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", v);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

class Printer {
 public:
  std::string kernel(const Kernel& k);

 private:
  template <typename Node>
  std::string name(const std::shared_ptr<const Node>& node) {
    auto [it, added] = names_.try_emplace(node.get());
    if (!added) return it->second;
    std::string base = node->name.empty() ? "v" : node->name;
    std::string candidate = base;
    for (int n = 1; !taken_.insert(candidate).second; ++n) candidate = fmt::format("{}_{}", base, n);
    it->second = candidate;
    return candidate;
  }
  std::string expr(const Expr& e);
  std::string constant(const Expr& e);
  std::string list(const std::vector<Expr>& args) {
    std::string text;
    for (const Expr& a : args) text += (text.empty() ? "" : ", ") + expr(a);
    return text;
  }
  void line(const std::string& text) { out_ += std::string(2 * depth_, ' ') + text + "\n"; }
  void body(const std::vector<Stmt>& statements) {
    ++depth_;
    for (const Stmt& s : statements) stmt(s);
    --depth_;
  }
  void stmt(const Stmt& s);

  std::unordered_map<const void*, std::string> names_;
  std::unordered_set<std::string> taken_;
  std::string out_;
  int depth_ = 0;
};

std::string Printer::constant(const Expr& e) {
  std::string type(dtype_name(e->type.dtype));
  switch (dtype_kind(e->type.dtype)) {
    case DTypeKind::kBool:
      return e->i != 0 ? "true" : "false";
    case DTypeKind::kFloat:
      return float_text(e->f) + (e->type.dtype == DType::kF32 ? "" : ":" + type);
    case DTypeKind::kComplex:
      return fmt::format("complex.{}({}, {})", type, float_text(e->f), float_text(e->imaginary));
    default:
      return fmt::format("{}", e->i) + (e->type.dtype == DType::kI64 ? "" : ":" + type);
  }
}

std::string Printer::expr(const Expr& e) {
  switch (e->kind) {
    case ExprKind::kConst:
      return constant(e);
    case ExprKind::kVar:
      return name(e->var);
    case ExprKind::kOp: {
      if (e->is_index) return fmt::format("{}({})", e->op == ScalarOp::kDiv ? "idiv" : "irem", list(e->args));
      if (e->both_arms) return fmt::format("select_both({})", list(e->args));
      std::string_view infix = infix_text(e->op);
      auto constant = e->args.size() == 2 ? int_value(e->args[1]) : std::nullopt;
      if (e->op == ScalarOp::kAdd && e->type == VType{DType::kI64, 1} && constant && *constant < 0 &&
          *constant != INT64_MIN) {
        return fmt::format("({} - {})", expr(e->args[0]), -*constant);
      }
      if (!infix.empty()) return fmt::format("({} {} {})", expr(e->args[0]), infix, expr(e->args[1]));
      return fmt::format("{}({})", scalar::info(e->op).name, list(e->args));
    }
    case ExprKind::kCast:
      return fmt::format("{}.{}({})", e->saturate ? "cast" : "cast_overflow", dtype_name(e->type.dtype),
                         expr(e->args[0]));
    case ExprKind::kBitcast:
      return fmt::format("bitcast.{}({})", type_text(e->type), expr(e->args[0]));
    case ExprKind::kLoad: {
      std::string lanes = e->buffer->type.lanes == 1 && e->args[0]->type.lanes == 1 && e->type.lanes > 1
                              ? fmt::format("; {}", e->type.lanes)
                              : "";
      std::string count = e->args.size() > 1 ? fmt::format(" if {}", expr(e->args[1])) : "";
      return fmt::format("{}[{}{}{}]", name(e->buffer), expr(e->args[0]), lanes, count);
    }
    case ExprKind::kRamp:
      return fmt::format("ramp({}, {}, {})", expr(e->args[0]), e->i, e->type.lanes);
    case ExprKind::kBroadcast:
      return fmt::format("broadcast({}, {})", expr(e->args[0]), e->type.lanes);
    case ExprKind::kReduce:
      return fmt::format("reduce.{}({})", scalar::info(e->op).name, expr(e->args[0]));
    case ExprKind::kShuffle: {
      std::string lanes;
      for (int lane : e->lanes) lanes += fmt::format("{}{}", lanes.empty() ? "" : ", ", lane);
      return fmt::format("shuffle({}; {})", list(e->args), lanes);
    }
    case ExprKind::kIntrinsic:
      return fmt::format("{}.{}({}{})", intrinsic_name(e->intrinsic), type_text(e->type),
                         e->buffer != nullptr ? name(e->buffer) + ", " : "", list(e->args));
  }
  TERN_UNREACHABLE("expression kind");
}

void Printer::stmt(const Stmt& s) {
  switch (s->kind) {
    case StmtKind::kBlock:
      line("{");
      body(s->body);
      line("}");
      return;
    case StmtKind::kFor: {
      std::string begin = expr(s->begin), extent = expr(s->extent);
      line(fmt::format("{} {} = {} .. +{} {{", loop_kind_name(s->loop), name(s->var), begin, extent));
      body(s->body);
      line("}");
      return;
    }
    case StmtKind::kLet:
    case StmtKind::kDeclare: {
      std::string value = expr(s->value);
      line(fmt::format("{} {}: {} = {}", s->kind == StmtKind::kLet ? "let" : "var", name(s->var),
                       type_text(s->var->type), value));
      return;
    }
    case StmtKind::kAssign:
      line(fmt::format("{} = {}", name(s->var), expr(s->value)));
      return;
    case StmtKind::kStore: {
      std::string count = s->count != nullptr ? " if " + expr(s->count) : "";
      line(fmt::format("{}[{}{}] = {}{}", name(s->buffer), expr(s->index), count, expr(s->value),
                       s->streaming ? " streaming" : ""));
      return;
    }
    case StmtKind::kIf:
      line(fmt::format("if {} {{", expr(s->value)));
      body(s->body);
      if (!s->else_body.empty()) {
        line("} else {");
        body(s->else_body);
      }
      line("}");
      return;
    case StmtKind::kWhile:
      line(fmt::format("while {} {{", expr(s->value)));
      body(s->body);
      line("}");
      return;
    case StmtKind::kAlloc:
      line(fmt::format("alloc {}: {}[{}] {}{}", name(s->buffer), type_text(s->buffer->type), s->buffer->size,
                       scope_name(s->buffer->scope), s->code != 0 ? fmt::format(" at {}", s->code) : ""));
      return;
    case StmtKind::kBarrier:
      line(is_barrier(s, BarrierScope::kCluster)    ? "cluster_barrier"
           : is_barrier(s, BarrierScope::kSubgroup) ? "subgroup_barrier"
                                                    : "barrier");
      return;
    case StmtKind::kFail:
      line(fmt::format("fail {}", s->code));
      return;
    case StmtKind::kComment:
      line("# " + plain_text(s->text));
      return;
    case StmtKind::kPrefetch:
      line(fmt::format("prefetch{} {}[{}]", s->code == 1 ? "_near" : "", name(s->buffer), expr(s->index)));
      return;
    case StmtKind::kAsyncCopy:
      line(fmt::format("async_copy {}[{}] = {}", name(s->buffer), expr(s->index), expr(s->value)));
      return;
    case StmtKind::kArrival:
      line(fmt::format("{} {}[{}]{}", arrival_op_name(s->arrival), name(s->buffer), expr(s->index),
                       s->value ? ", " + expr(s->value) : ""));
      return;
    case StmtKind::kTensorCopy: {
      std::string at;
      for (const Expr& e : s->at) at += (at.empty() ? "" : ", ") + expr(e);
      line(fmt::format("tensor_copy {}[{}] = {}[{}], {}", name(s->buffer), expr(s->index), name(s->tensor),
                       at, expr(s->value)));
      return;
    }
    case StmtKind::kTile: {
      const Expr& operand = s->begin ? s->begin : s->count;
      line(fmt::format("{} {}[{}], {}{}", tile_op_name(s->tile), name(s->buffer), expr(s->index),
                       expr(s->value), operand ? ", " + expr(operand) : ""));
      return;
    }
    case StmtKind::kGroupMma:
      line(fmt::format("group_mma {}, {}, {}{}{}{}", name(s->buffer), expr(s->value), expr(s->begin),
                       s->code != 0 || s->fresh ? ";" : "",
                       s->code != 0 ? fmt::format(" panels {}", s->code) : "", s->fresh ? " fresh" : ""));
      return;
    case StmtKind::kGroupMmaCommit:
      line("group_mma_commit");
      return;
    case StmtKind::kGroupMmaWait:
      line(fmt::format("group_mma_wait {}{}", s->code, s->value ? " after " + expr(s->value) : ""));
      return;
    case StmtKind::kGridWait:
      line("grid_wait");
      return;
    case StmtKind::kAsyncCommit:
      line("async_commit");
      return;
    case StmtKind::kAsyncWait:
      line(fmt::format("async_wait {}", s->code));
      return;
  }
}

std::string Printer::kernel(const Kernel& k) {
  line(fmt::format("kernel {} {{", k.name));
  depth_ = 1;
  for (const std::string& s : k.source) line(fmt::format("source \"{}\"", plain_text(s)));
  if (!k.schedule.empty()) line(fmt::format("schedule \"{}\"", plain_text(k.schedule)));
  for (const Buffer& b : k.bindings) {
    constexpr std::string_view kAccess[] = {"read", "write", "read_write"};
    const std::string size = b->size > 0 ? fmt::format("[{}]", b->size) : "";
    line(fmt::format("bind {}: {}{} {}{}", name(b), type_text(b->type), size,
                     kAccess[static_cast<size_t>(b->access)], b->may_alias ? " alias" : ""));
  }
  for (const Param& p : k.params) line(fmt::format("param {} = \"{}\"", name(p.var), p.value.text()));
  for (const Tensor& t : k.tensors) {
    std::string axes;
    for (const TensorAxis& a : t->axes)
      axes += fmt::format("{}{} by {} box {}", axes.empty() ? "" : ", ", expr(a.size), expr(a.stride), a.box);
    line(fmt::format("tensor {} = {}{}: {}{}", name(t), name(t->buffer),
                     t->offset != 0 ? fmt::format("[{}]", t->offset) : "", axes,
                     t->swizzled ? " swizzled" : ""));
  }
  for (const GridAxis& g : k.grid) {
    line(fmt::format("grid {} < {} = \"{}\"", name(g.var), expr(g.extent_expr), g.extent.text()));
  }
  if (k.threads != 0) line(fmt::format("threads {} < {}", name(k.thread), k.threads));
  if (k.subgroup != 0) line(fmt::format("subgroup {}", k.subgroup));
  if (k.tiles != TileShape{}) line(fmt::format("tiles {} {} {}", k.tiles.m, k.tiles.n, k.tiles.k));
  if (k.copiers != 0) line(fmt::format("copiers {}", k.copiers));
  if (k.checks_loops) line("checks_loops");
  if (k.cluster != 1) line(fmt::format("cluster {}", k.cluster));
  if (k.workgroup_bytes != 0) line(fmt::format("workgroup {}", k.workgroup_bytes));
  if (k.scratch_bytes != 0) line(fmt::format("scratch {}", k.scratch_bytes));
  if (!k.flops.is_const(0) || !k.bytes_read.is_const(0) || !k.bytes_written.is_const(0)) {
    line(fmt::format("work \"{}\" \"{}\" \"{}\"", k.flops.text(), k.bytes_read.text(),
                     k.bytes_written.text()));
  }
  depth_ = 0;
  body(k.body);
  line("}");
  return std::move(out_);
}

}  // namespace

std::string print_kernel(const Kernel& kernel) {
  return Printer().kernel(kernel);
}

}  // namespace tern::kernel
