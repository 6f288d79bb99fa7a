#include "compiler/lower/rows_nest.h"

#include <algorithm>
#include <unordered_map>

#include "compiler/lower/gpu/rows.h"

namespace tern::lower {
namespace {

using graph::Value;
using kernel::int_const;
using kernel::Stmt;

constexpr int64_t kScratchElements = 1 << 16;  // longest row kept in scratch
constexpr int64_t kCheapElement = 4;           // a load, and an operation or two

// A tile computes whole rows. When the innermost memory axis is reduced, the row loops are vectorised; when
// it is kept, neighbouring rows are the lanes. Stored elements wait in scratch.
class CpuRows : public RowsNest {
 public:
  using RowsNest::RowsNest;

 private:
  void variant(DispatchBuilder& dispatch, Level level) override {
    ElementEmitter emitter(dispatch);
    int lanes = nest_lanes(region_, level);
    const Dim length = row_length();
    Tiling tiling = choose_tiling(context_, kept_, context_.hint(length) * element_cost_);
    const size_t body_axes = kept_.size() - (lanes_are_rows_ ? 1 : 0);
    if (lanes_are_rows_ && plan_.reductions.size() == 1 && plan_.stored.empty()) {
      lanes *= neighbouring_vectors(lanes);
      const Dim& n = kept_.back().extent;
      if (static_cast<size_t>(tiling.tiled) + 1 == kept_.size() &&
          !(n.is_const() && tiling.chunk == n.value()))
        tiling.chunk = (tiling.chunk + lanes - 1) / lanes * lanes;
    }
    lanes_ = lanes;
    scratch_.clear();
    stored_.clear();
    std::vector<Stmt> allocs;
    if (length.is_const() && length.value() <= kScratchElements / (lanes_are_rows_ ? lanes : 1)) {
      for (const Value* v : plan_.stored) {
        stored_.insert(v);
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

  // How many vectors of rows go down side by side, each with its own sums: memory is read in runs that are
  // worth it.
  int neighbouring_vectors(int lanes) const {
    const Dim& n = kept_.back().extent;
    if (!n.is_const()) return 2;
    for (const int vectors : {8, 4}) {
      const int64_t width = int64_t{vectors} * lanes;
      if (element_cost_ <= kCheapElement && (n.value() % width == 0 || n.value() >= 4 * width))
        return vectors;
    }
    return n.value() >= 4 * lanes ? 2 : 1;
  }

  Stmts row_loop(ElementEmitter& emitter, const std::vector<Expr>& kept,
                 const std::function<Stmts(const Index&, const Expr&)>& body) override {
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

  Stmt keep(const Value* value, const Expr& position, Expr element) override {
    return kernel::store(scratch_.at(value), position, std::move(element));
  }
  Expr kept_element(const Value* value, const Expr& position) override {
    return kernel::load(scratch_.at(value), position);
  }

  int lanes_ = 1;
  std::unordered_map<const Value*, kernel::Buffer> scratch_;
};

}  // namespace

DType accumulator_type(DType dtype) {
  return is_float(dtype) && dtype_bits(dtype) < 32 ? DType::kF32 : dtype;
}

void lower_rows(const Region& region, LoweringContext& context) {
  if (is_gpu(context.target().arch)) return gpu::lower_rows(region, context);
  CpuRows(region, context).run();
}

}  // namespace tern::lower
