// Turns the kernels of a module into executables: render each as C, join them to translation units, compile
// and link them, one image a level; or as CUDA, one unit, compiled for each architecture of the level.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "compiler/pack/module_writer.h"
#include "compiler/program/parts.h"
#include "compiler/support/result.h"

namespace tern {

struct KernelBuildOptions {
  int jobs = 2;
  bool use_cache = true;
  std::string dump_dir;                                     // the kernels' sources and assembly
  std::function<void(size_t unit, size_t units)> progress;  // by any thread, one at a time
};
struct KernelBuildResult {
  std::vector<pack::ExecutableImage> images;  // of the pool's levels, each level's image kinds in order
  int units_compiled = 0, units_cached = 0;
};
Result<KernelBuildResult> build_kernels(const program::KernelPool& pool, const KernelBuildOptions& options);

}  // namespace tern
