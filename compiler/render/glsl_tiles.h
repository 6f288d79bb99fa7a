// The part that each of a kernel's tile buffers has in products, which GLSL makes a part of its type.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "compiler/kernel/ir.h"

namespace tern::render {

class GlslTiles {
 public:
  explicit GlslTiles(const kernel::Kernel& kernel);
  bool any() const { return !parts_.empty(); }
  bool any_of(DType dtype) const;
  bool has(const kernel::BufferNode* buffer) const { return parts_.contains(buffer); }
  std::string type(const kernel::BufferNode* buffer) const;
  static std::string_view element_type(DType dtype);
  const std::string& problem() const { return problem_; }  // what has no form in GLSL, or ""

 private:
  void note(const kernel::BufferNode* buffer, std::string_view part);
  std::unordered_map<const kernel::BufferNode*, std::string_view> parts_;
  std::string problem_;
};

}  // namespace tern::render
