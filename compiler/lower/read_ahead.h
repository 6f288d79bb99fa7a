// Prefetches where the hardware foresees nothing: rows that do not follow each other in memory (a gather's,
// or pieces of longer ones), which a loop visits one after the other. Each is a statement for the vectorised
// loop over the row, which makes of it one a cache line.
#pragma once

#include <optional>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/lower/target.h"

namespace tern::lower {

constexpr int64_t kBytesAhead = 16384;     // some 100 ns at a core's share of the bandwidth
constexpr int64_t kNearBytesAhead = 8192;  // for loops that only read

struct RowsAhead {
  kernel::Var row;       // of the loop over rows
  kernel::Expr last;     // the last row
  bool beyond = false;   // what follows the last row is likely read next
  kernel::Var along;     // of the loop over a row's elements
  int64_t elements = 0;  // that a row is read in one go
  bool near = true;      // into L1
};

// What is worth reading ahead of `bytes`: what lies in memory.
bool comes_from_memory(Level level, int64_t bytes);
// For each read binding's loads in `body` that are consecutive in a row but not from row to row. looked_up:
// only those of rows that a load tells (a gather's).
std::vector<kernel::Stmt> read_ahead(const std::vector<kernel::Stmt>& body, const RowsAhead& rows,
                                     bool looked_up = false);
// For the others, loops for after the one over the row, which begins at `begin`: a row at once, in which
// memory sees runs (slices of rows 1.05 to 1.13 times as fast as line by line between the stores, but gathers
// 0.7).
std::vector<kernel::Stmt> row_ahead(const std::vector<kernel::Stmt>& body, const RowsAhead& rows,
                                    const kernel::Expr& begin);
// Where rows have short gaps between them, all is one run for the processor's own prefetching if the gaps are
// asked for, too (slices of 512 of 640 columns 1.45 times as fast). For the loop over a row, and for behind
// it.
struct GappedRun {
  std::vector<kernel::Stmt> within, behind;
};
std::optional<GappedRun> gapped_run(const std::vector<kernel::Stmt>& body, const RowsAhead& rows,
                                    const kernel::Expr& begin);
// The only such load, where it goes on from row to row (row: null where there are none): a core that does
// more than copy is too slow for the processor's own prefetching. With several it was slower (a sum of two by
// a tenth).
std::vector<kernel::Stmt> run_ahead(const std::vector<kernel::Stmt>& body, const kernel::Var& along,
                                    const kernel::Var& row, int64_t elements,
                                    int64_t bytes_ahead = kBytesAhead);
// Whether it is the only one but for rows that are read again for each row.
bool is_one_run(const std::vector<kernel::Stmt>& body, const kernel::Var& along, const kernel::Var& row,
                int64_t elements);

}  // namespace tern::lower
