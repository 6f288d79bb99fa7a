#include "compiler/kernel/tile_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

TileParts::TileParts(const Kernel& kernel) {
  visit(kernel.body, [&](const Stmt& s) {
    if (s->kind != StmtKind::kTile) return;
    parts_.try_emplace(s->buffer.get(), TilePart::kSums);
    if (s->tile != TileOp::kMultiply) return;
    note(s->buffer.get(), TilePart::kSums);
    note(s->value->buffer.get(), TilePart::kA);
    if (s->begin->kind == ExprKind::kLoad) note(s->begin->buffer.get(), TilePart::kB);
  });
}

void TileParts::note(const BufferNode* buffer, TilePart part) {
  const auto known = in_products_.emplace(buffer, part).first;
  if (known->second != part)
    problem_ = fmt::format("the tiles '{}' have several parts in products", buffer->name);
  parts_[buffer] = part;
}

bool TileParts::any_of(DType dtype) const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [&](const auto& part) { return part.first->type.dtype == dtype; });
}

}  // namespace tern::kernel
