// Running folds across the threads of a workgroup, in an order that follows from the number of threads alone:
// shuffles in subgroups and one part a subgroup in workgroup memory, or steps of doubling distance in
// workgroup memory where subgroups are not relied on. All threads reach the statements together.
#pragma once

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

struct BlockThreads {
  int threads = 1;   // a power of two; of whole subgroups
  int subgroup = 0;  // width that may be relied on; 0: none
  kernel::Expr thread;
};

struct BlockScan {
  kernel::Expr before;  // fold of the threads before the own one; the identity in the first
  kernel::Expr total;   // of all threads
};
// `mine` is of a type that shuffles take (32- and 64-bit numbers). `op`: associative, with an identity.
BlockScan block_scan(LoopWriter& w, const BlockThreads& block, kernel::ScalarOp op, const kernel::Expr& mine);

}  // namespace tern::lower::gpu
