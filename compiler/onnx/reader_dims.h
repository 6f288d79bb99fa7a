// Dimensions of an input that has no shape in the model, as far as the nodes that read it say: a
// convolution's filters have its rank and channels, a Transpose permutes so many.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compiler/onnx/model_file.h"

namespace tern::onnx {

// -1: any. Nothing where no reader tells the rank.
std::optional<std::vector<int64_t>> dims_from_readers(const pb::GraphProto& graph, const std::string& value);

}  // namespace tern::onnx
