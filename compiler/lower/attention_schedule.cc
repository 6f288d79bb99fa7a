#include <algorithm>

#include "compiler/lower/attention_tiles.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

// The number of queries up to which dot products beat transposing K, in cycles for `lanes` keys: a dot
// product takes depth loads and adds and an interleaving tree; a square takes log2(lanes) shuffles and a
// store a vector, and then its tiles two multiply-adds a cycle, or the latency of a chain of them.
int64_t few_queries(int lanes, int64_t depth, int vectors) {
  int bits = 0;
  while (1 << bits < lanes) ++bits;
  const auto d = static_cast<double>(depth);
  const double dot = d / 2 + 1.2 * lanes, panel = d * (bits / 2.0 + 1);
  int64_t n = 1;
  while (n < 16 && static_cast<double>(n + 1) * dot <
                       panel + d * std::max(static_cast<double>(n + 1) / 2, 4.0 / vectors))
    ++n;
  return n;
}

}  // namespace

AttentionTiles default_attention_tiles(int64_t batch, int64_t queries, int64_t keys, bool queries_static,
                                       bool keys_static, int64_t depth, int64_t width,
                                       const MachineModel& machine) {
  AttentionTiles t;
  t.lanes = machine.vector_bits / 32;
  if (!queries_static) queries = std::max<int64_t>(queries, 64);

  // Keys: a block's part of K and V in half of L2; scores of a register tile in L1 beside them.
  const int64_t fitting = machine.l2_bytes / 2 / (4 * (depth + width)) / t.lanes * t.lanes;
  const int64_t most = std::clamp<int64_t>(fitting, 4 * t.lanes, 256);
  const int64_t padded = ceil_div(keys, t.lanes) * t.lanes;
  if (!keys_static) {
    t.block_keys = std::min<int64_t>(most, 128);
  } else {
    t.block_keys = ceil_div(ceil_div(padded, ceil_div(padded, most)), t.lanes) * t.lanes;
  }

  // Queries: K is transposed once a block of them, so blocks are large, but enough to share out.
  int64_t blocks = ceil_div(queries, 128);
  while (batch * blocks < 16 && ceil_div(queries, blocks + 1) >= 48) ++blocks;
  const int64_t rows = ceil_div(queries, blocks);

  ContractionSchedule tile;
  ContractionShape shape;
  shape.m = rows;
  shape.n = t.block_keys;
  shape.k = depth;
  choose_register_tile(shape, machine, tile);
  t.score_rows = tile.rows;
  t.score_vectors = tile.vectors;
  shape.n = width;
  choose_register_tile(shape, machine, tile);
  t.sum_rows = tile.rows;
  t.sum_vectors = tile.vectors;
  // Whole tiles of both kinds, so that the rows left over are the same in every block.
  if (queries_static) {
    t.sum_rows = t.score_rows = std::min(t.score_rows, t.sum_rows);
    t.score_rows = t.sum_rows = static_cast<int>(ceil_div(rows, ceil_div(rows, t.score_rows)));
    t.block_queries = blocks == 1 ? queries : ceil_div(rows, t.score_rows) * t.score_rows;
  } else {
    t.block_queries = rows;
  }
  t.few_queries = few_queries(t.lanes, depth, t.score_vectors);
  return t;
}

}  // namespace tern::lower
