// What every CUDA translation unit begins with: scalar types, vectors of lanes, memory accesses, clang's
// builtins that the helpers use, and the machine operations of kernel/intrinsics.def as inline PTX.
// Freestanding C++17 for NVRTC.
#pragma once

#include <string_view>

namespace tern::render {

std::string_view cuda_prelude();

}  // namespace tern::render
