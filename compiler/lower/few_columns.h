// Products with few columns, fewer than half a vector: lanes run along the depth instead of the columns. A
// tile has a sum of a vector for each of its rows and columns; lanes are added up at the end. Tests:
// contraction_body_test.cc ("few columns").
#pragma once

#include <optional>

#include "compiler/lower/contraction_kernel.h"

namespace tern::lower {

struct FewColumns {
  int lanes = 4, rows = 1, columns = 1;  // of a register tile
  int64_t block_rows = 1;
  double cycles = 0;
  std::string text() const;
};

// The register tile of so many columns, at most half a vector; nothing of more.
std::optional<FewColumns> few_columns_tile(int64_t columns, const MachineModel& machine);
// Cycles of a tile over so many steps, `runs` of them that follow each other in memory.
double few_columns_cycles(const FewColumns& tile, int64_t steps, int64_t runs);

// Where that takes less time than panels, whose schedule is `panels`; B is a constant in f32.
std::optional<FewColumns> few_columns(const ContractionShape& shape, const ContractionSchedule& panels,
                                      const MachineModel& machine);

// The constant B as rows: [batch][column][k], a row padded with zeros to whole vectors of 16.
int64_t padded_depth(int64_t k);

// `operands`: A and `finish`; `b_at(column, k)` is where B's row of that column lies from k on in
// operands.b_buffer.
ContractionKernel build_few_columns(
    const Dim& m, int64_t k, const kernel::GridAxis& batch_axis, const FewColumns& schedule, bool has_fma,
    const ContractionOperands& operands,
    const std::function<kernel::Expr(int64_t column, const kernel::Expr& k)>& b_at,
    kernel::ParamTable& params);

}  // namespace tern::lower
