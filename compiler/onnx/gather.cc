// Gathers and scatters.
#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

Value* index_input(Op& op, int i) {
  Value* v = op.tensor(i);
  if (!is_int(v->type.dtype)) fail("Input {} ({}) holds no indices.", i, v->type.text());
  return v->type.dtype == DType::kI32 ? v : op.b.cast(v, DType::kI64);
}

void import_gather(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.gather(x, index_input(op, 1), op.axis_attr(0, x->type.rank())));
}

// The indices address the leading part of every other axis.
void require_part(Emit& b, Value* x, Value* indices, int64_t axis) {
  if (indices->type.rank() != x->type.rank()) return;  // infer refuses
  for (int64_t a = 0; a < x->type.rank(); ++a) {
    const Dim &part = dimension(indices, a), &whole = dimension(x, a);
    if (a == axis) continue;
    b.require(ScalarOp::kLe, part, whole,
              fmt::format("Axis {} of the indices ({}) is longer than the operand's ({}).", a, part.text(),
                          whole.text()));
  }
}

void import_gather_elements(Op& op) {
  Value* x = op.tensor(0);
  Value* indices = index_input(op, 1);
  int64_t axis = op.axis_attr(0, x->type.rank());
  require_part(op.b, x, indices, axis);
  op.output(0, op.b.emit(OpKind::kGatherElements, {x, indices}, {{"axis", axis}}));
}

void import_gather_nd(Op& op) {
  Value *x = op.tensor(0), *indices = index_input(op, 1);
  int64_t batch = op.i("batch_dims", 0);
  if (batch < 0 || batch >= indices->type.rank() || batch > x->type.rank())
    fail("Attribute 'batch_dims' ({}) does not fit {} and {}.", batch, x->type.text(), indices->type.text());
  for (int64_t i = 0; i < batch; ++i) indices = op.b.adapt(indices, i, dimension(x, i));
  op.output(0, op.b.emit(OpKind::kGatherNd, {x, indices}, {{"batch_dims", batch}}));
}

std::string reduction(Op& op) {
  std::string name = op.s("reduction", "none");
  if (name != "none" && name != "add" && name != "mul" && name != "min" && name != "max")
    fail("Attribute 'reduction' ('{}') must be none, add, mul, min or max.", name);
  return name;
}

void import_scatter_elements(Op& op) {
  Value* x = op.tensor(0);
  int64_t axis = op.axis_attr(0, x->type.rank());
  Value *indices = index_input(op, 1), *updates = op.tensor(2);
  Shape common = indices->type.shape;
  for (size_t i = 0; i < common.size() && i < updates->type.shape.size(); ++i)
    if (dimension(updates, i).is_const()) common[i] = dimension(updates, i);
  indices = fitted(op.b, indices, "indices", common);
  updates = fitted(op.b, updates, "updates", common);
  require_part(op.b, x, indices, axis);
  op.output(0, op.b.emit(OpKind::kScatterElements, {x, indices, updates},
                         {{"axis", axis}, {"reduction", reduction(op)}}));
}

// Each row of indices names a part of x; how many axes it fixes follows from the ranks where its length is
// symbolic.
void import_scatter_nd(Op& op) {
  Value *x = op.tensor(0), *indices = index_input(op, 1), *updates = op.tensor(2);
  int64_t rank = indices->type.rank();
  if (rank < 1) fail("The indices ({}) have no dimensions.", indices->type.text());
  const Dim given = last_dimension(indices);
  int64_t fixed = given.is_const() ? given.value() : rank - 1 + x->type.rank() - updates->type.rank();
  if (fixed < 0 || fixed > x->type.rank() || updates->type.rank() != rank - 1 + x->type.rank() - fixed)
    fail("The indices ({}) and updates ({}) do not fit {}.", indices->type.text(), updates->type.text(),
         x->type.text());
  indices = op.b.adapt(indices, rank - 1, Dim(fixed));
  Shape shape = dimensions(indices, 0, -1);
  shape.append(dimensions(x, fixed));
  updates = fitted(op.b, updates, "updates", shape);
  op.output(0, op.b.emit(OpKind::kScatterNd, {x, indices, updates}, {{"reduction", reduction(op)}}));
}

// A cache written at a position per batch element: update [B, .., S, ..] into past [B, .., L, ..] along
// `axis`.
void import_tensor_scatter(Op& op) {
  Emit& b = op.b;
  Value *past = op.tensor(0), *update = op.tensor(1);
  int64_t rank = past->type.rank(), axis = op.axis_attr(-2, rank);
  std::string mode = op.s("mode", "linear");
  if (mode != "linear" && mode != "circular")
    fail("Attribute 'mode' ('{}') must be linear or circular.", mode);
  if (update->type.rank() != rank || axis == 0)
    fail("The update ({}) does not match the cache ({}).", update->type.text(), past->type.text());
  if (op.has(2) && mode == "linear") {
    op.output(0, put_rows(b, past, update, b.cast(op.tensor(2), DType::kI64), axis));
    return;
  }
  Value* position = b.iota(update->type.shape, static_cast<int>(axis), DType::kI64);
  if (op.has(2)) {
    Shape column(static_cast<size_t>(rank), Dim(1));
    column[0] = dimension(past, 0);
    position = b.add(position, b.reshape(b.cast(op.tensor(2), DType::kI64), column));
  }
  if (mode == "circular") position = b.map(ScalarOp::kFloorMod, {position, b.dim(dimension(past, axis))});
  require_part(b, past, position, axis);
  op.output(0, b.emit(OpKind::kScatterElements, {past, position, update},
                      {{"axis", axis}, {"reduction", std::string("none")}}));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Gather", 1, kLatest, import_gather},
    {kOnnx, "GatherElements", 11, kLatest, import_gather_elements},
    {kOnnx, "GatherND", 11, kLatest, import_gather_nd},
    {kOnnx, "Scatter", 9, kLatest, import_scatter_elements},
    {kOnnx, "ScatterElements", 11, kLatest, import_scatter_elements},
    {kOnnx, "ScatterND", 11, kLatest, import_scatter_nd},
    {kOnnx, "TensorScatter", 24, kLatest, import_tensor_scatter},
};

}  // namespace

std::span<const OpRow> gather_rows() {
  return kRows;
}

}  // namespace tern::onnx
