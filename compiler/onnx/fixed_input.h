// Inputs whose values are known when the model is compiled (--value): constants with the type that the model
// states. What depends on them alone is folded, a branch that they decide is the only one, and a dimension
// that is one of them is a number.
#pragma once

#include <string>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/onnx/import.h"
#include "compiler/onnx/model_file.h"

namespace tern::onnx {

// A list of an open length has as many elements as --value gives it: said as --shape would.
ImportOptions with_lengths_of_values(ImportOptions options, const pb::GraphProto& graph);

// The words as elements of the input, one for all of them or one for each. Throws ImportFailure.
TensorDataPtr fixed_value(const std::string& input, const graph::Type& type,
                          const std::vector<std::string>& words);

}  // namespace tern::onnx
