// C text to one position-independent ELF image a level: clang and ld.lld run as programs (TERN_CLANG and
// TERN_LLD, else clang-19/clang and ld.lld-19/ld.lld in PATH). Units are compiled in parallel and cached by
// content; the image is checked (image.h) before anyone sees it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/support/result.h"

namespace tern::toolchain {

struct CompileOptions {
  int jobs = 2;
  bool use_cache = true;  // TERN_CACHE_DIR, else XDG_CACHE_HOME/tern, else HOME/.cache/tern
  std::string dump_dir;   // when set: sources and assembly are written there as LEVEL-N.c, LEVEL-N.s
  std::string_view optimization = "-O2";
  std::function<void(size_t unit, size_t units)> progress;  // by any thread, one at a time
};

struct KernelEntry {
  std::string name;
  uint64_t offset = 0;  // virtual address in the image
};

struct KernelImage {
  std::vector<uint8_t> bytes;  // ELF64, ET_DYN, loadable segments only
  std::vector<KernelEntry> kernels;
  int units_compiled = 0, units_cached = 0;
};

// level: "x86_64_v2", "x86_64_v3", "x86_64_v4", "aarch64". entries: the functions that must be in the image;
// all other code is dropped.
struct LevelUnits {
  std::string_view level;
  std::vector<std::string> units, entries;
};

// An image a level. Equal input gives equal bytes, however many compilers run at once.
Result<std::vector<KernelImage>> compile_kernels(const std::vector<LevelUnits>& levels,
                                                 const CompileOptions& options = {});

Result<KernelImage> compile_kernels(std::string_view level, const std::vector<std::string>& units,
                                    const std::vector<std::string>& entries,
                                    const CompileOptions& options = {});

}  // namespace tern::toolchain
