#include "compiler/toolchain/toolchain.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>

#include "compiler/support/parallel.h"
#include "compiler/support/temporary.h"
#include "compiler/support/write_text.h"
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
      {"x86_64_v4+amx",
       {"--target=x86_64-unknown-linux-gnu", "-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16", "-mamx-tile",
        "-mamx-int8", "-mamx-bf16", "-mprefer-vector-width=512", "-DTERN_FMA"},
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

struct Tools {
  std::string clang, lld, version;
};

// What a program that failed wrote, as the end of a sentence.
std::string said(const ProcessResult& result) {
  return result.output.empty() ? " and says nothing." : ":\n" + result.output;
}

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
  if (version.exit_code != 0)
    return error("'{} --version' ends with exit code {}{}", tools.clang, version.exit_code, said(version));
  tools.version = version.output;
  found = tools;
  return tools;
}

// A word of a response file.
std::string quoted(const std::string& word) {
  std::string out = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

class LevelCompiler {
 public:
  LevelCompiler(const LevelFlags& level, Tools tools, const LevelUnits& input, const CompileOptions& options,
                TemporaryFolder directory)
      : level_(level),
        tools_(std::move(tools)),
        input_(input),
        options_(options),
        cache_(options.use_cache ? ObjectCache::default_directory() : ""),
        directory_(std::move(directory)),
        problems_(input.units.size()),
        left_(input.units.size()) {}
  // Of each unit once, by any thread.
  Status run(size_t unit);
  // What the last unit's run() does; to be called where there is none.
  Status finish();
  KernelImage take_image() { return std::move(image_); }

 private:
  std::vector<std::string> flags() const {
    std::vector<std::string> all = level_.compile;
    all.insert(all.end(), common_flags().begin(), common_flags().end());
    // Finds nothing in x86-64's kernels and takes a twentieth of the time; aarch64's get pairs of stores by
    // it.
    if (level_.emulation == "elf_x86_64") all.emplace_back("-fno-slp-vectorize");
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
  const LevelUnits& input_;
  const CompileOptions& options_;
  ObjectCache cache_;
  TemporaryFolder directory_;
  std::vector<std::optional<Error>> problems_;  // of each unit
  std::atomic<size_t> left_;
  KernelImage image_;
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
  TERN_TRY(write_text(source, text));
  if (!options_.dump_dir.empty()) TERN_TRY(dump(source, number));
  if (auto hit = cache_.find(key)) {
    ++cached_;
    TERN_TRY(write_text(object, {reinterpret_cast<const char*>(hit->data()), hit->size()}));
    return Ok{};
  }
  std::vector<std::string> command = {tools_.clang};
  for (const std::string& f : flags()) command.push_back(f);
  command.insert(command.end(), {"-c", "-o", object, source});
  TERN_ASSIGN(ProcessResult result, run_process(command));
  if (result.exit_code != 0) {
    return error("Clang refuses the generated code of level {} (exit code {}){}", level_.name,
                 result.exit_code, said(result));
  }
  if (result.output.find("stack frame size") != std::string::npos) {
    return error("A kernel's stack frame is larger than {} bytes:\n{}", kFrameLimit, result.output);
  }
  ++compiled_;
  std::vector<uint8_t> bytes;
  if (!read_file(object, &bytes)) return error("'{}' ends well, but leaves no object file.", tools_.clang);
  cache_.keep(key, bytes);
  return Ok{};
}

Result<KernelImage> LevelCompiler::link(size_t count, const std::vector<std::string>& entries) {
  std::string output = directory_.path() + "/image.elf", list = directory_.path() + "/link.rsp", text;
  for (const std::string& e : entries) text += "-u\n" + e + "\n";
  for (size_t k = 0; k < count; ++k) text += quoted(object_path(k)) + "\n";
  TERN_TRY(write_text(list, text));
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
  if (result.exit_code != 0)
    return error("The linker fails for level {} ('{}', exit code {}){}", level_.name, tools_.lld,
                 result.exit_code, said(result));
  std::vector<uint8_t> linked;
  if (!read_file(output, &linked)) return error("'{}' ends well, but leaves no image.", tools_.lld);
  return finish_image(linked, entries);
}

// The last one of a level's units links its image.
Status LevelCompiler::run(size_t unit) {
  Status status = compile(input_.units[unit], unit);
  if (!status.ok()) problems_[unit] = status.take_error();
  return --left_ ? Status(Ok{}) : finish();
}

Status LevelCompiler::finish() {
  for (std::optional<Error>& problem : problems_) {
    if (problem) return std::move(*problem);
  }
  TERN_ASSIGN(image_, link(input_.units.size(), input_.entries));
  image_.units_compiled = compiled_;
  image_.units_cached = cached_;
  return Ok{};
}

// A unit of a level.
struct Job {
  size_t level, unit, bytes;
};

// Level after level, of each the longest unit first: nobody waits long for the last one.
std::vector<Job> jobs_of(const std::vector<LevelUnits>& levels) {
  std::vector<Job> jobs;
  for (size_t l = 0; l < levels.size(); ++l) {
    const size_t first = jobs.size();
    for (size_t u = 0; u < levels[l].units.size(); ++u) jobs.push_back({l, u, levels[l].units[u].size()});
    std::sort(jobs.begin() + static_cast<std::ptrdiff_t>(first), jobs.end(), [](const Job& a, const Job& b) {
      return a.bytes != b.bytes ? a.bytes > b.bytes : a.unit < b.unit;
    });
  }
  return jobs;
}

}  // namespace

Result<std::vector<KernelImage>> compile_kernels(const std::vector<LevelUnits>& levels,
                                                 const CompileOptions& options) {
  if (levels.empty()) return std::vector<KernelImage>{};
  std::vector<const LevelFlags*> flags;
  for (const LevelUnits& level : levels) {
    flags.push_back(level_flags(level.level));
    if (flags.back() == nullptr)
      return error(
          "The level '{}' is unknown; there are x86_64_v2, x86_64_v3, x86_64_v3+vnni, x86_64_v4, "
          "x86_64_v4+vnni, x86_64_v4+bf16, x86_64_v4+amx, aarch64, aarch64+dotprod, aarch64+i8mm, "
          "aarch64+bf16.",
          level.level);
  }
  TERN_ASSIGN(const Tools tools, find_tools());
  std::vector<std::unique_ptr<LevelCompiler>> compilers;
  for (size_t l = 0; l < levels.size(); ++l) {
    TERN_ASSIGN(TemporaryFolder folder, TemporaryFolder::make());
    compilers.push_back(
        std::make_unique<LevelCompiler>(*flags[l], tools, levels[l], options, std::move(folder)));
  }
  const std::vector<Job> jobs = jobs_of(levels);
  std::vector<std::optional<Error>> problems(levels.size());
  std::mutex progress;
  size_t begun = 0;
  parallel_for(jobs.size(), options.jobs, [&](size_t i) {
    if (options.progress) {
      const std::lock_guard lock(progress);
      options.progress(begun++, jobs.size());
    }
    Status status = compilers[jobs[i].level]->run(jobs[i].unit);
    if (!status.ok()) problems[jobs[i].level] = status.take_error();
  });
  std::vector<KernelImage> images;
  for (size_t l = 0; l < levels.size(); ++l) {
    if (levels[l].units.empty()) {
      Status status = compilers[l]->finish();
      if (!status.ok()) return status.take_error();
    }
    if (problems[l]) return std::move(*problems[l]);
    images.push_back(compilers[l]->take_image());
  }
  return images;
}

Result<KernelImage> compile_kernels(std::string_view level, const std::vector<std::string>& units,
                                    const std::vector<std::string>& entries, const CompileOptions& options) {
  TERN_ASSIGN(std::vector<KernelImage> images, compile_kernels({{level, units, entries}}, options));
  return std::move(images[0]);
}

}  // namespace tern::toolchain
