// What the row nests of CPUs and GPUs have in common: the axes of a row region, and a row's statements in
// order. How a row's loop runs, who folds and who stores is the subclass's.
//
// A row is what one set of kept coordinates selects. Per row: for each reduction in order, a loop over the
// row that folds; between them the row's scalars; at the end a loop that writes the full outputs. Costly
// elements that several loops need may wait in memory of the row's own.
#pragma once

#include <unordered_set>

#include "compiler/lower/emitter.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/nests.h"
#include "compiler/lower/rows.h"

namespace tern::lower {

class RowsNest {
 public:
  RowsNest(const Region& region, LoweringContext& context)
      : region_(region), context_(context), space_(row_space(region)), plan_(plan_rows(region)) {}
  virtual ~RowsNest() = default;

  void run();

 protected:
  using Expr = kernel::Expr;
  using Stmts = std::vector<kernel::Stmt>;

  virtual void variant(DispatchBuilder& dispatch, Level level) = 0;
  // A loop over the row around body(space index, position in the row).
  virtual Stmts row_loop(ElementEmitter& emitter, const std::vector<Expr>& kept,
                         const std::function<Stmts(const Index&, const Expr&)>& body) = 0;
  // Such a loop around what folds one element into a sum, whose total is then `acc`.
  using FoldElement = std::function<Stmts(const kernel::Var& sum, const Index&, const Expr&)>;
  virtual Stmts fold_loop(ElementEmitter& emitter, const std::vector<Expr>& kept, kernel::ScalarOp,
                          const kernel::Var& acc, const FoldElement& body) {
    return row_loop(emitter, kept,
                    [&](const Index& at, const Expr& position) { return body(acc, at, position); });
  }
  // The row's sum from what the loop has left in `acc`.
  virtual Expr fold(const kernel::Var& acc, kernel::ScalarOp, Stmts&) { return kernel::var_expr(acc); }
  // Stores of a row's scalar outputs, and of its elements inside row_loop.
  virtual Stmts row_stores(Stmts stores) { return stores; }
  virtual Stmts element_stores(Stmts stores) { return stores; }
  // Whether a softmax multiplies by its sum's reciprocal, and its maximum need not be NaN: the sum is then.
  virtual bool quick_softmax() const { return false; }
  // Memory of the row for a value of RowPlan::stored; no entry: computed again each time.
  virtual kernel::Stmt keep(const graph::Value* value, const Expr& position, Expr element) = 0;
  virtual Expr kept_element(const graph::Value* value, const Expr& position) = 0;

  void prepare();
  Dim row_length() const;
  // The sum of a stage: its type, what it begins with, and with one element more (`body` gets the checks).
  DType sum_type(size_t stage) const;
  Expr sum_start(size_t stage) const;
  Expr with_element(ElementEmitter& emitter, size_t stage, const Index& at, const Expr& sum, Stmts& body);
  // What follows the only reduction of a region, whose result is `total`.
  Stmts finished(ElementEmitter& emitter, const std::vector<Expr>& kept, const Expr& total);
  // Space coordinates of a row with the given reduced coordinates.
  Index space_index(const std::vector<Expr>& kept, const std::vector<Expr>& reduced) const;
  Stmts row(ElementEmitter& emitter, const std::vector<Expr>& kept);
  // The parts of a row's statements: a reduction's result for what follows and the scalars that can be
  // computed then; what is stored; the end of what was bound.
  void bind_total(ElementEmitter& emitter, size_t stage, const std::vector<Expr>& kept, const Expr& total,
                  Stmts& out);
  Stmts outputs(ElementEmitter& emitter, const std::vector<Expr>& kept);
  void unbind_rows(ElementEmitter& emitter);
  // A load, and an operation or two.
  bool is_cheap() const { return element_cost_ <= 4; }

  const Region& region_;
  LoweringContext& context_;
  const RowSpace space_;
  const RowPlan plan_;
  std::vector<NestAxis> kept_, reduced_;
  int64_t element_cost_ = 0;
  int64_t element_flops_ = 0;
  bool lanes_are_rows_ = false;  // the innermost memory axis is kept
  bool rows_are_runs_ =
      false;  // the innermost memory axis is reduced, the next one kept, others are reduced, too
  std::unordered_set<const graph::Value*> stored_;  // those of plan_.stored that have memory in this variant

 private:
  void collect();
  void limit_merging(std::vector<AccessStrides>& accesses, std::vector<bool>& pinned);
  Index row_index(const graph::Value* v, const Index& space) const;
  void compute_stored(ElementEmitter& emitter, size_t stage, const Index& at, const Expr& position,
                      Stmts& body);
  void load_stored_from_now(ElementEmitter& emitter, size_t stage);
  Stmts row_scalars(ElementEmitter& emitter, size_t stage, const std::vector<Expr>& kept);
  void find_softmaxes();
  bool only_subtracted(const Softmax& s) const;
  Expr folded_operand(const graph::Node& reduction, const Expr& x) const;
  Stmts softmax_factors(ElementEmitter& emitter, const graph::Node& sum, const Expr& value);

  std::vector<int> order_;
  std::vector<Softmax> softmaxes_;
};

}  // namespace tern::lower
