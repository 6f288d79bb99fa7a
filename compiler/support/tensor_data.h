// TensorData: a constant's contents on the compiler's side: dense row-major, ONNX order, packed sub-byte
// types as dtypes.def says, little-endian. Bytes are owned or borrowed from a mapped file that `keep_alive`
// holds, so a 2 GB weight is not copied to be looked at.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compiler/support/dtype.h"

namespace tern {

class TensorData {
 public:
  // Owned, zero-filled.
  static std::shared_ptr<TensorData> make(DType dtype, std::vector<int64_t> shape);
  // Borrowed: `bytes` must hold dtype_storage_bytes(...) and live as long as keep_alive does.
  static std::shared_ptr<TensorData> borrow(DType dtype, std::vector<int64_t> shape,
                                            std::span<const uint8_t> bytes,
                                            std::shared_ptr<const void> keep_alive);
  static std::shared_ptr<TensorData> strings(std::vector<int64_t> shape, std::vector<std::string> values);

  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t count() const { return count_; }
  std::span<const uint8_t> bytes() const { return bytes_; }
  std::span<uint8_t> mutable_bytes();  // owned data only
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(bytes_.data());
  }
  template <typename T>
  T* mutable_as() {
    return reinterpret_cast<T*>(mutable_bytes().data());
  }
  const std::vector<std::string>& string_values() const { return strings_; }

  // Element i of any non-complex numeric type. f64 holds every float type and integers to 2^53 exactly; use
  // int_at for 64-bit.
  double float_at(int64_t i) const;
  int64_t int_at(int64_t i) const;
  void set_float(int64_t i,
                 double v);  // rounds to the type (nearest even; saturating is the caller's business)
  void set_int(int64_t i, int64_t v);  // wraps
  // A read-only view of the same bytes (shared, not copied) under another shape of the same count.
  std::shared_ptr<TensorData> reshaped(std::vector<int64_t> shape) const;
  bool equals(const TensorData& other) const;  // type, shape, bytes

 private:
  DType dtype_ = DType::kNone;
  std::vector<int64_t> shape_;
  int64_t count_ = 0;
  std::span<const uint8_t> bytes_;
  uint8_t* writable_ = nullptr;  // owned data only
  std::shared_ptr<const void> keep_alive_;
  std::vector<std::string> strings_;
};

using TensorDataPtr = std::shared_ptr<const TensorData>;

// Element i of a dense array whose elements are `width` bits wide (2, 4, 8, 16, 32, 64), zero-extended.
uint64_t load_element_bits(const uint8_t* bytes, int width, int64_t i);
void store_element_bits(uint8_t* bytes, int width, int64_t i, uint64_t value);

}  // namespace tern
