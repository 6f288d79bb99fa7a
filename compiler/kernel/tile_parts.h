// The part that each of a kernel's tile buffers has in products (tile_test.cc). Tiles that are in none are
// sums: what computes them, loads and stores them.
#pragma once

#include <string>
#include <unordered_map>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

class TileParts {
 public:
  explicit TileParts(const Kernel& kernel);
  bool any() const { return !parts_.empty(); }
  bool any_of(DType dtype) const;
  bool has(const BufferNode* buffer) const { return parts_.contains(buffer); }
  TilePart of(const BufferNode* buffer) const { return parts_.at(buffer); }
  // Tiles that have several parts, or "".
  const std::string& problem() const { return problem_; }

 private:
  void note(const BufferNode* buffer, TilePart part);
  std::unordered_map<const BufferNode*, TilePart> parts_;
  std::unordered_map<const BufferNode*, TilePart> in_products_;
  std::string problem_;
};

}  // namespace tern::kernel
