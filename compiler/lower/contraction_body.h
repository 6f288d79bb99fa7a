// Contractions of the graph (dot, conv) on a CPU level: which algorithm fits, its schedule, and the kernel's
// body. What surrounds the contraction in its region (inlined producers, epilogue, layouts) is behind the
// request's functions, all of them scalar: this file finds out where memory is contiguous and vectorises.
//
// Algorithms: register-tiled contraction with B packed at compile time, read in place, or transposed into
// worker scratch, and with A read in place or gathered into worker scratch (implicit GEMM); depthwise
// convolution; 3 x 3 convolution by Winograd's algorithm. Operands are floats (sums in f32) or u8 and i8
// (sums in i32). Others (three spatial dimensions, transposed convolution) are refused: the caller falls back
// to the generic nest.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "compiler/graph/ir.h"
#include "compiler/kernel/ir.h"
#include "compiler/lower/byte_chains.h"
#include "compiler/lower/target.h"

namespace tern::lower {

struct WeightEncoding;  // weight_encoding.h

struct ContractionRequest {
  const graph::Node* root = nullptr;  // kDot or kConv
  const MachineModel* machine = nullptr;
  kernel::ParamTable* params = nullptr;
  std::function<int64_t(const Dim&)> hint;  // a likely value of a dimension

  // Scalar element of operand 0 or 1 at a logical index that is in range, in the operand's own type.
  std::function<kernel::Expr(int operand, const std::vector<kernel::Expr>& index)> element;
  // The operand's element type in memory, and its element as it lies there (precision.h): what `element`
  // widens. GPU schedules read it raw; both are for operands that are loads, as contractions' are.
  std::function<DType(int operand)> stored;
  std::function<kernel::Expr(int operand, const std::vector<kernel::Expr>& index)> element_stored;
  // Operand 1 when it is a constant, else null.
  TensorDataPtr constant_rhs;
  // Binds constant weights in the packing that `make` computes; it runs at most once for all levels, as does
  // `encoding` (may be null), which says how other encodings follow.
  using Encoding = std::shared_ptr<const WeightEncoding>;
  std::function<kernel::Buffer(const std::function<TensorDataPtr()>& make,
                               const std::function<Encoding()>& encoding)>
      pack;
  // Other constants that come of the weights, in the same way: levels that need the same one share it.
  enum class Parameter : uint8_t {
    kRows,
    kFilters,
    kEntries,
    kCodes,
    kScales,
    kZeros,
    kGroups,
    kGroupPairs,
    kChannelSums,
    kCount
  };
  std::function<kernel::Buffer(Parameter parameter, const std::function<TensorDataPtr()>& make)>
      pack_parameter;

  // Binds a constant of this level alone.
  std::function<kernel::Buffer(const char* name, const TensorDataPtr& data)> constant;

  // Stores everything that the region computes from `lanes` elements of the root's result: those at
  // index_at(n), index_at(n+1), …; `value` holds them (a vector of the root's type), `count` (may be null)
  // limits them.
  std::function<std::vector<kernel::Stmt>(
      const std::function<std::vector<kernel::Expr>(const kernel::Expr& n)>& index_at, const kernel::Expr& n,
      const kernel::Expr& value, int lanes, const kernel::Expr& count)>
      finish;
  // What the region adds to the root's result at an index first of all, where sums may as well begin with it
  // (null: nothing such); who takes it sets `has_bias` before `finish` is called, whose values then hold it.
  std::function<kernel::Expr(const std::vector<kernel::Expr>& index)> bias;
  bool* has_bias = nullptr;
  ByteChains* chains = nullptr;  // where chain_bytes of a constant operand 1 is kept for all levels
  bool stores_bytes = false;     // all that the region stores has 8 bits
  bool finish_is_long = false;   // more than a handful of cheap operations

  bool bf16_pairs = false;  // may be multiplied as pairs of bf16: some level of the dispatch does
  int winograd = 0;         // what winograd_outputs chose for all levels
  // Binds what the dispatch before makes of the weights (winograd_weights.h); called where `winograd` is not
  // 0.
  std::function<kernel::Buffer()> winograd_weights;
  // A depthwise convolution inside of the region computes the rows of operand 0, of which `element` gives
  // what follows from the sum at hand.
  const graph::Node* depthwise = nullptr;
  TensorDataPtr depthwise_filters;
  // Element of the depthwise convolution's operand 0; what operand 0 of the root is where its sum is `value`.
  std::function<kernel::Expr(const std::vector<kernel::Expr>& index)> depthwise_element;
  std::function<kernel::Expr(const std::vector<kernel::Expr>& index, const kernel::Var& sum)>
      depthwise_result;

  bool bytes_by_winograd = false;  // convolutions of bytes may run so (winograd_bytes.h)
};

struct ContractionBody {
  std::vector<kernel::GridAxis> grid;
  std::vector<kernel::Stmt> body;
  std::string schedule;
  double cycles = 0;             // predicted, on one core; 0: not known
  kernel::TileShape tiles = {};  // of the kernel, if it has any
};

// Nothing when no algorithm here fits (`own`: or takes f64, and products of integers of 32 and 64 bits). The
// same answer for every level of a target: a dispatch's levels share their bindings.
bool contraction_fits(const graph::Node& root, const TensorDataPtr& constant_rhs, bool own = false);
// The side of the output tile (2, 4) when a convolution that fits should run by Winograd's algorithm on these
// machines, the levels of one dispatch; 0 when not.
int winograd_outputs(const graph::Node& root, const std::vector<const MachineModel*>& machines,
                     const std::function<int64_t(const Dim&)>& hint);
// What such a convolution computes: products and transforms.
Dim winograd_flops(const graph::Node& root, int outputs);
// Of a level that has tiles and nothing else: empty where it would not use them.
ContractionBody build_contraction(const ContractionRequest& request);
// How many blocks of columns the result of a convolution of one pixel is computed in.
int64_t blocks_of_columns(const graph::Node& root, const MachineModel& machine,
                          const std::function<int64_t(const Dim&)>& hint);

}  // namespace tern::lower
