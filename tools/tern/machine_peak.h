// What a device can do at most: the denominators of `tern bench --dispatches`. This machine's CPU is measured
// in about 0.1 s by loops of this tool; a loaded machine gives smaller figures, so the best of several rounds
// counts. GPUs are rows of a table (gpu_peaks.def), found by name.
#pragma once

#include <optional>
#include <string_view>

namespace tern::cli {

struct MachinePeak {
  double gflops = 0;         // of f32 multiply-adds (two each), all threads together; 0: not known
  double byte_gops = 0;      // of exact products of 8-bit integers, likewise
  double matrix_gflops = 0;  // of f16 products with f32 sums on a GPU's matrix units
  double gbs = 0;            // reading memory far larger than the caches
};

MachinePeak measure_peak(int threads);

// By the name that the driver gives the device; nothing for one that the table lacks.
std::optional<MachinePeak> known_peak(std::string_view device_name);

}  // namespace tern::cli
