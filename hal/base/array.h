// A growable array of plain data over a passed allocator, for C++ bodies of the runtime (no std::vector
// there).
//
// Elements are trivially copyable; growth moves them by memcpy. A failed growth leaves the array as it was
// and returns false.
#pragma once

#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "hal/base/allocator.h"

namespace tern {

template <typename T>
class Array {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  explicit Array(tern_allocator_t allocator) : allocator_(allocator) {}
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { reset(); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& back() { return data_[size_ - 1]; }

  // Room for `capacity` elements in all.
  [[nodiscard]] bool reserve(size_t capacity) {
    if (capacity <= capacity_) return true;
    if (capacity > SIZE_MAX / sizeof(T) / 2) return false;
    size_t grown = capacity_ + capacity_ / 2;
    if (grown < capacity) grown = capacity;
    T* data = static_cast<T*>(tern_allocate(allocator_, grown * sizeof(T), alignof(T)));
    if (!data) return false;
    if (size_) memcpy(static_cast<void*>(data), data_, size_ * sizeof(T));
    tern_release(allocator_, data_, capacity_ * sizeof(T));
    data_ = data;
    capacity_ = grown;
    return true;
  }

  [[nodiscard]] bool push(const T& value) {
    const T copy = value;  // `value` may lie inside this array
    if (!reserve(size_ + 1)) return false;
    data_[size_++] = copy;
    return true;
  }

  // Appends `count` zeroed elements and returns the first of them, or null.
  [[nodiscard]] T* grow(size_t count) {
    if (count > SIZE_MAX - size_ || !reserve(size_ + count)) return nullptr;
    T* first = data_ + size_;
    if (count) memset(static_cast<void*>(first), 0, count * sizeof(T));
    size_ += count;
    return first;
  }

  void truncate(size_t size) { size_ = size < size_ ? size : size_; }
  void clear() { size_ = 0; }
  void reset() {
    tern_release(allocator_, data_, capacity_ * sizeof(T));
    data_ = nullptr;
    size_ = capacity_ = 0;
  }
  tern_allocator_t allocator() const { return allocator_; }

 private:
  tern_allocator_t allocator_;
  T* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace tern
