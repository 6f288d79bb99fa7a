#include "compiler/render/c_tiles.h"

#include "compiler/kernel/expr_util.h"

namespace tern::render {

using kernel::Buffer;
using kernel::Expr;
using kernel::kCpuTileBytes;
using kernel::kCpuTileRows;
using kernel::kCpuTiles;
using kernel::Stmt;
using kernel::TileOp;

std::string CTiles::declare(const Buffer& buffer, const std::string& name, int first) {
  numbers_[buffer.get()] = first;
  names_[buffer.get()] = name;
  if (in_registers()) return "";
  return fmt::format("{} {}[{}][{}] __attribute__((aligned(64)));", helpers_.named_type("i32", 1), name,
                     buffer->size, kCpuTileRows * kCpuTileBytes / 4);
}

std::string CTiles::tile(const Buffer& buffer, const Expr& index) const {
  const int64_t at = kernel::int_value(index).value_or(0);
  return in_registers() ? fmt::format("{}", numbers_.at(buffer.get()) + at)
                        : fmt::format("{}[{}]", names_.at(buffer.get()), at);
}

std::string CTiles::text(const Stmt& s, const std::function<std::string(const Expr&)>& text,
                         const std::function<std::string(const Buffer&)>& memory) {
  if (kernel_.tiles != kernel::cpu_tile(8) && kernel_.tiles != kernel::cpu_tile(16)) return "";
  const std::string here = tile(s->buffer, s->index);
  if (s->tile == TileOp::kFill) {
    const bool zero = s->value->kind == kernel::ExprKind::kConst && s->value->i == 0 && s->value->f == 0;
    if (!zero) return "";
    return in_registers() ? fmt::format("__builtin_ia32_tilezero({});", here)
                          : fmt::format("{}({});", helpers_.function("tile_zero", "i32", 1), here);
  }
  const Buffer& other = s->value->buffer;
  if (s->tile == TileOp::kMultiply) {
    const bool bytes = dtype_bits(other->type.dtype) == 8;
    const std::string a = tile(other, s->value->args[0]), b = tile(s->begin->buffer, s->begin->args[0]);
    return in_registers()
               ? fmt::format("__builtin_ia32_{}({}, {}, {});", bytes ? "tdpbusd" : "tdpbf16ps", here, a, b)
               : fmt::format("{}((void*){}, (void*){}, (void*){});",
                             helpers_.function("tile_multiply", bytes ? "i8" : "u16", 1), here, a, b);
  }
  const int bytes = dtype_bits(other->type.dtype) / 8;
  const std::string at = fmt::format("({} + {})", memory(other), text(s->value->args[0])),
                    pitch = fmt::format("({}) * {}", text(s->count), bytes);
  const bool stores = s->tile == TileOp::kStore;
  if (in_registers())
    return fmt::format("__builtin_ia32_tile{}64({}, {}{}, {});", stores ? "stored" : "loadd", here,
                       stores ? "(void*)" : "(const void*)", at, pitch);
  const std::string move = helpers_.function("tile_move", "u8", 1);
  return stores ? fmt::format("{}((void*){}, {}, (void*){}, {});", move, at, pitch, here, kCpuTileBytes)
                : fmt::format("{}((void*){}, {}, (void*){}, {});", move, here, kCpuTileBytes, at, pitch);
}

std::string CTiles::configure() const {
  if (!in_registers()) return "";
  // Palette 1: bytes of a row from byte 16 on (two each), rows from byte 48 on.
  return fmt::format(
      "static const u8 tile_shapes[64] __attribute__((aligned(64))) = {{1, [16] = {0}, [18] = {0}, [20] = "
      "{0}, "
      "[22] = {0}, [24] = {0}, [26] = {0}, [28] = {0}, [30] = {0}, [48] = {1}, {1}, {1}, {1}, {1}, {1}, {1}, "
      "{1}}};\n  __builtin_ia32_tile_loadconfig(tile_shapes);",
      kCpuTileBytes, kCpuTileRows);
}

std::string CTiles::release() const {
  return in_registers() ? "__builtin_ia32_tilerelease();" : "";
}

}  // namespace tern::render
