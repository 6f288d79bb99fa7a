// Outputs that may lie in the memory of an input, their donor (put_rows.cc). A program asks for each such
// output whether the caller did so: a BindStep whose value is `question()`, a symbol that nothing binds,
// makes its own symbol 1 or 0.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compiler/lower/program_ir.h"

namespace tern::lower {

struct Donation {
  int output = -1, input = -1;
  // What an output without an answer is called in a BindStep.
  Dim question() const;
};

// What the step asks for, if it is such a question.
std::optional<Donation> donation_of(const BindStep& step);
// All that a program asks for.
std::vector<Donation> donations(const LoweredProgram& program);

// evaluate_program (step_eval.h) with outputs in their donors' memory.
Result<std::vector<TensorDataPtr>> evaluate_program_in_place(const LoweredProgram& program,
                                                             const std::vector<TensorDataPtr>& inputs,
                                                             int level = 0);

}  // namespace tern::lower
