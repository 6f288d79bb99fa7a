// CUDA text on this machine: clang compiles it as C++ with the few names of CUDA that it uses defined, and
// one thread's run is compared with the evaluator. Covers the printer, 32-bit indices, vectors and accesses
// of the prelude and all helpers; not inline PTX, whose conversions are written out, nor anything with more
// than one thread.
#pragma once

#include <string>
#include <vector>

#include "tests/native/op_cases.h"

namespace tern::test {

// CPU kernels, each as one thread's work. `name` names the files.
void check_cuda_on_host(const std::vector<Case>& cases, const std::string& name);

}  // namespace tern::test
