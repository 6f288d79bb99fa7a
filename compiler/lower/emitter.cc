#include "compiler/lower/emitter.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/put_rows.h"
#include "compiler/lower/value_range.h"
#include "compiler/lower/wide_arithmetic.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

bool is_index_op(const Expr& e, ScalarOp op) {
  return e->kind == kernel::ExprKind::kOp && e->op == op && e->is_index;
}

bool is_zero(const Expr& e) {
  return e->kind == kernel::ExprKind::kConst && e->i == 0;
}

// What the dimension outside a coordinate is told by, when that is a remainder: the quotient.
std::vector<Expr> quotients_of(const Expr& index) {
  if (!is_index_op(index, ScalarOp::kRem)) return {};
  return {kernel::index_div(index->args[0], index->args[1])};
}

}  // namespace

Expr ElementEmitter::address(const Value* value, const Index& index) {
  const Place& place = dispatch_.context().place(value);
  TERN_CHECK(index.size() == place.strides.size(), "index of rank {} for a value of rank {}", index.size(),
             place.strides.size());
  std::vector<AddressPart> parts;  // innermost first
  for (size_t p = place.layout.order.size(); p-- > 0;) {
    const auto d = static_cast<size_t>(place.layout.order[p]);
    if (place.strides[d].is_const(0) || is_zero(index[d]) || static_cast<int>(d) == place.panel_columns)
      continue;
    if (!parts.empty() && join(parts.back(), index[d], place.strides[d], value->type.shape[d])) continue;
    parts.push_back({index[d], place.strides[d], value->type.shape[d], quotients_of(index[d])});
  }
  Expr at = dispatch_.expr(place.offset);
  if (place.panel_columns >= 0) {
    const auto d = static_cast<size_t>(place.panel_columns);
    const Expr panel = dispatch_.expr(place.strides[d] * Dim(kPanelColumns));
    at = kernel::add(at, kernel::mul(kernel::index_div(index[d], int_const(kPanelColumns)), panel));
    at = kernel::add(at, kernel::index_rem(index[d], int_const(kPanelColumns)));
  }
  // Outermost first: sums fold their constants best so, and addresses read well.
  for (size_t p = parts.size(); p-- > 0;)
    at = kernel::add(kernel::mul(parts[p].index, dispatch_.expr(parts[p].stride)), at);
  return at;
}

Expr ElementEmitter::load_stored(const Value* value, const Index& index) {
  TERN_CHECK(dispatch_.context().place(value).planes == 1, "a value in several planes is read as it lies");
  return kernel::load(dispatch_.buffer_of(value), address(value, index));
}

// Coordinates that were split from one running number (a row of a contraction, a reshape) and whose strides
// follow from each other are that number again: no division, and neighbours are a constant apart.
bool ElementEmitter::join(AddressPart& inner, const Expr& outer, const Dim& stride, const Dim& extent) {
  if (inner.quotients.empty() || stride != inner.stride * inner.extent) return false;
  if (!kernel::equal(inner.index->args[1], dispatch_.expr(inner.extent))) return false;
  const Expr number = inner.index->args[0];
  const auto is_quotient = [&](const Expr& e) {
    return std::any_of(inner.quotients.begin(), inner.quotients.end(),
                       [&](const Expr& q) { return kernel::equal(q, e); });
  };
  if (is_quotient(outer)) {
    inner = {number, inner.stride, inner.extent * extent, {}};
    return true;
  }
  if (!is_index_op(outer, ScalarOp::kRem) || !is_quotient(outer->args[0]) ||
      !kernel::equal(outer->args[1], dispatch_.expr(extent)))
    return false;
  const Dim whole = inner.extent * extent;
  std::vector<Expr> quotients = quotients_of(kernel::index_rem(number, dispatch_.expr(whole)));
  for (const Expr& q : inner.quotients) quotients.push_back(kernel::index_div(q, outer->args[1]));
  inner = {kernel::index_rem(number, dispatch_.expr(whole)), inner.stride, whole, std::move(quotients)};
  return true;
}

Expr ElementEmitter::load(const Value* value, const Index& index) {
  const Place& place = dispatch_.context().place(value);
  if (place.planes == 1) return kernel::cast(load_stored(value, index), value->type.dtype);
  const kernel::Buffer buffer = dispatch_.buffer_of(value);
  const Expr first = address(value, index);
  Expr sum;
  for (int p = 0; p < place.planes; ++p) {
    const Expr at = kernel::add(first, dispatch_.expr(place.plane * Dim(p)));
    const Expr part = kernel::cast(kernel::load(buffer, at), value->type.dtype);
    sum = sum ? kernel::add(sum, part) : part;
  }
  return sum;
}

kernel::Stmt ElementEmitter::store(const Value* value, const Index& index, Expr element) {
  TERN_CHECK(dispatch_.context().place(value).planes == 1, "a value in several planes is stored as one");
  const kernel::Buffer buffer = dispatch_.buffer_of(value);
  element = kernel::cast(std::move(element), buffer->type.dtype);
  const std::optional<MovedRows> moved = moved_rows(dispatch_.region());
  if (!moved) return kernel::store(buffer, address(value, index), std::move(element));
  Index to = index;
  Expr& row = to[static_cast<size_t>(moved->axis)];
  const Shape& shape = moved->positions->type.shape;
  Index where(shape.size(), int_const(0));
  for (size_t d = 0; d < shape.size(); ++d)
    if (!shape[d].is_const(1)) where[d] = index[d + index.size() - shape.size()];
  row = checked_index(moved->positions, load(moved->positions, where), moved->extent);
  return kernel::store(buffer, address(value, to), std::move(element));
}

void ElementEmitter::bind(const Value* value, Expr expression) {
  bind(value, [expression](const Index&) { return expression; });
}

void ElementEmitter::bind(const Value* value, std::function<Expr(const Index&)> f) {
  bound_[value] = std::move(f);
  memo_.clear();
}

void ElementEmitter::unbind(const Value* value) {
  bound_.erase(value);
  memo_.clear();
}

std::vector<kernel::Stmt> ElementEmitter::take_checks() {
  memo_.clear();  // what was checked for one place need not hold at another
  return std::move(checks_);
}

Expr ElementEmitter::element(const Value* value, const Index& index) {
  if (auto it = bound_.find(value); it != bound_.end()) return it->second(index);
  std::vector<Memo>& memo = memo_[value];
  for (const Memo& m : memo) {
    const bool same = std::equal(m.index.begin(), m.index.end(), index.begin(), index.end(),
                                 [](const Expr& a, const Expr& b) { return kernel::equal(a, b); });
    if (same) return m.result;
  }
  Expr result;
  if (value->def && dispatch_.region().contains(value->def)) {
    result = compute(*value->def, value, index);
  } else if (const auto splat = LoweringContext::splat(value)) {
    result = dispatch_.literal(*splat);
  } else {
    result = load(value, index);
  }
  memo_[value].push_back({index, result});
  return result;
}

Expr ElementEmitter::compute(const Node& node, const Value* value, const Index& index) {
  const Shape& shape = value->type.shape;
  switch (node.kind) {
    case OpKind::kMap: {
      if (Expr e = activation(node, index)) return e;
      std::vector<Expr> args;
      // Bounds stay in the code: a minimum with a number is cheaper than one with what may be none.
      const bool bounds = node.scalar_op() == ScalarOp::kMin || node.scalar_op() == ScalarOp::kMax;
      for (const Value* v : node.operands) {
        const bool computed = bound_.contains(v) || (v->def && dispatch_.region().contains(v->def));
        const auto splat = bounds && !computed ? LoweringContext::splat(v) : std::nullopt;
        args.push_back(splat ? kernel::scalar_const(*splat) : element(v, index));
      }
      const DType type = value->type.dtype;
      if (is_computed_wide(type, dispatch_.context().target().arch) && is_smooth(node.scalar_op())) {
        for (Expr& arg : args) arg = unrounded(arg);
        return kernel::cast(kernel::op(node.scalar_op(), std::move(args)), type);
      }
      // A graph computes both arms.
      if (node.scalar_op() == ScalarOp::kSelect && !guard_)
        return kernel::select_both(args[0], args[1], args[2]);
      return kernel::op(node.scalar_op(), std::move(args));
    }
    case OpKind::kCast: {
      const graph::Attr* saturate = node.find("saturate");
      return kernel::cast(element(node.operand(), index), value->type.dtype,
                          saturate ? std::get<bool>(*saturate) : true);
    }
    case OpKind::kBitcast: {
      const Expr from = element(node.operand(), index);
      const DType to = value->type.dtype;
      // A bool's bits are those of a u8.
      if (to == DType::kBool) return kernel::cast(kernel::bitcast(from, {DType::kU8, 1}), to);
      const bool is_bool = from->type.dtype == DType::kBool;
      return kernel::bitcast(is_bool ? kernel::cast(from, DType::kU8) : from, {to, 1});
    }
    case OpKind::kLookup: {
      const int table = dispatch_.context().add_constant("table", node.attr<TensorDataPtr>("table"));
      return kernel::load(dispatch_.bind(table), kernel::cast(element(node.operand(), index), DType::kI64));
    }
    case OpKind::kIota:
      return kernel::cast(index[static_cast<size_t>(node.int_attr("axis"))], value->type.dtype);
    case OpKind::kFromDims:
      return from_dims(node, index);
    case OpKind::kReshape:
      return element(node.operand(), reshape_index(node.operand()->type.shape, shape, index));
    case OpKind::kBroadcast: {
      const Shape& from = node.operand()->type.shape;
      Index at;
      for (size_t d = 0; d < from.size(); ++d) {
        const size_t to = d + shape.size() - from.size();
        at.push_back(from[d] == shape[to] ? index[to] : int_const(0));
      }
      return element(node.operand(), at);
    }
    case OpKind::kTranspose: {
      const std::vector<int64_t>& perm = node.ints("perm");
      Index at(index.size());
      for (size_t d = 0; d < index.size(); ++d) at[static_cast<size_t>(perm[d])] = index[d];
      return element(node.operand(), at);
    }
    case OpKind::kSlice: {
      Index at;
      for (size_t d = 0; d < index.size(); ++d) {
        const Expr step = int_const(node.ints("steps")[d]);
        at.push_back(kernel::add(kernel::mul(index[d], step), dispatch_.expr(node.dims("starts")[d])));
      }
      return element(node.operand(), at);
    }
    case OpKind::kPad:
      return pad(node, index);
    case OpKind::kConcat:
      return concat(node, index);
    case OpKind::kGather:
      return gather(node, index);
    case OpKind::kGatherElements:
      return gather_elements(node, index);
    case OpKind::kGatherNd:
      return gather_nd(node, index);
    default:
      TERN_UNREACHABLE("op {} cannot be inlined", graph::info(node.kind).name);
  }
}

Expr ElementEmitter::guarded(const Expr& condition, const std::function<Expr()>& body) {
  const Expr saved = guard_;
  const auto saved_memo = memo_;
  guard_ = both(guard_, condition);
  Expr out = body();
  guard_ = saved;
  memo_ = saved_memo;
  return out;
}

Expr ElementEmitter::checked_index(const Value* indices, Expr index, const Dim& extent) {
  const Expr n = dispatch_.expr(extent);
  index = kernel::cast(std::move(index), DType::kI64);
  if (extent.is_const()) {
    const std::optional<IntegerRange> range = integer_range(indices);
    if (range && range->low >= 0 && range->high < extent.value()) return index;
  }
  if (index->kind != kernel::ExprKind::kConst || extent.is_const() == false) {
    // Evaluated twice, in the check and in the use: common subexpressions make it one.
    index = kernel::select_both(kernel::compare(ScalarOp::kLt, index, int_const(0)), kernel::add(index, n),
                                index);
  } else if (index->i < 0) {
    index = int_const(index->i + extent.value());
  }
  const Expr bad = kernel::op(ScalarOp::kOr, {kernel::compare(ScalarOp::kLt, index, int_const(0)),
                                              kernel::compare(ScalarOp::kGe, index, n)});
  if (bad->kind == kernel::ExprKind::kConst && bad->i == 0) return index;
  kernel::Stmt check = kernel::if_then(bad, {kernel::fail(TERN_KERNEL_INDEX_OUT_OF_RANGE)});
  checks_.push_back(guard_ ? kernel::if_then(guard_, {check}) : check);
  return index;
}

Expr ElementEmitter::pad(const Node& node, const Index& index) {
  const Value* operand = node.operand();
  const std::string& mode = node.str("mode");
  Index at;
  Expr inside;
  for (size_t d = 0; d < index.size(); ++d) {
    const Dim low = node.dims("low")[d], high = node.dims("high")[d];
    const Dim& extent = operand->type.shape[d];
    Expr i = kernel::sub(index[d], dispatch_.expr(low));
    if (low.is_const(0) && high.is_const(0)) {
      at.push_back(i);
      continue;
    }
    const Expr n = dispatch_.expr(extent), last = dispatch_.expr(extent - 1);
    if (mode == "constant") {
      const bool below = !(low.is_const() && low.value() <= 0),
                 above = !(high.is_const() && high.value() <= 0);
      if (below) inside = both(inside, kernel::compare(ScalarOp::kGe, i, int_const(0)));
      if (above) inside = both(inside, kernel::compare(ScalarOp::kLt, i, n));
    } else if (mode == "edge") {
      i = kernel::min(kernel::max(i, int_const(0)), last);
    } else if (mode == "reflect") {  // period 2(n-1)
      const Expr period = dispatch_.expr(max((extent - 1) * Dim(2), Dim(1)));
      i = kernel::op(ScalarOp::kFloorMod, {i, period});
      i = kernel::min(i, kernel::sub(period, i));
      i = kernel::min(i, last);
    } else {
      i = kernel::op(ScalarOp::kFloorMod, {i, kernel::max(n, int_const(1))});
    }
    at.push_back(i);
  }
  if (!inside) return element(operand, at);
  const Expr fill = element(node.operand(1), {});
  return kernel::select(inside, guarded(inside, [&] { return element(operand, at); }), fill);
}

Expr ElementEmitter::concat(const Node& node, const Index& index) {
  const auto axis = static_cast<size_t>(node.int_attr("axis"));
  // From the last operand backwards: select(i < end0, operand0, select(i < end1, …)).
  std::vector<Dim> starts{0};
  for (const Value* v : node.operands) starts.push_back(starts.back() + v->type.shape[axis]);
  const std::function<Expr(size_t)> from = [&](size_t k) -> Expr {
    const Value* v = node.operands[k];
    Index at = index;
    at[axis] = kernel::sub(index[axis], dispatch_.expr(starts[k]));
    if (k + 1 == node.operands.size()) return element(v, at);
    const Expr here = kernel::compare(ScalarOp::kLt, index[axis], dispatch_.expr(starts[k + 1]));
    const Expr own = guarded(here, [&] { return element(v, at); });
    const Expr rest = guarded(kernel::op(ScalarOp::kNot, {here}), [&] { return from(k + 1); });
    return kernel::select(here, own, rest);
  };
  return from(0);
}

Expr ElementEmitter::gather(const Node& node, const Index& index) {
  const auto axis = static_cast<size_t>(node.int_attr("axis"));
  const Value* data = node.operand();
  const Value* indices = node.operand(1);
  const size_t count = indices->type.shape.size();
  const auto begin = index.begin() + static_cast<std::ptrdiff_t>(axis);
  const Index where(begin, begin + static_cast<std::ptrdiff_t>(count));
  const Expr i = checked_index(indices, element(indices, where), data->type.shape[axis]);
  Index at(index.begin(), begin);
  at.push_back(i);
  at.insert(at.end(), begin + static_cast<std::ptrdiff_t>(count), index.end());
  return element(data, at);
}

Expr ElementEmitter::gather_elements(const Node& node, const Index& index) {
  const auto axis = static_cast<size_t>(node.int_attr("axis"));
  Index at = index;
  at[axis] =
      checked_index(node.operand(1), element(node.operand(1), index), node.operand()->type.shape[axis]);
  return element(node.operand(), at);
}

Expr ElementEmitter::gather_nd(const Node& node, const Index& index) {
  const auto batch = static_cast<size_t>(node.int_attr("batch_dims"));
  const Value* data = node.operand();
  const Shape& index_shape = node.operand(1)->type.shape;
  const auto depth = static_cast<size_t>(index_shape.back().value());
  const size_t lead = index_shape.size() - 1;
  Index at(index.begin(), index.begin() + static_cast<std::ptrdiff_t>(batch));
  for (size_t k = 0; k < depth; ++k) {
    Index where(index.begin(), index.begin() + static_cast<std::ptrdiff_t>(lead));
    where.push_back(int_const(static_cast<int64_t>(k)));
    at.push_back(
        checked_index(node.operand(1), element(node.operand(1), where), data->type.shape[batch + k]));
  }
  at.insert(at.end(), index.begin() + static_cast<std::ptrdiff_t>(lead), index.end());
  return element(data, at);
}

Expr ElementEmitter::from_dims(const Node& node, const Index& index) {
  const std::vector<Dim>& dims = node.dims("dims");
  const DType dtype = node.result()->type.dtype;
  TERN_CHECK(!dims.empty(), "from_dims without elements is read");
  Expr flat = int_const(0);
  for (size_t d = 0; d < index.size(); ++d)
    flat = kernel::add(kernel::mul(flat, dispatch_.expr(node.result()->type.shape[d])), index[d]);
  Expr out = kernel::cast(dispatch_.expr(dims.back()), dtype);
  for (size_t k = dims.size() - 1; k-- > 0;) {
    const Expr here = kernel::compare(ScalarOp::kEq, flat, int_const(static_cast<int64_t>(k)));
    out = kernel::select(here, kernel::cast(dispatch_.expr(dims[k]), dtype), out);
  }
  return out;
}

// Groups of dimensions with equal products translate on their own; only inside a group is there division.
Index ElementEmitter::reshape_index(const Shape& from, const Shape& to, const Index& index) {
  Index out(from.size(), int_const(0));
  size_t i = 0, j = 0;
  while (i < from.size()) {
    size_t best_i = from.size(), best_j = to.size();
    bool found = false;
    Dim a = 1;
    for (size_t i1 = i + 1; i1 <= from.size() && !found; ++i1) {
      a = a * from[i1 - 1];
      Dim b = 1;
      for (size_t j1 = j; j1 <= to.size(); ++j1) {
        if (j1 > j) b = b * to[j1 - 1];
        if (a != b) continue;
        best_i = i1;
        best_j = j1;
        found = true;
        break;
      }
    }
    Expr flat = int_const(0);
    int used = 0;
    for (size_t k = j; k < best_j; ++k) {
      if (to[k].is_const(1)) continue;
      flat = used++ == 0 ? index[k] : kernel::add(kernel::mul(flat, dispatch_.expr(to[k])), index[k]);
    }
    std::vector<size_t> real;
    for (size_t k = i; k < best_i; ++k) {
      if (!from[k].is_const(1)) real.push_back(k);
    }
    for (size_t r = real.size(); r-- > 0;) {
      const Expr n = dispatch_.expr(from[real[r]]);
      out[real[r]] = r == 0 ? flat : kernel::index_rem(flat, n);
      if (r > 0) flat = kernel::index_div(flat, n);
    }
    i = best_i;
    j = best_j;
  }
  return out;
}

// ---- Vector epilogue

namespace {

// Stores an element, or lanes of them: of a place of several planes the kernel's own, where the first one has
// what the epilogue adds to the sums, or all of them.
void store_planes(ElementEmitter& emitter, const Value* value, const Expr& at, Expr element, const Expr& sum,
                  const Expr& mask, std::vector<kernel::Stmt>& out) {
  const Place& place = emitter.dispatch().context().place(value);
  const kernel::Buffer buffer = emitter.dispatch().buffer_of(value);
  const auto store = [&](const Expr& plane, const Expr& e) {
    const Expr lane = kernel::mul(plane, emitter.dispatch().expr(place.plane));
    const int lanes = at->type.lanes;
    out.push_back(
        kernel::store(buffer, kernel::add(at, lanes > 1 ? kernel::broadcast(lane, lanes) : lane), e, mask));
  };
  if (place.planes == 1) {
    out.push_back(kernel::store(buffer, at, std::move(element), mask));
  } else if (emitter.plane()) {
    // By name, so that what it reads is asked for whatever the plane is.
    const kernel::Var whole = kernel::make_var("whole", element->type);
    out.push_back(kernel::let(whole, std::move(element)));
    const Expr first = kernel::compare(ScalarOp::kEq, emitter.plane(), int_const(0));
    const int lanes = whole->type.lanes;
    store(emitter.plane(), kernel::select(lanes > 1 ? kernel::broadcast(first, lanes) : first,
                                          kernel::var_expr(whole), kernel::cast(sum, whole->type.dtype)));
  } else {
    const DType dtype = element->type.dtype;
    const int lanes = element->type.lanes;
    store(int_const(0), std::move(element));
    const Expr zero = kernel::cast(kernel::float_const(0.0), dtype);
    for (int p = 1; p < place.planes; ++p)
      store(int_const(p), lanes > 1 ? kernel::broadcast(zero, lanes) : zero);
  }
}

// x * y + z of f32 in one operation.
Expr fused(const Expr& e) {
  if (e->kind != kernel::ExprKind::kOp || e->op != ScalarOp::kAdd || e->type.dtype != DType::kF32)
    return nullptr;
  for (size_t side : {0u, 1u}) {
    const Expr& product = e->args[side];
    if (product->kind == kernel::ExprKind::kOp && product->op == ScalarOp::kMul)
      return kernel::op(ScalarOp::kFma, {product->args[0], product->args[1], e->args[1 - side]});
  }
  return nullptr;
}

}  // namespace

std::vector<kernel::Stmt> store_epilogue(ElementEmitter& emitter,
                                         const std::function<Index(const Expr& n)>& index_at, const Expr& n,
                                         const Expr& value, int lanes, const Expr& count, bool fuse,
                                         const Value* of) {
  const Region& region = emitter.dispatch().region();
  const kernel::Var lane = kernel::make_var("lane");
  const kernel::Var sum = kernel::make_var("sum", {value->type.dtype, 1});
  const Value* root = of ? of : region.root->result();
  emitter.bind(root, kernel::var_expr(sum));
  const Index index = index_at(lanes == 1 ? n : kernel::add(n, kernel::var_expr(lane)));
  std::vector<kernel::Stmt> out;
  for (const Value* v : region.outputs) {
    Expr e = emitter.element(v, index);
    if (fuse) e = kernel::rewrite(e, fused);
    Expr at = emitter.address(v, index);
    const kernel::Buffer buffer = emitter.dispatch().buffer_of(v);
    e = kernel::cast(e, buffer->type.dtype);
    if (lanes == 1) {
      store_planes(emitter, v, at, kernel::substitute(e, {{sum.get(), value}}), value, nullptr, out);
      continue;
    }
    const std::unordered_map<const kernel::VarNode*, Expr> at_zero = {{lane.get(), int_const(0)}};
    e = kernel::broadcast(kernel::vectorize(e, lane, lanes, {{sum.get(), value}}, count), lanes);
    e = kernel::substitute(e, at_zero);
    // The address of lane 0 and the distance between lanes: consecutive, or a scatter.
    const size_t rank = index.size();
    const Place& place = emitter.dispatch().context().place(v);
    bool consecutive = rank > 0;
    for (size_t d = 0; d < rank; ++d) {
      if (kernel::uses_var(index[d], lane.get())) consecutive &= place.strides[d].is_const(1);
    }
    if (consecutive) {
      store_planes(emitter, v, kernel::substitute(at, at_zero), e, value, count, out);
      continue;
    }
    const Expr ramp = kernel::substitute(kernel::vectorize(at, lane, lanes), at_zero);
    const Expr mask = count ? kernel::compare(ScalarOp::kLt, kernel::ramp(int_const(0), 1, lanes),
                                              kernel::broadcast(count, lanes))
                            : nullptr;
    store_planes(emitter, v, ramp, e, value, mask, out);
  }
  emitter.unbind(root);
  std::vector<kernel::Stmt> checks = emitter.take_checks();
  TERN_CHECK(checks.empty(), "the epilogue of {} has data-dependent indices", region.label());
  return out;
}

}  // namespace tern::lower
