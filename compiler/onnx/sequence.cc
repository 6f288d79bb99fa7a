#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> sequence_rows() {
  return {};
}

}  // namespace tern::onnx
