// Reading quantisation out of core ops: which values stand for (q - zero) * scale with q of 8 bits, and 8-bit
// values in the type that an integer contraction wants. Shared by integer_contractions and requantize.
//
// Activations of 8 bits are u8 throughout: a value that is quantised to i8 is computed as u8 and read as i8
// through bitcast(xor(u, 128)), which is u - 128. Whoever wants u8 takes u.
#pragma once

#include <optional>
#include <vector>

#include "compiler/graph/ir.h"

namespace tern::graph {

// A scale or a zero point: known numbers (one, or one for each index along `axis`), or a scalar known at run
// time. Absent: 1 or 0.
struct QuantParameter {
  std::vector<double> known;
  Value* dynamic = nullptr;  // rank 0; f32 for scales, i32 for zero points
  int axis = -1;             // of the value that it belongs to; -1: one for all

  bool absent() const { return known.empty() && !dynamic; }
  bool is_scalar() const { return axis < 0; }
  double at(size_t i, double otherwise) const {
    return known.empty() ? otherwise : known[known.size() == 1 ? 0 : i];
  }
  bool is_known(double number) const;  // every entry is this number
};

struct Quantised {
  Value* q = nullptr;  // u8 or i8, of the value's shape
  QuantParameter zero, scale;
};

// What v is when it is integers (i32 or 8 bits) without a scale, or f32 made from them with one; views are
// looked through, for which new views of q are built.
std::optional<Quantised> quantised(Value* v, Builder& b);

// The same 8-bit values in the other signedness: u8 = i8 + 128.
Value* as_u8(Value* q, Builder& b);
Value* as_i8(Value* q, Builder& b);
// u when q is bitcast(xor(u, 128)), else null.
Value* u8_behind(const Value* q);

// The contents of v when it is made of constants alone, else null; nothing above `limit` bytes is evaluated.
TensorDataPtr known_tensor(const Value* v, int64_t limit);

// A tensor of `dtype` and rank `rank` with one entry for each index along `axis` (axis < 0: rank 0).
Value* along_axis(const std::vector<double>& entries, DType dtype, int rank, int axis, Builder& b);

// A constant that is one number, or one for each index along one axis of its (broadcast) shape; nullopt
// otherwise.
std::optional<QuantParameter> constant_parameter(const Value* v);

}  // namespace tern::graph
