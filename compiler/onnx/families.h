// The operator tables, one a family file. registry.cc joins them.
#pragma once

#include <span>

#include "compiler/onnx/importer.h"

namespace tern::onnx {

#define TERN_ONNX_FAMILIES(X)                                                                             \
  X(math)                                                                                                 \
  X(logic)                                                                                                \
  X(activation)                                                                                           \
  X(reduce)                                                                                               \
  X(shape)                                                                                                \
  X(move)                                                                                                 \
  X(gather)                                                                                               \
  X(matmul)                                                                                               \
  X(conv)                                                                                                 \
  X(pool)                                                                                                 \
  X(norm)                                                                                                 \
  X(resize)                                                                                               \
  X(rnn) X(control) X(sequence) X(quant) X(random) X(signal) X(attention) X(loss) X(vision) X(select)     \
      X(training) X(ml) X(trees) X(svm) X(contrib) X(contrib_attention) X(contrib_fused) X(contrib_quant) \
          X(language) X(grouped_attention) X(experts) X(contrib_math) X(tfidf)

#define TERN_ONNX_DECLARE(family) std::span<const OpRow> family##_rows();
TERN_ONNX_FAMILIES(TERN_ONNX_DECLARE)
#undef TERN_ONNX_DECLARE

inline constexpr const char* kOnnx = "";
inline constexpr const char* kMicrosoft = "com.microsoft";

}  // namespace tern::onnx
