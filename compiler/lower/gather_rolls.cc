#include "compiler/lower/gather_rolls.h"

#include <optional>
#include <vector>

#include "compiler/graph/passes/eliminate_dead.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

constexpr int64_t kMostIndices = 4096;  // what value_range.h looks through, so that nothing is checked

// Which elements of `base` along the axis the slice takes, if it takes all along the others.
bool take(const Node& slice, size_t axis, std::vector<int64_t>& indices) {
  const Shape& from = slice.operand()->type.shape;
  const auto &starts = slice.dims("starts"), &sizes = slice.dims("sizes");
  for (size_t d = 0; d < from.size(); ++d) {
    if (slice.ints("steps")[d] != 1) return false;
    if (d != axis && (!starts[d].is_const(0) || sizes[d] != from[d])) return false;
  }
  if (!from[axis].is_const() || !starts[axis].is_const() || !sizes[axis].is_const()) return false;
  for (int64_t i = 0; i < sizes[axis].value(); ++i) indices.push_back(starts[axis].value() + i);
  return static_cast<int64_t>(indices.size()) <= kMostIndices;
}

struct Roll {
  Value* base;
  std::vector<int64_t> indices;
};

std::optional<Roll> roll_of(const Node& concat) {
  if (concat.operands.size() < 2) return std::nullopt;
  Roll roll{nullptr, {}};
  for (Value* part : concat.operands) {
    if (!part->def || part->def->kind != OpKind::kSlice) return std::nullopt;
    if (roll.base && part->def->operand() != roll.base) return std::nullopt;
    roll.base = part->def->operand();
    if (!take(*part->def, static_cast<size_t>(concat.int_attr("axis")), roll.indices)) return std::nullopt;
  }
  return roll;
}

bool visit(graph::Graph& graph, graph::Block& block) {
  bool found = false;
  for (size_t i = 0; i < block.nodes.size(); ++i) {
    Node& node = *block.nodes[i];
    for (const auto& region : node.regions) found |= visit(graph, *region);
    if (node.kind != OpKind::kConcat) continue;
    const std::optional<Roll> roll = roll_of(node);
    if (!roll) continue;
    graph::Builder b(graph, block, i);
    b.set_source(node.source);
    auto indices = TensorData::make(DType::kI64, {static_cast<int64_t>(roll->indices.size())});
    for (size_t n = 0; n < roll->indices.size(); ++n)
      indices->set_int(static_cast<int64_t>(n), roll->indices[n]);
    Value* out = b.gather(roll->base, b.constant(indices), static_cast<int>(node.int_attr("axis")));
    found = true;
    graph::replace_uses(graph, {{node.result(), out}});
    i = b.position();  // the node
  }
  return found;
}

}  // namespace

void gather_rolls(graph::Graph& graph) {
  if (visit(graph, graph.body)) graph::eliminate_dead(graph);
}

}  // namespace tern::lower
