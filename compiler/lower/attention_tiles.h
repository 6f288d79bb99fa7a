// Attention on a CPU: softmax(score(Q K^T)) V for a block of queries at a time, with a running maximum and
// sum over blocks of keys, so that scores stay in the caches (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018; Dao et al., "FlashAttention", 2022). f32.
//
//   grid    batch (heads), blocks of block_queries
//   keys    blocks of block_keys: their scores, the scores' weights, and the sums of V by them
//   scores  many queries: K is transposed, block by block, into panels for register tiles; few: dot products,
//           `lanes` keys at a time (also where K's keys are neighbours in memory no panel is made)
//   sums    register tiles of queries by columns of V
//
// All buffers lie in worker scratch. Everything follows from shapes and the machine model.
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"
#include "compiler/lower/target.h"

namespace tern::lower {

struct AttentionExtents {
  Dim batch = 1, queries, keys;
  int64_t depth = 64, width = 64;  // of a row of Q and K, of a row of V
  std::optional<Dim> reach = {};   // query q sees the keys up to q + reach (causal.h)
};

struct AttentionTiles {
  int lanes = 4;
  int64_t block_queries = 1, block_keys = 64;  // whole register tiles; a multiple of lanes
  int score_rows = 1, score_vectors = 1;       // register tile of the scores
  int sum_rows = 1, sum_vectors = 1;           // register tile of the sums
  int64_t few_queries = 0;  // up to so many in a block take dot products, where K's depth is contiguous
  std::string text() const;
};

struct AttentionOperands {
  using Expr = kernel::Expr;
  // Query m's element d, a scalar.
  std::function<Expr(const Expr& m, const Expr& d)> q;
  // `lanes` elements of K: of key n from d on, or, the other one being null, of keys n.. at depth d; `count`
  // (may be null) limits them.
  std::function<Expr(const Expr& n, const Expr& d, int lanes, const Expr& count)> k_along_depth, k_along_keys;
  // `lanes` elements of V's row n from column d on.
  std::function<Expr(const Expr& n, const Expr& d, int lanes, const Expr& count)> v;
  // What softmax sees of query m and keys n.., given their products.
  std::function<Expr(const Expr& m, const Expr& n, const Expr& products, int lanes, const Expr& count)>
      scores;
  // Stores `lanes` outputs of query m from column d on.
  std::function<std::vector<kernel::Stmt>(const Expr& m, const Expr& d, const Expr& value, int lanes,
                                          const Expr& count)>
      finish;
};

struct AttentionTilesKernel {
  std::vector<kernel::GridAxis> grid;
  std::vector<kernel::Stmt> body;
};

// Sizes are those of the cost model (hints for symbolic ones, whose blocks must do for other sizes too).
AttentionTiles default_attention_tiles(int64_t batch, int64_t queries, int64_t keys, bool queries_static,
                                       bool keys_static, int64_t depth, int64_t width,
                                       const MachineModel& machine);

// batch_axis: a grid axis that the operand functions refer to, or one with a null variable.
AttentionTilesKernel build_attention_tiles(const AttentionExtents& extents,
                                           const kernel::GridAxis& batch_axis, const AttentionTiles& tiles,
                                           bool has_fma, const AttentionOperands& operands,
                                           kernel::ParamTable& params);

}  // namespace tern::lower
