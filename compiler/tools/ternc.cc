// ternc: compiles an ONNX model to a module. docs/ternc.md is the manual.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

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

// The sentence of a model that is no file to read; empty if it is one.
std::string input_problem(const std::string& input) {
  struct stat info;
  if (stat(input.c_str(), &info) != 0)
    return errno == ENOENT ? fmt::format("The model '{}' is not there.", input)
                           : fmt::format("The model '{}' cannot be read: {}.", input, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) return fmt::format("The model '{}' is a folder, not a file.", input);
  if (!S_ISREG(info.st_mode))
    return fmt::format("The model '{}' is a device or a pipe; models are read from regular files only.",
                       input);
  if (access(input.c_str(), R_OK) != 0)
    return fmt::format("The model '{}' cannot be read: {}.", input, std::strerror(errno));
  return {};
}

// Of a file to be written; what would only be seen after the work is done.
std::string output_problem(const std::string& option, const std::string& output) {
  std::error_code ignored;
  const std::filesystem::path parent = std::filesystem::path(output).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  if (std::filesystem::is_directory(output, ignored))
    return fmt::format("The {} '{}' is a folder.", option, output);
  if (!std::filesystem::is_directory(folder, ignored))
    return fmt::format("The {} '{}' cannot be written: there is no folder '{}'.", option, output, folder);
  if (access(folder.c_str(), W_OK) != 0 && access(output.c_str(), W_OK) != 0)
    return fmt::format("The {} '{}' cannot be written: {} (folder '{}').", option, output,
                       std::strerror(errno), folder);
  return {};
}

void check_files(const TerncOptions& options, const std::string& output, command_line::Problems& problems) {
  const auto add = [&](const std::string& sentence) {
    if (!sentence.empty()) problems.add(sentence, kIo);
  };
  add(input_problem(options.input));
  std::error_code ignored;
  if (options.compile.check_only) {
  } else if (std::filesystem::equivalent(options.input, output, ignored)) {
    problems.add(fmt::format("The output '{}' is the model itself.", output));
  } else {
    add(output_problem("output file", output));
  }
  if (!options.explain.empty() && options.explain != "-")
    add(output_problem("file of --explain", options.explain));
}

// To standard output, or to the file that --explain names.
Status write_explanation(const TerncOptions& options, const CompileResult& result) {
  if (options.explain.empty()) return Ok{};
  std::FILE* file = options.explain == "-" ? stdout : std::fopen(options.explain.c_str(), "w");
  if (!file) return error("The file '{}' of --explain cannot be written.", options.explain);
  bool good = true;
  const char* between = "";
  for (const std::string& text : result.report.explanations) {
    good = std::fprintf(file, "%s%s", between, text.c_str()) >= 0 && good;
    between = "\n";
  }
  if (file == stdout) {
    if (!options.compile.check_only && !options.quiet) std::fputs("\n", stdout);
    good = std::fflush(file) == 0 && good;
  } else {
    good = std::fclose(file) == 0 && good;
  }
  if (!good) return error("The file '{}' of --explain could not be written whole.", options.explain);
  return Ok{};
}

int check(const TerncOptions& options) {
  if (!options.input.ends_with(".tg") && !options.quiet) {
    Result<std::vector<onnx::OpUse>> uses = onnx::survey_model(options.input);
    if (!uses.ok()) return fail(kFailed, uses.error().text());
    std::fputs(coverage_report(*uses).c_str(), stdout);
  }
  CompileOptions compile_options = options.compile;
  compile_options.check_only = true;
  Diagnostics diagnostics;
  const CompileResult result = compile(compile_options, diagnostics);
  for (const std::string& warning : diagnostics.warnings())
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (!diagnostics.ok()) return fail(exit_code(result.status), diagnostics.text());
  const Status explained = write_explanation(options, result);
  if (!explained.ok()) return fail(kIo, explained.error().text());
  if (!options.quiet) std::printf("The model can be compiled.\n");
  return kSuccess;
}

int run(TerncOptions& options) {
  const std::string output = options.output.empty()
                                 ? std::filesystem::path(options.input).replace_extension(".tern").string()
                                 : options.output;
  command_line::Problems problems;
  check_files(options, output, problems);
  if (!problems.empty()) return command_line::report("ternc", problems);
  if (options.compile.check_only) return check(options);

  Progress progress;
  options.compile.progress = [&](std::string_view phase, double done) { progress.show(phase, done); };
  Diagnostics diagnostics;
  const CompileResult result = compile(options.compile, diagnostics);
  progress.clear();
  for (const std::string& warning : diagnostics.warnings())
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (!diagnostics.ok() || !result.file) return fail(exit_code(result.status), diagnostics.text());
  const Status explained = write_explanation(options, result);
  if (!explained.ok()) return fail(kIo, explained.error().text());
  const Status written = result.file->write(output);
  if (!written.ok()) return fail(kIo, written.error().text());
  if (!options.quiet) std::fputs(end_report(result, output, options.verbose).c_str(), stdout);
  return kSuccess;
}

}  // namespace

int main(int argc, char** argv) {
  TerncOptions options;
  command_line::Problems problems;
  const int done = read_command_line(argc, argv, options, problems);
  if (done >= 0) return done;
  if (!problems.empty()) return command_line::report("ternc", problems);
  return run(options);
}
