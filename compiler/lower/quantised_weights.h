// Weights that a model keeps in integers and widens in front of a product, w = (q - zero) * scale with scales
// for blocks of steps along k: MatMulNBits, DequantizeLinear of 4 or 8 bits. CPU contractions read the
// integers and widen them in registers, so that weights cross memory at their own size.
//
// absorb_quantised_weights finds them in front of the right operand of `dot`s, whatever views and constants
// they are written with, and makes that operand a constant of small integers with the parameters as
// attributes of the dot: a form of the graph that only this folder's contractions read.
#pragma once

#include <functional>
#include <optional>

#include "compiler/graph/ir.h"
#include "compiler/kernel/ir.h"

namespace tern::lower {

struct QuantisedWeights {
  int bits = 4;               // of an integer in memory: 4 or 8
  int64_t block = 0;          // steps along k that share a scale and a zero point, a multiple of 16
  TensorDataPtr q;            // u8 [k, n], below 2^bits
  TensorDataPtr scale, zero;  // f32 [blocks, n]

  int64_t k() const { return q->shape()[0]; }
  int64_t n() const { return q->shape()[1]; }
  int64_t blocks() const { return scale->shape()[0]; }
  int per_word() const { return 32 / bits; }
};

// The parameters that a dot has got; nullopt for other nodes.
std::optional<QuantisedWeights> quantised_weights(const graph::Node& node);

// `wanted` (null: all): which of them.
void absorb_quantised_weights(
    graph::Graph& graph,
    const std::function<bool(const graph::Node& dot, const QuantisedWeights& weights)>& wanted = nullptr);

// In memory: words of per_word() steps of a column, the first one lowest; panels of 16 columns as pack_panels
// has:
//   words[(panel * ceil(k / per_word) + kk / per_word) * 16 + n % 16]
// and a parameter of each block at [(panel * blocks + kk / block) * 16 + n % 16], all zero past the end.
TensorDataPtr pack_quantised_words(const QuantisedWeights& w);
TensorDataPtr pack_quantised_scales(const QuantisedWeights& w);
// Of the zero points' type. Null when all are the same: uniform_zero.
TensorDataPtr pack_quantised_zeros(const QuantisedWeights& w);
DType zero_type(const QuantisedWeights& w);  // u8, or f32 where one is no whole number of 8 bits
std::optional<double> uniform_zero(const QuantisedWeights& w);

// For matrix units (NVIDIA's mma, packing.h: W = 64 steps): the same panels with words in the order of
// fragments, all of whole blocks of 64 steps. A unit of 4 words has 32 / bits steps in each; word t of it
// those that thread t of a group of four multiplies: steps 16 h + 8 i + 2 t and the next one are integers 2 h
// + i and, half a word higher, the second of a pair, so that one shift and one mask give a pair.
inline constexpr int64_t kFragmentSteps = 64;
TensorDataPtr pack_fragment_words(const QuantisedWeights& w);
TensorDataPtr pack_fragment_scales(const QuantisedWeights& w);
// f16 where all scales are such numbers, or normal ones once rounded to it; else f32.
DType fragment_scale_type(const QuantisedWeights& w);
TensorDataPtr pack_fragment_zeros(const QuantisedWeights& w);  // as pack_quantised_zeros
int64_t fragment_blocks(const QuantisedWeights& w);            // of a column, as they are packed

// What kernels read them by. `zeros` is null where they are uniform.
struct QuantisedPanels {
  kernel::Buffer words, scales, zeros;
  int bits = 4;
  int64_t steps = 0, blocks = 0, block = 0;  // words of a column; blocks of one; steps along k in a block
  double zero = 0;
  bool from_memory = false;  // more than caches hold

  kernel::Expr word_index(const kernel::Expr& column, const kernel::Expr& word) const;
  kernel::Expr parameter_index(const kernel::Expr& column, const kernel::Expr& at_block) const;
  // The first `count` steps of word number `word`, widened to f32, for columns n..n + lanes - 1. What is
  // computed once goes to `out`.
  std::vector<kernel::Expr> widen(const kernel::Expr& n, const kernel::Expr& word, int count, int lanes,
                                  std::vector<kernel::Stmt>& out) const;

  // The parameters of a block of columns n..n + lanes - 1, and step i of `q`, words of it, without the scale.
  struct Parameters {
    kernel::Expr scale, base, rest;  // rest: of zero points that are no whole numbers, else null
  };
  Parameters parameters(const kernel::Expr& n, const kernel::Expr& at_block, int lanes,
                        std::vector<kernel::Stmt>& out) const;
  kernel::Expr step_of(const kernel::Expr& q, int i, const Parameters& p) const;
  // Steps k..k + count - 1 of one column, widened; k is a multiple of count, which divides a word's steps.
  kernel::Expr steps_from(const kernel::Expr& k, const kernel::Expr& n, int count) const;
};

}  // namespace tern::lower
