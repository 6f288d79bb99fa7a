#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> training_rows() {
  return {};
}

}  // namespace tern::onnx
