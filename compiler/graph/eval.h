// Inside graph/: the evaluator by family. Each function is the meaning of its ops: it gets resolved operands
// and gives dense results, or an Error for what only running shows (an index out of range). Float sums and
// products accumulate in double; integers in 64 bits, wrapped at the end.
#pragma once

#include <cstring>

#include "compiler/graph/ir.h"

namespace tern::graph {

using Tensors = std::vector<TensorDataPtr>;
using Lookup = std::function<std::optional<int64_t>(const std::string&)>;
using Indices = std::vector<int64_t>;

struct EvalNode {
  const Node& node;
  const Tensors& in;  // tensor operands, in order
  const Lookup& symbols;

  Result<int64_t> resolve(const Dim& d) const;
  Result<Indices> resolve(const std::vector<Dim>& dims) const;
  Result<Indices> shape_attr() const;  // attribute `shape`, all dims >= 0
};

Result<TensorDataPtr> eval_elementwise(const EvalNode& e);  // constant map cast bitcast iota from_dims
Result<TensorDataPtr> eval_view(const EvalNode& e);         // reshape broadcast transpose slice pad concat
Result<TensorDataPtr> eval_gather(const EvalNode& e);       // gather* scatter*
Result<Tensors> eval_select(const EvalNode& e);             // top_k nonzero unique nms
Result<TensorDataPtr> eval_reduce(
    const EvalNode& e);  // reduce arg_reduce scan reduce_window arg_reduce_window
Result<TensorDataPtr> eval_contract(const EvalNode& e);  // dot conv
Result<std::vector<EvalValue>> eval_sequence(const Node& node, const std::vector<EvalValue>& operands);

// Row-major element strides.
Indices strides_of(const Indices& shape);
int64_t count_of(const Indices& shape);
// Next position in row-major order; false after the last.
bool advance(Indices& position, const Indices& shape);
// dst[i] = src[sum i*src_strides], dst[sum i*dst_strides], for all i below shape; strides in elements of
// `width` bytes.
void copy_strided(const Indices& shape, size_t width, uint8_t* dst, const Indices& dst_strides,
                  const uint8_t* src, const Indices& src_strides);
TensorDataPtr transpose_tensor(const TensorData& in, const Indices& perm);
TensorDataPtr cast_tensor(const TensorData& in, DType to, bool saturate = true);
// The value that leaves a fold unchanged.
scalar::ScalarValue fold_identity(scalar::ScalarOp op, DType dtype);
// Elements as doubles (floats) or 64-bit integers (everything else).
std::vector<double> to_doubles(const TensorData& t);
std::vector<int64_t> to_ints(const TensorData& t);

// Data movement on types without whole bytes: sub-byte elements become bytes of their bits, strings become
// indices into `table`, and back.
struct Movable {
  std::vector<std::string> table;
  TensorDataPtr enter(const TensorDataPtr& t);
  TensorDataPtr leave(const TensorDataPtr& t, DType original) const;
  static bool needed(DType dtype) { return dtype == DType::kString || dtype_bits(dtype) < 8; }
};

}  // namespace tern::graph
