// slice, pad, concat, gather.
#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/simplify_rules.h"

namespace tern::graph {
namespace {

// slice(concat(a, b, …)) that lies inside one operand reads that operand.
Value* slice_of_concat(const Node& n, const Node& concat, Builder& b) {
  const size_t axis = static_cast<size_t>(concat.int_attr("axis"));
  const Dim &start = n.dims("starts")[axis], &size = n.dims("sizes")[axis];
  if (n.ints("steps")[axis] != 1) return nullptr;
  Dim offset(0);
  for (Value* part : concat.operands) {
    const Dim before = start - offset, after = offset + part->type.shape[axis] - start - size;
    const bool inside = before.is_const() && before.value() >= 0 && after.is_const() && after.value() >= 0;
    if (inside) {
      std::vector<Dim> starts = n.dims("starts");
      starts[axis] = before;
      return b.slice(part, std::move(starts), n.dims("sizes"), n.ints("steps"));
    }
    offset = offset + part->type.shape[axis];
  }
  return nullptr;
}

// Along axes where the spread repeats, any positions are the same.
Value* slice_of_broadcast(const Node& n, const Node& spread, Builder& b) {
  Value* small = spread.operand();
  const size_t shift = n.operand()->type.shape.size() - small->type.shape.size();
  std::vector<Dim> starts, sizes;
  std::vector<int64_t> steps;
  for (size_t i = 0; i < small->type.shape.size(); ++i) {
    const bool repeats = small->type.shape[i] != n.operand()->type.shape[i + shift];
    starts.push_back(repeats ? Dim(0) : n.dims("starts")[i + shift]);
    sizes.push_back(repeats ? Dim(1) : n.dims("sizes")[i + shift]);
    steps.push_back(repeats ? 1 : n.ints("steps")[i + shift]);
  }
  return b.broadcast(b.slice(small, std::move(starts), std::move(sizes), std::move(steps)), n.dims("sizes"));
}

}  // namespace

Value* simplify_slice(Node& n, Builder& b) {
  Value* x = n.operand();
  const std::vector<Dim>&starts = n.dims("starts"), &sizes = n.dims("sizes");
  const std::vector<int64_t>& steps = n.ints("steps");
  bool whole = sizes == x->type.shape;
  for (size_t i = 0; i < starts.size(); ++i) whole &= starts[i] == Dim(0) && steps[i] == 1;
  if (whole) return x;
  if (const Node* inner = def_of(x, OpKind::kSlice)) {
    std::vector<Dim> merged_starts;
    std::vector<int64_t> merged_steps;
    for (size_t i = 0; i < starts.size(); ++i) {
      merged_starts.push_back(inner->dims("starts")[i] + starts[i] * Dim(inner->ints("steps")[i]));
      merged_steps.push_back(inner->ints("steps")[i] * steps[i]);
    }
    return b.slice(inner->operand(), std::move(merged_starts), sizes, std::move(merged_steps));
  }
  if (const Node* concat = def_of(x, OpKind::kConcat)) return slice_of_concat(n, *concat, b);
  if (const Node* spread = def_of(x, OpKind::kBroadcast)) return slice_of_broadcast(n, *spread, b);
  return nullptr;
}

Value* simplify_pad(Node& n, Builder& b) {
  Value *x = n.operand(0), *fill = n.operand(1);
  const std::vector<Dim>&low = n.dims("low"), &high = n.dims("high");
  const auto is_zero = [](const Dim& d) { return d == Dim(0); };
  if (std::all_of(low.begin(), low.end(), is_zero) && std::all_of(high.begin(), high.end(), is_zero))
    return x;
  if (n.str("mode") != "constant") return nullptr;
  // Nothing is added: a crop.
  std::vector<Dim> starts;
  bool crops = true;
  for (size_t i = 0; i < low.size(); ++i) {
    crops &= low[i].is_const() && low[i].value() <= 0 && high[i].is_const() && high[i].value() <= 0;
    starts.push_back(Dim(0) - low[i]);
  }
  if (crops)
    return b.slice(x, std::move(starts), n.result()->type.shape, std::vector<int64_t>(low.size(), 1));
  const Node* inner = def_of(x, OpKind::kPad);
  if (!inner || inner->str("mode") != "constant") return nullptr;
  const auto a = splat_of(fill), c = splat_of(inner->operand(1));
  const bool same =
      inner->operand(1) == fill || (a && c && a->i == c->i && a->f == c->f && a->imaginary == c->imaginary);
  if (!same) return nullptr;
  std::vector<Dim> merged_low, merged_high;
  for (size_t i = 0; i < low.size(); ++i) {
    // A crop of what the inner pad added, or of data, merges; data cropped first would be lost.
    for (const Dim& d : {inner->dims("low")[i], inner->dims("high")[i]})
      if (!d.is_const() || d.value() < 0) return nullptr;
    merged_low.push_back(inner->dims("low")[i] + low[i]);
    merged_high.push_back(inner->dims("high")[i] + high[i]);
  }
  return b.pad(inner->operand(0), std::move(merged_low), std::move(merged_high), fill);
}

namespace {

// Two neighbours that are adjacent slices of one value, as one slice; null when they are not.
Value* join_slices(Value* x, Value* y, size_t axis, Builder& b) {
  const Node *s = def_of(x, OpKind::kSlice), *t = def_of(y, OpKind::kSlice);
  if (!s || !t || s->operand() != t->operand()) return nullptr;
  for (size_t i = 0; i < s->dims("starts").size(); ++i) {
    if (s->ints("steps")[i] != t->ints("steps")[i]) return nullptr;
    if (i == axis) {
      if (t->dims("starts")[i] != s->dims("starts")[i] + s->dims("sizes")[i] * Dim(s->ints("steps")[i]))
        return nullptr;
    } else if (s->dims("starts")[i] != t->dims("starts")[i] || s->dims("sizes")[i] != t->dims("sizes")[i]) {
      return nullptr;
    }
  }
  std::vector<Dim> sizes = s->dims("sizes");
  sizes[axis] = sizes[axis] + t->dims("sizes")[axis];
  return b.slice(s->operand(), s->dims("starts"), std::move(sizes), s->ints("steps"));
}

}  // namespace

// A chain of concatenations of a value with itself doubles with each.
constexpr size_t kMostParts = 1024;

Value* simplify_concat(Node& n, Builder& b) {
  const int64_t axis = n.int_attr("axis");
  const size_t a = static_cast<size_t>(axis);
  std::vector<Value*> parts;
  bool changed = false;
  for (Value* v : n.operands) {
    const Node* inner = def_of(v, OpKind::kConcat);
    if (v->type.shape[a] == Dim(0) && n.operands.size() > 1) {
      changed = true;
    } else if (inner && inner->int_attr("axis") == axis &&
               parts.size() + inner->operands.size() <= kMostParts) {
      parts.insert(parts.end(), inner->operands.begin(), inner->operands.end());
      changed = true;
    } else {
      parts.push_back(v);
    }
  }
  for (size_t i = 1; i < parts.size();) {
    if (Value* joined = join_slices(parts[i - 1], parts[i], a, b)) {
      parts[i - 1] = joined;
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i));
      changed = true;
    } else {
      ++i;
    }
  }
  if (parts.empty()) return n.operand();  // everything is empty
  if (parts.size() == 1) return parts[0];
  return changed ? b.concat(std::move(parts), static_cast<int>(axis)) : nullptr;
}

Value* simplify_gather(Node& n, Builder& b) {
  Value* x = n.operand(0);
  const TensorDataPtr indices = constant_data(n.operand(1));
  const size_t axis = static_cast<size_t>(n.int_attr("axis"));
  if (!indices || indices->count() == 0 || indices->shape().size() > 1) return nullptr;
  const int64_t count = indices->count(), first = indices->int_at(0);
  const int64_t step = count > 1 ? indices->int_at(1) - first : 1;
  const Dim& extent = x->type.shape[axis];
  for (int64_t i = 0; i < count; ++i) {
    const int64_t v = indices->int_at(i);
    if (v != first + i * step || (v < 0) != (first < 0)) return nullptr;
    // Without a check at run time only what is certainly inside may become a slice.
    if (extent.is_const() && (v < -extent.value() || v >= extent.value())) return nullptr;
  }
  if (step == 0) return nullptr;
  if (!extent.is_const()) {
    // The first or last of an axis that is known not to be empty.
    if (count > 1 || (first != 0 && first != -1) || extent.op() != Dim::Op::kSymbol) return nullptr;
    const SymbolInfo* s = b.graph().find_symbol(extent.symbol_name());
    if (!s || s->min < 1) return nullptr;
  }
  Value* out =
      b.slice_axis(x, static_cast<int>(axis), first < 0 ? extent + Dim(first) : Dim(first), Dim(count), step);
  return b.reshape(out, n.result()->type.shape);
}

// Whole rows, all elements of an update with the same index (torch.scatter_add with an expanded index), are a
// scatter_nd's.
Value* simplify_scatter(Node& n, Builder& b) {
  Value *data = n.operand(0), *updates = n.operand(2);
  const Node* repeat = n.operand(1)->def;
  if (n.int_attr("axis") != 0 || !repeat || repeat->kind != OpKind::kBroadcast) return nullptr;
  Value* index = repeat->operand();
  const Shape &rows = updates->type.shape, &have = index->type.shape;
  if (have.size() != rows.size() || have[0] != rows[0]) return nullptr;
  for (size_t d = 1; d < rows.size(); ++d) {
    if (!have[d].is_const(1) || rows[d] != data->type.shape[d]) return nullptr;
  }
  Value* column = b.reshape(index, {rows[0], Dim(1)});
  return b.node(OpKind::kScatterNd, {data, column, updates}, {{"reduction", n.str("reduction")}})->result();
}

}  // namespace tern::graph
