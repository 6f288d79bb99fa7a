#include <cmath>
#include <cstdlib>

#include "compiler/graph/eval.h"

namespace tern::graph {

using scalar::ScalarOp;
using scalar::ScalarValue;

scalar::ScalarValue fold_identity(ScalarOp op, DType dtype) {
  switch (op) {
    case ScalarOp::kMul:
      return scalar::scalar_from_int(dtype, 1);
    case ScalarOp::kMin:
      return scalar::highest(dtype);
    case ScalarOp::kMax:
      return scalar::lowest(dtype);
    case ScalarOp::kAnd:
      return scalar::scalar_from_int(dtype, -1);
    default:
      return scalar::scalar_from_int(dtype, 0);
  }
}

TensorDataPtr cast_tensor(const TensorData& in, DType to, bool saturate) {
  auto out = TensorData::make(to, in.shape());
  scalar::eval_cast_array(in.dtype(), to, saturate, in.count(), in.bytes().data(),
                          out->mutable_bytes().data());
  return out;
}

std::vector<double> to_doubles(const TensorData& t) {
  std::vector<double> out(static_cast<size_t>(t.count()));
  auto* bytes = reinterpret_cast<uint8_t*>(out.data());
  if (t.dtype() == DType::kF32 || t.dtype() == DType::kF64) {
    scalar::eval_cast_array(t.dtype(), DType::kF64, true, t.count(), t.bytes().data(), bytes);
  } else {
    const TensorDataPtr wide = cast_tensor(t, DType::kF32);
    scalar::eval_cast_array(DType::kF32, DType::kF64, true, t.count(), wide->bytes().data(), bytes);
  }
  return out;
}

std::vector<int64_t> to_ints(const TensorData& t) {
  std::vector<int64_t> out(static_cast<size_t>(t.count()));
  scalar::eval_cast_array(t.dtype(), DType::kI64, true, t.count(), t.bytes().data(),
                          reinterpret_cast<uint8_t*>(out.data()));
  return out;
}

namespace {

// Strings know equality and selection.
Result<TensorDataPtr> map_strings(const Node& node, const Tensors& in) {
  const ScalarOp op = node.scalar_op();
  if (op == ScalarOp::kSelect) {
    std::vector<std::string> values;
    for (int64_t i = 0; i < in[0]->count(); ++i)
      values.push_back(in[in[0]->as<uint8_t>()[i] ? 1 : 2]->string_values()[static_cast<size_t>(i)]);
    return TensorDataPtr(TensorData::strings(in[0]->shape(), std::move(values)));
  }
  if (op != ScalarOp::kEq && op != ScalarOp::kNe)
    return error("The scalar op '{}' does not accept strings.", scalar::info(op).name);
  auto out = TensorData::make(DType::kBool, in[0]->shape());
  for (int64_t i = 0; i < in[0]->count(); ++i) {
    const size_t at = static_cast<size_t>(i);
    out->mutable_as<uint8_t>()[i] =
        (in[0]->string_values()[at] == in[1]->string_values()[at]) == (op == ScalarOp::kEq);
  }
  return TensorDataPtr(out);
}

Result<TensorDataPtr> map(const EvalNode& e) {
  const Tensors& in = e.in;
  for (const TensorDataPtr& t : in)
    if (t->shape() != in[0]->shape())
      return error("The operands of 'map' have different shapes at run time.");
  const DType operand = in.back()->dtype();
  if (operand == DType::kString) return map_strings(e.node, in);
  std::vector<const uint8_t*> pointers;
  std::vector<DType> dtypes;
  for (const TensorDataPtr& t : in) {
    pointers.push_back(t->bytes().data());
    dtypes.push_back(t->dtype());
  }
  TERN_ASSIGN(const DType result, scalar::result_type(e.node.scalar_op(), dtypes));
  auto out = TensorData::make(result, in[0]->shape());
  scalar::eval_map(e.node.scalar_op(), operand, out->count(), pointers, out->mutable_bytes().data());
  return TensorDataPtr(out);
}

std::string number_text(const ScalarValue& v) {
  switch (dtype_kind(v.dtype)) {
    case DTypeKind::kBool:
      return v.i ? "True" : "False";
    case DTypeKind::kUint:
      return fmt::format("{}", static_cast<uint64_t>(v.i));
    case DTypeKind::kInt:
      return fmt::format("{}", v.i);
    default:
      if (std::isnan(v.f)) return "NaN";
      if (std::isinf(v.f)) return v.f < 0 ? "-INF" : "INF";
      return v.dtype == DType::kF64 ? fmt::format("{}", v.f) : fmt::format("{}", static_cast<float>(v.f));
  }
}

Result<TensorDataPtr> cast_strings(const TensorData& in, DType to, bool saturate) {
  if (to == DType::kString) {
    std::vector<std::string> values;
    for (int64_t i = 0; i < in.count(); ++i)
      values.push_back(number_text(scalar::load_value(in.dtype(), in.bytes().data(), i)));
    return TensorDataPtr(TensorData::strings(in.shape(), std::move(values)));
  }
  auto out = TensorData::make(to, in.shape());
  for (int64_t i = 0; i < in.count(); ++i) {
    const std::string& text = in.string_values()[static_cast<size_t>(i)];
    char* end = nullptr;
    ScalarValue v;
    if (is_int(to)) {
      v.dtype = DType::kI64;
      v.i = std::strtoll(text.c_str(), &end, 10);
    }
    if (!is_int(to) || *end == '.' || *end == 'e' || *end == 'E') {
      v.dtype = DType::kF64;
      v.f = std::strtod(text.c_str(), &end);
    }
    if (end == text.c_str() || *end != '\0') return error("The string '{}' is not a number.", text);
    scalar::store_value(to, out->mutable_bytes().data(), i, scalar::eval_cast(v, to, saturate));
  }
  return TensorDataPtr(out);
}

Result<TensorDataPtr> cast(const EvalNode& e) {
  const DType to = e.node.attr<DType>("to");
  const Attr* told = e.node.find("saturate");
  const bool saturate = !told || std::get<bool>(*told);
  const TensorData& in = *e.in[0];
  if (in.dtype() == to) return e.in[0];
  if (in.dtype() == DType::kString || to == DType::kString) return cast_strings(in, to, saturate);
  return cast_tensor(in, to, saturate);
}

Result<TensorDataPtr> iota(const EvalNode& e) {
  TERN_ASSIGN(const Indices shape, e.shape_attr());
  const DType dtype = e.node.attr<DType>("dtype");
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  auto out = TensorData::make(dtype, shape);
  const int64_t stride = strides_of(shape)[axis];
  for (int64_t i = 0; i < out->count(); ++i)
    scalar::store_value(dtype, out->mutable_bytes().data(), i,
                        scalar::scalar_from_int(dtype, i / stride % shape[axis]));
  return TensorDataPtr(out);
}

Result<TensorDataPtr> from_dims(const EvalNode& e) {
  TERN_ASSIGN(const Indices shape, e.shape_attr());
  TERN_ASSIGN(const Indices values, e.resolve(e.node.dims("dims")));
  auto out = TensorData::make(e.node.attr<DType>("dtype"), shape);
  for (size_t i = 0; i < values.size(); ++i) out->set_int(static_cast<int64_t>(i), values[i]);
  return TensorDataPtr(out);
}

Result<TensorDataPtr> lookup(const EvalNode& e) {
  const TensorDataPtr& table = e.node.attr<TensorDataPtr>("table");
  auto out = TensorData::make(DType::kU8, e.in[0]->shape());
  for (int64_t i = 0; i < out->count(); ++i) out->set_int(i, table->int_at(e.in[0]->int_at(i)));
  return TensorDataPtr(out);
}

}  // namespace

Result<TensorDataPtr> eval_elementwise(const EvalNode& e) {
  switch (e.node.kind) {
    case OpKind::kConstant:
      return e.node.attr<TensorDataPtr>("value");
    case OpKind::kMap:
      return map(e);
    case OpKind::kCast:
      return cast(e);
    case OpKind::kBitcast: {
      const TensorDataPtr keep = e.in[0];
      return TensorDataPtr(TensorData::borrow(e.node.attr<DType>("to"), keep->shape(), keep->bytes(), keep));
    }
    case OpKind::kLookup:
      return lookup(e);
    case OpKind::kIota:
      return iota(e);
    case OpKind::kFromDims:
      return from_dims(e);
    default:
      TERN_UNREACHABLE();
  }
}

}  // namespace tern::graph
