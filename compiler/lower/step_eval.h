// Runs a LoweredProgram's steps on the kernel evaluator: the meaning of lowering's output, slow and obvious,
// without clang. For differential tests against graph::evaluate, and for finding out which of lowering and
// the later stages is wrong.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/lower/program_ir.h"
#include "compiler/support/result.h"

namespace tern::lower {

// `level`: an index into each dispatch's variants, from the best (0) down.
Result<std::vector<TensorDataPtr>> evaluate_program(const LoweredProgram& program,
                                                    const std::vector<TensorDataPtr>& inputs, int level = 0);

// Whether the indices of a program's kernels stay inside of what each is given (kernel::check_bounds),
// for inputs of these shapes; sizes that data decide are small ones, and both ways of a branch are walked.
Status check_program_bounds(const LoweredProgram& program, const std::vector<std::vector<int64_t>>& shapes,
                            int level);

// What the init steps leave in each kDerived buffer; others are empty.
Result<std::vector<std::vector<uint8_t>>> evaluate_init(const LoweredProgram& program);

}  // namespace tern::lower
