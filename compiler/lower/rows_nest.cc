// Reductions over the same axes with elementwise work between: softmax, layer norm, … as one kernel.
//
// A row is what one set of kept coordinates selects. Per row: for each reduction in order, a loop over the
// row that folds; between them the row's scalars; at the end a loop that writes the full outputs. Costly
// elements that several loops need wait in scratch. When the innermost memory axis is reduced, the row loops
// are vectorised; when it is kept, neighbouring rows are the lanes.
#include <algorithm>
#include <unordered_map>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/nests.h"
#include "compiler/lower/rows.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

constexpr int64_t kScratchElements = 1 << 16;  // longest row kept in scratch

class RowsNest {
 public:
  RowsNest(const Region& region, LoweringContext& context)
      : region_(region), context_(context), space_(row_space(region)), plan_(plan_rows(region)) {}

  void run() {
    collect();
    DispatchBuilder dispatch(context_, region_);
    Dim elements = product(space_.shape);
    dispatch.set_flops(elements * Dim(element_cost_));
    for (const Level level : context_.target().levels) variant(dispatch, level);
    dispatch.finish();
  }

 private:
  void collect() {
    const size_t rank = space_.shape.size();
    std::vector<bool> pinned(rank, false);
    std::vector<AccessStrides> accesses;
    const auto take = [&](const Value* v) {
      const RegionAccesses a = collect_accesses(region_, context_, v, plan_.results);
      accesses.insert(accesses.end(), a.loads.begin(), a.loads.end());
      for (size_t d = 0; d < rank; ++d) pinned[d] = pinned[d] || a.pinned[d];
      element_cost_ += 1 + static_cast<int64_t>(a.loads.size()) + a.ops + 8 * a.expensive_ops;
    };
    for (const Node* r : plan_.reductions) take(r->operand());
    const Value* main_output = nullptr;
    for (const Value* v : region_.outputs) {
      if (v->type.shape == space_.shape && !plan_.is_row_value(v)) {
        take(v);
        main_output = v;
        accesses.push_back({v, context_.place(v).strides, true});
      }
    }
    order_ = Layout::dense(static_cast<int>(rank)).order;
    if (main_output) {
      order_ = context_.place(main_output).layout.order;
    } else {
      for (const AccessStrides& a : accesses) {
        if (!a.identity) continue;
        order_ = context_.place(a.value).layout.order;
        break;
      }
    }
    // Row outputs limit merging of the kept dimensions.
    for (const Value* v : region_.outputs) {
      if (!plan_.is_row_value(v)) continue;
      AccessStrides a{v, std::vector<Dim>(rank, Dim(0)), false};
      const std::vector<int> dims = row_dims(space_, v->type.shape);
      for (size_t d = 0; d < dims.size(); ++d) {
        if (dims[d] >= 0) a.strides[static_cast<size_t>(dims[d])] = context_.place(v).strides[d];
      }
      for (const AccessStrides& load : collect_accesses(region_, context_, v, plan_.results).loads) {
        AccessStrides moved{load.value, std::vector<Dim>(rank, Dim(0)), false};
        for (size_t d = 0; d < dims.size(); ++d) {
          if (dims[d] >= 0) moved.strides[static_cast<size_t>(dims[d])] = load.strides[d];
        }
        accesses.push_back(std::move(moved));
      }
      accesses.push_back(std::move(a));
    }
    std::vector<int> kept, reduced;
    for (const int d : order_) (space_.reduced[static_cast<size_t>(d)] ? reduced : kept).push_back(d);
    kept_ = merge_axes(space_.shape, kept, accesses, pinned);
    reduced_ = merge_axes(space_.shape, reduced, accesses, pinned);
    lanes_are_rows_ = false;
    for (size_t p = order_.size(); p-- > 0;) {
      const auto d = static_cast<size_t>(order_[p]);
      if (space_.shape[d].is_const(1)) continue;
      lanes_are_rows_ = !space_.reduced[d];
      break;
    }
    if (kept_.empty()) lanes_are_rows_ = false;
  }

  Dim row_length() const {
    Dim n = 1;
    for (const NestAxis& a : reduced_) n = n * a.extent;
    return n;
  }

  void variant(DispatchBuilder& dispatch, Level level) {
    ElementEmitter emitter(dispatch);
    int lanes = nest_lanes(region_, level);
    const Dim length = row_length();
    const Tiling tiling = choose_tiling(context_, kept_, context_.hint(length) * element_cost_);
    const size_t body_axes = kept_.size() - (lanes_are_rows_ ? 1 : 0);
    if (lanes_are_rows_ && plan_.reductions.size() == 1 && plan_.stored.empty()) {
      const Dim& n = kept_.back().extent;
      if (!n.is_const() || n.value() >= 4 * lanes) lanes *= 2;
    }
    lanes_ = lanes;
    scratch_.clear();
    std::vector<Stmt> allocs;
    if (length.is_const() && length.value() <= kScratchElements / (lanes_are_rows_ ? lanes : 1)) {
      for (const Value* v : plan_.stored) {
        scratch_[v] = kernel::make_buffer("row", {v->type.dtype, 1}, kernel::Scope::kScratch,
                                          kernel::Access::kReadWrite, std::max<int64_t>(length.value(), 1));
        allocs.push_back(kernel::alloc(scratch_[v]));
      }
    }
    NestParts parts = build_nest(
        dispatch, kept_, tiling, body_axes,
        [&](std::vector<Expr> coordinates, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          if (!lanes_are_rows_) return row(emitter, coordinates);
          const kernel::Var v = kernel::make_var("i");
          coordinates.back() = kernel::var_expr(v);
          std::vector<Stmt> body = allocs;
          const std::vector<Stmt> rest = row(emitter, coordinates);
          body.insert(body.end(), rest.begin(), rest.end());
          return vector_loop(kernel::loop(v, ranges.back().begin, ranges.back().extent,
                                          kernel::LoopKind::kSerial, std::move(body)),
                             lanes);
        });
    if (!lanes_are_rows_) parts.body.insert(parts.body.begin(), allocs.begin(), allocs.end());
    dispatch.add_variant(
        level, std::move(parts.grid), std::move(parts.body),
        fmt::format("rows of {}, {} reductions, {} {} lanes, {} in scratch", length.text(),
                    plan_.reductions.size(), lanes, lanes_are_rows_ ? "row" : "element", scratch_.size()));
  }

  // Space coordinates of a row with the given reduced coordinates.
  Index space_index(const std::vector<Expr>& kept, const std::vector<Expr>& reduced) {
    Index out(space_.shape.size(), int_const(0));
    for (size_t a = 0; a < kept_.size(); ++a) out[static_cast<size_t>(kept_[a].dims.back())] = kept[a];
    for (size_t a = 0; a < reduced.size(); ++a)
      out[static_cast<size_t>(reduced_[a].dims.back())] = reduced[a];
    return out;
  }

  Index row_index(const Value* v, const Index& space) {
    Index out;
    for (const int d : row_dims(space_, v->type.shape))
      out.push_back(d < 0 ? int_const(0) : space[static_cast<size_t>(d)]);
    return out;
  }

  // A loop over the row around body(space index, position in the row).
  std::vector<Stmt> row_loop(ElementEmitter& emitter, const std::vector<Expr>& kept,
                             const std::function<std::vector<Stmt>(const Index&, const Expr&)>& body) {
    std::vector<kernel::Var> vars;
    std::vector<Expr> at;
    Expr position = int_const(0);
    for (const NestAxis& a : reduced_) {
      vars.push_back(kernel::make_var(fmt::format("r{}", vars.size())));
      at.push_back(kernel::var_expr(vars.back()));
      position = at.size() == 1
                     ? at.back()
                     : kernel::add(kernel::mul(position, emitter.dispatch().expr(a.extent)), at.back());
    }
    std::vector<Stmt> inner = body(space_index(kept, at), position);
    for (size_t a = reduced_.size(); a-- > 0;) {
      const Stmt loop = kernel::loop(vars[a], int_const(0), emitter.dispatch().expr(reduced_[a].extent),
                                     kernel::LoopKind::kSerial, std::move(inner));
      const bool vector = a + 1 == reduced_.size() && !lanes_are_rows_;
      inner = vector ? vector_loop(loop, lanes_, 4) : std::vector<Stmt>{loop};
    }
    return inner;
  }

  std::vector<Stmt> row(ElementEmitter& emitter, const std::vector<Expr>& kept) {
    std::vector<Stmt> out;
    const auto append = [&](const std::vector<Stmt>& more) {
      out.insert(out.end(), more.begin(), more.end());
    };
    for (size_t stage = 0; stage < plan_.reductions.size(); ++stage) {
      const Node& node = *plan_.reductions[stage];
      const DType dtype = node.result()->type.dtype, wide = accumulator_type(dtype);
      const kernel::Var acc = kernel::make_var(fmt::format("acc{}", stage), {wide, 1});
      const Expr start = kernel::scalar_const(kernel::reduction_identity(node.scalar_op(), wide));
      out.push_back(kernel::declare(acc, start));
      append(row_loop(emitter, kept, [&](const Index& at, const Expr& position) {
        std::vector<Stmt> body;
        compute_stored(emitter, stage, at, position, body);
        const Expr x = kernel::cast(emitter.element(node.operand(), at), wide);
        append_checks(emitter, body);
        body.push_back(kernel::assign(acc, kernel::op(node.scalar_op(), {kernel::var_expr(acc), x})));
        return body;
      }));
      load_stored_from_now(emitter, stage);
      emitter.bind(node.result(), kernel::cast(kernel::var_expr(acc), dtype));
      append(row_scalars(emitter, stage, kept));
    }
    append(outputs(emitter, kept));
    for (const Value* v : plan_.results) emitter.unbind(v);
    for (const Value* v : plan_.stored) emitter.unbind(v);
    for (const Value* v : plan_.row_values) emitter.unbind(v);
    return out;
  }

  static void append_checks(ElementEmitter& emitter, std::vector<Stmt>& body) {
    for (Stmt& s : emitter.take_checks()) body.push_back(std::move(s));
  }

  // Values that this stage is the first to need and later ones need again: computed once, kept in scratch.
  void compute_stored(ElementEmitter& emitter, size_t stage, const Index& at, const Expr& position,
                      std::vector<Stmt>& body) {
    for (const Value* v : plan_.stored) {
      if (plan_.first_stage.at(v) != stage || !scratch_.contains(v)) continue;
      const kernel::Var x = kernel::make_var("x", {v->type.dtype, 1});
      const Expr value = emitter.element(v, at);
      append_checks(emitter, body);
      body.push_back(kernel::let(x, value));
      body.push_back(kernel::store(scratch_[v], position, kernel::var_expr(x)));
      emitter.bind(v, kernel::var_expr(x));
    }
  }

  void load_stored_from_now(ElementEmitter& emitter, size_t stage) {
    for (const Value* v : plan_.stored) {
      if (plan_.first_stage.at(v) != stage || !scratch_.contains(v)) continue;
      emitter.bind(v, [this, v, &emitter](const Index& at) {
        Expr position = int_const(0);
        for (size_t a = 0; a < reduced_.size(); ++a) {
          const Expr& c = at[static_cast<size_t>(reduced_[a].dims.back())];
          position =
              a == 0 ? c : kernel::add(kernel::mul(position, emitter.dispatch().expr(reduced_[a].extent)), c);
        }
        return kernel::load(scratch_[v], position);
      });
    }
  }

  // The row's scalars that can be computed after this stage, each once.
  std::vector<Stmt> row_scalars(ElementEmitter& emitter, size_t stage, const std::vector<Expr>& kept) {
    std::vector<Stmt> out;
    for (const Value* v : plan_.row_values) {
      if (plan_.ready_after.at(v) != stage) continue;
      const Expr value = emitter.element(v, row_index(v, space_index(kept, {})));
      append_checks(emitter, out);
      const kernel::Var scalar = kernel::make_var("s", {v->type.dtype, 1});
      out.push_back(kernel::let(scalar, value));
      emitter.bind(v, kernel::var_expr(scalar));
    }
    return out;
  }

  std::vector<Stmt> outputs(ElementEmitter& emitter, const std::vector<Expr>& kept) {
    std::vector<Stmt> out;
    std::vector<const Value*> full;
    for (const Value* v : region_.outputs) {
      if (!plan_.is_row_value(v)) {
        full.push_back(v);
        continue;
      }
      const Index at = row_index(v, space_index(kept, {}));
      const Expr value = emitter.element(v, at);
      append_checks(emitter, out);
      out.push_back(emitter.store(v, at, value));
    }
    if (full.empty()) return out;
    const auto loop = row_loop(emitter, kept, [&](const Index& at, const Expr&) {
      std::vector<Stmt> body, stores;
      for (const Value* v : full) stores.push_back(emitter.store(v, at, emitter.element(v, at)));
      append_checks(emitter, body);
      body.insert(body.end(), stores.begin(), stores.end());
      return body;
    });
    out.insert(out.end(), loop.begin(), loop.end());
    return out;
  }

  const Region& region_;
  LoweringContext& context_;
  const RowSpace space_;
  const RowPlan plan_;
  std::vector<int> order_;
  std::vector<NestAxis> kept_, reduced_;
  int64_t element_cost_ = 0;
  bool lanes_are_rows_ = false;
  int lanes_ = 1;
  std::unordered_map<const Value*, kernel::Buffer> scratch_;
};

}  // namespace

DType accumulator_type(DType dtype) {
  return is_float(dtype) && dtype_bits(dtype) < 32 ? DType::kF32 : dtype;
}

void lower_rows(const Region& region, LoweringContext& context) {
  RowsNest(region, context).run();
}

}  // namespace tern::lower
