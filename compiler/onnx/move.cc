// Operators that move data: slice, concat, split, pad, tile and the block rearrangements.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/support/dim_sum.h"

namespace tern::onnx {

namespace {

void import_concat(Op& op) {
  std::vector<Value*> values;
  for (int i = 0; i < op.input_count(); ++i) values.push_back(op.tensor(i));
  if (values.empty()) fail("The node has no inputs.");
  int64_t axis = op.axis_attr(1, values[0]->type.rank());
  for (Value* v : values)
    if (v->type.rank() != values[0]->type.rank())
      fail("The operands {} and {} differ in rank.", values[0]->type.text(), v->type.text());
  op.output(0, op.b.concat(std::move(values), axis));
}

struct SliceAxis {
  Dim start, size;
};

// A position counted from the end when it is negative.
Dim from_end(Emit& b, Dim position, const Dim& extent) {
  auto negative = decide(b.graph(), ScalarOp::kLt, position, Dim(0));
  if (negative) return *negative ? position + extent : position;
  // Data may hold INT64_MIN or INT64_MAX for "all".
  if (depends_on_data(b.graph(), position)) position = b.min_dim(b.max_dim(position, Dim(-kFar)), Dim(kFar));
  Dim is_negative = b.max_dim(Dim(0), b.min_dim(Dim(1), Dim(0) - position));
  return position + is_negative * extent;
}

// An end of a slice within [low, high]; a constant far outside (INT64_MAX: "to the end") is the limit itself.
Dim clamp_end(Emit& b, const Dim& position, const Dim& extent, const Dim& low, const Dim& high) {
  if (position.is_const() && position.value() >= kFar) return high;
  if (position.is_const() && position.value() <= -kFar) return low;
  return b.max_dim(b.min_dim(from_end(b, position, extent), high), low);
}

SliceAxis slice_axis(Emit& b, Dim start, Dim end, int64_t step, const Dim& extent) {
  Dim low = step > 0 ? Dim(0) : Dim(-1), high = step > 0 ? extent : extent - Dim(1);
  // The last k: a size that others can compare with k.
  if (step > 0 && start.is_const() && start.value() < 0 && start.value() > -kFar && end.is_const() &&
      end.value() >= kFar) {
    const Dim count = b.min_dim(extent, Dim(-start.value()));
    return {extent - count, ceildiv(count, Dim(step))};
  }
  const bool far = start.is_const() && start.value() >= kFar;
  const bool from_last = step < 0 && (far || start.is_const(-1));
  start = from_last ? high : clamp_end(b, start, extent, Dim(0), high);
  end = clamp_end(b, end, extent, low, high);
  Dim distance = step > 0 ? end - start : start - end;
  Dim size = b.max_dim(ceildiv(distance, Dim(step > 0 ? step : -step)), Dim(0));
  if (step < 0 && !from_last) size = b.min_dim(size, extent);  // 0 is no position of an empty axis
  if (step > 0 && decide(b.graph(), ScalarOp::kGe, start, extent).value_or(false)) size = Dim(0);
  if (size.is_const(0)) start = Dim(0);
  return {start, size};
}

// Run-time steps or axes: each axis is gathered at start + step * i. All of start, end, step are i64[rank].
Value* slice_by_gather(Op& op, Value* x, Value* starts, Value* ends, Value* steps) {
  Emit& b = op.b;
  int64_t rank = x->type.rank();
  Value* extent = b.shape_of(x);
  Value* zero = b.i64(0);
  b.check(b.reduce(ScalarOp::kAnd, b.compare(ScalarOp::kNe, steps, zero), {0}), "A step of the slice is 0.");
  steps = b.max(b.min(steps, b.i64(kFar)), b.i64(-kFar));
  auto from_back = [&](Value* v) { return b.select(b.compare(ScalarOp::kLt, v, zero), b.add(v, extent), v); };
  Value* forward = b.compare(ScalarOp::kGt, steps, zero);
  Value* low = b.select(forward, zero, b.i64(-1));
  Value* high = b.select(forward, extent, b.sub(extent, 1.0));
  starts = b.max(b.min(from_back(starts), high), zero);
  ends = b.max(b.min(from_back(ends), high), low);
  Value* rounded = b.sub(b.add(b.sub(ends, starts), steps), b.unary(ScalarOp::kSign, steps));
  Value* sizes = b.min(b.max(b.div(rounded, steps), zero), extent);
  Shape out = op.sizes(sizes, 0);
  for (int64_t a = 0; a < rank; ++a) {
    Value* index = b.mul(b.iota({out[static_cast<size_t>(a)]}, 0, DType::kI64), element(b, steps, a));
    x = b.gather(x, b.add(index, element(b, starts, a)), a);
  }
  return x;
}

// `values` (i64[k]) for `axes` (i64[k]) spread over all axes, `otherwise` elsewhere.
Value* spread(Emit& b, Value* values, Value* axes, Value* otherwise) {
  return b.emit(OpKind::kScatterElements, {otherwise, axes, values},
                {{"axis", int64_t{0}}, {"reduction", std::string("none")}});
}

void slice_at_run_time(Op& op, Value* x, Value* starts, Value* ends, Value* axes, Value* steps) {
  Emit& b = op.b;
  int64_t rank = x->type.rank();
  auto fill = [&](int64_t value) { return b.full({Dim(rank)}, b.i64(value)); };
  if (!steps) steps = b.full(starts->type.shape, b.i64(1));
  if (!axes) axes = b.iota(starts->type.shape, 0, DType::kI64);
  op.output(0, slice_by_gather(op, x, spread(b, starts, axes, fill(0)), spread(b, ends, axes, b.shape_of(x)),
                               spread(b, steps, axes, fill(1))));
}

void slice(Op& op, Value* starts, Value* ends, Value* axes_value, Value* steps_value) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  int64_t rank = x->type.rank();
  // As many as there are axes, where the sizes of starts and ends are computed.
  if (axes_value && dimension(axes_value, 0).is_const()) {
    for (Value** places : {&starts, &ends})
      if (!dimension(*places, 0).is_const()) *places = b.adapt(*places, 0, dimension(axes_value, 0));
  }
  if (!dimension(starts, 0).is_const() || ends->type.shape != starts->type.shape)
    fail("The starts ({}) and ends ({}) differ in number.", starts->type.text(), ends->type.text());
  auto count = static_cast<size_t>(dimension(starts, 0).value());
  if (static_cast<int64_t>(count) > rank) fail("{} starts are given for rank {}.", count, rank);
  std::optional<std::vector<int64_t>> axes = std::vector<int64_t>(count),
                                      steps = std::vector<int64_t>(count, 1);
  for (size_t i = 0; i < count; ++i) (*axes)[i] = static_cast<int64_t>(i);
  if (axes_value) axes = b.known_ints(axes_value);
  if (steps_value) steps = b.known_ints(steps_value);
  if (!axes || !steps) return slice_at_run_time(op, x, starts, ends, axes_value, steps_value);
  if (axes->size() != count || steps->size() != count)
    fail("{} starts, {} axes and {} steps are given.", count, axes->size(), steps->size());
  op.axes(*axes, rank);  // distinct
  Shape start_dims = b.dims(starts, false), end_dims = b.dims(ends, false);
  Shape from(static_cast<size_t>(rank), Dim(0)), sizes = x->type.shape;
  std::vector<int64_t> by(static_cast<size_t>(rank), 1);
  for (size_t i = 0; i < count; ++i) {
    auto a = static_cast<size_t>(op.axis((*axes)[i], rank));
    int64_t step = (*steps)[i];
    if (step == 0) fail("The step of axis {} is 0.", a);
    by[a] = std::clamp(step, -kFar, kFar);
    SliceAxis axis = slice_axis(b, start_dims[i], end_dims[i], by[a], sizes[a]);
    from[a] = axis.start;
    sizes[a] = axis.size;
    if (axis.size.is_const(1) || axis.size.is_const(0)) by[a] = 1;
  }
  op.output(0, b.slice(x, from, sizes, by));
}

// DynamicSlice, which old exporters wrote, has had them as inputs since before Slice did.
void import_slice(Op& op) {
  Emit& b = op.b;
  if (op.version < 10 && op.node.op_type() == "Slice") {
    Value* axes = op.has_attr("axes") ? b.i64s(op.ints("axes")) : nullptr;
    return slice(op, b.i64s(op.ints("starts")), b.i64s(op.ints("ends")), axes, nullptr);
  }
  const auto optional = [&](int i) { return op.has(i) ? as_i64(b, op.tensor(i)) : nullptr; };
  slice(op, as_i64(b, op.tensor(1)), as_i64(b, op.tensor(2)), optional(3), optional(4));
}

Shape split_sizes(Op& op, const Dim& extent, int64_t count, int64_t axis) {
  bool given = op.version < 13 ? op.has_attr("split") : op.has(1);
  if (given) {
    if (op.version < 13) {
      std::vector<int64_t> sizes = op.ints("split");
      return {sizes.begin(), sizes.end()};
    }
    if (auto known = op.b.known_dims(op.tensor(1))) return *known;
    Shape sizes;
    for (int i = 0; i < op.output_count(); ++i) {
      auto stated = op.declared_dims(i);
      if (!stated || axis >= static_cast<int64_t>(stated->size())) return op.b.dims(op.tensor(1));
      sizes.push_back(Dim((*stated)[static_cast<size_t>(axis)]));
    }
    return sizes;
  }
  Dim chunk = ceildiv(extent, Dim(count));
  Shape sizes(static_cast<size_t>(count), chunk);
  sizes.back() = extent - chunk * Dim(count - 1);
  return sizes;
}

void import_split(Op& op) {
  Value* x = op.tensor(0);
  int64_t axis = op.axis_attr(0, x->type.rank());
  int64_t count = op.i("num_outputs", op.output_count());
  const int64_t most = std::max<int64_t>(op.output_count(), 1 << 16);
  if (count < 1) fail("Attribute 'num_outputs' ({}) is below 1.", count);
  if (count > most)
    fail("Attribute 'num_outputs' ({}) is above {}; the node has {} outputs.", count, most,
         op.output_count());
  Dim extent = dimension(x, axis);
  Shape sizes = split_sizes(op, extent, count, axis);
  if (static_cast<int>(sizes.size()) < op.output_count())
    fail("{} sizes are given for {} outputs.", sizes.size(), op.output_count());
  const Dim all = sum(sizes);
  op.b.require(
      ScalarOp::kEq, all, extent,
      fmt::format("The parts ({}) of axis {} are not what it has ({}).", all.text(), axis, extent.text()));
  op.b.require(ScalarOp::kGe, sizes.back(), Dim(0),
               fmt::format("Axis {} ({}) is too short for {} parts.", axis, extent.text(), sizes.size()));
  Dim start(0);
  for (int i = 0; i < op.output_count(); ++i) {
    Dim size = sizes[static_cast<size_t>(i)];
    if (size.is_const() && (size.value() < 0 || size.value() > kFar))
      fail("The size ({}) of part {} is out of range.", size.value(), i);
    op.output(i, op.b.slice_axis(x, axis, start, size));
    start = start + size;
  }
}

void import_tile(Op& op) {
  Value* x = op.tensor(0);
  Value* repeats = op.tensor(1);
  int64_t rank = x->type.rank();
  if (repeats->type.rank() != 1 || !dimension(repeats, 0).is_const(rank))
    fail("The repeats ({}) do not match the operand's rank ({}).", repeats->type.text(), rank);
  Shape counts;
  auto stated = op.declared_dims(0);
  if (auto known = op.b.known_dims(repeats)) {
    counts = *known;
  } else if (stated && static_cast<int64_t>(stated->size()) == rank && is_static(x->type.shape)) {
    for (size_t i = 0; i < stated->size(); ++i)
      counts.push_back(Dim(dimension(x, i).value() ? (*stated)[i] / dimension(x, i).value() : 1));
    Value* same =
        op.b.compare(ScalarOp::kEq, op.b.cast(repeats, DType::kI64), op.b.from_dims(counts, {Dim(rank)}));
    op.b.check(op.b.reduce(ScalarOp::kAnd, same, {0}),
               fmt::format("The output '{}' does not have the dimensions that the model states for it.",
                           op.node.output(0)));
  } else {
    counts = op.b.dims(repeats);
  }
  Shape split, repeated, joined;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i].is_const() && (counts[i].value() < 0 || counts[i].value() > kFar))
      fail("The repeat count ({}) of axis {} is out of range.", counts[i].value(), i);
    if (!counts[i].is_const(1)) {
      split.push_back(Dim(1));
      repeated.push_back(counts[i]);
    }
    split.push_back(dimension(x, i));
    repeated.push_back(dimension(x, i));
    joined.push_back(counts[i] * dimension(x, i));
  }
  op.output(0, op.b.reshape(op.b.broadcast(op.b.reshape(x, split), repeated), joined));
}

// Pads: low and high of every axis.
std::pair<Shape, Shape> pad_widths(Op& op, Value* x) {
  Emit& b = op.b;
  auto rank = static_cast<size_t>(x->type.rank());
  Shape low(rank, Dim(0)), high(rank, Dim(0)), given;
  std::vector<int64_t> axes(rank);
  for (size_t i = 0; i < rank; ++i) axes[i] = static_cast<int64_t>(i);
  if (op.version < 11) {
    for (int64_t v : op.ints(op.has_attr("paddings") ? "paddings" : "pads")) given.push_back(Dim(v));
  } else {
    Value* pads = as_i64(b, op.tensor(1));
    if (op.has(3)) {
      if (auto known = b.known_ints(op.tensor(3))) {
        axes = *known;
      } else if (dimension(pads, 0).is_const() && op.tensor(3)->type.rank() == 1) {
        Value* run_time_axes = as_i64(b, op.tensor(3));
        Dim half = dimension(run_time_axes, 0);
        Value* zeros = b.full({Dim(static_cast<int64_t>(rank))}, b.i64(0));
        pads = b.concat({spread(b, b.slice_axis(pads, 0, Dim(0), half), run_time_axes, zeros),
                         spread(b, b.slice_axis(pads, 0, half, half), run_time_axes, zeros)},
                        0);
      }
    }
    given = b.dims(pads, false);
  }
  if (given.size() != 2 * axes.size()) fail("{} pads are given for {} axes.", given.size(), axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    auto a = static_cast<size_t>(op.axis(axes[i], static_cast<int64_t>(rank)));
    low[a] = given[i];
    high[a] = given[i + axes.size()];
    for (const Dim& d : {low[a], high[a]})
      if (d.is_const() && (d.value() > kFar || d.value() < -kFar))
        fail("The pad ({}) of axis {} is out of range.", d.value(), a);
  }
  return {low, high};
}

void import_pad(Op& op) {
  Value* x = op.tensor(0);
  std::string mode = op.s("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap")
    fail("Attribute 'mode' ('{}') must be constant, reflect, edge or wrap.", mode);
  auto [low, high] = pad_widths(op, x);
  Value* fill = x->type.dtype == DType::kBool ? op.b.integer(DType::kBool, 0)
                : op.version < 11             ? op.b.like(x, op.f("value", 0))
                : op.has(2)                   ? op.b.reshape(op.tensor(2), {})
                                              : op.b.like(x, 0);
  if (mode != "constant") {
    // Negative pads crop first; then the rest is padded.
    Shape zero(low.size(), Dim(0)), crop_low = zero, crop_high = zero;
    for (size_t i = 0; i < low.size(); ++i) {
      for (auto [width, crop] : {std::pair{&low[i], &crop_low[i]}, {&high[i], &crop_high[i]}}) {
        *crop = op.b.min_dim(*width, Dim(0));
        *width = *width - *crop;
      }
    }
    x = op.b.pad(x, crop_low, crop_high, fill, "constant");
    for (size_t i = 0; i < low.size(); ++i)
      op.b.require(ScalarOp::kLe, op.b.min_dim(low[i] + high[i], Dim(1)), dimension(x, i),
                   fmt::format("Axis {} ({}) has nothing that could be repeated around it.", i,
                               dimension(x, i).text()));
  }
  op.output(0, op.b.pad(x, low, high, fill, mode));
}

int64_t block_size(Op& op, Value* x) {
  int64_t block = op.i("blocksize", 0);
  if (block < 1 || block > 65536) fail("Attribute 'blocksize' ({}) is out of range.", block);
  if (x->type.rank() != 4) fail("The operand ({}) does not have four dimensions.", x->type.text());
  return block;
}

void import_depth_to_space(Op& op) {
  Value* x = op.tensor(0);
  int64_t s = block_size(op, x);
  std::string mode = op.s("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") fail("Attribute 'mode' ('{}') must be DCR or CRD.", mode);
  const Shape shape = x->type.shape;
  Dim block(s), depth = floordiv(shape[1], block * block);
  bool dcr = mode == "DCR";
  Value* split = dcr ? op.b.reshape(x, {shape[0], block, block, depth, shape[2], shape[3]})
                     : op.b.reshape(x, {shape[0], depth, block, block, shape[2], shape[3]});
  Value* moved = op.b.transpose(
      split, dcr ? std::vector<int64_t>{0, 3, 4, 1, 5, 2} : std::vector<int64_t>{0, 1, 4, 2, 5, 3});
  op.output(0, op.b.reshape(moved, {shape[0], depth, shape[2] * block, shape[3] * block}));
}

void import_space_to_depth(Op& op) {
  Value* x = op.tensor(0);
  int64_t s = block_size(op, x);
  const Shape shape = x->type.shape;
  Dim block(s), height = floordiv(shape[2], block), width = floordiv(shape[3], block);
  Value* split = op.b.reshape(x, {shape[0], shape[1], height, block, width, block});
  Value* moved = op.b.transpose(split, {0, 3, 5, 1, 2, 4});
  op.output(0, op.b.reshape(moved, {shape[0], shape[1] * block * block, height, width}));
}

void import_center_crop_pad(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  int64_t rank = x->type.rank();
  std::vector<int64_t> axes = op.ints("axes");
  if (!op.has_attr("axes"))
    for (int64_t a = 0; a < rank; ++a) axes.push_back(a);
  Shape target;
  if (auto known = b.known_dims(op.tensor(1))) {
    target = *known;
  } else if (auto stated = op.declared_dims(0); stated && static_cast<int64_t>(stated->size()) == rank) {
    for (int64_t a : axes) target.push_back(Dim((*stated)[static_cast<size_t>(op.axis(a, rank))]));
  } else {
    target = b.dims(op.tensor(1));
  }
  if (target.size() != axes.size()) fail("{} sizes are given for {} axes.", target.size(), axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    auto a = static_cast<size_t>(op.axis(axes[i], rank));
    Dim have = dimension(x, a);
    Dim cropped = b.min_dim(have, target[i]);
    x = b.slice_axis(x, static_cast<int64_t>(a), floordiv(have - cropped, Dim(2)), cropped);
    Shape low(static_cast<size_t>(rank), Dim(0)), high = low;
    low[a] = floordiv(target[i] - cropped, Dim(2));
    high[a] = target[i] - cropped - low[a];
    x = b.pad(x, low, high, b.like(x, 0));
  }
  op.output(0, x);
}

// Reverses the first `length` entries of each batch element along the time axis.
void import_reverse_sequence(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  Value* lengths = b.cast(op.tensor(1), DType::kI64);
  int64_t batch = op.i("batch_axis", 1), time = op.i("time_axis", 0);
  if (x->type.rank() < 2 || batch + time != 1 || batch * time != 0)
    fail("The batch axis ({}) and the time axis ({}) must be 0 and 1.", batch, time);
  const Shape grid = dimensions(x, 0, 2);
  Value* step = b.iota(grid, static_cast<int>(time), DType::kI64);
  Value* length = b.expand_to(b.unsqueeze(lengths, {time}), grid);
  Value* mirrored = b.sub(b.sub(length, step), 1.0);
  Value* index = b.select(b.compare(ScalarOp::kLt, step, length), mirrored, step);
  // gather_elements reads along the time axis; the index is the same for all trailing elements.
  Shape padded = grid;
  padded.resize(x->type.shape.size(), Dim(1));
  Value* full = b.broadcast(b.reshape(index, padded), x->type.shape);
  op.output(0, b.emit(OpKind::kGatherElements, {x, full}, {{"axis", time}}));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Concat", 1, kLatest, import_concat},
    {kOnnx, "Slice", 1, kLatest, import_slice},
    {kOnnx, "DynamicSlice", 1, kLatest, import_slice},
    {kOnnx, "Split", 1, kLatest, import_split},
    {kOnnx, "Tile", 6, kLatest, import_tile},
    {kOnnx, "Pad", 1, kLatest, import_pad},
    {kOnnx, "DepthToSpace", 1, kLatest, import_depth_to_space},
    {kOnnx, "SpaceToDepth", 1, kLatest, import_space_to_depth},
    {kOnnx, "CenterCropPad", 18, kLatest, import_center_crop_pad},
    {kOnnx, "ReverseSequence", 10, kLatest, import_reverse_sequence},
};

}  // namespace

std::span<const OpRow> move_rows() {
  return kRows;
}

}  // namespace tern::onnx
