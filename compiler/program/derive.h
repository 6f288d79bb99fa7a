// Which constants of a module are stored, and which a program computes from those that are.
//
// Programs for several targets read the same weights in different encodings. Here every encoding but one of
// them is replaced by init steps:
// - a GPU program computes what it reads otherwise from panels that another program stores: 0.1 ms for 50 MB
//   on an H100, less than the copy to the device that it needs anyway;
// - where a CPU program stores bytes by steps or bf16 in pairs, GPU programs that read the tensor or panels
//   compute those back.
// CPU programs read everything from the mapping, derive nothing, and start at once. A constant is derived
// only if the file gets smaller by kLeastBytes: below, the dispatch costs more than the bytes.
#pragma once

#include <memory>
#include <vector>

#include "compiler/lower/program_ir.h"

namespace tern::program {

constexpr int64_t kLeastDerivedBytes = 16 * 1024;

// `programs[i]` is for `targets[i]`. Before add_constants.
void derive_constants(const std::vector<std::unique_ptr<lower::LoweredProgram>>& programs,
                      const std::vector<lower::Target>& targets);

}  // namespace tern::program
