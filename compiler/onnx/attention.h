// Parts of attention that the ai.onnx and the com.microsoft operators share.
#pragma once

#include "compiler/onnx/importer.h"

namespace tern::onnx {

// The attribute, which must be at least 1.
int64_t heads_of(Op& op, const char* name);
Value* split_heads(Emit& b, Value* x, int64_t heads);  // [B, S, H*D] to [B, H, S, D]
Value* join_heads(Emit& b, Value* x);                  // the way back
// x [B, Hq, M, K] times y [B, Hkv, K, N] where each of y's heads serves Hq / Hkv of x's.
Value* grouped_dot(Emit& b, Value* x, Value* y);
Value* scaled_scores(Emit& b, Value* q, Value* k, double scale);
// What scores are multiplied by where nothing else is said: 1 / sqrt(size of a head), which must be known.
double head_scale(const Dim& size);
// Scores with -inf where a key lies behind the query; query i is at position past + i.
Value* causal_mask(Emit& b, Value* scores, const Dim& past);
// x [B, S, N, H] rotated by caches [B, S, 1, R/2].
Value* rotate(Emit& b, Value* x, Value* cosine, Value* sine, const Dim& width, bool interleaved);
// A cache [B, ..] with the rows, along `axis`, from position first[b] on, which must be inside; first:
// integers of rank 0 or [B].
Value* put_rows(Emit& b, Value* cache, Value* rows, Value* first, int64_t axis);
// Refused if a cache of cosines or sines by positions is no matrix.
void check_position_cache(const Value* cache);
// Caches [positions, R/2] at positions [B, S] (or [S]) as [B, S, 1, R/2].
Value* at_positions(Emit& b, Value* cache, Value* positions);

}  // namespace tern::onnx
