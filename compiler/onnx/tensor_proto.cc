// TensorProto to TensorData: which field holds the data, how many bytes it must have, and typed fields'
// conversion.
#include <cstring>

#include "compiler/onnx/model_file.h"

namespace tern::onnx {

namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 46;

// Dimensions and element count of a tensor, checked against overflow.
Result<std::vector<int64_t>> checked_dims(const pb::TensorProto& proto, int64_t& count) {
  std::vector<int64_t> dims(proto.dims().begin(), proto.dims().end());
  count = 1;
  for (int64_t d : dims) {
    if (d < 0) return error("The tensor '{}' has a negative dimension ({}).", proto.name(), d);
    if (d != 0 && count > kMaxBytes / d)
      return error("The tensor '{}' has more than {} elements.", proto.name(), kMaxBytes);
    count *= d;
  }
  return dims;
}

template <typename Field, typename Store>
bool copy_numbers(const Field& field, TensorData& to, int64_t count) {
  if (field.size() != count) return false;
  Store* out = to.mutable_as<Store>();
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<Store>(field.Get(static_cast<int>(i)));
  return true;
}

// int32_data carries every type of at most 32 bits; packed types arrive packed, one byte an entry.
bool copy_int32_data(const pb::TensorProto& proto, TensorData& to, int64_t count) {
  switch (dtype_bits(to.dtype())) {
    case 2:
    case 4:
    case 8:
      return copy_numbers<decltype(proto.int32_data()), uint8_t>(proto.int32_data(), to,
                                                                 dtype_storage_bytes(to.dtype(), count));
    case 16:
      return copy_numbers<decltype(proto.int32_data()), uint16_t>(proto.int32_data(), to, count);
    case 32:
      return copy_numbers<decltype(proto.int32_data()), uint32_t>(proto.int32_data(), to, count);
    default:
      return false;
  }
}

// Typed fields (no raw_data). Sizes must match exactly.
Result<TensorDataPtr> typed_data(const pb::TensorProto& proto, DType dtype, std::vector<int64_t> dims,
                                 int64_t count) {
  if (dtype == DType::kString) {
    if (proto.string_data_size() != count)
      return error("The tensor '{}' has {} strings; its shape asks for {}.", proto.name(),
                   proto.string_data_size(), count);
    return TensorDataPtr(TensorData::strings(
        std::move(dims), std::vector<std::string>(proto.string_data().begin(), proto.string_data().end())));
  }
  int64_t most = std::max({proto.float_data_size(), proto.int32_data_size(), proto.int64_data_size(),
                           proto.double_data_size(), proto.uint64_data_size()});
  if (count > 0 && most < dtype_storage_bytes(dtype, count) / 16)
    return error("The tensor '{}' holds {} values; its shape asks for {}.", proto.name(), most, count);
  auto data = TensorData::make(dtype, std::move(dims));
  bool fits = false;
  switch (dtype) {
    case DType::kF32:
      fits = copy_numbers<decltype(proto.float_data()), float>(proto.float_data(), *data, count);
      break;
    case DType::kC64:
      fits = copy_numbers<decltype(proto.float_data()), float>(proto.float_data(), *data, 2 * count);
      break;
    case DType::kF64:
      fits = copy_numbers<decltype(proto.double_data()), double>(proto.double_data(), *data, count);
      break;
    case DType::kC128:
      fits = copy_numbers<decltype(proto.double_data()), double>(proto.double_data(), *data, 2 * count);
      break;
    case DType::kI64:
      fits = copy_numbers<decltype(proto.int64_data()), int64_t>(proto.int64_data(), *data, count);
      break;
    case DType::kU64:
      fits = copy_numbers<decltype(proto.uint64_data()), uint64_t>(proto.uint64_data(), *data, count);
      break;
    case DType::kU32:
      fits = copy_numbers<decltype(proto.uint64_data()), uint32_t>(proto.uint64_data(), *data, count);
      break;
    default:
      fits = copy_int32_data(proto, *data, count);
  }
  if (!fits)
    return error("The tensor '{}' ({}) does not hold the {} values that its shape asks for.", proto.name(),
                 dtype_name(dtype), count);
  return TensorDataPtr(std::move(data));
}

bool aligned(std::span<const uint8_t> bytes, DType dtype) {
  size_t unit = std::max<size_t>(1, std::min<size_t>(8, static_cast<size_t>(dtype_bits(dtype)) / 8));
  return reinterpret_cast<uintptr_t>(bytes.data()) % unit == 0;
}

TensorDataPtr borrow_or_copy(DType dtype, std::vector<int64_t> dims, std::span<const uint8_t> bytes,
                             std::shared_ptr<const void> keep_alive) {
  if (keep_alive && aligned(bytes, dtype))
    return TensorData::borrow(dtype, std::move(dims), bytes, std::move(keep_alive));
  auto data = TensorData::make(dtype, std::move(dims));
  if (!bytes.empty()) memcpy(data->mutable_bytes().data(), bytes.data(), bytes.size());
  return data;
}

Result<TensorDataPtr> raw_or_typed(const pb::TensorProto& proto, DType dtype, std::vector<int64_t> dims,
                                   int64_t count, std::shared_ptr<const void> keep_alive) {
  if (!proto.has_raw_data()) return typed_data(proto, dtype, std::move(dims), count);
  if (dtype == DType::kString) return error("The tensor '{}' holds strings as raw data.", proto.name());
  int64_t want = dtype_storage_bytes(dtype, count);
  const std::string& raw = proto.raw_data();
  if (static_cast<int64_t>(raw.size()) != want)
    return error("The tensor '{}' ({}) has {} bytes of data; its shape asks for {}.", proto.name(),
                 dtype_name(dtype), raw.size(), want);
  return borrow_or_copy(dtype, std::move(dims), {reinterpret_cast<const uint8_t*>(raw.data()), raw.size()},
                        std::move(keep_alive));
}

}  // namespace

Result<DType> dtype_from_onnx(int64_t data_type) {
  if (data_type > 0 && data_type < 256) {
    auto dtype = static_cast<DType>(data_type);
    if (dtype_kind(dtype) != DTypeKind::kNone) return dtype;
  }
  return error("The element type number {} is not one that tern knows.", data_type);
}

Result<TensorDataPtr> ModelFile::tensor(const pb::TensorProto& proto) {
  TERN_ASSIGN(DType dtype, dtype_from_onnx(proto.data_type()));
  int64_t count = 0;
  TERN_ASSIGN(std::vector<int64_t> dims, checked_dims(proto, count));
  if (proto.has_segment()) return error("The tensor '{}' is stored in segments.", proto.name());
  if (proto.data_location() != pb::TensorProto::EXTERNAL)
    return raw_or_typed(proto, dtype, std::move(dims), count, shared_from_this());
  if (dtype == DType::kString) return error("The tensor '{}' holds strings as external data.", proto.name());
  std::shared_ptr<const void> keep_alive;
  auto bytes = external_bytes(proto, dtype_storage_bytes(dtype, count), keep_alive);
  if (!bytes.ok()) return bytes.take_error().note(fmt::format("While reading the tensor '{}'", proto.name()));
  return borrow_or_copy(dtype, std::move(dims), *bytes, std::move(keep_alive));
}

Result<TensorDataPtr> tensor_from_proto(const pb::TensorProto& proto) {
  TERN_ASSIGN(DType dtype, dtype_from_onnx(proto.data_type()));
  int64_t count = 0;
  TERN_ASSIGN(std::vector<int64_t> dims, checked_dims(proto, count));
  return raw_or_typed(proto, dtype, std::move(dims), count, nullptr);
}

Result<TensorDataPtr> ModelFile::sparse_tensor(const pb::SparseTensorProto& proto) {
  TERN_ASSIGN(TensorDataPtr values, tensor(proto.values()));
  TERN_ASSIGN(TensorDataPtr indices, tensor(proto.indices()));
  const std::string& name = proto.values().name();
  pb::TensorProto shape;
  *shape.mutable_dims() = proto.dims();
  shape.set_name(name);
  int64_t count = 0;
  TERN_ASSIGN(std::vector<int64_t> dims, checked_dims(shape, count));
  int bits = dtype_bits(values->dtype());
  if (bits < 8)
    return error("The sparse tensor '{}' ({}) cannot be made dense.", name, dtype_name(values->dtype()));
  const int64_t bytes = dtype_storage_bytes(values->dtype(), count);
  if (bytes > INT32_MAX)
    return error("The sparse tensor '{}' is made dense, which takes {} bytes; at most {} are possible.", name,
                 bytes, INT32_MAX);
  bool flat = indices->shape().size() == 1;
  auto rank = static_cast<int64_t>(dims.size());
  if (indices->dtype() != DType::kI64 || indices->count() != values->count() * (flat ? 1 : rank))
    return error("The sparse tensor '{}' has indices that do not match its values.", name);
  auto dense = TensorData::make(values->dtype(), dims);
  size_t unit = static_cast<size_t>(bits) / 8;
  for (int64_t i = 0; i < values->count(); ++i) {
    int64_t position = 0;
    if (flat) position = indices->int_at(i);
    for (int64_t axis = 0; !flat && axis < rank; ++axis) {
      int64_t index = indices->int_at(i * rank + axis), extent = dims[static_cast<size_t>(axis)];
      if (index < 0 || index >= extent)
        return error("The sparse tensor '{}' has an index ({}) outside [0, {}).", name, index, extent);
      position = position * extent + index;
    }
    if (position < 0 || position >= count)
      return error("The sparse tensor '{}' has an index ({}) outside [0, {}).", name, position, count);
    memcpy(dense->mutable_bytes().data() + static_cast<size_t>(position) * unit,
           values->bytes().data() + static_cast<size_t>(i) * unit, unit);
  }
  return TensorDataPtr(std::move(dense));
}

}  // namespace tern::onnx
