// com.microsoft: operators of exported language models: weights in blocks of integers, rotary positions.
#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

int64_t whole(const Dim& d, const char* what) {
  if (!d.is_const()) fail("The {} ({}) must be known while compiling.", what, d.text());
  return d.value();
}

// Bytes of any shape as [rows, n] integers of `bits` (4: two a byte, the lower half first), the first `count`
// of each row.
Value* unpacked(Emit& b, Value* bytes, int64_t rows, int64_t bits, int64_t count, const char* what) {
  const int64_t all = whole(product(bytes->type.shape), what);
  if (rows < 1 || all % rows != 0) fail("The {} ({}) do not have {} rows.", what, bytes->type.text(), rows);
  const int64_t width = all / rows, have = width * 8 / bits;
  if (bytes->type.dtype != DType::kU8 || have < count)
    fail("The {} ({}) hold fewer than {} integers of {} bits in a row.", what, bytes->type.text(), count,
         bits);
  Value* v;
  if (const TensorDataPtr data = b.constant_data(bytes); data && bits == 4) {
    v = b.constant(TensorData::borrow(DType::kU4, {rows, have}, data->bytes(), data));
  } else if (bits == 4) {
    Value* low = b.map(ScalarOp::kAnd, {bytes, b.integer(DType::kU8, 15)});
    Value* high = b.map(ScalarOp::kShr, {bytes, b.integer(DType::kU8, 4)});
    const auto pair = static_cast<int64_t>(bytes->type.rank());
    v = b.reshape(b.concat({b.unsqueeze(low, {pair}), b.unsqueeze(high, {pair})}, pair),
                  {Dim(rows), Dim(have)});
  } else {
    v = b.reshape(bytes, {Dim(rows), Dim(have)});
  }
  return have == count ? v : b.slice_axis(v, 1, Dim(0), Dim(count));
}

// y = x * w^T + bias with w [N, K] in blocks along K of integers, (q - zero) * scale.
void import_matmul_nbits(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const int64_t k = op.i("K", 0), n = op.i("N", 0), block = op.i("block_size", 0), bits = op.i("bits", 4);
  op.ignore({"accuracy_level", "weight_prepacked"});
  if (bits != 4 && bits != 8) fail("Attribute 'bits' ({}) must be 4 or 8.", bits);
  if (k < 1 || n < 1 || block < 16 || (block & (block - 1)) != 0)
    fail("Attributes K ({}) and N ({}) must be positive, 'block_size' ({}) a power of two from 16 on.", k, n,
         block);
  if (op.has(4)) fail("Input 4 (g_idx, an order of the rows) is not supported.");
  const int64_t blocks = (k + block - 1) / block;
  const DType type = x->type.dtype;
  Value* q = unpacked(b, op.tensor(1), n, bits, blocks * block, "weights");
  q = b.reshape(q, {Dim(n), Dim(blocks), Dim(block)});
  Value* scale = b.reshape(b.cast(op.tensor(2), type), {Dim(n), Dim(blocks), Dim(1)});
  Value* zero = b.scalar(type, static_cast<double>(int64_t{1} << (bits - 1)));
  if (Value* points = op.optional_input(3)) {
    if (points->type.dtype == DType::kU8) points = unpacked(b, points, n, bits, blocks, "zero points");
    zero = b.reshape(b.cast(points, type), {Dim(n), Dim(blocks), Dim(1)});
  }
  Value* w = b.mul(b.sub(b.cast(q, type), zero), scale);
  w = b.reshape(w, {Dim(n), Dim(blocks * block)});
  if (blocks * block != k) w = b.slice_axis(w, 1, Dim(0), Dim(k));
  Value* y = matmul(b, x, b.transpose(w, {1, 0}));
  op.output(0, op.has(5) ? b.add(y, op.tensor(5)) : y);
}

// Rows of a table of such weights.
void import_gather_block_quantized(Op& op) {
  Emit& b = op.b;
  Value *data = op.tensor(0), *indices = op.tensor(1), *scales = op.tensor(2);
  const int64_t rank = data->type.rank(), block = op.i("block_size", 128), bits = op.i("bits", 4);
  const int64_t gather_axis = op.axis(op.i("gather_axis", 0), rank),
                axis = op.axis(op.i("quantize_axis", 1), rank);
  if (rank != 2 || gather_axis != 0 || axis != 1)
    fail(
        "Rows of two dimensions ({}), gathered along axis 0 (not {}) and in blocks along axis 1 (not {}), "
        "are "
        "supported.",
        data->type.text(), gather_axis, axis);
  if (bits != 4 && bits != 8) fail("Attribute 'bits' ({}) must be 4 or 8.", bits);
  const bool bytes = data->type.dtype == DType::kU8;
  const int64_t blocks = whole(scales->type.shape[1], "scales");
  const int64_t width = whole(data->type.shape[1], "rows") * (bytes ? 8 / bits : 1);
  if (block < 1 || (width + block - 1) / block != blocks)
    fail("Rows of {} in blocks of {} do not have {} scales.", width, block, blocks);
  const auto rows = [&](Value* v, int64_t count, const char* what) {
    return b.gather(
        v->type.dtype == DType::kU8 ? unpacked(b, v, whole(v->type.shape[0], what), bits, count, what) : v,
        indices, 0);
  };
  const DType type = scales->type.dtype;
  Value *q = b.cast(rows(data, width, "rows"), type), *scale = b.gather(scales, indices, 0);
  // [..., blocks] to [..., width]
  const auto spread = [&](Value* v) {
    const auto last = static_cast<int64_t>(v->type.rank());
    Shape wide = v->type.shape, joined = v->type.shape;
    wide.push_back(Dim(block));
    joined.back() = Dim(blocks * block);
    Value* all = b.reshape(b.broadcast(b.unsqueeze(v, {last}), wide), joined);
    return blocks * block == width ? all : b.slice_axis(all, last - 1, Dim(0), Dim(width));
  };
  if (Value* points = op.optional_input(3)) {
    q = b.sub(q, spread(b.cast(rows(points, blocks, "zero points"), type)));
  } else if (bytes) {
    q = b.sub(q, static_cast<double>(int64_t{1} << (bits - 1)));
  }
  op.output(0, b.mul(q, spread(scale)));
}

void import_rotary(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *cosine = op.tensor(2), *sine = op.tensor(3);
  const int64_t heads = op.i("num_heads", 0), width = op.i("rotary_embedding_dim", 0);
  if (op.i("is_packed_batching", 0) != 0) fail("Attribute 'is_packed_batching' is not supported.");
  op.ignore({"scale"});
  const Shape original = x->type.shape;
  const bool packed = x->type.rank() == 3;
  if (packed) {
    const Dim size = heads > 0 ? floordiv(original[2], Dim(heads)) : cosine->type.shape.back() * Dim(2);
    x = b.reshape(x, {original[0], original[1], divide_products({original[2]}, {size}), size});
  } else if (x->type.rank() == 4) {
    x = b.transpose(x, {0, 2, 1, 3});
  } else {
    fail("The operand ({}) has neither three nor four dimensions.", x->type.text());
  }
  Value* positions = b.cast(op.tensor(1), DType::kI64);
  if (positions->type.rank() == 1)  // where the sequence begins
    positions = b.add(b.iota({x->type.shape[1]}, 0, DType::kI64), positions);
  Value* y = rotate(b, x, at_positions(b, cosine, positions), at_positions(b, sine, positions),
                    width > 0 ? Dim(width) : x->type.shape[3], op.i("interleaved", 0) != 0);
  op.output(0, packed ? b.reshape(y, original) : b.transpose(y, {0, 2, 1, 3}));
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "MatMulNBits", 1, kLatest, import_matmul_nbits},
    {kMicrosoft, "GatherBlockQuantized", 1, kLatest, import_gather_block_quantized},
    {kMicrosoft, "RotaryEmbedding", 1, kLatest, import_rotary},
};

}  // namespace

std::span<const OpRow> language_rows() {
  return kRows;
}

}  // namespace tern::onnx
