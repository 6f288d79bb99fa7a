// What the importer knows about the contents of small tensors: shape arithmetic, evaluated while importing.
//
// ONNX computes shapes with ordinary tensor operators (Shape → Gather → Mul → Concat → Reshape). Each element
// of a small tensor is here a Dim (or a quotient of a Dim and a constant, since exporters also compute sizes
// in floats), or a reference to the element of a value that it equals, or unknown. Emit asks `propagate`
// about every node before it is made; a tensor all of whose elements are Dims needs no computation at run
// time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/graph/ir.h"

namespace tern::onnx {

using graph::Value;

struct Element {
  Dim number;               // the value is number / divisor …
  int64_t divisor = 0;      // … when this is > 0; else
  Value* source = nullptr;  // it equals element `index` of this value (null: unknown)
  int64_t index = 0;
  Value* counter = nullptr;  // where it is not known: it also is factor * this loop's iteration + number
  int64_t factor = 1;

  static Element of(Dim d) { return {d, 1, nullptr, 0}; }
  bool known() const { return divisor > 0; }
  bool is_dim() const { return divisor == 1; }
};
using Contents = std::vector<Element>;

// Inclusive bounds of an expression's value, from its symbols' bounds; nullopt: none known.
struct Interval {
  std::optional<int64_t> low, high;
};
Interval interval(const graph::Graph& graph, const Dim& dim);
// Whether a `op` b (a comparison) holds for every value of the symbols; nullopt when that depends.
std::optional<bool> decide(const graph::Graph& graph, scalar::ScalarOp op, const Dim& a, const Dim& b);

// Whether a <= b always (true) or a >= b always (false).
std::optional<bool> smaller(const graph::Graph& graph, const Dim& a, const Dim& b);

class Knowledge {
 public:
  explicit Knowledge(graph::Graph& graph) : graph_(&graph) {}
  // Null for values that are not small tensors of numbers with static shapes.
  const Contents* find(Value* value);
  void set(Value* value, Contents contents) { contents_[value] = std::move(contents); }
  // The contents of the node's only result; nullopt when nothing is known.
  std::optional<Contents> propagate(const graph::Node& node, const graph::Type& result);
  // The element as a Dim; a fresh symbol that is read at run time when it is not known. Sizes are never
  // negative.
  Dim dim_of(const Element& element, bool size);
  // The same for a place in a tensor: one that a loop's iterations count is an expression of their number, so
  // that two such places have a known distance.
  Dim place_of(const Element& element);
  // Says that `number` counts the iterations of a loop, of which there are at most `trips` (if that is
  // known).
  void count_iterations(Value* number, const std::optional<Dim>& trips);
  // An expression that is never smaller: iterations that are added stand at their last.
  Dim at_most(const Dim& dim) const;
  // Forgets the symbols that were made since the graph had `symbols` of them, for work that is thrown away.
  void roll_back(size_t symbols);

 private:
  Element combine(const graph::Node& node, const std::vector<const Contents*>& operands, size_t i,
                  DType type);
  std::optional<Contents> propagate_movement(const graph::Node& node,
                                             const std::vector<const Contents*>& operands,
                                             const std::vector<int64_t>& shape);
  graph::Graph* graph_;
  std::unordered_map<const Value*, Contents> contents_;
  std::map<std::pair<const Value*, int64_t>, Dim> symbols_;
  std::unordered_map<const Value*, std::optional<Dim>> trips_;  // of loops, by their iterations' numbers
};

}  // namespace tern::onnx
