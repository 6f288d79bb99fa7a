#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> contrib_rows() {
  return {};
}

}  // namespace tern::onnx
