// Contractions whose operands are 16-bit floats in memory, or multiplied in TF32, on matrix units.
#pragma once

#include <optional>

#include "compiler/lower/context.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {

class DepthwiseRows;

// False, with nothing added, when matrix units do not suit: wide operands, a right operand whose rows and
// columns are no chunks of memory, no such units.
bool lower_mma_contraction(const Region& region, LoweringContext& context);

// Whether matrix units multiply a product's weights as the integers that they are (quantised_weights.h).
// `precision`: what the program stores f32 as.
bool multiplies_integers(const graph::Node& dot, const QuantisedWeights& weights, DType precision,
                         const Target& target);
// How many rows a product usually has where few are another dispatch's: at least those of a prompt.
int64_t usual_many(const Dim& rows, const LoweringContext& context);
// Such a product, whose weights are absorbed, in two dispatches where the number of its rows is a symbol.
void lower_integer_product(const Region& region, LoweringContext& context);

// Adds a variant on cooperative matrices for `level` to a contraction that other levels compute otherwise:
// GpuModel::tiles; nothing where they do not suit.
// `panels`: the buffer of its weights (packing.h: pack_panels), whose type they have; null: operand 1 is no
// constant. `rows`: computes the left operand, where has_resident_form said so, or null.
void add_matrix_variant(DispatchBuilder& dispatch, Level level, ContractionProblem problem,
                        kernel::Buffer panels, const DepthwiseRows* rows = nullptr);

// The same of a product whose weights are integers (quantised_weights.h), of `rows` as a rule; f16 rows on
// tiles of those, f32 in parts. `factor`: of the grid (few_rows.h: limit_grid).
void add_matrix_words_variant(DispatchBuilder& dispatch, Level level, const ContractionProblem& problem,
                              const QuantisedPanels& panels, int64_t rows, const Dim& factor);

// Adds a variant for `level` (GpuModel::fast_tf32) to a contraction of f32 that other levels compute by fused
// multiply-adds: three products of TF32 each (mma_schedule.h: tf32x3). Nothing where they do not suit.
// `panels`: as above.
void add_tf32x3_variant(DispatchBuilder& dispatch, Level level, const ContractionProblem& problem,
                        kernel::Buffer panels);

// Whether a product and the depthwise convolution that it reads are faster as one dispatch on a level with
// cooperative matrices.
bool has_resident_form(const graph::Node& product, LoweringContext& context);

// Whether cooperative matrices gather operand 0 of a convolution, of few channels and taps, element by
// element from wherever it lies: a copy would cost more.
bool reads_in_place(const graph::Node& root, const LoweringContext& context);

// Into how many parts the depth of a product with constant weights is best split, for planes that its readers
// add up (place.h); 1: not at all, or nothing here computes it.
int depth_parts(const graph::Node& root, LoweringContext& context);

// How operand 0 of a contraction should lie for matrix units, where that is worth a copy.
struct OperandCopy {
  DType dtype = DType::kF16;
  int64_t channel_pitch =
      0;  // convolutions: elements from one pixel to the next; 0: as many as there are channels
};
std::optional<OperandCopy> wanted_copy(const graph::Node& root, LoweringContext& context);

// Whether the value's elements lie in memory as `dtype`, runs of `run` of them along dimension `along`
// following each other from multiples of a chunk on: what asynchronous copies need. The value has
// a place.
// `chunk`: elements of a copy; 0: of 16 bytes.
bool chunks_of(const graph::Value* value, size_t along, int64_t run, DType dtype, LoweringContext& context,
               int64_t chunk = 0);
// The most elements of a copy (of 16, 8 or 4 bytes) that suit; 0: none, or the value has no place.
int piece_of(const graph::Value* value, size_t along, int64_t run, DType dtype, LoweringContext& context);

}  // namespace tern::lower::gpu
