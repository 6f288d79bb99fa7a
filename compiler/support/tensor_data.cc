#include "compiler/support/tensor_data.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "compiler/support/check.h"
#include "compiler/support/small_float.h"

namespace tern {
namespace {

int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) {
    TERN_CHECK(d >= 0, "a constant has the negative dimension {}", d);
    TERN_CHECK(!__builtin_mul_overflow(n, d, &n), "a constant's element count overflows 64 bits");
  }
  return n;
}

template <typename T>
T load(const uint8_t* bytes, int64_t i) {
  T v;
  std::memcpy(&v, bytes + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return v;
}
template <typename T>
void store(uint8_t* bytes, int64_t i, T v) {
  std::memcpy(bytes + i * static_cast<int64_t>(sizeof(T)), &v, sizeof(T));
}

}  // namespace

uint64_t load_element_bits(const uint8_t* bytes, int width, int64_t i) {
  switch (width) {
    case 64:
      return load<uint64_t>(bytes, i);
    case 32:
      return load<uint32_t>(bytes, i);
    case 16:
      return load<uint16_t>(bytes, i);
    case 8:
      return bytes[i];
    default: {
      const int64_t bit = i * width;
      return (bytes[bit / 8] >> (bit % 8)) & ((1u << width) - 1);
    }
  }
}

void store_element_bits(uint8_t* bytes, int width, int64_t i, uint64_t v) {
  switch (width) {
    case 64:
      return store<uint64_t>(bytes, i, v);
    case 32:
      return store<uint32_t>(bytes, i, static_cast<uint32_t>(v));
    case 16:
      return store<uint16_t>(bytes, i, static_cast<uint16_t>(v));
    case 8:
      bytes[i] = static_cast<uint8_t>(v);
      return;
    default: {
      const int64_t bit = i * width;
      const uint8_t mask = static_cast<uint8_t>(((1u << width) - 1) << (bit % 8));
      bytes[bit / 8] =
          static_cast<uint8_t>((bytes[bit / 8] & ~mask) | ((static_cast<unsigned>(v) << (bit % 8)) & mask));
    }
  }
}

std::shared_ptr<TensorData> TensorData::make(DType dtype, std::vector<int64_t> shape) {
  auto t = std::make_shared<TensorData>();
  t->dtype_ = dtype;
  t->count_ = count_of(shape);
  t->shape_ = std::move(shape);
  if (dtype == DType::kString) {
    t->strings_.resize(static_cast<size_t>(t->count_));
  } else {
    const auto size = static_cast<size_t>(dtype_storage_bytes(dtype, t->count_));
    // Of many zeros the system has pages of its own: only who fills them touches them.
    const std::shared_ptr<void> bytes(std::calloc(std::max<size_t>(size, 1), 1), std::free);
    if (!bytes) throw std::bad_alloc();
    t->writable_ = static_cast<uint8_t*>(bytes.get());
    t->bytes_ = {t->writable_, size};
    t->keep_alive_ = bytes;
  }
  return t;
}

std::shared_ptr<TensorData> TensorData::borrow(DType dtype, std::vector<int64_t> shape,
                                               std::span<const uint8_t> bytes,
                                               std::shared_ptr<const void> keep_alive) {
  auto t = std::make_shared<TensorData>();
  t->dtype_ = dtype;
  t->count_ = count_of(shape);
  t->shape_ = std::move(shape);
  const size_t needed = static_cast<size_t>(dtype_storage_bytes(dtype, t->count_));
  TERN_CHECK(bytes.size() >= needed, "a borrowed tensor has {} bytes and needs {}", bytes.size(), needed);
  t->bytes_ = bytes.first(needed);
  t->keep_alive_ = std::move(keep_alive);
  return t;
}

std::shared_ptr<TensorData> TensorData::strings(std::vector<int64_t> shape, std::vector<std::string> values) {
  auto t = make(DType::kString, std::move(shape));
  TERN_CHECK(static_cast<int64_t>(values.size()) == t->count_);
  t->strings_ = std::move(values);
  return t;
}

std::span<uint8_t> TensorData::mutable_bytes() {
  TERN_CHECK(bytes_.empty() || writable_, "a borrowed tensor is written to");
  return {writable_, bytes_.size()};
}

double TensorData::float_at(int64_t i) const {
  if (is_float(dtype_))
    return decode_small_float(dtype_, load_element_bits(bytes_.data(), dtype_bits(dtype_), i));
  if (dtype_ == DType::kU64) return static_cast<double>(static_cast<uint64_t>(int_at(i)));
  return static_cast<double>(int_at(i));
}

int64_t TensorData::int_at(int64_t i) const {
  const int width = dtype_bits(dtype_);
  switch (dtype_kind(dtype_)) {
    case DTypeKind::kInt: {
      const int shift = 64 - width;
      return static_cast<int64_t>(load_element_bits(bytes_.data(), width, i) << shift) >> shift;
    }
    case DTypeKind::kUint:
      return static_cast<int64_t>(load_element_bits(bytes_.data(), width, i));
    case DTypeKind::kBool:
      return bytes_[static_cast<size_t>(i)] != 0;
    case DTypeKind::kFloat:
      return static_cast<int64_t>(float_at(i));
    default:
      TERN_UNREACHABLE("element of a {} tensor read as a number", dtype_name(dtype_));
  }
}

void TensorData::set_float(int64_t i, double v) {
  if (is_float(dtype_)) {
    store_element_bits(mutable_bytes().data(), dtype_bits(dtype_), i, encode_small_float(dtype_, v));
  } else {
    set_int(i,
            dtype_ == DType::kU64 ? static_cast<int64_t>(static_cast<uint64_t>(v)) : static_cast<int64_t>(v));
  }
}

void TensorData::set_int(int64_t i, int64_t v) {
  if (is_float(dtype_)) return set_float(i, static_cast<double>(v));
  if (dtype_ == DType::kBool) v = v != 0;
  TERN_CHECK(dtype_bits(dtype_) > 0 && dtype_bits(dtype_) <= 64);
  store_element_bits(mutable_bytes().data(), dtype_bits(dtype_), i, static_cast<uint64_t>(v));
}

std::shared_ptr<TensorData> TensorData::reshaped(std::vector<int64_t> shape) const {
  TERN_CHECK(count_of(shape) == count_);
  if (dtype_ == DType::kString) return strings(std::move(shape), strings_);
  return borrow(dtype_, std::move(shape), bytes_, keep_alive_);
}

bool TensorData::equals(const TensorData& other) const {
  if (dtype_ != other.dtype_ || shape_ != other.shape_) return false;
  if (dtype_ == DType::kString) return strings_ == other.strings_;
  return bytes_.size() == other.bytes_.size() &&
         (bytes_.empty() || std::memcmp(bytes_.data(), other.bytes_.data(), bytes_.size()) == 0);
}

}  // namespace tern
