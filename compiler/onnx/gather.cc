// Gathers and scatters.
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
void import_gather_elements(Op& op) {
  Value* x = op.tensor(0);
  Value* indices = index_input(op, 1);
  int64_t axis = op.axis_attr(0, x->type.rank());
  op.output(0, op.b.emit(OpKind::kGatherElements, {x, indices}, {{"axis", axis}}));
}

void import_gather_nd(Op& op) {
  op.output(0, op.b.emit(OpKind::kGatherNd, {op.tensor(0), index_input(op, 1)},
                         {{"batch_dims", op.i("batch_dims", 0)}}));
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
  op.output(0, op.b.emit(OpKind::kScatterElements, {x, index_input(op, 1), op.tensor(2)},
                         {{"axis", axis}, {"reduction", reduction(op)}}));
}

void import_scatter_nd(Op& op) {
  op.output(0, op.b.emit(OpKind::kScatterNd, {op.tensor(0), index_input(op, 1), op.tensor(2)},
                         {{"reduction", reduction(op)}}));
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
  Value* position = b.iota(update->type.shape, static_cast<int>(axis), DType::kI64);
  if (op.has(2)) {
    Shape column(static_cast<size_t>(rank), Dim(1));
    column[0] = past->type.shape[0];
    position = b.add(position, b.reshape(b.cast(op.tensor(2), DType::kI64), column));
  }
  if (mode == "circular")
    position = b.map(ScalarOp::kFloorMod, {position, b.dim(past->type.shape[static_cast<size_t>(axis)])});
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
