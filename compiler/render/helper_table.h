// Rows of C templates. A row is found by name and element type ("exp" + "f32": the row "exp.f32", else
// "exp.float" or "exp.int" or "exp"). Notation inside a row's text:
//
//   $V $N        the element type's vector (or scalar, when lanes is 1) and its number of lanes
//   $E           the element's scalar type
//   $T{u16}      a vector of another element type with the same lanes; ${I} ${U}: integer types of the
//   element's width
//   @name        this element type's helper; @f64:name  another element type's helper, same lanes
//   @1:name      this element type's helper for one lane
//   $F           the function's own name
//   CVT(T, x)    converts numerically; FMA(a, b, c) fused where the target has it, else two roundings
//
// Comparisons give 0/1 on scalars and 0/-1 lanes on vectors: only `?:`, `&` and `|` are used on them.
#pragma once

#include <span>

#include "compiler/render/helpers.h"

namespace tern::render {

std::span<const HelperRow> basic_rows();   // min, max, sign, division, shifts, conversions
std::span<const HelperRow> float_rows();   // narrow floats' conversions
std::span<const HelperRow> math_rows();    // exp, log, tanh, erf on f32
std::span<const HelperRow> math64_rows();  // the f64 functions, and f32 ones through f64
std::span<const HelperRow> complex_rows();
std::span<const HelperRow> cuda_rows();  // "NAME_cuda": what CUDA has its own form of (cuda_helpers.cc)

}  // namespace tern::render
