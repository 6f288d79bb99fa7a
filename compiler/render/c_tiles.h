// Tiles of a CPU kernel as C: registers of AMX where the target has them, which are numbers of builtins; else
// arrays, and loops over them, so that each level runs what another one was written for.
#pragma once

#include <functional>
#include <string>

#include "compiler/kernel/tile_parts.h"
#include "compiler/render/c_expr.h"

namespace tern::render {

class CTiles {
 public:
  CTiles(const kernel::Kernel& kernel, HelperSet& helpers)
      : kernel_(kernel), parts_(kernel), helpers_(helpers) {}

  bool has(const kernel::Buffer& buffer) const { return parts_.has(buffer.get()); }
  // Its registers, from number `first` on; the text that declares them, or "".
  std::string declare(const kernel::Buffer& buffer, const std::string& name, int first);
  // A statement; "": there is no such form. `text` gives an expression's, `memory` a buffer's name.
  std::string text(const kernel::Stmt& s, const std::function<std::string(const kernel::Expr&)>& text,
                   const std::function<std::string(const kernel::Buffer&)>& memory);
  // What stands in front of a kernel's loop over its grid, and behind it, or "".
  std::string configure() const;
  std::string release() const;

 private:
  bool in_registers() const { return parts_.any() && helpers_.target().tiles; }
  std::string tile(const kernel::Buffer& buffer, const kernel::Expr& index) const;

  const kernel::Kernel& kernel_;
  const kernel::TileParts parts_;
  HelperSet& helpers_;
  std::unordered_map<const kernel::BufferNode*, int> numbers_;
  std::unordered_map<const kernel::BufferNode*, std::string> names_;
};

}  // namespace tern::render
