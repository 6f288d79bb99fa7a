// Lowering of one block: regions in order, each value at its place, copies where a consumer needs another
// order, and the steps of control flow (control_flow.cc) and special ops (special_lowering.cc).
#pragma once

#include <deque>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/lower/context.h"
#include "compiler/lower/layout_assignment.h"
#include "compiler/lower/regions.h"

namespace tern::lower {

namespace gpu {
struct OperandCopy;
}

class BlockLowering {
 public:
  BlockLowering(LoweringContext& context, const graph::UseMap& uses, LayoutMap& layouts)
      : context_(context), uses_(uses), layouts_(layouts) {}

  // Steps for the block, onto the context's list. `result_places`: where results go; a result without entry
  // (buffer -1) stays where it is computed and has a place afterwards.
  void run(graph::Block& block, const std::vector<Place>& result_places);

  LoweringContext& context() { return context_; }
  const graph::UseMap& uses() const { return uses_; }
  LayoutMap& layouts() { return layouts_; }

  // The value has a place afterwards (a view that no strides describe is made dense first).
  void ensure_place(graph::Value* value);
  // The value, or a copy of it, in consecutive dense row-major memory, stored as its type says.
  graph::Value* ensure_dense(graph::Value* value);
  // A copy of the value at `place`, which is needed for this reason.
  void copy_to(graph::Value* value, const Place& place, FusionReason reason);
  // A new place of the value's own in its assigned layout, stored as the precision plan says, or as `stored`.
  Place allocate(const graph::Value* value);
  Place allocate(const graph::Value* value, DType stored);
  // What a node changes a part of: `data`, at the place of its result, unless it is there already
  // (put_rows.cc).
  void begin_with(graph::Value* data, const graph::Value* result);
  // A scatter of whole rows, whose result has its place; false: it is left to kernels for any scatter.
  bool put_rows(graph::Node& node);
  // The buffer of a bool scalar that stands at offset 0, as steps read conditions.
  int condition_buffer(graph::Value* value);
  // Every value that the node's regions read from outside has a place afterwards: none is made in one branch
  // and missed in the other.
  void ensure_captured(const graph::Node& node);
  // Whether values of a type can be lowered; reports otherwise.
  bool check_types(const graph::Node& node);

 private:
  Place allocate_planes(const graph::Value* value, int planes);
  Place allocate_planes(const graph::Value* value, int planes, DType stored);
  void plan_result_places(graph::Block& block, const std::vector<Place>& result_places);
  void place_concat(const graph::Node& node);
  // put_rows.cc.
  void place_changed(const graph::Node& node);
  void check_start(const graph::Node& node);
  void store_rows(graph::Node& scatter);
  void begin_early(const graph::Block& block);
  void find_donors(const graph::Block& block, const std::vector<Place>& result_places);
  void skip_where_donated(const graph::Value* value, size_t first_step);
  bool can_compute_in(const graph::Value* value, const Place& place) const;
  void place_at(graph::Value* value, const Place& place);
  bool sizes_known_early(const std::vector<std::pair<graph::Value*, Place>>& views) const;
  void emit(BlockItem& item);
  void finish_outputs(const BlockItem& item, const graph::Block& block,
                      const std::vector<Place>& result_places);
  void finish_result(graph::Value* value, const Place& to);
  bool has_known_sizes(const graph::Value* value) const;
  void emit_region(Region& region);
  bool end_before_reshape(const Region& region);
  void arrange_operand(Region& region);
  void arrange_filters(Region& region);
  static void read_instead(Region& region, size_t operand, graph::Value* copy);
  graph::Value* copy_with_pitch(graph::Value* value, const gpu::OperandCopy& wanted);
  void emit_chain(BlockItem& item);
  void emit_concat(graph::Node& node);
  void emit_node(graph::Node& node);
  void keep_requested();
  void read_symbols(const graph::Block& block, size_t from, size_t to);
  graph::Value* copy_in_layout(graph::Value* value, const Layout& layout, DType stored);

  LoweringContext& context_;
  const graph::UseMap& uses_;
  LayoutMap& layouts_;
  BlockPlan plan_;
  std::unordered_set<const graph::Value*> symbol_values_;
  std::vector<bool> finished_;                      // results of the block
  std::unordered_set<const graph::Node*> refused_;  // their values' types have no kernels
  std::unordered_set<std::string> read_;            // symbols
  struct LaidOutCopy {
    Layout layout;
    DType stored;
    graph::Value* value;
  };
  std::unordered_map<const graph::Value*, std::vector<LaidOutCopy>> copies_;
  // Values with which an output begins that may lie in the memory of an input, and are there already then:
  // 1 if so, else 0.
  std::unordered_map<const graph::Value*, Dim> donated_;
  std::vector<Dim> checked_;                       // by check_start
  std::unordered_set<const graph::Node*> early_;   // what they change has to be there before their rows
  std::unordered_set<const graph::Value*> begun_;  // results that begin with what is changed
};

// control_flow.cc. Before any block is lowered: each loop's iteration number becomes a symbol of the body.
void name_iterations(graph::Graph& graph, LoweringContext& context);
void lower_if(graph::Node& node, BlockLowering& block);
void lower_loop(graph::Node& node, BlockLowering& block);
void lower_check(graph::Node& node, BlockLowering& block);
// special_lowering.cc: top_k, scatter, nonzero, unique, nms. False when the node is none of these.
bool lower_special(graph::Node& node, BlockLowering& block);

}  // namespace tern::lower
