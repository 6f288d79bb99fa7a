#include "compiler/program/share_literals.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/visit_dispatches.h"
#include "compiler/program/parts.h"
#include "compiler/support/parallel.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::program {
namespace {

using kernel::Expr;
using kernel::ExprKind;
using kernel::ExprNode;
using kernel::Kernel;
using kernel::Stmt;
using lower::DispatchStep;

bool is_literal(const Expr& e) {
  return e->kind == ExprKind::kConst && e->type.lanes == 1 &&
         (e->type.dtype == DType::kF32 || e->type.dtype == DType::kI32);
}

// A literal that may be a term of an address: kernels that read or write other parts of a buffer.
constexpr int64_t kMostOffset = int64_t{1} << 30;

bool is_offset(const Expr& e) {
  return e->kind == ExprKind::kConst && e->type.lanes == 1 && e->type.dtype == DType::kI64 &&
         e->i > -kMostOffset && e->i < kMostOffset;  // so that what lies between two fits a parameter
}

bool is_add(const Expr& e) {
  return e->kind == ExprKind::kOp && e->op == scalar::ScalarOp::kAdd;
}

// An offset itself, or the 32 bits of another literal, sign-extended.
int64_t bits_of(const Expr& literal) {
  if (literal->type.dtype == DType::kI64) return literal->i;
  if (literal->type.dtype == DType::kF32) return std::bit_cast<int32_t>(static_cast<float>(literal->f));
  return static_cast<int32_t>(literal->i);
}

// Calls `f` for every literal of a body, in the order of the text, and puts what it returns in its place. An
// expression that is part of several is walked once for each, since each has its place in the text.
class LiteralWalk {
 public:
  using Replace = std::function<Expr(const Expr&)>;
  explicit LiteralWalk(Replace f) : f_(std::move(f)) {}

  std::vector<Stmt> run(const std::vector<Stmt>& body) {
    std::vector<Stmt> out;
    out.reserve(body.size());
    for (const Stmt& s : body) {
      kernel::StmtNode node = *s;
      if (node.kind == kernel::StmtKind::kStore && node.buffer->scope == kernel::Scope::kGlobal) {
        node.index = terms(node.index);
        node.value = terms(node.value);
      }
      for (Expr* e : {&node.begin, &node.extent, &node.value, &node.index, &node.count}) {
        if (*e != nullptr) *e = expr(*e);
      }
      node.body = run(node.body);
      node.else_body = run(node.else_body);
      out.push_back(std::make_shared<const kernel::StmtNode>(std::move(node)));
    }
    return out;
  }

 private:
  Expr expr(const Expr& e) {
    if (is_literal(e)) return f_(e);
    if (!has_literal(e)) return e;
    const bool loads = e->kind == ExprKind::kLoad && e->buffer->scope == kernel::Scope::kGlobal;
    std::vector<Expr> args;
    for (const Expr& arg : e->args) args.push_back(expr(loads && args.empty() ? terms(arg) : arg));
    return with_args(e, std::move(args));
  }

  // The terms of an address, or of an integer that is stored, that are literals.
  Expr terms(const Expr& e) {
    if (is_offset(e)) return f_(e);
    if (is_add(e)) return with_args(e, {terms(e->args[0]), terms(e->args[1])});
    if (e->kind == ExprKind::kBroadcast) return with_args(e, {terms(e->args[0])});
    if (e->kind == ExprKind::kRamp) {
      std::vector<Expr> args = e->args;
      args[0] = terms(args[0]);
      return with_args(e, std::move(args));
    }
    return e;
  }

  // Equal expressions stay one, which renderers name once.
  Expr with_args(const Expr& e, std::vector<Expr> args) {
    if (args == e->args) return e;
    return *made_.insert(kernel::with_args(e, std::move(args))).first;
  }

  bool has_literal(const Expr& e) {
    if (is_literal(e) || e->kind == ExprKind::kLoad) return true;
    if (e->args.empty()) return false;
    if (const auto known = has_.find(e.get()); known != has_.end()) return known->second;
    const bool found =
        std::any_of(e->args.begin(), e->args.end(), [&](const Expr& arg) { return has_literal(arg); });
    has_.emplace(e.get(), found);
    return found;
  }

  Replace f_;
  std::unordered_map<const ExprNode*, bool> has_;
  std::unordered_set<Expr, kernel::ExprHash, kernel::ExprEqual> made_;
};

// A dispatch and the bits of its kernels' literals, variant after variant.
struct Use {
  DispatchStep* step = nullptr;
  std::vector<int64_t> literals;
  std::vector<bool> is_offset;  // of each literal
};

// With what its kernels are without their literals.
struct Masked {
  std::string text;
  Use use;
};

class Sharing {
 public:
  // Of several dispatches at once.
  Masked mask(DispatchStep& step) const {
    Masked out;
    Use& use = out.use;
    use.step = &step;
    for (const lower::KernelVariant& variant : step.variants) {
      Kernel masked = *variant.kernel;
      LiteralWalk walk([&](const Expr& literal) {
        use.literals.push_back(bits_of(literal));
        use.is_offset.push_back(is_offset(literal));
        return kernel::var_expr(literal->type.dtype == DType::kF32   ? any_float_
                                : literal->type.dtype == DType::kI64 ? any_offset_
                                                                     : any_int_);
      });
      masked.body = walk.run(masked.body);
      out.text += fmt::format("{}\n{}", static_cast<int>(variant.level), structure(masked));
    }
    return out;
  }

  void add(Masked masked) { groups_[std::move(masked.text)].push_back(std::move(masked.use)); }

  void run() {
    for (auto& [key, uses] : groups_) {
      if (uses.size() > 1) share(uses);
    }
  }

 private:
  const kernel::Var any_float_ = kernel::make_var("any_float", {DType::kF32, 1});
  const kernel::Var any_offset_ = kernel::make_var("any_offset", {DType::kI64, 1});
  const kernel::Var any_int_ = kernel::make_var("any_int", {DType::kI32, 1});
  std::map<std::string, std::vector<Use>> groups_;

  // Places in the text whose literals go together through all uses are one parameter. Of offsets only what
  // the first use's is moved by counts, so that a buffer read at several places needs one parameter.
  struct Places {
    std::vector<int> parameter;                 // of each place; -1: the same literal everywhere
    std::vector<std::vector<int64_t>> columns;  // of each parameter: its value in each use
  };

  static Places places_of(const std::vector<Use>& uses) {
    Places places;
    std::map<std::pair<bool, std::vector<int64_t>>, int> known;
    for (size_t at = 0; at < uses[0].literals.size(); ++at) {
      std::vector<int64_t> column;
      const bool moved = uses[0].is_offset[at];
      const int64_t base = moved ? uses[0].literals[at] : 0;
      for (const Use& use : uses) column.push_back(use.literals[at] - base);
      const bool same = std::all_of(column.begin(), column.end(), [&](int64_t v) { return v == column[0]; });
      if (same) {
        places.parameter.push_back(-1);
        continue;
      }
      const auto [found, fresh] = known.try_emplace({moved, column}, static_cast<int>(places.columns.size()));
      if (fresh) places.columns.push_back(std::move(column));
      places.parameter.push_back(found->second);
    }
    return places;
  }

  static void share(std::vector<Use>& uses) {
    const Places places = places_of(uses);
    const DispatchStep& first = *uses[0].step;
    const size_t count = places.columns.size();
    if (!count || first.params.size() + count > TERN_VULKAN_PUSHED_PARAMS) return;
    std::vector<kernel::Var> vars;
    for (size_t i = 0; i < count; ++i) vars.push_back(kernel::make_var(fmt::format("literal{}", i)));
    std::vector<Kernel> shared;
    size_t place = 0;
    for (const lower::KernelVariant& variant : first.variants) {
      Kernel k = *variant.kernel;
      LiteralWalk walk([&](const Expr& literal) {
        const int parameter = places.parameter[place++];
        if (parameter < 0) return literal;
        const Expr value = kernel::var_expr(vars[static_cast<size_t>(parameter)]);
        if (is_offset(literal)) return kernel::add(literal, value);
        const Expr bits = kernel::cast(value, DType::kI32);
        return literal->type.dtype == DType::kF32 ? kernel::bitcast(bits, {DType::kF32, 1}) : bits;
      });
      k.body = walk.run(k.body);
      for (const kernel::Var& var : vars) k.params.push_back({var, 0});
      // Some literals must be known (indices into registers): those kernels stay as they are.
      if (!kernel::verify(k).empty()) return;
      shared.push_back(std::move(k));
    }
    for (size_t u = 0; u < uses.size(); ++u) {
      std::vector<Dim> values;
      for (const std::vector<int64_t>& column : places.columns) values.push_back(Dim(column[u]));
      give(*uses[u].step, shared, values);
    }
  }

  // The shared kernels with what is the dispatch's own.
  static void give(DispatchStep& step, const std::vector<Kernel>& shared, const std::vector<Dim>& values) {
    const size_t own_params = step.params.size();
    step.params.insert(step.params.end(), values.begin(), values.end());
    for (size_t v = 0; v < step.variants.size(); ++v) {
      const Kernel& own = *step.variants[v].kernel;
      Kernel k = shared[v];
      k.name = own.name;
      k.source = own.source;
      k.schedule = own.schedule;
      k.flops = own.flops;
      k.bytes_read = own.bytes_read;
      k.bytes_written = own.bytes_written;
      for (size_t i = 0; i < k.params.size(); ++i)
        k.params[i].value = i < own_params ? own.params[i].value : values[i - own_params];
      for (size_t i = 0; i < k.grid.size(); ++i) k.grid[i].extent = own.grid[i].extent;
      step.variants[v].kernel = std::make_shared<const Kernel>(std::move(k));
    }
  }
};

}  // namespace

void share_literals(lower::LoweredProgram& program, int threads) {
  std::vector<DispatchStep*> steps;
  const auto list = [&](DispatchStep& step) { steps.push_back(&step); };
  lower::visit_dispatches(program.init_steps, list);
  lower::visit_dispatches(program.steps, list);
  Sharing sharing;
  std::vector<Masked> masked(steps.size());
  parallel_for(steps.size(), threads, [&](size_t i) { masked[i] = sharing.mask(*steps[i]); });
  for (Masked& one : masked) sharing.add(std::move(one));
  sharing.run();
}

}  // namespace tern::program
