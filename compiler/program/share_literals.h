// Kernels that differ in their literals alone become one: the literals that differ are parameters of the
// dispatch. Quantised networks have scales and zero points of their own in every layer: BERT-base has 189
// kernels for CUDA without this, which take minutes to compile, and a tenth of that with it. After all passes
// over kernels, which make use of what a literal is.
#pragma once

#include "compiler/lower/program_ir.h"

namespace tern::program {

// f32 and i32 literals; a parameter holds the 32 bits, sign-extended. Also the terms (i64) of addresses in
// global memory and of integers stored there: a detector picks boxes class by class. Kernels that nothing
// else matches keep theirs, and so do all if the parameters would not fit push constants
// (TERN_VULKAN_PUSHED_PARAMS). On at most `threads` threads, which change nothing.
void share_literals(lower::LoweredProgram& program, int threads = 1);

}  // namespace tern::program
