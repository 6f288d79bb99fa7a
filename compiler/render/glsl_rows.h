// Rows of GLSL templates. $T: the row's type (int, uint, int64_t, uint64_t, float, double). A row calls
// another one by its full name: the text is searched for names with a parenthesis behind.
#pragma once

#include <span>
#include <string_view>

namespace tern::render {

struct GlslRow {
  std::string_view name;    // "div": the function is div_int
  std::string_view types;   // those that it exists for, space-separated; "" for a row whose name is complete
  std::string_view result;  // GLSL types
  std::string_view parameters;
  std::string_view body;
};

std::span<const GlslRow> glsl_basic_rows();   // integers, comparisons, conversions
std::span<const GlslRow> glsl_float_rows();   // narrow floats' conversions, complex numbers
std::span<const GlslRow> glsl_math_rows();    // functions on float
std::span<const GlslRow> glsl_math64_rows();  // functions on double

}  // namespace tern::render
