// Rows of a value as tensors whose boxes a kernel copies (kernel/ir.h): what the declaration and the copies
// of an operand need, whatever its layout.
#pragma once

#include <functional>
#include <optional>

#include "compiler/lower/emitter.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

struct TensorRows {
  kernel::Buffer buffer;
  int64_t offset = 0;                    // elements
  std::vector<kernel::TensorAxis> axes;  // the last two: rows, and a row's elements; boxes are one element
  // Where row `row` begins along all axes but the last.
  std::function<std::vector<kernel::Expr>(const kernel::Expr& row)> at;
};

using RowIndex = std::function<Index(const kernel::Expr& row)>;

// Rows along dimension `along` of a value in memory, one behind the other along dimension `rows`: reads past
// the last row of a batch give zeros. Nothing where no tensor describes them. index: of a row's first
// element.
std::optional<TensorRows> rows_along(const graph::Value* value, size_t rows, size_t along,
                                     const RowIndex& index, DispatchBuilder& dispatch);
// The same of rows that all lie equally far apart: any dimensions but `along` number them, and what comes
// behind the last row of one batch may be another one's first.
std::optional<TensorRows> rows_in_line(const graph::Value* value, size_t along, const RowIndex& index,
                                       DispatchBuilder& dispatch);

// The declaration with boxes of `rows` x 64 elements, swizzled.
kernel::Tensor panels_of(const TensorRows& rows, const char* name, int64_t box_rows);
// Copies box_rows rows from `row` on, elements `first` .. `first` + width - 1 of each (whole panels of 64),
// to panels of `to` from index `at` on.
void copy_boxes(LoopWriter& w, const TensorRows& rows, const kernel::Tensor& tensor, const kernel::Expr& row,
                const kernel::Expr& first, int64_t width, const kernel::Buffer& to, const kernel::Expr& at,
                const kernel::Expr& counter);

}  // namespace tern::lower::gpu
