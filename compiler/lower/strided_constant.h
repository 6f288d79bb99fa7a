// A constant seen through views: what broadcasts repeat and transposes turn is not copied, so that parameters
// of blocks of weights stay as small as they are. Each dimension is a list of sizes, outermost first, with a
// distance in `data` each: a reshape joins and splits them.
#pragma once

#include <optional>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/support/tensor_data.h"

namespace tern::lower {

class StridedConstant {
 public:
  explicit StridedConstant(TensorDataPtr data);
  static StridedConstant splat(double value, const std::vector<int64_t>& shape);  // f32

  std::vector<int64_t> shape() const;
  const TensorDataPtr& data() const { return data_; }
  // The same places of other data, as many elements.
  StridedConstant with_data(TensorDataPtr data) const;
  bool is_splat() const { return data_->count() == 1; }

  // Through a view; nothing where the graph's own evaluation fails.
  std::optional<StridedConstant> viewed(const graph::Node& view) const;
  std::optional<StridedConstant> reshaped(const std::vector<int64_t>& shape) const;
  // All elements in row-major order.
  TensorDataPtr dense() const;

  // Where index i along a dimension lies: an element's place is the sum over all dimensions.
  std::vector<int64_t> places(size_t dim) const;
  // Neighbours along a dimension, from a multiple of their number on, that are one element.
  int64_t repeats(size_t dim) const;

 private:
  struct Factor {
    int64_t size, stride;
  };
  using Factors = std::vector<Factor>;

  TensorDataPtr data_;
  std::vector<Factors> dims_;
};

// The results of a node of one result for constants; null where evaluation fails.
TensorDataPtr evaluated(const graph::Node& node, const std::vector<TensorDataPtr>& operands);

}  // namespace tern::lower
