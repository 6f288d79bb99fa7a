// Tiles as cooperative matrices (GL_KHR_cooperative_matrix).
#include "compiler/render/glsl_tiles.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"
#include "compiler/render/glsl_expr.h"

namespace tern::render {

using kernel::BufferNode;
using kernel::Stmt;
using kernel::TileOp;
using kernel::TilePart;

std::string_view GlslTiles::element_type(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return "float16_t";
    case DType::kBF16:
      return "bfloat16_t";
    case DType::kI8:
      return "int8_t";
    case DType::kI32:
      return "int";
    default:
      return "float";
  }
}

std::string GlslTiles::type(const BufferNode* buffer) const {
  const TilePart part = of(buffer);
  return fmt::format("coopmat<{}, gl_ScopeSubgroup, {}, {}, gl_MatrixUse{}>",
                     element_type(buffer->type.dtype), shape_.rows(part), shape_.columns(part),
                     part == TilePart::kA   ? "A"
                     : part == TilePart::kB ? "B"
                                            : "Accumulator");
}

std::string GlslExpr::tile_text(const Stmt& s, const GlslTiles& tiles) {
  const auto slot = [&](const BufferNode* buffer, const kernel::Expr& at) {
    return fmt::format("{}[{}]", memory_.register_name(buffer), index(at));
  };
  const std::string here = slot(s->buffer.get(), s->index);
  if (s->tile == TileOp::kFill) {
    if (s->value->type.lanes > 1) return map_text(s, here);
    return fmt::format("{} = {}({});", here, tiles.type(s->buffer.get()), text(s->value));
  }
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

// An expression of tiles as that of one element; loads of tiles become variables.
kernel::Expr GlslExpr::of_element(const kernel::Expr& e,
                                  std::vector<std::pair<kernel::Var, kernel::Expr>>& loads) {
  using kernel::ExprKind;
  if (e->type.lanes == 1) return e;
  if (e->kind == ExprKind::kLoad) {
    for (const auto& [var, load] : loads) {
      if (kernel::equal(load, e)) return kernel::var_expr(var);
    }
    loads.emplace_back(kernel::make_var(e->buffer->name, {e->type.dtype, 1}), e);
    return kernel::var_expr(loads.back().first);
  }
  if (e->kind == ExprKind::kBroadcast) return e->args[0];
  std::vector<kernel::Expr> args;
  for (const kernel::Expr& a : e->args) args.push_back(of_element(a, loads));
  if (e->kind == ExprKind::kIntrinsic)
    return kernel::intrinsic(e->intrinsic, std::move(args), {e->type.dtype, 1});
  if (e->kind != ExprKind::kOp && e->kind != ExprKind::kCast)
    fail("a tile is computed in a way without form");
  return kernel::with_args(e, std::move(args));
}

std::string GlslExpr::map_text(const kernel::Stmt& s, const std::string& here) {
  std::vector<std::pair<kernel::Var, kernel::Expr>> loads;
  const kernel::Expr value = of_element(s->value, loads);
  std::string out = fmt::format("for (int e = 0; e < {}.length(); ++e) {{ ", here);
  for (const auto& [var, load] : loads)
    out += fmt::format("const float {} = float({}[{}][e]); ", name_(var),
                       memory_.register_name(load->buffer.get()), index(load->args[0]));
  const DType dtype = value->type.dtype;
  const bool narrow = dtype == DType::kF16 || dtype == DType::kBF16;
  const kernel::Expr result = narrow && value->kind == kernel::ExprKind::kCast ? value->args[0] : value;
  return out + fmt::format("{}[e] = {}({}); }}", here, GlslTiles::element_type(dtype), text(result));
}

}  // namespace tern::render
