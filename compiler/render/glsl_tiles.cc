// Tiles as cooperative matrices (GL_KHR_cooperative_matrix).
#include "compiler/render/glsl_tiles.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"
#include "compiler/render/glsl_expr.h"

namespace tern::render {

using kernel::BufferNode;
using kernel::Stmt;
using kernel::StmtKind;
using kernel::TileOp;

GlslTiles::GlslTiles(const kernel::Kernel& kernel) {
  kernel::visit(kernel.body, [&](const Stmt& s) {
    if (s->kind != StmtKind::kTile) return;
    parts_.try_emplace(s->buffer.get(), "");
    if (s->tile != TileOp::kMultiply) return;
    note(s->buffer.get(), "Accumulator");
    note(s->value->buffer.get(), "A");
    note(s->begin->buffer.get(), "B");
  });
}

void GlslTiles::note(const BufferNode* buffer, std::string_view part) {
  std::string_view& known = parts_[buffer];
  if (!known.empty() && known != part)
    problem_ = fmt::format("the tiles '{}' have several parts in products", buffer->name);
  known = part;
}

std::string GlslTiles::type(const BufferNode* buffer) const {
  const std::string_view part = parts_.at(buffer);
  return fmt::format("coopmat<{}, gl_ScopeSubgroup, 16, 16, gl_MatrixUse{}>",
                     buffer->type.dtype == DType::kF16 ? "float16_t" : "float",
                     part.empty() ? "Accumulator" : part);
}

std::string GlslExpr::tile_text(const Stmt& s, const GlslTiles& tiles) {
  const auto slot = [&](const BufferNode* buffer, const kernel::Expr& at) {
    if (dtype_bits(buffer->type.dtype) == 16 && buffer->type.dtype != DType::kF16)
      fail(fmt::format("tiles of {} have no form", dtype_name(buffer->type.dtype)));
    return fmt::format("{}[{}]", memory_.register_name(buffer), index(at));
  };
  const std::string here = slot(s->buffer.get(), s->index);
  if (s->tile == TileOp::kFill)
    return fmt::format("{} = {}({});", here, tiles.type(s->buffer.get()), text(s->value));
  if (s->tile == TileOp::kMultiply)
    return fmt::format("{0} = coopMatMulAdd({1}, {2}, {0});", here,
                       slot(s->value->buffer.get(), s->value->args[0]),
                       slot(s->begin->buffer.get(), s->begin->args[0]));
  const GlslMemory::Tile memory = memory_.tile(s->value->buffer.get(), index(s->value->args[0]));
  const int per_vector = 128 / dtype_bits(s->value->type.dtype);
  return fmt::format("coopMat{}({}, {}, {}, uint(({}) >> {}), gl_CooperativeMatrixLayout{}Major);",
                     s->tile == TileOp::kStore ? "Store" : "Load", here, memory.array, memory.element,
                     index(s->count), __builtin_ctz(static_cast<unsigned>(per_vector)),
                     s->tile == TileOp::kLoadColumns ? "Column" : "Row");
}

}  // namespace tern::render
