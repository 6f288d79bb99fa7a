// ternc: compiles an ONNX model to a module. docs/ternc.md is the manual.
#include <cstdio>
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

void check_files(const TerncOptions& options, const std::string& output, command_line::Problems& problems) {
  const auto add = [&](const std::string& sentence) {
    if (!sentence.empty()) problems.add(sentence, kIo);
  };
  add(command_line::input_problem("model", options.input));
  std::error_code ignored;
  if (options.compile.check_only) {
  } else if (std::filesystem::equivalent(options.input, output, ignored)) {
    problems.add(fmt::format("The output '{}' is the model itself.", output));
  } else {
    add(command_line::replaced_problem("output file", output));
  }
  if (!options.explain.empty() && options.explain != "-")
    add(command_line::output_problem("file of --explain", options.explain));
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
  if (!good && file != stdout) {
    std::remove(options.explain.c_str());  // half a file helps nobody
    return error("The file '{}' of --explain could not be written whole.", options.explain);
  }
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
  if (!diagnostics.ok()) return fail(exit_code(result.status), diagnostics);
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
  if (!diagnostics.ok() || !result.file) return fail(exit_code(result.status), diagnostics);
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
  return command_line::finish("ternc", run(options));
}
