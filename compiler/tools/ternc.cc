#include "compiler/tools/ternc.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "compiler/support/temporary.h"
#include "compiler/support/unfinished.h"
#include "compiler/support/write_text.h"
#include "compiler/tools/ternc_options.h"
#include "compiler/tools/ternc_report.h"
#include "tools/command_line/problems.h"

namespace {

using namespace tern;
using command_line::kFailed;
using command_line::kIo;
using command_line::kSuccess;
using command_line::kUsage;
constexpr int kToolchainError = 3;  // clang or lld is missing or failed

int fail(int code, const std::string& text) {
  return command_line::report("ternc", code, text);
}

// Each problem of a model on a line of its own behind the tool's name, its notes below.
int fail(int code, const Diagnostics& diagnostics) {
  command_line::Problems problems;
  for (const Error& problem : diagnostics.errors()) problems.add(problem.text(), code);
  command_line::report("ternc", problems);
  return code;
}

int exit_code(CompileStatus status) {
  switch (status) {
    case CompileStatus::kOk:
      return kSuccess;
    case CompileStatus::kToolchainError:
      return kToolchainError;
    case CompileStatus::kFileError:
      return kIo;
    default:
      return kFailed;
  }
}

// Through links as well; files that are not there yet have one path.
bool same_file(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return std::filesystem::equivalent(a, b, ignored) ||
         std::filesystem::weakly_canonical(a, ignored) == std::filesystem::weakly_canonical(b, ignored);
}

void check_files(const TerncOptions& options, const std::string& output, command_line::Problems& problems) {
  const auto add = [&](const std::string& sentence) {
    if (!sentence.empty()) problems.add(sentence, kIo);
  };
  add(command_line::input_problem("model", options.input));
  const std::vector<lower::Target>& targets = options.compile.targets;
  const bool for_cpus = std::any_of(targets.begin(), targets.end(),
                                    [](const lower::Target& t) { return !lower::is_gpu(t.arch); });
  if (!options.compile.check_only && for_cpus) {
    const Result<std::string> place = temporary_place();
    if (!place.ok()) add(place.error().text());
  }
  if (options.compile.check_only) {
  } else if (output == "-") {
    problems.add("A module is not written to standard output; -o ./- names a file.");
  } else if (same_file(options.input, output)) {
    problems.add(fmt::format("The output '{}' is the model itself.", output));
  } else {
    add(command_line::replaced_problem("output file", output));
  }
  if (options.explain.empty() || options.explain == "-") return;
  if (same_file(options.input, options.explain)) {
    problems.add(fmt::format("The file of --explain '{}' is the model itself.", options.explain));
  } else if (!options.compile.check_only && same_file(output, options.explain)) {
    problems.add(fmt::format("The file of --explain '{}' is the output file, too.", options.explain));
  } else {
    add(command_line::output_problem("file of --explain", options.explain));
  }
}

// To standard output, or to the file that --explain names.
Status write_explanation(const TerncOptions& options, const CompileResult& result) {
  if (options.explain.empty()) return Ok{};
  std::string text;
  for (const std::string& part : result.report.explanations) text += (text.empty() ? "" : "\n") + part;
  if (options.explain == "-") {
    if (!options.compile.check_only && !options.quiet) text += "\n";
    std::fputs(command_line::printable(text, true).c_str(), stdout);
    std::fflush(stdout);  // the tool's end says if that could not be
    return Ok{};
  }
  Status written = write_text(options.explain, text);
  struct stat file;
  if (!written.ok() && stat(options.explain.c_str(), &file) == 0 && S_ISREG(file.st_mode))
    std::remove(options.explain.c_str());  // half a file helps nobody
  return written;
}

// The model that comes through a pipe (`ternc -`), as a file: the importer maps what it reads.
class PipedModel {
 public:
  ~PipedModel() {
    if (!path_.empty()) std::remove(path_.c_str());
  }
  Status read() {
    TERN_ASSIGN(const std::string place, temporary_place());
    std::string path = place + "/tern-XXXXXX.onnx";
    const int descriptor = mkstemps(path.data(), 5);
    if (descriptor < 0) return error("The file '{}' cannot be made: {}.", path, std::strerror(errno));
    path_ = path;
    unfinished_.emplace(path);
    const auto file = std::unique_ptr<std::FILE, int (*)(std::FILE*)>(fdopen(descriptor, "wb"), std::fclose);
    char buffer[1 << 16];
    size_t size = 0;
    bool written = file != nullptr;
    while (written && (size = std::fread(buffer, 1, sizeof(buffer), stdin)) > 0)
      written = std::fwrite(buffer, 1, size, file.get()) == size;
    if (!written || std::fflush(file.get()) != 0)
      return error("The model from standard input cannot be kept in '{}': {}.", path, std::strerror(errno));
    if (std::ferror(stdin)) return error("Standard input cannot be read: {}.", std::strerror(errno));
    return Ok{};
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::optional<Unfinished> unfinished_;
};

int check(const TerncOptions& options) {
  if (!options.input.ends_with(".tg") && !options.quiet) {
    Result<std::vector<onnx::OpUse>> uses = onnx::survey_model(options.input);
    if (!uses.ok()) return fail(kFailed, uses.error().text());
    std::fputs(command_line::printable(coverage_report(*uses), true).c_str(), stdout);
  }
  CompileOptions compile_options = options.compile;
  compile_options.check_only = true;
  Diagnostics diagnostics;
  const CompileResult result = compile(compile_options, diagnostics);
  for (const std::string& warning : diagnostics.warnings())
    std::fprintf(stderr, "warning: %s\n", command_line::printable(warning, true).c_str());
  if (!diagnostics.ok()) return fail(exit_code(result.status), diagnostics);
  const Status explained = write_explanation(options, result);
  if (!explained.ok()) return fail(kIo, explained.error().text());
  if (!options.quiet) std::printf("The model can be compiled.\n");
  return kSuccess;
}

int run(TerncOptions& options) {
  PipedModel piped;
  if (options.input == "-") {
    if (options.output.empty() && !options.compile.check_only)
      return fail(kUsage, "A model from standard input has no name: say with -o what to write.");
    const Status read = piped.read();
    if (!read.ok()) return fail(kIo, read.error().text());
    options.input = options.compile.input = piped.path();
  }
  const std::string output = options.output.empty()
                                 ? std::filesystem::path(options.input).replace_extension(".tern").string()
                                 : options.output;
  command_line::Problems problems;
  check_files(options, output, problems);
  if (!problems.empty()) return command_line::report("ternc", problems);
  if (!options.compile.check_only) options.compile.import.written.push_back(output);
  if (!options.explain.empty() && options.explain != "-")
    options.compile.import.written.push_back(options.explain);
  if (options.compile.check_only) return check(options);

  Progress progress;
  options.compile.progress = [&](std::string_view phase, double done) { progress.show(phase, done); };
  Diagnostics diagnostics;
  const CompileResult result = compile(options.compile, diagnostics);
  progress.clear();
  for (const std::string& warning : diagnostics.warnings())
    std::fprintf(stderr, "warning: %s\n", command_line::printable(warning, true).c_str());
  if (!diagnostics.ok() || !result.file) return fail(exit_code(result.status), diagnostics);
  const Status explained = write_explanation(options, result);
  if (!explained.ok()) return fail(kIo, explained.error().text());
  const Status written = result.file->write(output);
  if (!written.ok()) return fail(kIo, written.error().text());
  if (!options.quiet)
    std::fputs(command_line::printable(end_report(result, output, options.verbose), true).c_str(), stdout);
  return kSuccess;
}

}  // namespace

int tern::ternc_command_line(int argc, char** argv) {
  signal(SIGXFSZ, SIG_IGN);  // a file at its limit (ulimit -f) is one that cannot be written
  TerncOptions options;
  command_line::Problems problems;
  const int done = read_command_line(argc, argv, options, problems);
  if (done >= 0) return done;
  if (!problems.empty()) return command_line::report("ternc", problems);
  return command_line::finish("ternc", run(options));
}
