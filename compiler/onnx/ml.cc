#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> ml_rows() {
  return {};
}

}  // namespace tern::onnx
