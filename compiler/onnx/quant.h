// Parts of quantised operators that the ai.onnx and the com.microsoft operators share.
#pragma once

#include "compiler/onnx/importer.h"

namespace tern::onnx {

// A scale or zero point for x: per tensor, per axis, or per block along the axis.
Value* spread_parameter(Op& op, Value* parameter, const Shape& shape, int64_t axis, int64_t block);
// round(x / scale) + zero, saturated.
Value* quantize(Emit& b, Value* x, Value* scale, Value* zero, DType to, bool saturate = true);

// DynamicQuantizeLinear: x as u8 over its own range and 0.
struct DynamicQuantized {
  Value *value, *scale, *zero;
};
DynamicQuantized dynamic_quantize(Emit& b, Value* x);

// Sums in i32 of (x - x_zero) times (y - y_zero); zero points may be null.
Value* integer_matmul(Emit& b, Value* x, Value* y, Value* x_zero, Value* y_zero);
// A zero point or scale per row of the left, or per column of the right operand.
Value* row_parameter(Emit& b, Value* v, bool rows);
// As integer_matmul; window and groups are the operator's attributes.
Value* integer_conv(Op& op, Value* x, Value* weights, Value* x_zero, Value* w_zero);
// i32 sums to the quantised result: * factor, rounded, + zero, saturated.
Value* requantize(Emit& b, Value* sums, Value* factor, Value* zero);
// QLinearConv (inputs 0 to 8) of an operand that lies as [N, C, ..].
Value* quantised_conv(Op& op, Value* x);

// Bytes of any shape as [rows, n] integers of 2 to 8 bits (the lowest bits of a byte first), the first
// `count` of each row. `what`: how a refusal calls them.
Value* unpacked(Emit& b, Value* bytes, int64_t rows, int64_t bits, int64_t count, const char* what);

Value* as_f32(Emit& b, Value* v);
// (x - zero) * scale in f32, with the scale and the zero point (which may be absent) in inputs of these
// numbers: per tensor, or along `axis`.
Value* dequantized(Op& op, Value* x, int scale, int zero, int64_t axis = 0);

}  // namespace tern::onnx
