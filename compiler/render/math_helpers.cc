#include "compiler/render/helper_table.h"
namespace tern::render {
std::span<const HelperRow> math_rows() {
  return {};
}
std::span<const HelperRow> math64_rows() {
  return {};
}
}  // namespace tern::render
