// Builds the kernel of a contraction from its schedule: the blocked loops and the register tile. What A, B
// and the result are (a convolution's windows, a transposed activation, an epilogue with residual and
// activation) is behind the operand functions.
#pragma once

#include <functional>
#include <optional>

#include "compiler/kernel/ir.h"
#include "compiler/lower/byte_chains.h"
#include "compiler/lower/byte_words.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/conv_gather.h"
#include "compiler/lower/quantised_weights.h"
#include "compiler/lower/target.h"

namespace tern::lower {

// What one step along k multiplies: `step_group` elements of A with as many of each of B's columns. k then
// counts groups, the indices of A and B elements, and what is missing of the last group is 0 in B.
enum class StepKind : uint8_t {
  kFloats,     // one element, in f32
  kOwn,        // one element, in the result's own type: f64, integers of 32 and 64 bits
  kBf16Pairs,  // two bf16 (as u16 where they wait in scratch), summed in f32; what A lacks is 0 too
  kBytes,      // kByteGroup bytes, u8 and i8, summed in i32; what A lacks is anything
};
int step_group(StepKind kind);

// The lower (0) or upper (1) bf16 of each u32, widened to f32.
kernel::Expr bf16_of_word(const kernel::Expr& word, int which);

struct ContractionOperands {
  StepKind step = StepKind::kFloats;
  DType own = DType::kF64;  // kOwn: the type
  ByteProducts byte_products = ByteProducts::kPairs;
  bool words_of_a = false, words_of_b = false;  // kPairs: widened in scratch (byte_words.h), not in registers
  // Words that are there already, for contraction_columns: of the block's rows, and of its columns.
  std::optional<WordRows> word_rows = std::nullopt;
  std::optional<WordPanel> word_panel = std::nullopt;
  std::optional<ChainOperands> chains = std::nullopt;  // kPairs, a constant B: lists of its steps
  // A. Direct: element (m, k) is a_buffer[a_row(m) + k]. Gathered: gather_a fills block[row * row_stride + k
  // - k0] for `rows` rows from row0 and `depth` steps from k0 (row_stride in elements).
  kernel::Buffer a_buffer;
  std::function<kernel::Expr(const kernel::Expr& m)> a_row;
  int64_t a_pitch = 0;  // of rows that tiles read in place: a_row(m + 1) - a_row(m)
  std::function<std::vector<kernel::Stmt>(const kernel::Buffer& block, const kernel::Expr& row0,
                                          const kernel::Expr& rows, const kernel::Expr& k0,
                                          const kernel::Expr& depth, int64_t row_stride)>
      gather_a;

  // Rows in blocks of their own (window_parts.h), m being block_rows for each of them; null: rows follow each
  // other. Prepares a block, whose rows count from 0 on for a_row and finish, and gives their number, whole
  // tiles.
  std::function<kernel::Expr(const kernel::Expr& block, std::vector<kernel::Stmt>& out)> begin_block;
  // With them: a register tile's steps, which pass once for each tap, so much further along rows of A and B.
  using Pass = std::function<std::vector<kernel::Stmt>(const kernel::Expr& a, const kernel::Expr& b)>;
  std::function<std::vector<kernel::Stmt>(const Pass& pass)> for_taps;

  // Blocks of the depth [begin, end) beside which those rows of A are 0, at least one; null: all.
  std::function<WindowLines(const kernel::Expr& row0, const kernel::Expr& rows)> depth_blocks;

  // B. Direct: columns n..n+lanes-1 of step k lie at b_buffer[b_index(n, k)] (f32, or a narrower float that
  // is widened in registers); b_padded says that whole vectors may be read past the last column (packed
  // panels). Gathered: gather_b fills panel[(k - k0) * columns + n - n0] (times the group, its elements
  // innermost), zero beyond the last column. In words (word_steps > 1, of kFloats): word number k of a
  // column, at b_index(n, k), holds so many steps, which widen_words gives in f32 (the first `count` of
  // them).
  int word_steps = 1;
  std::function<std::vector<kernel::Expr>(const kernel::Expr& n, const kernel::Expr& word, int count,
                                          std::vector<kernel::Stmt>& out)>
      widen_words;
  std::optional<QuantisedPanels> quantised =
      std::nullopt;             // what the words hold: a single row multiplies them
  bool pairs_of_bytes = false;  // kPairs: sums of two products of bytes are one instruction
  bool few_registers = false;
  kernel::Buffer b_buffer;
  std::function<kernel::Expr(const kernel::Expr& n, const kernel::Expr& k)> b_index;
  bool b_padded = true;
  std::function<std::vector<kernel::Stmt>(const kernel::Buffer& panel, const kernel::Expr& n0,
                                          int64_t columns, const kernel::Expr& k0, const kernel::Expr& depth)>
      gather_b;

  // What the sums of columns n..n+lanes-1 begin with, in all rows; `count` (may be null) limits it. Null: 0.
  std::function<kernel::Expr(const kernel::Expr& n, int lanes, const kernel::Expr& count)> begin;
  // Stores the finished vector of columns n..n+lanes-1 of row m; `count` (may be null: all) limits it.
  std::function<std::vector<kernel::Stmt>(const kernel::Expr& m, const kernel::Expr& n,
                                          const kernel::Expr& value, int lanes, const kernel::Expr& count)>
      finish;
  bool finish_in_pairs = false;  // two vectors at once where both are whole: bytes are packed so
  bool finish_is_long =
      false;  // the epilogue is big: loop over it instead of unrolling it into every register tile
};

// A block of rows times `vectors` vectors of columns from n on, over the whole depth.
struct ContractionColumns {
  kernel::Expr row0, rows;  // rows row0..row0+rows-1
  kernel::Expr n;
  int vectors = 1;
};

struct ContractionKernel {
  std::vector<kernel::GridAxis> grid;  // [batch], row blocks, column blocks
  std::vector<kernel::Stmt> body;
};

// m, n, k: the extents. batch_axis: a grid axis that the operand functions already refer to, or an axis with
// a null variable.
ContractionKernel build_contraction_kernel(const Dim& m, const Dim& n, const Dim& k,
                                           const kernel::GridAxis& batch_axis,
                                           const ContractionSchedule& schedule, bool has_fma,
                                           const ContractionOperands& operands, kernel::ParamTable& params);

// The register tiles of one such block, as part of another kernel that has its own loops around them. A must
// not be gathered, B be padded, and k not larger than schedule.block_depth; m: all rows that there are.
std::vector<kernel::Stmt> contraction_columns(const Dim& m, const Dim& k, const ContractionColumns& block,
                                              const ContractionSchedule& schedule, bool has_fma,
                                              const ContractionOperands& operands,
                                              kernel::ParamTable& params);

}  // namespace tern::lower
