// Transposition in registers: a value that lies in memory along one axis and is stored along another. Squares
// of lanes x lanes are loaded as vectors along the first, turned, and stored as vectors along the second, so
// that no element travels alone.
#pragma once

#include <optional>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"

namespace tern::lower {

// The lower or upper halves of two vectors, their elements in turns.
kernel::Expr interleaved_half(const kernel::Expr& a, const kernel::Expr& b, bool upper);
// Row j of the result holds lane j of each row: as many rows as lanes, a power of two.
std::vector<kernel::Expr> turned(LoopWriter& w, std::vector<kernel::Expr> rows);

// `count` vectors that hold rows of so many elements, one behind the other: vector j of the result is column
// j.
std::vector<kernel::Expr> separated(std::vector<kernel::Expr> rows, std::vector<kernel::Stmt>& out);
// The other way.
std::vector<kernel::Expr> interleaved_columns(std::vector<kernel::Expr> columns,
                                              std::vector<kernel::Stmt>& out);

// Whether `store`, one element's store at (slow, fast), is of that kind: neighbours along fast are neighbours
// where they are stored, and nothing that it loads lies across slow.
bool turns(const std::vector<kernel::Stmt>& store, const kernel::Var& slow, const kernel::Var& fast);

// The block of slow_side x fast_side elements that begins at (slow, fast). What it is read from is prefetched
// in runs along slow while another one is turned: memory gives single lines of many rows half as fast.
struct BlockAhead {
  kernel::Expr slow, fast;
  int64_t slow_side = 0, fast_side = 0;
  bool near = false;         // into L1
  bool whole_lines = false;  // rows along fast are whole cache lines
  // Rows along fast wait in scratch and are stored one after the other: those of a square at a time if near,
  // else all of a block, which is read without asking ahead then (in long runs the processor sees them).
  bool runs = false;
  // With runs and near, on whole squares only: while a block's rows are stored, the lines of the next one are
  // loaded, in so many streams, a line for each that is stored, instead of prefetching them. 0: they are not.
  int loaded = 0;
  kernel::Expr last = {};  // then: the last row along fast that there is
};

// Squares of so many lanes whose rows make a cache line, at least 1.
int64_t squares_of_line(DType type, int lanes);

// The stores of such a kind of all elements of the two ranges; the ends that are no squares one row at a
// time.
std::vector<kernel::Stmt> turned_squares(const std::vector<kernel::Stmt>& store, const kernel::Var& slow,
                                         const AxisRange& slow_range, const kernel::Var& fast,
                                         const AxisRange& fast_range, int lanes,
                                         const std::optional<BlockAhead>& ahead = {});

}  // namespace tern::lower
