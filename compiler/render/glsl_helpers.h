// GLSL functions that a kernel's own text calls, each emitted once and only when used, after what it calls
// itself. Rows are written for one lane; vectors get an overload that applies it lane by lane.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

#include "compiler/kernel/ir.h"
#include "compiler/render/glsl.h"

namespace tern::render {

// The name of a vector's lane. Vectors of more than four lanes are refused; what is written of them on the
// way is not used.
inline char component(int lane) {
  return "xyzw"[lane < 4 ? lane : 3];
}

// The scalar GLSL type that carries values: "float" for f16, "int" for i8 and i32, "uint", "int64_t", "bool",
// "vec2" for c64.
std::string_view glsl_carrier(DType dtype);
// "ivec4" for int and 4 lanes.
std::string glsl_type(std::string_view scalar, int lanes);

class GlslHelpers {
 public:
  explicit GlslHelpers(const GlslTarget& target) : target_(target) {}
  const GlslTarget& target() const { return target_; }
  // The name to call: row `name` on `scalar` ("div" on "int": div_int). "" when there is no such row.
  std::string function(std::string_view name, std::string_view scalar, int lanes = 1);
  // A function that no row has: `value` is what it returns. Its name.
  std::string define(const std::string& name, std::string_view result, const std::string& parameters,
                     const std::string& value);
  // Notes that a type is used.
  std::string type(std::string_view scalar, int lanes = 1);
  void need_shuffle() { needs_.shuffle = true; }
  const GlslNeeds& needs() const { return needs_; }
  const std::string& text() const { return text_; }

 private:
  bool emit(const std::string& name);
  const GlslTarget target_;
  std::unordered_set<std::string> known_;
  std::string text_;
  GlslNeeds needs_;
};

}  // namespace tern::render
