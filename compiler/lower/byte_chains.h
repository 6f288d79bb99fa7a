// Products of u8 with constant i8 by instructions that add pairs of them in 16 bits with saturation
// (pmaddubsw), exactly: no sum that is formed can leave 16 bits, whatever the activations are.
//
// Sums of a pair of weights stay inside where neither its positive nor its negative weights add up to more
// than 128 (255 * 128 < 2^15). So do those of several steps of four weights whose pairs together stay inside
// that: a chain of two or three steps is added in 16 bits before it is widened, three or four multiplications
// and two or three additions of a vector, where each step widened first takes two and two. Which steps make a
// chain is free, as the steps of a sum may come in any order, and is chosen here, once. A chain holds for one
// column (or two neighbours), so kernels have rows in the lanes of a vector and one column's weights in all
// of them: for eight columns at once few steps would suit. Steps that suit no other are widened.
//
// The weights stay as packing.h describes them; what is made here are lists of places in them, a byte a step.
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"
#include "compiler/lower/packing.h"

namespace tern::lower {

// Steps are chained inside segments of so many: a kernel's rows of a segment, eight vectors of them, stay in
// L1 (16 of 32 KB, beside the weights of the columns that are sorted together) however its steps are mixed.
// They are as long as each other, the last one shorter by what is left over.
inline constexpr int64_t kChainSegment = 64;
int64_t chain_segments(int64_t steps);
int64_t chain_segment_steps(int64_t steps);  // of all but the last
int64_t chain_last_segment_steps(int64_t steps);
// Of a segment: rows are turned in squares of so many steps (or fewer lanes).
inline constexpr int64_t kChainLeastSteps = 16;
// Columns that share a list: one where sums are short, since each weight counts there and there are few.
int chain_columns(int64_t steps);
// Vectors of rows from which on chains pay.
inline constexpr int64_t kChainVectors = 3;

// Columns whose lists are in order of their chains' numbers, so that kernels' loops have the same ends again
// and again, as branches are foretold by. What a kernel reads of the weights of so many stays in L1.
int64_t chain_sorted_columns(int64_t steps);

struct ByteChains {
  // u8: for each batch, segment and list, sorted, kEntry bytes: which list of those sorted together it is,
  // and the numbers of its chains of three steps, and of two.
  TensorDataPtr entries;
  // u8: likewise its steps in the order of their chains, threes first, then twos, then single ones; each as
  // its place in its segment.
  TensorDataPtr codes;
  static constexpr int64_t kEntry = 3;
  // Of a vector of sums, with what is widened; 0: lists are not made.
  double cycles_a_step = 0;
};
// Where a step takes more than `most_cycles`, lists are not finished: both tensors are null.
ByteChains chain_bytes(const TensorData& weights, const PanelSource& source, double most_cycles = 1e9);

// Cycles that a step of a vector takes where all steps are widened: two multiplications and two additions, at
// 93 % of what a core does of those.
inline constexpr double kWidenedCycles = 1.2;
// Whether the weights have chains that take less. What is found is kept in `chains`, empty before.
bool suits_chains(ByteChains& chains, const TensorData& weights, const PanelSource& source);

// What a kernel reads.
struct ChainOperands {
  kernel::Buffer entries, codes;
  kernel::Expr first_list = nullptr;  // of the batch
  int64_t lists = 0;                  // of one batch
};

}  // namespace tern::lower
