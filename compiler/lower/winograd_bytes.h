// 3 x 3 convolutions of bytes by Winograd's algorithm, exactly, on words of 16 bits: 16 products a patch of 2
// x 2 in place of 36 (F(2 x 2)), 36 a patch of 4 x 4 in place of 144 (F(4 x 4)).
//
// Points are whole numbers (0, 1, -1, infinity; of F(4 x 4) 2 and -2, too), and weights G g G^T are
// multiplied by what their fractions have below the line, so inputs and weights are whole numbers that fit 16
// bits: 4 * 255 and 9 * 128, or 68 * 255 and 49 * 128. The transform back then gives a multiple of the sum: 4
// of them, or 9 * 2^s with s between 2 and 6. Everything on the way may wrap: 9 has an inverse modulo 2^32,
// and 2^s of the sum must fit 32 bits, which the weights decide (byte_winograd_fits). Weights are transformed
// in worker scratch from the panels that every level reads, once a block of patches and group of columns, so
// a module stores nothing more.
#pragma once

#include <functional>
#include <vector>

#include "compiler/lower/byte_words.h"
#include "compiler/lower/winograd_schedule.h"
#include "compiler/support/tensor_data.h"

namespace tern::lower {

// Whether the multiples of all sums of these weights [O, C, 3, 3] fit 32 bits, whatever the activations are.
bool byte_winograd_fits(const TensorData& weights, int outputs);

// The blocks and the side of patches, at most `most_outputs` (2, 4), where that is clearly faster than the
// direct way, which takes `direct_step` cycles for a vector and step; nullopt otherwise.
std::optional<WinogradSchedule> winograd_bytes_schedule(const WinogradShape& shape, int most_outputs,
                                                        double direct_step, const MachineModel& machine);

// One dimension of the transforms of inputs (i16) and of products (i32), as winograd_input and
// winograd_output.
std::vector<kernel::Expr> byte_winograd_input(int outputs, const std::vector<kernel::Expr>& d,
                                              std::vector<kernel::Stmt>& out);
std::vector<kernel::Expr> byte_winograd_output(int outputs, const std::vector<kernel::Expr>& products,
                                               std::vector<kernel::Stmt>& out);
// The sum itself from what both dimensions gave for pixel (y, x) of a patch.
kernel::Expr byte_winograd_sum(int outputs, int y, int x, const kernel::Expr& value);

// Fills the words of a row of points of `vectors` vectors of columns. `panel(column)`: where those of a point
// are kept; `weight(tap, step, vector)`: i8 x 4 * lanes; `steps`: channels / 4.
std::vector<kernel::Stmt> byte_winograd_weights(
    int outputs, int row, int64_t steps, int vectors, const std::function<WordPanel(int64_t column)>& panel,
    const std::function<kernel::Expr(int64_t tap, const kernel::Expr& step, int vector)>& weight);

}  // namespace tern::lower
