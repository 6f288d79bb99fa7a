#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> signal_rows() {
  return {};
}

}  // namespace tern::onnx
