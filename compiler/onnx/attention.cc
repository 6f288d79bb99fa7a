#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> attention_rows() {
  return {};
}

}  // namespace tern::onnx
