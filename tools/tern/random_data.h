// Reproducible data for inputs that are not given, the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tern::cli {

// Floats uniform in [0, 1), integers 0 or 1 (indices must be in range whatever they index), bools either.
// `data` is zeros.
void fill_random(uint8_t* data, uint32_t dtype, size_t count, uint64_t seed);

}  // namespace tern::cli
