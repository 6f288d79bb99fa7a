// Elements of tensors as numbers, whatever their type: to show them and to compare them.
#pragma once

#include <cstdint>
#include <string>

namespace tern::cli {

// Complex elements are two numbers. 0 for strings.
int64_t numbers_of(uint32_t dtype, int64_t elements);

// Wide enough for every 64-bit integer where long double is.
long double number_at(uint32_t dtype, const void* data, int64_t index);

// " 1 2 3 4 5 6 … (-1 to 12)": the first few, and the range of all.
std::string summary(uint32_t dtype, const void* data, int64_t elements);

struct Tolerance {
  double absolute = 1e-5, relative = 1e-3;
};
struct Comparison {
  int64_t different = 0, worst = -1;  // numbers beyond the tolerance; the one farthest beyond it
  double largest = 0;                 // difference of any two
};
// Within absolute + relative * |expected|; a NaN is a NaN's equal, an infinity its own.
Comparison compare(uint32_t dtype, const void* got, const void* expected, int64_t elements,
                   const Tolerance& tolerance);

}  // namespace tern::cli
