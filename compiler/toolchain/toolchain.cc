#include "compiler/toolchain/toolchain.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "compiler/support/unfinished.h"
#include "compiler/toolchain/image.h"
#include "compiler/toolchain/object_cache.h"
#include "compiler/toolchain/process.h"

namespace tern::toolchain {

namespace {

// Stack that a kernel's frame may take: workers' stacks are small.
constexpr int kFrameLimit = 16384;

struct LevelFlags {
  std::string_view name;
  std::vector<std::string> compile;
  std::string_view emulation;
};

const LevelFlags* level_flags(std::string_view name) {
  static const std::vector<LevelFlags> kLevels = {
      {"x86_64_v2", {"--target=x86_64-unknown-linux-gnu", "-march=x86-64-v2"}, "elf_x86_64"},
      {"x86_64_v3", {"--target=x86_64-unknown-linux-gnu", "-march=x86-64-v3", "-DTERN_FMA"}, "elf_x86_64"},
      {"x86_64_v4",
       {"--target=x86_64-unknown-linux-gnu", "-march=x86-64-v4", "-mprefer-vector-width=512", "-DTERN_FMA"},
       "elf_x86_64"},
      {"x86_64_v3+vnni",
       {"--target=x86_64-unknown-linux-gnu", "-march=x86-64-v3", "-mavxvnni", "-DTERN_FMA"},
       "elf_x86_64"},
      {"x86_64_v4+vnni",
       {"--target=x86_64-unknown-linux-gnu", "-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512",
        "-DTERN_FMA"},
       "elf_x86_64"},
      {"x86_64_v4+bf16",
       {"--target=x86_64-unknown-linux-gnu", "-march=x86-64-v4", "-mavx512bf16", "-mprefer-vector-width=512",
        "-DTERN_FMA"},
       "elf_x86_64"},
      {"aarch64+dotprod",
       {"--target=aarch64-unknown-linux-gnu", "-march=armv8.2-a+dotprod", "-DTERN_FMA"},
       "aarch64linux"},
      {"aarch64+i8mm",
       {"--target=aarch64-unknown-linux-gnu", "-march=armv8.2-a+dotprod+i8mm", "-DTERN_FMA"},
       "aarch64linux"},
      {"aarch64+bf16",
       {"--target=aarch64-unknown-linux-gnu", "-march=armv8.2-a+bf16", "-DTERN_FMA"},
       "aarch64linux"},
      {"aarch64", {"--target=aarch64-unknown-linux-gnu", "-march=armv8-a", "-DTERN_FMA"}, "aarch64linux"},
  };
  for (const LevelFlags& l : kLevels) {
    if (l.name == name) return &l;
  }
  return nullptr;
}

const std::vector<std::string>& common_flags() {
  static const std::vector<std::string> kFlags = {
      "-x", "c", "-std=gnu17", "-ffreestanding", "-fno-builtin", "-nostdinc", "-fPIC", "-fvisibility=hidden",
      // Meaning: wrapping integers, IEEE floats as written.
      "-fwrapv", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
      // Nothing but code and constants in the object.
      "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-ident",
      "-fcf-protection=none", "-ffunction-sections", "-fdata-sections",
      // Kernels are vectorised already.
      "-fno-vectorize", "-Wno-everything"};
  return kFlags;
}

class Directory {  // a temporary directory, removed at the end
 public:
  Directory() {
    std::error_code ignored;
    std::string pattern = std::filesystem::temp_directory_path(ignored).string() + "/tern-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) return;
    path_ = pattern;
    unfinished_.emplace(path_);
  }
  ~Directory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::optional<Unfinished> unfinished_;
};

struct Tools {
  std::string clang, lld, version;
};

Result<Tools> find_tools() {
  static std::mutex mutex;
  static std::optional<Tools> found;
  std::lock_guard lock(mutex);
  Tools tools;
  tools.clang = find_program("TERN_CLANG", {"clang-19", "clang"});
  tools.lld = find_program("TERN_LLD", {"ld.lld-19", "ld.lld"});
  if (tools.clang.empty()) {
    return error(
        "The program 'clang-19' is not in PATH; install the packages clang-19 and lld-19, or set "
        "TERN_CLANG.");
  }
  if (tools.lld.empty()) {
    return error("The program 'ld.lld-19' is not in PATH; install the package lld-19, or set TERN_LLD.");
  }
  if (found && found->clang == tools.clang && found->lld == tools.lld) return *found;
  TERN_ASSIGN(ProcessResult version, run_process({tools.clang, "--version"}));
  if (version.exit_code != 0) return error("'{} --version' fails: {}", tools.clang, version.output);
  tools.version = version.output;
  found = tools;
  return tools;
}

class LevelCompiler {
 public:
  LevelCompiler(const LevelFlags& level, Tools tools, const CompileOptions& options)
      : level_(level),
        tools_(std::move(tools)),
        options_(options),
        cache_(options.use_cache ? ObjectCache::default_directory() : "") {}
  Result<KernelImage> run(const std::vector<std::string>& units, const std::vector<std::string>& entries);

 private:
  std::vector<std::string> flags() const {
    std::vector<std::string> all = level_.compile;
    all.insert(all.end(), common_flags().begin(), common_flags().end());
    all.push_back(std::string(options_.optimization));
    all.push_back(fmt::format("-Wframe-larger-than={}", kFrameLimit));
    return all;
  }
  Status compile(const std::string& text, size_t number);
  Status dump(const std::string& source, size_t number);
  Result<KernelImage> link(size_t count, const std::vector<std::string>& entries);
  std::string object_path(size_t number) const { return fmt::format("{}/{}.o", directory_.path(), number); }

  const LevelFlags& level_;
  Tools tools_;
  const CompileOptions& options_;
  ObjectCache cache_;
  Directory directory_;
  std::atomic<int> compiled_ = 0, cached_ = 0;
};

Status LevelCompiler::dump(const std::string& source, size_t number) {
  std::string stem = fmt::format("{}/{}-{}", options_.dump_dir, level_.name, number);
  std::vector<std::string> command = {tools_.clang};
  for (const std::string& f : flags()) command.push_back(f);
  command.insert(command.end(), {"-S", "-o", stem + ".s", source});
  std::error_code problem;
  std::filesystem::create_directories(options_.dump_dir, problem);
  std::filesystem::copy_file(source, stem + ".c", std::filesystem::copy_options::overwrite_existing, problem);
  if (problem) return error("'{}.c' cannot be written ({}).", stem, problem.message());
  TERN_ASSIGN(ProcessResult result, run_process(command));
  if (result.exit_code != 0) return error("Clang fails on '{}.c':\n{}", stem, result.output);
  return Ok{};
}

Status LevelCompiler::compile(const std::string& text, size_t number) {
  std::string recipe = tools_.version;
  for (const std::string& f : flags()) recipe += f + "\n";
  std::string key = content_hash(recipe + text);
  std::string source = fmt::format("{}/{}.c", directory_.path(), number), object = object_path(number);
  if (!write_file(source, text)) return error("'{}' cannot be written.", source);
  if (!options_.dump_dir.empty()) TERN_TRY(dump(source, number));
  if (auto hit = cache_.find(key)) {
    ++cached_;
    if (!write_file(object, {reinterpret_cast<const char*>(hit->data()), hit->size()})) {
      return error("'{}' cannot be written.", object);
    }
    return Ok{};
  }
  std::vector<std::string> command = {tools_.clang};
  for (const std::string& f : flags()) command.push_back(f);
  command.insert(command.end(), {"-c", "-o", object, source});
  TERN_ASSIGN(ProcessResult result, run_process(command));
  if (result.exit_code != 0) {
    return error("Clang refuses the generated code of level {} (exit code {}):\n{}", level_.name,
                 result.exit_code, result.output);
  }
  if (result.output.find("stack frame size") != std::string::npos) {
    return error("A kernel's stack frame is larger than {} bytes:\n{}", kFrameLimit, result.output);
  }
  ++compiled_;
  std::vector<uint8_t> bytes;
  if (!read_file(object, &bytes)) return error("'{}' cannot be read.", object);
  cache_.keep(key, bytes);
  return Ok{};
}

Result<KernelImage> LevelCompiler::link(size_t count, const std::vector<std::string>& entries) {
  std::string output = directory_.path() + "/image.elf", list = directory_.path() + "/link.rsp", text;
  for (const std::string& e : entries) text += "-u\n" + e + "\n";
  for (size_t k = 0; k < count; ++k) text += object_path(k) + "\n";
  if (!write_file(list, text)) return error("'{}' cannot be written.", list);
  std::vector<std::string> command = {tools_.lld,
                                      "-m",
                                      std::string(level_.emulation),
                                      "-shared",
                                      "-Bsymbolic",
                                      "--gc-sections",
                                      "--build-id=none",
                                      "--hash-style=gnu",
                                      "--icf=all",
                                      "-z",
                                      "norelro",
                                      "-z",
                                      "max-page-size=4096",
                                      "-z",
                                      "undefs",
                                      "--threads=1",
                                      "-o",
                                      output,
                                      "@" + list};
  TERN_ASSIGN(ProcessResult result, run_process(command));
  if (result.exit_code != 0) return error("The linker fails for level {}:\n{}", level_.name, result.output);
  std::vector<uint8_t> linked;
  if (!read_file(output, &linked)) return error("'{}' cannot be read.", output);
  return finish_image(linked, entries);
}

Result<KernelImage> LevelCompiler::run(const std::vector<std::string>& units,
                                       const std::vector<std::string>& entries) {
  if (directory_.path().empty()) return error("No temporary directory can be made; set TMPDIR.");
  std::vector<std::optional<Error>> problems(units.size());
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t k; (k = next++) < units.size();) {
      Status status = compile(units[k], k);
      if (!status.ok()) problems[k] = status.take_error();
    }
  };
  size_t workers =
      std::clamp<size_t>(static_cast<size_t>(options_.jobs), 1, std::max<size_t>(units.size(), 1));
  std::vector<std::thread> threads;
  for (size_t t = 1; t < workers; ++t) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
  for (auto& problem : problems) {
    if (problem) return std::move(*problem);
  }
  TERN_ASSIGN(KernelImage image, link(units.size(), entries));
  image.units_compiled = compiled_;
  image.units_cached = cached_;
  return image;
}

}  // namespace

Result<KernelImage> compile_kernels(std::string_view level, const std::vector<std::string>& units,
                                    const std::vector<std::string>& entries, const CompileOptions& options) {
  const LevelFlags* flags = level_flags(level);
  if (flags == nullptr)
    return error(
        "The level '{}' is unknown; there are x86_64_v2, x86_64_v3, x86_64_v3+vnni, x86_64_v4, "
        "x86_64_v4+vnni, x86_64_v4+bf16, aarch64, aarch64+dotprod, aarch64+i8mm, aarch64+bf16.",
        level);
  TERN_ASSIGN(Tools tools, find_tools());
  return LevelCompiler(*flags, std::move(tools), options).run(units, entries);
}

}  // namespace tern::toolchain
