#include "compiler/lower/gpu/scatter_lines.h"

#include "compiler/lower/gpu/index_math.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;

Dim product_of(const Shape& shape, size_t begin, size_t end) {
  Dim n = 1;
  for (size_t d = begin; d < end; ++d) n = n * shape[d];
  return n;
}

}  // namespace

ScatterLines::ScatterLines(const ScatterProblem& problem, kernel::ParamTable& params)
    : p_(problem), params_(params) {
  const size_t rank = p_.data.size(), last = p_.indices.size() - 1;
  one_target = p_.axis < 0;
  if (one_target) {
    const auto depth = static_cast<size_t>(p_.indices[last].value());
    outer = 1;
    inner = product_of(p_.data, depth, rank);
    updates = product_of(p_.indices, 0, last);
  } else {
    const auto axis = static_cast<size_t>(p_.axis);
    outer = product_of(p_.indices, 0, axis);
    inner = product_of(p_.indices, axis + 1, rank);
    updates = p_.indices[axis];
  }
}

// index in [-extent, extent) made non-negative.
ScatterLines::Target ScatterLines::checked(LoopWriter& w, const Buffer& indices, const Expr& index,
                                           const Dim& extent_dim) const {
  const Expr extent = params_.expr(extent_dim);
  const Expr raw = w.let("raw", kernel::cast(w.load(indices, index), DType::kI64));
  const Expr at = w.let("at", kernel::select(w.lt(raw, w.i(0)), kernel::add(raw, extent), raw));
  return {at, w.both(w.le(w.i(0), at), w.lt(at, extent))};
}

ScatterLines::Target ScatterLines::target(LoopWriter& w, const Buffer& indices, const Line& line,
                                          const Expr& u) const {
  if (!one_target) return checked(w, indices, update_index(line, u), p_.data[static_cast<size_t>(p_.axis)]);
  const auto depth = static_cast<size_t>(p_.indices.back().value());
  Target all{w.i(0), kernel::int_const(1, DType::kBool)};
  for (size_t d = 0; d < depth; ++d) {
    const Expr from = plus(times(u, static_cast<int64_t>(depth)), w.i(static_cast<int64_t>(d)));
    const Target one = checked(w, indices, from, p_.data[d]);
    all.at = plus(all.at, kernel::mul(one.at, params_.expr(product_of(p_.data, d + 1, depth))));
    all.in_range = d == 0 ? one.in_range : w.both(all.in_range, one.in_range);
  }
  all.at = w.let("flat", all.at);
  return all;
}

// Position `flat` of the update's axes [begin, end) as an offset in the data.
Expr ScatterLines::offset(const Expr& flat, size_t begin, size_t end) const {
  Expr to = kernel::int_const(0);
  for (size_t d = begin; d < end; ++d) {
    Expr coordinate = kernel::index_div(flat, params_.expr(product_of(p_.indices, d + 1, end)));
    if (d > begin) coordinate = kernel::index_rem(coordinate, params_.expr(p_.indices[d]));
    to = plus(to, kernel::mul(coordinate, params_.expr(product_of(p_.data, d + 1, p_.data.size()))));
  }
  return to;
}

Expr ScatterLines::data_index(const Line& line, const Expr& at) const {
  if (one_target) return plus(kernel::mul(at, params_.expr(inner)), line.inner);
  const size_t rank = p_.data.size(), axis = static_cast<size_t>(p_.axis);
  return plus(plus(offset(line.outer, 0, axis), offset(line.inner, axis + 1, rank)),
              kernel::mul(at, params_.expr(product_of(p_.data, axis + 1, rank))));
}

Expr ScatterLines::update_index(const Line& line, const Expr& u) const {
  const Expr step = one_target ? u : plus(kernel::mul(line.outer, params_.expr(updates)), u);
  return plus(kernel::mul(step, params_.expr(inner)), line.inner);
}

ScatterLines::Line ScatterLines::line(LoopWriter& w, const Expr& number) const {
  const Expr n = params_.expr(inner);
  return {w.let("outer", kernel::index_div(number, n)), w.let("inner", kernel::index_rem(number, n))};
}

}  // namespace tern::lower::gpu
