// Calls of a native kernel with all that it is given between guard pages (tests/guarded/guarded_memory.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/kernel/ir.h"
#include "tests/guarded/guarded_memory.h"
#include "tests/native/kernel_factory.h"
#include "tests/native/native_kernel.h"

namespace tern::test {

// Runs the kernel on copies of its bindings' memory, whose `side` touches a guard, and copies what was stored
// back. Binding k is `memory[k]`; what the kernel only reads cannot be stored to. Returns the first access
// outside, as a sentence's part ("a load 3 bytes behind its end of binding x"), or "".
std::string run_guarded(tern_kernel_fn_t function, const kernel::Kernel& kernel,
                        const std::vector<kernel::EvalBinding>& memory, const std::vector<int64_t>& params,
                        int64_t tiles, GuardedMemory::Side side, int32_t* out_code);

// A run on random contents, with either end of all memory at a guard, against the evaluator
// (compare_with_evaluator).
std::string compare_runs(const kernel::Kernel& kernel, tern_kernel_fn_t native, std::mt19937& random,
                         double ulps);

}  // namespace tern::test
