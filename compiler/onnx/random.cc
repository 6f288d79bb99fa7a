// Random numbers: a hash of each element's position and the seed, so that the same model gives the same
// bytes. ONNX leaves the generator open.
#include <bit>
#include <cmath>
#include <numbers>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

// Uniform u32s: two rounds of multiply and xor-shift (the finaliser of MurmurHash3) over position + seed.
Value* random_bits(Emit& b, const Shape& shape, uint32_t seed) {
  Value* position = b.cast(b.reshape(b.iota({product(shape)}, 0, DType::kI64), shape), DType::kU32);
  auto u32 = [&](uint32_t v) { return b.integer(DType::kU32, v); };
  auto shifted = [&](Value* v, uint32_t by) {
    return b.map(ScalarOp::kXor, {v, b.map(ScalarOp::kShr, {v, u32(by)})});
  };
  Value* h = b.add(b.mul(position, u32(0x9e3779b9u)), u32(seed));
  for (int round = 0; round < 2; ++round) {
    h = b.mul(shifted(h, 16), u32(0x85ebca6bu));
    h = b.mul(shifted(h, 13), u32(0xc2b2ae35u));
    h = shifted(h, 16);
  }
  return h;
}

// In [0, 1), in steps of 2^-24.
Value* uniform(Emit& b, const Shape& shape, uint32_t seed) {
  Value* bits = b.map(ScalarOp::kShr, {random_bits(b, shape, seed), b.integer(DType::kU32, 8)});
  return b.mul(b.cast(bits, DType::kF32), 1.0 / (1 << 24));
}

// Without the attribute, each node of a model draws other numbers.
uint32_t seed_of(Op& op) {
  if (op.has_attr("seed")) {
    const pb::AttributeProto& seed = *op.attribute("seed");  // an integer in some operators
    return seed.has_i() ? static_cast<uint32_t>(seed.i()) : std::bit_cast<uint32_t>(seed.f());
  }
  uint32_t hash = 2166136261u;
  for (unsigned char c : op.node.name() + (op.output_count() ? op.node.output(0) : ""))
    hash = (hash ^ c) * 16777619u;
  return hash;
}

Value* normal(Emit& b, const Shape& shape, uint32_t seed) {
  // Box and Muller; 1 - u keeps the logarithm's argument above 0.
  Value* u = b.sub(b.scalar(DType::kF32, 1), uniform(b, shape, seed));
  Value* radius = b.unary(ScalarOp::kSqrt, b.mul(b.unary(ScalarOp::kLog, u), -2.0));
  Value* angle = b.mul(uniform(b, shape, seed ^ 0x5bd1e995u), 2 * std::numbers::pi);
  return b.mul(radius, b.unary(ScalarOp::kCos, angle));
}

Shape shape_of(Op& op, bool like) {
  if (like) return op.tensor(0)->type.shape;
  std::vector<int64_t> dims = op.ints("shape");
  for (int64_t d : dims)
    if (d < 0) fail("Attribute 'shape' has a negative element ({}).", d);
  return {dims.begin(), dims.end()};
}

template <bool kLike>
void import_uniform(Op& op) {
  double low = op.f("low", 0), high = op.f("high", 1);
  DType type = op.dtype_attr("dtype").value_or(kLike ? op.tensor(0)->type.dtype : DType::kF32);
  Value* u = uniform(op.b, shape_of(op, kLike), seed_of(op));
  op.output(0, op.b.cast(op.b.add(op.b.mul(u, high - low), low), type));
}

template <bool kLike>
void import_normal(Op& op) {
  double mean = op.f("mean", 0), scale = op.f("scale", 1);
  DType type = op.dtype_attr("dtype").value_or(kLike ? op.tensor(0)->type.dtype : DType::kF32);
  Value* n = normal(op.b, shape_of(op, kLike), seed_of(op));
  op.output(0, op.b.cast(op.b.add(op.b.mul(n, scale), mean), type));
}

void import_bernoulli(Op& op) {
  Value* x = op.tensor(0);
  DType type = op.dtype_attr("dtype").value_or(x->type.dtype);
  Value* u = op.b.cast(uniform(op.b, x->type.shape, seed_of(op)), x->type.dtype);
  op.output(0, op.b.cast(op.b.compare(ScalarOp::kLt, u, x), type));
}

// The Gumbel trick: argmax of log-probabilities plus Gumbel noise is a draw.
void import_multinomial(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  int64_t samples = op.i("sample_size", 1);
  if (x->type.rank() != 2 || samples < 1)
    fail("{} samples of {} are not supported.", samples, x->type.text());
  DType type = op.dtype_attr("dtype").value_or(DType::kI32);
  Shape shape = {dimension(x, 0), Dim(samples), dimension(x, 1)};
  Value* u = b.sub(b.scalar(DType::kF32, 1), uniform(b, shape, seed_of(op)));
  Value* exponential =
      b.max(b.unary(ScalarOp::kNeg, b.unary(ScalarOp::kLog, u)), b.scalar(DType::kF32, 1e-30));
  Value* noise = b.unary(ScalarOp::kNeg, b.unary(ScalarOp::kLog, exponential));
  Value* scores = b.add(b.cast(b.unsqueeze(x, {1}), DType::kF32), noise);
  op.output(0, b.emit(OpKind::kArgReduce, {scores},
                      {{"largest", true}, {"axis", int64_t{2}}, {"last", false}, {"dtype", type}}));
}

// Since opset 12 ratio and training_mode are inputs; only training drops anything.
void import_dropout(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  DType type = x->type.dtype;
  double stated = op.f("ratio", 0.5);
  bool by_input = op.version >= 12;
  op.has(1);  // the ratio, which matters in training alone
  op.ignore({"consumed_inputs", "is_test", "seed"});
  Value* training = by_input && op.has(2) ? b.reshape(op.tensor(2), {}) : b.integer(DType::kBool, 0);
  Value* keep = b.integer(DType::kBool, 1);
  Value* y = x;
  auto known = b.known_ints(training);
  if (!known || (*known)[0] != 0) {
    Value* ratio =
        op.has(1) ? b.reshape(b.cast(op.tensor(1), DType::kF32), {}) : b.scalar(DType::kF32, stated);
    keep = b.compare(ScalarOp::kGe, uniform(b, x->type.shape, seed_of(op)), ratio);
    keep = b.map(ScalarOp::kOr, {keep, b.unary(ScalarOp::kNot, training)});
    Value* scale = b.div(b.scalar(DType::kF32, 1), b.sub(b.scalar(DType::kF32, 1), ratio));
    scale = b.select(training, scale, b.scalar(DType::kF32, 1));
    y = b.mul(b.select(keep, x, b.like(x, 0)), b.cast(scale, type));
  }
  op.output(0, y);
  if (!op.wants(1)) return;
  keep = b.full(x->type.shape, keep);
  op.output(1, op.version < 10 ? b.cast(keep, type) : keep);
}

constexpr OpRow kRows[] = {
    {kOnnx, "RandomUniform", 1, kLatest, import_uniform<false>},
    {kOnnx, "RandomUniformLike", 1, kLatest, import_uniform<true>},
    {kOnnx, "RandomNormal", 1, kLatest, import_normal<false>},
    {kOnnx, "RandomNormalLike", 1, kLatest, import_normal<true>},
    {kOnnx, "Bernoulli", 15, kLatest, import_bernoulli},
    {kOnnx, "Multinomial", 7, kLatest, import_multinomial},
    {kOnnx, "Dropout", 1, kLatest, import_dropout},
};

}  // namespace

std::span<const OpRow> random_rows() {
  return kRows;
}

}  // namespace tern::onnx
