#include "compiler/kernel/stagger.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "compiler/kernel/expr_util.h"
#include "compiler/support/rounding.h"

namespace tern::kernel {
namespace {

constexpr size_t kMostStages = 3;
// Halves of a buffer lie an odd number of these bytes apart (see together()).
constexpr int64_t kHalf = 2048;

struct Stage {
  std::vector<Stmt> before;
  Stmt main;
  std::vector<Stmt> after;
  std::vector<Stmt> all() const {
    std::vector<Stmt> out = before;
    out.push_back(main);
    out.insert(out.end(), after.begin(), after.end());
    return out;
  }
};

bool defines(const Stmt& s) {
  return s->kind == StmtKind::kLet || s->kind == StmtKind::kDeclare;
}

bool reads(const std::vector<Stmt>& body, const VarNode* var) {
  bool found = false;
  visit(body, [&](const Stmt& s) { visit_exprs(s, [&](const Expr& e) { found |= uses_var(e, var); }); });
  return found;
}

bool assigns(const std::vector<Stmt>& body, const VarNode* var) {
  bool found = false;
  visit(body, [&](const Stmt& s) { found |= s->kind == StmtKind::kAssign && s->var.get() == var; });
  return found;
}

bool stores(const std::vector<Stmt>& body, const BufferNode* buffer) {
  bool found = false;
  visit(body, [&](const Stmt& s) { found |= s->kind == StmtKind::kStore && s->buffer.get() == buffer; });
  return found;
}

bool loads(const std::vector<Stmt>& body, const BufferNode* buffer) {
  bool found = false;
  const auto look = [&](const Expr& e) { found |= e->kind == ExprKind::kLoad && e->buffer.get() == buffer; };
  visit(body, [&](const Stmt& s) { visit_exprs(s, [&](const Expr& e) { visit(e, look); }); });
  return found;
}

// A variable that a later stage reads: `at[k]` is its value for the iteration that stage k works on, and
// at[stage] what the stage that defines it has found last.
struct Carried {
  Var var;
  size_t stage = 0;
  std::vector<Var> at;
};

// A local buffer for two iterations: stage `by` stores at `now`, the next one reads the other half.
struct Halves {
  const BufferNode* buffer = nullptr;
  size_t by = 0;
  int64_t half = 0;  // elements
  Var now;
  Buffer both;
};

class Stagger {
 public:
  explicit Stagger(const Stmt& loop) : loop_(loop) {}

  std::optional<std::vector<Stmt>> run() {
    if (!find_stages() || !share_buffers() || !find_carried()) return std::nullopt;
    const size_t last = stages_.size() - 1;
    std::vector<Stmt> out = allocs_;
    for (const Carried& c : carried_) {
      for (const Var& v : c.at) {
        if (!v) continue;
        const Expr zero = v->type.dtype == DType::kBool ? compare(ScalarOp::kLt, int_const(0), int_const(0))
                                                        : cast(int_const(0), v->type.dtype);
        out.push_back(declare(v, v->type.lanes > 1 ? broadcast(zero, v->type.lanes) : zero));
      }
    }
    for (const Halves& h : halves_) out.push_back(declare(h.now, int_const(0)));
    const Expr rows_left = sub(loop_->extent, int_const(1));
    std::vector<Stmt> work;
    // The first iterations' first stages, until each stage but the last has an iteration behind it.
    for (size_t step = 0; step < last; ++step) {
      for (size_t k = step + 1; k-- > 0;) {
        const Expr row = add(loop_->begin, min(int_const(static_cast<int64_t>(step - k)), rows_left));
        Stage s = copy(k, step == k ? loop_->begin : row);
        for (Stmt& one : s.all()) work.push_back(std::move(one));
      }
      move_on(step + 1, work);
    }
    const Var row = make_var(loop_->var->name);
    std::vector<Stmt> body;
    together(row, body);
    work.push_back(loop(row, int_const(0), rows_left, LoopKind::kSerial, std::move(body)));
    for (Stmt& one : copy(last, add(loop_->begin, rows_left)).all()) work.push_back(std::move(one));
    if (const std::optional<int64_t> n = int_value(loop_->extent)) {
      if (*n < 2) return std::nullopt;
      out.insert(out.end(), work.begin(), work.end());
    } else {
      out.push_back(if_then(compare(ScalarOp::kGt, loop_->extent, int_const(0)), std::move(work)));
    }
    return out;
  }

 private:
  bool find_stages() {
    int64_t extent = 0;
    for (const Stmt& s : loop_->body) {
      if (s->kind == StmtKind::kFor) extent = std::max(extent, int_value(s->extent).value_or(0));
    }
    if (extent < 2) return false;
    std::vector<Stmt> between;
    for (const Stmt& s : loop_->body) {
      if (s->kind == StmtKind::kAlloc) {
        allocs_.push_back(s);
        continue;
      }
      const bool is_main = s->kind == StmtKind::kFor && is_int(s->extent, extent) && is_int(s->begin, 0);
      if (!is_main) {
        between.push_back(s);
        continue;
      }
      if (!stages_.empty()) stages_.back().after = std::move(between);
      stages_.push_back({stages_.empty() ? std::move(between) : std::vector<Stmt>{}, s, {}});
      between.clear();
    }
    if (stages_.size() < 2 || stages_.size() > kMostStages) return false;
    stages_.back().after = std::move(between);
    for (size_t k = 0; k + 1 < stages_.size(); ++k) hand_over(stages_[k], k + 1);
    return true;
  }

  // What stands between two loops and begins what the later one changes is the later stage's.
  void hand_over(Stage& earlier, size_t next) {
    std::vector<Stmt> own;
    std::unordered_set<const VarNode*> handed;
    for (const Stmt& s : earlier.after) {
      bool later = false;
      if (defines(s)) {
        for (size_t k = next; k < stages_.size(); ++k) {
          later |= assigns({stages_[k].main}, s->var.get()) || assigns(stages_[k].after, s->var.get());
        }
        // Of a sum that is only changed behind the loop, in whose statements it stands with the lanes' own.
        later = later && !assigned_in(earlier, s->var.get());
        later |= uses_any(s->value, handed);
      }
      if (later) handed.insert(s->var.get());
      (later ? stages_[next].before : own).push_back(s);
    }
    earlier.after = std::move(own);
  }
  static bool assigned_in(const Stage& s, const VarNode* var) {
    return assigns({s.main}, var) || assigns(s.after, var);
  }

  // A local buffer is stored by one stage and read by that one and the next, which work on different
  // iterations: it has two halves, which change places.
  bool share_buffers() {
    std::vector<Stmt> allocs;
    for (const Stmt& a : allocs_) {
      const BufferNode* buffer = a->buffer.get();
      std::optional<size_t> by;
      bool handed_on = false;
      for (size_t k = 0; k < stages_.size(); ++k) {
        if (!stores(stages_[k].all(), buffer)) continue;
        if (by) return false;
        by = k;
      }
      for (size_t k = 0; k < stages_.size(); ++k) {
        if (!loads(stages_[k].all(), buffer)) continue;
        if (!by || k < *by || k > *by + 1) return false;
        handed_on |= k > *by;
      }
      if (!handed_on) {
        allocs.push_back(a);
        continue;
      }
      if (a->buffer->scope != Scope::kScratch || a->buffer->type.lanes > 1) return false;
      const int64_t size = std::max(dtype_bits(a->buffer->type.dtype) / 8, 1);
      const int64_t bytes = a->buffer->size * size;
      const int64_t half = (ceil_div(bytes, kHalf) | 1) * kHalf / size;
      Halves halves{buffer, *by, half, make_var("half"), nullptr};
      halves.both =
          make_buffer(a->buffer->name, a->buffer->type, Scope::kScratch, a->buffer->access, 2 * half);
      allocs.push_back(alloc(halves.both));
      halves_.push_back(std::move(halves));
    }
    allocs_ = std::move(allocs);
    return true;
  }
  bool find_carried() {
    for (size_t k = 0; k < stages_.size(); ++k) {
      std::vector<Stmt> own = stages_[k].before;
      own.insert(own.end(), stages_[k].after.begin(), stages_[k].after.end());
      for (const Stmt& s : own) {
        if (!defines(s)) continue;
        Carried c{s->var, k, std::vector<Var>(stages_.size())};
        for (size_t later = k + 1; later < stages_.size(); ++later) {
          const std::vector<Stmt> all = stages_[later].all();
          if (assigns(all, s->var.get())) return false;
          if (!reads(all, s->var.get())) continue;
          for (size_t at = k; at <= later; ++at) {
            if (!c.at[at]) c.at[at] = make_var(s->var->name, s->var->type);
          }
        }
        if (c.at[k]) carried_.push_back(std::move(c));
      }
    }
    return true;
  }

  // A stage for an iteration, with variables of its own; what later stages read is left behind it.
  Stage copy(size_t k, const Expr& row) const {
    std::unordered_map<const VarNode*, Expr> values{{loop_->var.get(), row}};
    std::vector<Stmt> all = stages_[k].all();
    for (const Carried& c : carried_) {
      if (c.stage == k) all.push_back(assign(c.at[k], var_expr(c.var)));
      if (c.stage < k && c.at[k]) values[c.var.get()] = var_expr(c.at[k]);
    }
    all = in_halves(clone_fresh(all, values), k);
    const auto main = all.begin() + static_cast<std::ptrdiff_t>(stages_[k].before.size());
    return {{all.begin(), main}, *main, {main + 1, all.end()}};
  }

  std::vector<Stmt> in_halves(std::vector<Stmt> body, size_t stage) const {
    for (const Halves& h : halves_) {
      const Expr now = var_expr(h.now), begin = stage == h.by ? now : sub(int_const(h.half), now);
      body = rewrite(
          body,
          [&](const Expr& e) -> Expr {
            if (e->kind != ExprKind::kLoad || e->buffer.get() != h.buffer) return nullptr;
            return load(h.both, add(e->args[0], begin), e->type.lanes,
                        e->args.size() > 1 ? e->args[1] : nullptr);
          },
          [&](const Stmt& s) -> std::vector<Stmt> {
            if (s->kind != StmtKind::kStore || s->buffer.get() != h.buffer) return {s};
            return {store(h.both, add(s->index, begin), s->value, s->count, s->streaming)};
          });
    }
    return body;
  }

  // Each stage's next iteration is what the one before has just made, of the first so many stages.
  void move_on(size_t stages, std::vector<Stmt>& out) const {
    for (const Carried& c : carried_) {
      for (size_t k = std::min(stages, stages_.size() - 1); k > c.stage; --k) {
        if (c.at[k]) out.push_back(assign(c.at[k], var_expr(c.at[k - 1])));
      }
    }
    for (const Halves& h : halves_) {
      if (h.by < stages) out.push_back(assign(h.now, sub(int_const(h.half), var_expr(h.now))));
    }
  }

  // All stages of one step, the last one's iteration being `row` of the loop, in one loop.
  void together(const Var& row, std::vector<Stmt>& out) const {
    const size_t count = stages_.size();
    std::vector<Stage> stages;
    for (size_t k = 0; k < count; ++k) {
      const auto further = static_cast<int64_t>(count - 1 - k);
      Expr at = add(var_expr(row), int_const(further));
      if (further > 1) {
        const Var next = make_var("next");
        out.push_back(let(next, min(at, sub(loop_->extent, int_const(1)))));
        at = var_expr(next);
      }
      stages.push_back(copy(k, add(loop_->begin, at)));
    }
    for (Stage& stage : stages) {
      for (Stmt& s : stage.before) out.push_back(std::move(s));
    }
    const Var at = make_var(stages[0].main->var->name);
    // What is stored comes last: processors take what a load's address has in common with an earlier store's
    // in its last 12 bits for the same place, which rows of 2 or 4 KB have. The first stage stands before it:
    // clang moves its sums behind the question whether streaming stores are aligned, and keeps what they add
    // until then.
    std::vector<Stmt> inner;
    const auto put = [&](size_t k) {
      const Stmt& main = stages[k].main;
      for (Stmt& s : clone_fresh(main->body, {{main->var.get(), var_expr(at)}}))
        inner.push_back(std::move(s));
    };
    for (size_t k = count - 1; k-- > 0;) put(k);
    put(count - 1);
    out.push_back(loop(at, int_const(0), stages[0].main->extent, stages[0].main->loop, std::move(inner)));
    for (Stage& stage : stages) {
      for (Stmt& s : stage.after) out.push_back(std::move(s));
    }
    move_on(count, out);
  }

  const Stmt& loop_;
  std::vector<Stmt> allocs_;
  std::vector<Stage> stages_;
  std::vector<Carried> carried_;
  std::vector<Halves> halves_;
};

}  // namespace

std::optional<std::vector<Stmt>> stagger(const Stmt& loop) {
  if (loop->kind != StmtKind::kFor) return std::nullopt;
  return Stagger(loop).run();
}

}  // namespace tern::kernel
