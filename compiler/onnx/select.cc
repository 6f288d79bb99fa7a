// Operators that search: the k best, non-zero positions, distinct values, one-hot.
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

// A size that is one element, read at run time.
Dim only_dim(Op& op, Value* v, std::string_view what) {
  const Shape dims = op.b.dims(v);
  if (dims.size() != 1) fail("The {} ({}) is not one number.", what, v->type.text());
  return dims[0];
}

void import_top_k(Op& op) {
  Value* x = op.tensor(0);
  int64_t axis = op.axis_attr(-1, x->type.rank());
  bool largest = op.i("largest", 1) != 0, sorted = op.i("sorted", 1) != 0;
  Dim k;
  if (op.version < 10) {
    k = Dim(op.i("k", 0));
  } else if (auto known = op.b.known_dims(op.tensor(1))) {
    if (known->size() != 1)
      fail("The number of elements to keep ({}) is not one number.", op.tensor(1)->type.text());
    k = (*known)[0];
  } else if (auto stated = op.declared_dims(0);
             stated && static_cast<int>(stated->size()) == x->type.rank()) {
    k = Dim((*stated)[static_cast<size_t>(axis)]);
    Value* same = op.b.compare(ScalarOp::kEq, as_i64(op.b, op.tensor(1)), op.b.from_dims({k}, {Dim(1)}));
    op.b.check(op.b.reshape(same, {}),
               fmt::format("The output '{}' does not have the dimensions that the model states for it.",
                           op.node.output(0)));
  } else {
    k = only_dim(op, op.tensor(1), "number of elements to keep");
  }
  const Dim& extent = dimension(x, axis);
  op.b.require(
      ScalarOp::kLe, k, extent,
      fmt::format("More elements are to be kept ({}) than axis {} has ({}).", k.text(), axis, extent.text()));
  // One is the extreme and its place. (Among the smallest a NaN is the last choice, of a minimum the first.)
  if (k.is_const(1) && (largest || !is_float(x->type.dtype))) {
    Value* place = op.b.emit(OpKind::kArgReduce, {x},
                             {{"largest", largest}, {"axis", axis}, {"last", false}, {"dtype", DType::kI64}});
    op.output(0, op.b.reduce(largest ? ScalarOp::kMax : ScalarOp::kMin, x, {axis}, true));
    op.output(1, op.b.unsqueeze(place, {axis}));
    return;
  }
  graph::Node* node =
      op.b.emit_node(OpKind::kTopK, {x},
                     {{"axis", axis}, {"k", std::vector<Dim>{k}}, {"largest", largest}, {"sorted", sorted}});
  op.output(0, node->result(0));
  op.output(1, node->result(1));
}

void import_non_zero(Op& op) {
  Value* x = op.tensor(0);
  if (x->type.rank() == 0) x = op.b.reshape(x, {Dim(1)});
  op.output(0, op.b.emit_node(OpKind::kNonZero, {x}, {})->result(0));
}

// Keeps the slices along `axis` whose condition holds.
void import_compress(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *condition = op.tensor(1);
  int64_t axis = 0;
  if (op.has_attr("axis")) {
    axis = op.axis_attr(0, x->type.rank());
  } else {
    x = b.reshape(x, {product(x->type.shape)});
  }
  // A list, says ONNX; paddle2onnx writes the operand's shape for masked_select, as ONNX Runtime takes it.
  if (condition->type.rank() != 1) condition = b.reshape(condition, {product(condition->type.shape)});
  // What is behind the axis's end, or behind the condition's, is not chosen.
  const Dim& extent = dimension(x, axis);
  condition = b.slice_axis(condition, 0, Dim(0), b.min_dim(dimension(condition, 0), extent));
  op.output(0, b.gather(x, true_positions(b, condition), axis));
}

// Numbers (i64 [n]) for the rows [n, m] in whose order the rows are: equal ones have equal numbers. A stable
// sort by each column, the last one first, then a count of the rows that differ from the one before.
Value* rank_of_rows(Op& op, Value* rows) {
  Emit& b = op.b;
  const Dim n = dimension(rows, 0), m = dimension(rows, 1);
  Value* order = build_loop(
      op, b.dim(m), b.integer(DType::kBool, 1), {b.iota({n}, 0, DType::kI64)},
      [&](Importer::Region& region, Value* i, Value*, const std::vector<Value*>& inside) {
        Emit& l = *region.emit;
        Value* column = l.gather(rows, l.sub(l.dim(m - Dim(1)), i), 1);
        graph::Node* sorted = l.emit_node(
            OpKind::kTopK, {l.gather(column, inside[0], 0)},
            {{"axis", int64_t{0}}, {"k", std::vector<Dim>{n}}, {"largest", false}, {"sorted", true}});
        LoopResult result;
        result.condition = l.integer(DType::kBool, 1);
        result.carried = {l.gather(inside[0], sorted->result(1), 0)};
        return result;
      })[0];
  Value* here = b.gather(rows, order, 0);
  Value* position = b.iota({n}, 0, DType::kI64);
  Value* before = b.gather(here, b.max(b.sub(position, b.i64(1)), b.i64(0)), 0);
  Value* differ = b.compare(ScalarOp::kNe, here, before);
  if (is_float(rows->type.dtype)) {
    const auto number = [&](Value* v) { return b.unary(ScalarOp::kNot, b.unary(ScalarOp::kIsNan, v)); };
    differ = b.map(ScalarOp::kAnd, {differ, b.map(ScalarOp::kOr, {number(here), number(before)})});
  }
  Value* counts = b.cast(b.reduce(ScalarOp::kOr, differ, {1}), DType::kI64);
  Value* numbers =
      b.emit(OpKind::kScan, {counts},
             {{"op", ScalarOp::kAdd}, {"axis", int64_t{0}}, {"exclusive", false}, {"reverse", false}});
  return b.emit(OpKind::kScatterElements, {position, order, numbers},
                {{"axis", int64_t{0}}, {"reduction", std::string("none")}});
}

void import_unique(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  bool sorted = op.i("sorted", 1) != 0;
  const int64_t rank = x->type.rank();
  if (!op.has_attr("axis") || rank == 1) {
    if (op.has_attr("axis")) op.axis_attr(0, rank);
    graph::Node* node =
        b.emit_node(OpKind::kUnique, {b.reshape(x, {product(x->type.shape)})}, {{"sorted", sorted}});
    for (int i = 0; i < 4; ++i) op.output(i, node->result(i));
    return;
  }
  const int64_t axis = op.axis_attr(0, rank);
  Value* rows = flatten(b, b.transpose(x, axis_to_front(rank, axis)), 1);
  if (rows->type.dtype == DType::kBool) rows = b.cast(rows, DType::kU8);
  graph::Node* node = b.emit_node(OpKind::kUnique, {rank_of_rows(op, rows)}, {{"sorted", sorted}});
  if (op.wants(0)) op.output(0, b.gather(x, node->result(1), axis));
  for (int i = 1; i < 4; ++i) op.output(i, node->result(i));
}

void import_one_hot(Op& op) {
  Emit& b = op.b;
  Value *indices = op.tensor(0), *depth_value = op.tensor(1), *values = op.tensor(2);
  int64_t rank = indices->type.rank() + 1, axis = op.axis_attr(-1, rank);
  auto known = b.known_dims(depth_value);
  auto stated = op.declared_dims(0);
  if (known && known->size() != 1) fail("The depth ({}) is not one number.", depth_value->type.text());
  Dim depth = known ? (*known)[0]
              : stated && static_cast<int64_t>(stated->size()) == rank
                  ? Dim((*stated)[static_cast<size_t>(axis)])
                  : only_dim(op, b.cast(depth_value, DType::kI64), "depth");
  Value* extent = b.dim(depth);
  Value* hot = b.cast(indices, DType::kI64);
  hot = b.select(b.compare(ScalarOp::kLt, hot, 0.0), b.add(hot, extent), hot);
  hot = b.unsqueeze(hot, {axis});
  Shape shape = hot->type.shape;
  shape[static_cast<size_t>(axis)] = depth;
  Value* hit = b.compare(ScalarOp::kEq, b.iota(shape, static_cast<int>(axis), DType::kI64), hot);
  op.output(0, b.select(hit, element(b, values, 1), element(b, values, 0)));
}

void import_nms(Op& op) {
  Emit& b = op.b;
  auto scalar_input = [&](int i, DType type, double otherwise) {
    return op.has(i) ? b.reshape(b.cast(op.tensor(i), type), {}) : b.scalar(type, otherwise);
  };
  Value *boxes = op.tensor(0), *scores = op.tensor(1);
  if (boxes->type.rank() == 3 && scores->type.rank() == 3) {
    const auto make_equal = [&](int box_axis, int score_axis) {
      const Dim &one = dimension(boxes, box_axis), &other = dimension(scores, score_axis);
      if (one.is_const()) {
        scores = b.adapt(scores, score_axis, one);
      } else {
        boxes = b.adapt(boxes, box_axis, other);
      }
    };
    make_equal(0, 0);
    make_equal(1, 2);
    boxes = b.adapt(boxes, 2, Dim(4));
  }
  std::vector<Value*> operands = {boxes, scores, scalar_input(2, DType::kI64, 0),
                                  scalar_input(3, DType::kF32, 0)};
  if (op.has(4)) operands.push_back(scalar_input(4, DType::kF32, 0));
  graph::Node* node = b.emit_node(OpKind::kNms, std::move(operands),
                                  {{"center_point_box", op.i("center_point_box", 0) != 0}});
  op.output(0, node->result(0));
}

constexpr OpRow kRows[] = {
    {kOnnx, "TopK", 1, kLatest, import_top_k},        {kOnnx, "NonZero", 9, kLatest, import_non_zero},
    {kOnnx, "Compress", 9, kLatest, import_compress}, {kOnnx, "Unique", 11, kLatest, import_unique},
    {kOnnx, "OneHot", 9, kLatest, import_one_hot},    {kOnnx, "NonMaxSuppression", 10, kLatest, import_nms},
};

}  // namespace

std::span<const OpRow> select_rows() {
  return kRows;
}

}  // namespace tern::onnx
