#include "compiler/lower/layout.h"

#include <numeric>

#include "compiler/support/check.h"

namespace tern::lower {

Layout Layout::dense(int rank) {
  Layout out;
  out.order.resize(static_cast<size_t>(rank));
  std::iota(out.order.begin(), out.order.end(), 0);
  return out;
}

Layout Layout::channels_last(int rank) {
  if (rank < 3) return dense(rank);
  Layout out;
  out.order.push_back(0);
  for (int d = 2; d < rank; ++d) out.order.push_back(d);
  out.order.push_back(1);
  return out;
}

bool Layout::is_dense() const {
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != static_cast<int>(i)) return false;
  }
  return true;
}

std::vector<Dim> Layout::strides(const Shape& shape) const {
  TERN_CHECK(shape.size() == order.size(), "a layout of rank {} for a shape of rank {}", order.size(),
             shape.size());
  std::vector<Dim> out(shape.size());
  Dim stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    const auto d = static_cast<size_t>(order[i]);
    out[d] = stride;
    stride = stride * shape[d];
  }
  return out;
}

}  // namespace tern::lower
