// What the classical models of ai.onnx.ml share: their scores' last step.
#pragma once

#include "compiler/onnx/importer.h"

namespace tern::onnx {

// Attribute 'post_transform' on scores [N, K].
Value* post_transform(Emit& b, Value* scores, const std::string& name);
// The same of a regression. One target is left as it is (but for PROBIT), as ONNX Runtime does: converters
// that want more append it.
Value* regression_transform(Emit& b, Value* scores, const std::string& name);
// Fails unless post_transform knows it.
void check_transform(const std::string& name);
// The first class of those with the largest score: [N, K] to i64 [N].
Value* best_class(Emit& b, Value* scores);
// The labels [N] (i64) that the indices [N] stand for. Strings are refused.
Value* labels_of(Op& op, Value* indices, const char* ints, const char* strings);
// As ONNX Runtime makes two scores of the one that a classifier of two classes computes: [N, 1] to [N, 2].
enum class SecondClass { kComplement, kNegative };
Value* two_scores(Emit& b, Value* score, SecondClass second, const std::string& transform);

}  // namespace tern::onnx
