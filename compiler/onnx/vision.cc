#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> vision_rows() {
  return {};
}

}  // namespace tern::onnx
