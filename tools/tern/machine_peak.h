// What this machine's CPU can do at most, measured in about 0.1 s by loops of this tool: the denominators of
// `tern bench --dispatches`. A loaded machine gives smaller figures, so the best of several rounds counts.
#pragma once

namespace tern::cli {

struct MachinePeak {
  double gflops = 0;     // of f32 multiply-adds (two each), all threads together; 0: not known
  double byte_gops = 0;  // of exact products of 8-bit integers, likewise
  double gbs = 0;        // reading memory far larger than the caches
};

MachinePeak measure_peak(int threads);

}  // namespace tern::cli
