// ternc: compiles an ONNX model to a module. docs/ternc.md is the manual.
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>

#include "compiler/device_target.h"
#include "compiler/tools/ternc_report.h"

namespace {

using namespace tern;

enum ExitCode : int {
  kSuccess = 0,
  kModelError = 1,      // the model is damaged, or uses what is not supported
  kUsage = 2,           // the command line makes no sense
  kToolchainError = 3,  // clang or lld is missing or failed
  kFileError = 4,       // a file cannot be read or written
};

struct Options {
  std::string input, output, targets = "cpu", required, precision = "f32", explain;
  std::vector<std::string> shapes, dims;
  CompileOptions compile;
  bool no_cache = false, verbose = false, quiet = false;
};

// Names in a model may hold anything: what a terminal would obey is not passed on.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 32 && c != '\n' && c != '\t') c = '?';
  }
  return text;
}

int fail(int code, const std::string& text) {
  const bool color = color_enabled(STDERR_FILENO);
  std::fprintf(stderr, "%sternc:%s %s\n", color ? "\033[1;31m" : "", color ? "\033[0m" : "",
               printable(text).c_str());
  return code;
}

bool parse_integer(std::string_view text, int64_t& out) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  return problem == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find_first_of(separators, at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

// NAME=1x3x224x224; ? keeps the model's own dimension.
Status parse_shape(const std::string& option, onnx::ImportOptions& import) {
  const size_t equals = option.rfind('=');
  if (equals == std::string::npos || equals == 0)
    return error("--shape takes NAME=1x3x224x224; '{}' is not of that form.", option);
  std::vector<int64_t> dims;
  const std::string_view text = std::string_view(option).substr(equals + 1);
  if (!text.empty()) {
    for (std::string_view part : split(text, "x,")) {
      int64_t dim = -1;
      if (part != "?" && (!parse_integer(part, dim) || dim < 0))
        return error("The shape in --shape '{}' must be numbers (or ?) with x between them.", option);
      dims.push_back(dim);
    }
  }
  import.shapes[option.substr(0, equals)] = std::move(dims);
  return Ok{};
}

// SYMBOL=8 fixes, SYMBOL=1:512 bounds, SYMBOL=1:512:128 also says the usual value.
Status parse_dim(const std::string& option, onnx::ImportOptions& import) {
  const size_t equals = option.rfind('=');
  std::vector<int64_t> values;
  if (equals != std::string::npos && equals > 0) {
    for (std::string_view part : split(std::string_view(option).substr(equals + 1), ":")) {
      int64_t value = 0;
      if (!parse_integer(part, value) || value < 0) break;
      values.push_back(value);
    }
  }
  const size_t colons = static_cast<size_t>(std::count(option.begin(), option.end(), ':'));
  if (values.empty() || values.size() > 3 || colons != values.size() - 1)
    return error(
        "--dim takes SYMBOL=8, SYMBOL=1:512 (from, to) or SYMBOL=1:512:128 (usually); '{}' is not of that "
        "form.",
        option);
  if (values.size() > 1 && values[0] > values[1])
    return error("In --dim '{}' the least value ({}) is above the greatest ({}).", option, values[0],
                 values[1]);
  if (values.size() == 3 && (values[2] < values[0] || values[2] > values[1]))
    return error("In --dim '{}' the usual value ({}) is not between {} and {}.", option, values[2], values[0],
                 values[1]);
  const std::string name = option.substr(0, equals);
  if (values.size() == 1) {
    import.symbol_values[name] = values[0];
  } else {
    import.symbol_bounds[name] = {values[0], values[1], values.size() == 3 ? values[2] : 0};
  }
  return Ok{};
}

int exit_code(CompileStatus status) {
  switch (status) {
    case CompileStatus::kOk:
      return kSuccess;
    case CompileStatus::kToolchainError:
      return kToolchainError;
    case CompileStatus::kFileError:
      return kFileError;
    default:
      return kModelError;
  }
}

// What would only be seen after the work is done; 0, or the exit code.
int check_output(const Options& options, const std::string& output) {
  std::error_code ignored;
  if (!options.output.empty() && std::filesystem::equivalent(options.input, output, ignored))
    return fail(kUsage, fmt::format("The output '{}' is the model itself.", output));
  const std::filesystem::path folder = std::filesystem::path(output).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder, ignored))
    return fail(kFileError, fmt::format("The output file '{}' cannot be written: there is no folder '{}'.",
                                        output, folder.string()));
  if (std::filesystem::is_directory(output, ignored))
    return fail(kFileError, fmt::format("The output path '{}' is a folder.", output));
  return 0;
}

// To standard output, or to the file that --explain names.
Status write_explanation(const Options& options, const CompileResult& result) {
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

int check(const Options& options) {
  if (!options.input.ends_with(".tg") && !options.quiet) {
    Result<std::vector<onnx::OpUse>> uses = onnx::survey_model(options.input);
    if (!uses.ok()) return fail(kModelError, uses.error().text());
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
  if (!explained.ok()) return fail(kFileError, explained.error().text());
  if (!options.quiet) std::printf("The model can be compiled.\n");
  return kSuccess;
}

int run(Options& options) {
  for (const std::string& shape : options.shapes) {
    const Status status = parse_shape(shape, options.compile.import);
    if (!status.ok()) return fail(kUsage, status.error().text());
  }
  for (const std::string& dim : options.dims) {
    const Status status = parse_dim(dim, options.compile.import);
    if (!status.ok()) return fail(kUsage, status.error().text());
  }
  const std::vector<std::string> passes = pass_names();
  for (const std::string& name : options.compile.disabled_passes) {
    if (std::find(passes.begin(), passes.end(), name) == passes.end())
      return fail(kUsage, fmt::format("There is no pass '{}'; --disable-pass knows {}.", name,
                                      fmt::join(passes, ", ")));
  }
  options.compile.tf32 = options.precision == "tf32";
  options.compile.precision = options.compile.tf32 ? DType::kF32 : dtype_from_name(options.precision);
  if (!options.compile.tf32 && options.precision != "f32" && options.precision != "f16" &&
      options.precision != "bf16")
    return fail(kUsage, fmt::format("--precision is f32, tf32, f16 or bf16, not '{}'.", options.precision));
  if (!options.compile.keep_f32.empty() && options.precision == "f32")
    return fail(kUsage,
                "--keep-f32 makes exceptions to --precision=tf32, f16 or bf16; with f32 there are none.");
  Result<std::vector<lower::Target>> targets = parse_device_targets(options.targets);
  if (!targets.ok()) return fail(kUsage, targets.error().text());
  options.compile.targets = std::move(targets).value();
  if (!options.required.empty()) {
    Result<std::vector<lower::Target>> required = lower::parse_targets(options.required);
    if (!required.ok()) return fail(kUsage, required.error().text());
    for (lower::Target& target : *required) {
      options.compile.required.push_back(target.arch);
      const auto same = [&](const lower::Target& other) { return other.arch == target.arch; };
      if (std::none_of(options.compile.targets.begin(), options.compile.targets.end(), same))
        options.compile.targets.push_back(std::move(target));
    }
  }
  options.compile.input = options.input;
  options.compile.explain = !options.explain.empty();
  options.compile.use_cache = !options.no_cache;
  if (!std::filesystem::exists(options.input))
    return fail(kFileError, fmt::format("The model '{}' is not there.", options.input));
  if (options.compile.check_only) return check(options);
  const std::string output = options.output.empty()
                                 ? std::filesystem::path(options.input).replace_extension(".tern").string()
                                 : options.output;
  if (const int refused = check_output(options, output)) return refused;

  Progress progress;
  options.compile.progress = [&](std::string_view phase, double done) { progress.show(phase, done); };
  Diagnostics diagnostics;
  const CompileResult result = compile(options.compile, diagnostics);
  progress.clear();
  for (const std::string& warning : diagnostics.warnings())
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  if (!diagnostics.ok() || !result.file) return fail(exit_code(result.status), diagnostics.text());
  const Status explained = write_explanation(options, result);
  if (!explained.ok()) return fail(kFileError, explained.error().text());
  const Status written = result.file->write(output);
  if (!written.ok()) return fail(kFileError, written.error().text());
  if (!options.quiet) std::fputs(end_report(result, output, options.verbose).c_str(), stdout);
  return kSuccess;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "ternc compiles ONNX models to modules that tern and libtern run.\n\n  ternc model.onnx -o "
      "model.tern\n",
      "ternc");
  Options options;
  app.add_option("model", options.input, "The model: .onnx, or graph IR as text (.tg)")->required();
  app.add_option("-o,--output", options.output, "The module to write; default: the model's name with .tern");
  app.add_option(
         "--targets", options.targets,
         fmt::format(
             "What to compile for, comma-separated: {}, vulkan:device.json (a device that tern devices "
             "--json wrote down)",
             lower::target_words()))
      ->capture_default_str();
  app.add_option("--require", options.required,
                 "GPUs that the model must run on as a whole (cuda, vulkan): if it cannot, everything that "
                 "is missing is "
                 "listed. Adds them to the targets")
      ->type_name("LIST");
  app.add_option("--shape", options.shapes,
                 "Fix an input's dimensions: NAME=1x3x224x224 (? keeps the model's own)")
      ->type_name("NAME=DIMS")
      ->allow_extra_args(false);
  app.add_option("--dim", options.dims,
                 "A symbolic dimension: SYMBOL=8 fixes it, SYMBOL=1:512 bounds it, SYMBOL=1:512:128 says the "
                 "usual value")
      ->type_name("SYMBOL=N")
      ->allow_extra_args(false);
  app.add_option(
         "--precision", options.precision,
         "How f32 weights and intermediate values are stored: f32, f16 or bf16; sums stay f32. tf32: "
         "stored as f32; CUDA multiplies them on matrix units, rounded to TF32 (10 bits of mantissa), "
         "other targets in f32")
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_option("--keep-f32", options.compile.keep_f32,
                 "Node (by its name, or an output's) whose results and weights --precision leaves f32 (tf32: "
                 "which is "
                 "multiplied in f32); repeatable")
      ->type_name("NODE")
      ->allow_extra_args(false);
  app.add_option("--dump-dir", options.compile.dump_dir,
                 "Write every stage there: graphs, kernels, their source and assembly, the program");
  app.add_flag(
         "--explain{-}", options.explain,
         "Print each dispatch: its nodes, schedules, work, predicted times, and why its neighbours did not "
         "join; --explain=FILE writes it there. With --check nothing is compiled")
      ->type_name("[=FILE]");
  app.add_option("--disable-pass", options.compile.disabled_passes,
                 "Leave out a pass or a step of lowering; repeatable")
      ->type_name("PASS")
      ->allow_extra_args(false);
  app.add_option("--jobs,-j", options.compile.jobs, "Compilers that run at once; default: the cores");
  app.add_flag("--check", options.compile.check_only, "Report which operators are supported; write nothing");
  app.add_flag("--no-cache", options.no_cache, "Compile every kernel anew");
  app.add_flag("-v,--verbose", options.verbose, "Phases with their times, every copy");
  app.add_flag("-q,--quiet", options.quiet, "No report at the end");
  app.set_version_flag("--version", "ternc 0.1.0");
  app.footer(
      "Exit codes: 0 success, 1 the model is damaged or not supported, 2 wrong usage, 3 clang or lld is "
      "missing or "
      "failed, 4 a file cannot be read or written.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? kSuccess : kUsage;
  }
  return run(options);
}
