// Recurrences that stand in for attention: ai.onnx and com.microsoft LinearAttention, CausalConvWithState,
// and what ONNX Runtime adds to them. Rows of attention.cc.
#pragma once

#include "compiler/onnx/importer.h"

namespace tern::onnx {

void import_linear_attention(Op& op);
void import_linear_attention_gate(Op& op);
void import_gated_delta_net(Op& op);
void import_causal_conv(Op& op);

}  // namespace tern::onnx
