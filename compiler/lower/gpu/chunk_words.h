// Chunks of 16 bytes (chunks.h) as words, put together of elements.
#pragma once

#include <vector>

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

// u32x4: ones in the bits of the first `count` of eight 16-bit elements.
kernel::Expr first_elements(int64_t count);
// Two scalars of 16 bits, and up to four of 8 without sign, as a word, the first one lowest.
kernel::Expr word_of_halves(const kernel::Expr& low, const kernel::Expr& high);
kernel::Expr word_of_bytes(const std::vector<kernel::Expr>& bytes);
// Eight scalars of f32 as a chunk of f16, or of bf16 rounded to nearest, ties to even.
kernel::Expr chunk_of_numbers(LoopWriter& w, const std::vector<kernel::Expr>& numbers, DType dtype);

}  // namespace tern::lower::gpu
