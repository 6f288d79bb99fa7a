// Products of u8 with constant i8 by instructions that add pairs of them in 16 bits with saturation
// (pmaddubsw), exactly: no sum that is formed can leave 16 bits, whatever the activations are.
//
// A pair of a column is safe when neither its positive nor its negative weights add up to more than 128 (255
// * 128 < 2^15). A step of four weights in which a pair of some column is not is done twice, its even and its
// odd bytes alone. Of all that has to be done, two whose sums together are still safe are added in 16 bits
// before they are widened: a unit, two products and three additions for 64 multiply-adds of a 256-bit
// vector, where widening first takes eight. Which two is free, as the steps of a sum may come in any order:
// they are chosen here, once, for every kChainColumns columns. The weights stay as packing.h describes them;
// what is made here are lists of places in them.
#pragma once

#include <functional>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/lower/packing.h"

namespace tern::lower {

inline constexpr int kChainColumns = 8;
// Partners are looked for among so many steps and the so many before them: what a kernel reads of those stays
// in L1 however they are mixed, and the search takes time in proportion to the weights, whatever they are.
inline constexpr int64_t kChainSegment = 128;

struct ByteChains {
  // u32: kMasks masks of the bytes that a code's kind leaves, then for each batch and group of columns the
  // first of its units, and the end of the last one's.
  TensorDataPtr table;
  // u16: two codes a unit, 4 * step + kind.
  TensorDataPtr codes;
  double units_a_step = 0;

  static constexpr int kMasks = 4;
  static constexpr int kNone = 0, kEven = 1, kOdd = 2, kAll = 3;
  static constexpr int64_t kMaxSteps = 1 << 14;
};
// Deeper sums than kMaxSteps have no chains. Where there are more than `most_units` units a step, lists are
// not finished: both tensors are null, units_a_step is a figure above it.
ByteChains chain_bytes(const TensorData& weights, const PanelSource& source, double most_units = 1e9);

// What a kernel reads.
struct ChainOperands {
  kernel::Buffer table, codes;
  std::function<kernel::Expr(const kernel::Expr& n)> group;  // of the columns from n on
};

}  // namespace tern::lower
