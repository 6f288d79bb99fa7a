// 3 x 3 convolutions of bytes by Winograd's algorithm F(2 x 2), exactly, where bytes are multiplied as words
// of 16 bits (ByteProducts::kPairs): 16 products a patch in place of 36.
//
// Inputs become sums of four bytes, weights 2 G g (2 G)^T of whole numbers up to 9 * 128: both fit 16 bits.
// The transform back gives four times the sum, which must fit 32 bits; what is on the way may wrap. Weights
// are transformed in worker scratch from the panels that every level reads, once a block of patches and group
// of columns, so a module stores nothing more.
#pragma once

#include <functional>
#include <vector>

#include "compiler/lower/byte_words.h"
#include "compiler/lower/winograd_schedule.h"

namespace tern::lower {

inline constexpr int kByteWinogradOutputs = 2;
inline constexpr int64_t kByteWinogradPoints = 16;
// 4 * channels * 9 * 255 * 128 < 2^31.
inline constexpr int64_t kByteWinogradChannels = 1824;

// The blocks, where that is clearly faster than the direct way, which takes `direct_step` cycles for a vector
// and step; nullopt otherwise.
std::optional<WinogradSchedule> winograd_bytes_schedule(const WinogradShape& shape, double direct_step,
                                                        const MachineModel& machine);

// Fills the words of all points of `vectors` vectors of columns. `panel(point)`: where they are kept;
// `weight(tap, step, vector)`: i8 x 4 * lanes; `steps`: channels / 4.
std::vector<kernel::Stmt> winograd_byte_weights(
    int64_t steps, int vectors, const std::function<WordPanel(int64_t point)>& panel,
    const std::function<kernel::Expr(int64_t tap, const kernel::Expr& step, int vector)>& weight);

}  // namespace tern::lower
