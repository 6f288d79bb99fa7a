#include "compiler/onnx/families.h"

namespace tern::onnx {

std::span<const OpRow> rnn_rows() {
  return {};
}

}  // namespace tern::onnx
