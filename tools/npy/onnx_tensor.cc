#include "tools/npy/onnx_tensor.h"

#include <cstring>

#include "schemas/abi/dtypes.h"

namespace tern::npy {
namespace {

// Fields of onnx.proto's TensorProto.
enum Field : uint32_t {
  kDims = 1,
  kDataType = 2,
  kFloatData = 4,
  kInt32Data = 5,
  kInt64Data = 7,
  kRawData = 9,
  kDoubleData = 10,
  kUint64Data = 11,
  kDataLocation = 14,
};
constexpr uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

struct Reader {
  const uint8_t* at;
  const uint8_t* end;

  bool varint(uint64_t* out) {
    *out = 0;
    for (int shift = 0; shift < 64 && at < end; shift += 7) {
      const uint8_t byte = *at++;
      *out |= uint64_t{byte & 0x7fu} << shift;
      if (!(byte & 0x80)) return true;
    }
    return false;
  }
  bool take(uint64_t size, Reader* out) {
    if (size > static_cast<uint64_t>(end - at)) return false;
    *out = {at, at + size};
    at += size;
    return true;
  }
};

struct Proto {
  std::vector<int64_t> dims;
  uint64_t dtype = 0, location = 0;
  std::vector<uint8_t> data;  // raw, or made of the typed fields
};

void append(std::vector<uint8_t>& data, uint64_t value, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes; ++i) data.push_back(static_cast<uint8_t>(i < 8 ? value >> (8 * i) : 0));
}

// Bytes of an element in int32_data: types below 8 bits are there as bytes that hold several.
uint32_t stored_bytes(uint64_t dtype) {
  const uint32_t bits = tern_dtype_bits(static_cast<uint32_t>(dtype));
  return bits < 8 ? 1 : bits / 8;
}

// A repeated number, packed or one by one. `narrow`: it stands for a type of that many bytes.
bool read_numbers(Reader& in, uint32_t wire, uint32_t narrow, std::vector<uint8_t>& data) {
  uint64_t value = 0;
  if (wire == kVarint) {
    if (!in.varint(&value)) return false;
    append(data, value, narrow);
    return true;
  }
  if (wire != kBytes || !in.varint(&value)) return false;
  Reader packed;
  if (!in.take(value, &packed)) return false;
  while (packed.at < packed.end) {
    if (!packed.varint(&value)) return false;
    append(data, value, narrow);
  }
  return true;
}

// What has its own width already: raw bytes, floats, doubles.
bool read_fixed(Reader& in, uint32_t wire, std::vector<uint8_t>& data) {
  uint64_t size = wire == kFixed32 ? 4 : 8;
  if (wire == kBytes && !in.varint(&size)) return false;
  Reader part;
  if (wire == kVarint || !in.take(size, &part)) return false;
  data.insert(data.end(), part.at, part.end);
  return true;
}

bool skip(Reader& in, uint32_t wire) {
  uint64_t size = wire == kFixed32 ? 4 : 8;
  Reader part;
  if (wire == kVarint) return in.varint(&size);
  if (wire == kBytes && !in.varint(&size)) return false;
  return (wire == kBytes || wire == kFixed32 || wire == kFixed64) && in.take(size, &part);
}

bool read_dims(Reader& in, uint32_t wire, std::vector<int64_t>& dims) {
  std::vector<uint8_t> bytes;
  if (!read_numbers(in, wire, 8, bytes)) return false;
  for (size_t i = 0; i < bytes.size(); i += 8) {
    int64_t dim = 0;
    std::memcpy(&dim, bytes.data() + i, 8);
    dims.push_back(dim);
  }
  return true;
}

bool read_field(Reader& in, uint64_t tag, Proto& proto) {
  const uint32_t wire = tag & 7;
  switch (tag >> 3) {
    case kDims:
      return read_dims(in, wire, proto.dims);
    case kDataType:
      return wire == kVarint && in.varint(&proto.dtype);
    case kDataLocation:
      return wire == kVarint && in.varint(&proto.location);
    case kInt32Data:
      return read_numbers(in, wire, stored_bytes(proto.dtype), proto.data);
    case kInt64Data:
    case kUint64Data:
      return read_numbers(in, wire, stored_bytes(proto.dtype), proto.data);
    case kFloatData:
    case kDoubleData:
    case kRawData:
      return read_fixed(in, wire, proto.data);
    default:
      return skip(in, wire);
  }
}

bool fail(std::string* error, std::string text) {
  *error = std::move(text);
  return false;
}

}  // namespace

bool decode_onnx(const std::vector<uint8_t>& bytes, Tensor* out, std::string* error) {
  Proto proto;
  Reader in = {bytes.data(), bytes.data() + bytes.size()};
  uint64_t tag = 0;
  while (in.at < in.end) {
    if (!in.varint(&tag) || !read_field(in, tag, proto))
      return fail(error, "it is no ONNX tensor, or it is truncated");
  }
  if (proto.location) return fail(error, "it keeps its data in another file");
  const uint32_t dtype = static_cast<uint32_t>(proto.dtype);
  if (dtype == TERN_DTYPE_String) return fail(error, "it holds strings, which no input takes");
  const uint32_t bits = proto.dtype > UINT32_MAX ? 0 : tern_dtype_bits(dtype);
  if (!bits) return fail(error, "it is no ONNX tensor (element type " + std::to_string(proto.dtype) + ")");
  int64_t all_bits = bits;
  for (int64_t dim : proto.dims) {
    if (dim < 0 || __builtin_mul_overflow(all_bits, dim, &all_bits) || all_bits > INT64_MAX - 8)
      return fail(error, "its shape is impossible");
  }
  const uint64_t size = static_cast<uint64_t>(all_bits + 7) / 8;
  if (proto.data.size() != size)
    return fail(error, "its shape asks for " + std::to_string(size) + " bytes of data and it holds " +
                           std::to_string(proto.data.size()));
  *out = {dtype, std::move(proto.dims), std::move(proto.data)};
  return true;
}

}  // namespace tern::npy
