// A kernel's tiles in GLSL, which makes their part in products and their shape a part of their type.
#pragma once

#include <string>
#include <string_view>

#include "compiler/kernel/tile_parts.h"

namespace tern::render {

class GlslTiles : public kernel::TileParts {
 public:
  explicit GlslTiles(const kernel::Kernel& kernel) : TileParts(kernel), shape_(kernel.tiles) {}
  std::string type(const kernel::BufferNode* buffer) const;
  static std::string_view element_type(DType dtype);

 private:
  const kernel::TileShape shape_;
};

}  // namespace tern::render
