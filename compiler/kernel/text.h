// Words that the printer and the parser of .tk text share.
#pragma once

#include <string>
#include <string_view>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

std::string_view infix_text(ScalarOp op);  // "" when the op is written as a call
std::string_view intrinsic_name(Intrinsic which);
int intrinsic_arity(Intrinsic which);
IntrinsicTrait intrinsic_trait(Intrinsic which);
inline bool reads_buffer(IntrinsicTrait trait) {
  return trait == IntrinsicTrait::kCollectiveLoad || trait == IntrinsicTrait::kPeerLoad;
}
std::string type_text(VType type);  // "f32", "f32x16"
std::string_view scope_name(Scope scope);
std::string_view loop_kind_name(LoopKind kind);
inline constexpr TileOp kTileOps[] = {TileOp::kFill,       TileOp::kLoad,  TileOp::kLoadColumns,
                                      TileOp::kLoadGroups, TileOp::kStore, TileOp::kMultiply};
inline constexpr ArrivalOp kArrivalOps[] = {ArrivalOp::kStart, ArrivalOp::kArrive, ArrivalOp::kCopied,
                                            ArrivalOp::kWait};
std::string_view arrival_op_name(ArrivalOp op);  // "arrivals_wait"
std::string_view tile_op_name(TileOp op);        // "tile_load"

}  // namespace tern::kernel
