// What a row region computes and when: its iteration space, its reductions in order, the row's scalars, and
// the full-size values worth keeping in scratch between the loops.
#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "compiler/lower/region.h"

namespace tern::lower {

// The shape that the reductions fold and the axes that they remove.
struct RowSpace {
  Shape shape;
  std::vector<bool> reduced;
};
RowSpace row_space(const Region& region);
// For a row value's shape: the space dimension of each of its dimensions, -1 for those of extent 1. Empty and
// false when the shape is no row of the space.
std::vector<int> row_dims(const RowSpace& space, const Shape& shape);
bool is_row_shape(const RowSpace& space, const Shape& shape);

struct RowPlan {
  std::vector<const graph::Node*> reductions;   // in order
  std::vector<const graph::Value*> results;     // theirs
  std::vector<const graph::Value*> row_values;  // other members' values, one a row, in order, to compute once
  std::unordered_map<const graph::Value*, size_t> ready_after;  // row value -> the reduction it follows
  std::vector<const graph::Value*> stored;  // full-size values that several loops need and that cost much
  std::vector<const graph::Value*> inputs;  // full-size operands of the region that several loops read
  std::vector<const graph::Value*> again;   // inputs, then stored: in an order of computing
  std::unordered_map<const graph::Value*, size_t> first_stage;  // of all of them
  // Whether a value has one element a row: results, and what members compute from them without broadcasting.
  bool is_row_value(const graph::Value* value) const { return row_level_.contains(value); }

  std::unordered_map<const graph::Value*, size_t> row_level_;
};
RowPlan plan_rows(const Region& region);

// exp(x - max x) / sum exp(x - max x), both over the same axes. The sum is 1 at least. exponentials_of: the
// same without a quotient, as the logarithm of a softmax has it.
struct Softmax {
  const graph::Node *quotient = nullptr, *sum = nullptr, *exponential = nullptr, *difference = nullptr,
                    *maximum = nullptr;
};
std::optional<Softmax> softmax_of(const graph::Node& quotient);
std::optional<Softmax> exponentials_of(const graph::Node& sum);

}  // namespace tern::lower
