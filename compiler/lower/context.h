// What lowering knows while it turns one graph into a program: the program's buffers, the place of each
// value, and the list of steps under construction. DispatchBuilder makes one dispatch with its bindings,
// parameters and one kernel a level.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "compiler/lower/cost_model.h"
#include "compiler/lower/lower.h"
#include "compiler/lower/place.h"
#include "compiler/lower/precision.h"
#include "compiler/lower/region.h"
#include "compiler/lower/shared_tables.h"

namespace tern::lower {

class LoweringContext {
 public:
  LoweringContext(graph::Graph& graph, const Target& target, const LowerOptions& options,
                  LoweredProgram& program, Diagnostics& diagnostics);

  graph::Graph& graph() { return graph_; }
  const Target& target() const { return target_; }
  LoweredProgram& program() { return program_; }
  Diagnostics& diagnostics() { return diagnostics_; }
  bool enabled(std::string_view step) const;  // not in LowerOptions::disabled

  Fusion fusion() const { return options_.fusion; }

  // A likely value of a dimension: its constant, or with each symbol at its hint (or a guess). For cost
  // models only.
  int64_t hint(const Dim& dim) const;
  // An expression over entry symbols that `dim` never exceeds; nullopt when there is none.
  std::optional<Dim> upper_bound(const Dim& dim) const;

  // Buffers.
  int add_buffer(BufferDef def);
  // Arena memory for `elements` of dtype; a dynamic buffer with its allocation step when no bound is known.
  int add_temporary(const std::string& name, DType dtype, const Dim& elements);
  // `encoding`: how the bytes follow from panels, where they do.
  int add_constant(const std::string& name, TensorDataPtr data,
                   std::shared_ptr<const WeightEncoding> encoding = nullptr);

  // Values. A constant gets its buffer, in dense order, when its place is first asked for; a view of a placed
  // value gets a place over the same buffer. has_place says whether place() would succeed.
  bool has_place(const graph::Value* value);
  const Place& place(const graph::Value* value);
  void set_place(const graph::Value* value, Place place) { places_[value] = std::move(place); }
  void set_shared_tables(SharedTables tables) { shared_tables_ = std::move(tables); }
  // The element type that the value has in memory: that of its place's buffer, or, where it has no place yet,
  // what the precision plan decides. Loads widen it to the value's own type.
  DType stored_type(const graph::Value* value) const;
  PrecisionPlan& precision() { return precision_; }
  void plan_precision();  // once the graph has its final form
  // Whether matrix units may multiply the contraction's f32 operands in TF32.
  bool may_use_tf32(const graph::Node& contraction) const {
    return options_.tf32 && !precision_.requested(contraction);
  }
  // Counts a contraction of f32 for the precision report.
  void note_product(const graph::Node& contraction, bool tf32);
  // Counts a value or constant for the precision report, once each.
  void note_stored(const graph::Value* value, DType stored);
  // The constant's data, or null.
  static TensorDataPtr constant_data(const graph::Value* value);

  // The scalar that fills a value, seen through views of a constant: inlined instead of loaded.
  static std::optional<scalar::ScalarValue> splat(const graph::Value* value);
  // The same elements with dimension order[0] outermost, …, at compile time.
  static TensorDataPtr permuted(const TensorDataPtr& data, const std::vector<int>& order);

  // Steps go to the innermost list.
  void push(Step step) { steps_->push_back(std::move(step)); }
  std::vector<Step>* steps() { return steps_; }
  std::vector<Step>* set_steps(std::vector<Step>* steps) { return std::exchange(steps_, steps); }

  // The symbol of each loop's iteration number.
  std::unordered_map<const graph::Node*, std::string>& iterations() { return iterations_; }

  // A problem with a node, with its ONNX name and op.
  void fail(const graph::Node& node, Error error);

 private:
  graph::Graph& graph_;
  const Target& target_;
  const LowerOptions& options_;
  LoweredProgram& program_;
  Diagnostics& diagnostics_;
  std::unordered_map<const graph::Value*, Place> places_;
  std::unordered_map<const TensorData*, int> constants_;
  SharedTables shared_tables_;
  PrecisionPlan precision_;
  std::unordered_map<const TensorData*, TensorDataPtr> narrow_data_;
  std::unordered_set<const graph::Value*> noted_;
  std::unordered_map<const graph::Node*, std::string> iterations_;
  int dispatches_ = 0;
  friend class DispatchBuilder;
  std::vector<Step>* steps_ = nullptr;
};

// How a GPU variant runs: threads of a workgroup, the variable of their number, and the subgroup width that
// the kernel relies on (0: none).
struct Workgroup {
  int threads = 0;
  kernel::Var thread = nullptr;
  int subgroup = 0;
  int cluster = 1;
  std::vector<kernel::Tensor> tensors = {};
  int copiers = 0;
};

class DispatchBuilder {
 public:
  DispatchBuilder(LoweringContext& context, const Region& region);

  LoweringContext& context() { return context_; }
  const Region& region() const { return region_; }
  kernel::ParamTable& params() { return params_; }
  kernel::Expr expr(const Dim& dim) { return params_.expr(dim); }

  // The kernel's view of a program buffer, bound once. A buffer that the region both reads and writes (parts
  // of one concatenation) is bound once for both; `access` is for buffers that are no input or output of it.
  kernel::Buffer bind(int buffer, kernel::Access access = kernel::Access::kRead);
  kernel::Buffer buffer_of(const graph::Value* value) { return bind(context_.place(value).buffer); }

  // Whether the kernel's view is of weights or the like, which no dispatch writes.
  bool is_constant(const kernel::Buffer& handle) const;

  // A number of the graph in a kernel. Where bytes are quantised, scales and zero points are all that
  // distinguishes one layer's kernel from another's: there they are read from a small constant, so that the
  // layers share their code.
  kernel::Expr literal(const scalar::ScalarValue& value);

  void set_label(std::string label) { label_ = std::move(label); }
  // Work of the whole dispatch, for reports; bytes follow from the values. `on_bytes`: products of 8-bit
  // integers.
  void set_each_run() { each_run_ = true; }  // program_ir.h
  // The kernels have loops of unknown length that may be long (kernel/ir.h, checks_loops).
  void check_loops() { checks_loops_ = true; }
  // Half lines may be stored past the caches: the loops store the other half next.
  void stream_halves() { streams_halves_ = true; }
  void set_flops(Dim flops, bool on_bytes = false) {
    work_.flops = flops;
    work_.on_bytes = on_bytes;
  }
  // Declares that each element of the output is written after the same element of every input that could
  // share its memory was read.
  // Before the first bind().
  void set_elementwise_in_place(bool on) { in_place_ = on; }

  // Levels in ascending order, once each. Runs the kernel passes that every kernel needs. `cost`: what
  // the schedule's own cost model says, if it has one.
  void add_variant(Level level, std::vector<kernel::GridAxis> grid, std::vector<kernel::Stmt> body,
                   std::string schedule, const Workgroup& workgroup = {}, const ScheduleCost& cost = {});
  // The step, onto the context's list.
  void finish();

 private:
  struct Bound {
    int buffer;
    kernel::Access access;
    kernel::Buffer handle;
  };
  bool is_constant(const Bound& bound) const;
  Dim bound_bytes(int buffer) const;
  std::unordered_set<const kernel::BufferNode*> outgrowing(Level level) const;
  std::unordered_map<const kernel::BufferNode*, int64_t> elements_read() const;
  std::optional<Dim> touched_bytes(int buffer, const std::vector<graph::Value*>& values) const;
  Dim gathered(const graph::Value* value, const Dim& elements) const;
  void measure_work();
  bool shares_literals() const;

  LoweringContext& context_;
  const Region& region_;
  kernel::ParamTable params_;
  struct Literals {
    std::shared_ptr<TensorData> data;  // i32; floats as their bits
    std::vector<scalar::ScalarValue> known;
    std::vector<kernel::Stmt> lets;  // of the variables that hold them, for the beginning of each kernel
    int buffer = -1;
  };
  Literals literals_;
  std::vector<Bound> bound_;
  std::unordered_map<int, kernel::Access> declared_;
  struct Variant {
    Level level;
    std::shared_ptr<kernel::Kernel> kernel;
    ScheduleCost cost;
  };
  std::vector<Variant> variants_;
  std::string label_;
  Work work_;
  bool checks_loops_ = false, each_run_ = false, streams_halves_ = false;
  int64_t usual_constants_ = 0;  // of the bytes read
  bool in_place_ = false;
};

}  // namespace tern::lower
