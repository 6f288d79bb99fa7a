#include "compiler/tools/ternc_options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "compiler/device_target.h"
#include "tools/command_line/options.h"

namespace tern {
namespace {

using command_line::Problems;

constexpr long long kMostJobs = 1024;

// Values that are words of their own: read when all options are known.
struct Words {
  std::string targets = "cpu", required, precision = "f32", fusion = "predicted";
  std::vector<std::string> shapes, dims, values;
  std::string cache_room;
  bool no_cache = false;
};

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
        return error("The shape in --shape '{}' must be numbers from 0 to {} (or ?) with x between them.",
                     option, INT64_MAX);
      dims.push_back(dim);
    }
  }
  const std::string name = option.substr(0, equals);
  if (!import.shapes.emplace(name, std::move(dims)).second)
    return error("--shape gives the shape of '{}' more than once ('{}').", name, option);
  return Ok{};
}

// NAME=8 or NAME=0.5,2: the importer knows the input's type.
Status parse_value(const std::string& option, onnx::ImportOptions& import) {
  const size_t equals = option.find('=');
  if (equals == std::string::npos || equals == 0)
    return error("--value takes NAME=8 or NAME=0.5,2,…; '{}' is not of that form.", option);
  std::vector<std::string> words;
  for (std::string_view word : split(std::string_view(option).substr(equals + 1), ","))
    words.emplace_back(word);
  const std::string name = option.substr(0, equals);
  if (!import.values.emplace(name, std::move(words)).second)
    return error("--value gives the value of '{}' more than once ('{}').", name, option);
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
  if (import.symbol_values.contains(name) || import.symbol_bounds.contains(name))
    return error("--dim says what '{}' is more than once ('{}').", name, option);
  if (values.size() == 1) {
    import.symbol_values[name] = values[0];
  } else {
    import.symbol_bounds[name] = {values[0], values[1], values.size() == 3 ? values[2] : 0};
  }
  return Ok{};
}

void take_problem(const Status& status, Problems& problems) {
  if (!status.ok()) problems.add(status.error().text());
}

// 2048, or 128:32768 or 128:32768:2048 as for --dim.
void read_cache_room(const std::string& text, CompileOptions& compile, Problems& problems) {
  onnx::ImportOptions dims;
  if (!parse_dim("cache_room=" + text, dims).ok())
    return problems.add(
        fmt::format("--cache-room takes 2048, 128:32768 (from, to) or 128:32768:2048 (usually); '{}' is not "
                    "of that form.",
                    text));
  graph::SymbolInfo& room = compile.cache_room.emplace();
  room.name = "cache_room";
  if (const auto fixed = dims.symbol_values.find(room.name); fixed != dims.symbol_values.end()) {
    room.min = room.max = fixed->second;
    return;
  }
  const auto& bounds = dims.symbol_bounds.at(room.name);
  room.min = bounds.min;
  room.max = bounds.max;
  room.hint = bounds.hint;
}

void read_precision(const std::string& word, CompileOptions& compile, Problems& problems) {
  compile.tf32 = word == "tf32";
  if (!compile.tf32 && word != "f32" && word != "f16" && word != "bf16")
    return problems.add(fmt::format("--precision is f32, tf32, f16 or bf16, not '{}'.", word));
  compile.precision = compile.tf32 ? DType::kF32 : dtype_from_name(word);
  if (!compile.keep_f32.empty() && word == "f32")
    problems.add("--keep-f32 makes exceptions to --precision=tf32, f16 or bf16; with f32 there are none.");
}

void read_fusion(const std::string& word, CompileOptions& compile, Problems& problems) {
  if (word == "together")
    compile.fusion = lower::Fusion::kTogether;
  else if (word == "apart")
    compile.fusion = lower::Fusion::kApart;
  else if (word != "predicted")
    problems.add(fmt::format("--fusion is predicted, together or apart, not '{}'.", word));
}

// The targets whose device files can be read.
std::string readable_targets(const std::string& words, Problems& problems) {
  std::vector<std::string_view> readable;
  for (std::string_view word : split(words, ",")) {
    constexpr std::string_view kDevice = "vulkan:";
    std::string problem;
    if (word.starts_with(kDevice) && word.ends_with(".json"))
      problem = command_line::input_problem("device file", std::string(word.substr(kDevice.size())));
    if (problem.empty()) {
      readable.push_back(word);
    } else {
      problems.add(problem, command_line::kIo);
    }
  }
  return fmt::format("{}", fmt::join(readable, ","));
}

void read_targets(const Words& words, CompileOptions& compile, Problems& problems) {
  const size_t before = problems.sentences().size();
  const std::string readable = readable_targets(words.targets, problems);
  const bool none = readable.empty() && problems.sentences().size() > before;
  Result<DeviceTargets> targets = none ? DeviceTargets() : parse_device_targets(readable);
  if (targets.ok()) {
    compile.targets = std::move(targets->targets);
    compile.devices = std::move(targets->devices);
  } else {
    const std::string text = targets.error().text();
    for (std::string_view line : split(text, "\n")) problems.add(std::string(line));
  }
  if (words.required.empty()) return;
  Result<std::vector<lower::Target>> required = lower::parse_targets(words.required);
  if (!required.ok()) return problems.add(required.error().text());
  for (lower::Target& target : *required) {
    if (!lower::is_gpu(target.arch)) {
      problems.add(fmt::format("--require names GPUs (cuda, vulkan); '{}' is none: every model runs on it.",
                               lower::arch_name(target.arch)));
      continue;
    }
    compile.required.push_back(target.arch);
    const auto same = [&](const lower::Target& other) { return other.arch == target.arch; };
    if (std::none_of(compile.targets.begin(), compile.targets.end(), same))
      compile.targets.push_back(std::move(target));
  }
}

// What is fixed while ONNX is imported; a graph as text says all of it itself.
void refuse_import_options(const Words& words, const std::string& input, Problems& problems) {
  const std::pair<const char*, bool> given[] = {
      {"--shape", !words.shapes.empty()}, {"--value", !words.values.empty()}, {"--dim", !words.dims.empty()}};
  for (const auto& [name, is_given] : given) {
    if (is_given)
      take_problem(
          error("{} is for ONNX models; '{}' is a graph as text, which says its own inputs.", name, input),
          problems);
  }
}

void read_words(const Words& words, CompileOptions& compile, Problems& problems) {
  for (const std::string& shape : words.shapes) take_problem(parse_shape(shape, compile.import), problems);
  for (const std::string& value : words.values) take_problem(parse_value(value, compile.import), problems);
  if (!words.cache_room.empty()) read_cache_room(words.cache_room, compile, problems);
  for (const std::string& dim : words.dims) take_problem(parse_dim(dim, compile.import), problems);
  const std::vector<std::string> passes = pass_names();
  for (const std::string& name : compile.disabled_passes) {
    if (std::find(passes.begin(), passes.end(), name) == passes.end())
      problems.add(
          fmt::format("There is no pass '{}'; --disable-pass knows {}.", name, fmt::join(passes, ", ")));
  }
  read_precision(words.precision, compile, problems);
  read_fusion(words.fusion, compile, problems);
  read_targets(words, compile, problems);
  compile.use_cache = !words.no_cache;
}

void add_model_options(command_line::Options& options, Words& words, CompileOptions& compile) {
  options.text("--targets", words.targets, "LIST",
               fmt::format("What to compile for, comma-separated: {}, vulkan:device.json (a device that tern "
                           "devices --json wrote down)",
                           lower::target_words()));
  options.text("--require", words.required, "LIST",
               "GPUs that the model must run on as a whole (cuda, vulkan): if it cannot, everything that is "
               "missing is listed. Adds them to the targets");
  options.list("--shape", words.shapes, "NAME=DIMS",
               "Fix an input's dimensions: NAME=1x3x224x224 (? keeps the model's own)");
  options.list("--value", words.values, "NAME=VALUE",
               "Fix an input's value: NAME=8 (each of its elements), NAME=0.5,2,1 (one after the other); the "
               "module has no such input then");
  options.list("--dim", words.dims, "SYMBOL=N",
               "A symbolic dimension: SYMBOL=8 fixes it, SYMBOL=1:512 bounds it, SYMBOL=1:512:128 says the "
               "usual value");
  options.text(
      "--cache-room", words.cache_room, "N",
      "Caches that grow by concatenation (an output is an input with new rows behind it) become buffers of "
      "N positions (or 128:32768:2048 as for --dim) that past and present may share; how many are filled "
      "is an input of its own, named as their dimension was");
  options.text("--precision", words.precision, "TYPE",
               "How f32 weights and intermediate values are stored: f32, f16 or bf16; sums stay f32. tf32: "
               "stored as f32; CUDA multiplies them on matrix units, rounded to TF32 (10 bits of mantissa), "
               "other targets in f32");
  options.list("--keep-f32", compile.keep_f32, "NODE",
               "Node (by its name, or an output's) whose results and weights --precision leaves f32 (tf32: "
               "which is multiplied in f32); repeatable");
  options.list("--disable-pass", compile.disabled_passes, "PASS",
               "Leave out a pass or a step of lowering; repeatable");
  options.text("--fusion", words.fusion, "HOW",
               "Which nodes share a dispatch where several ways are possible: predicted (what should be "
               "faster), or, to measure that, together or apart");
}

}  // namespace

int read_command_line(int argc, const char* const* argv, TerncOptions& out, Problems& problems) {
  CLI::App app(
      "ternc compiles ONNX models to modules that tern and libtern run.\n\n  ternc model.onnx -o "
      "model.tern\n",
      "ternc");
  command_line::Options options(&app, &problems);
  Words words;
  options.required("model", out.input, "model",
                   "The model: .onnx, graph IR as text (.tg), or - for ONNX from standard input");
  options.text("-o,--output", out.output, "FILE",
               "The module to write; default: the model's name with .tern");
  add_model_options(options, words, out.compile);
  options.text("--dump-dir", out.compile.dump_dir, "DIR",
               "Write every stage there: graphs, kernels, their source and assembly, the program");
  app.add_flag(
         "--explain{-}", out.explain,
         "Print each dispatch: its nodes, schedules, work, predicted times, and why its neighbours did not "
         "join; --explain=FILE writes it there. With --check nothing is compiled")
      ->type_name("[=FILE]");
  options.integer("-j,--jobs", out.compile.jobs, 1, kMostJobs,
                  "Compilers that run at once; default: the cores");
  options.flag("--check", out.compile.check_only, "Report which operators are supported; write nothing");
  options.flag("--no-cache", words.no_cache, "Compile every kernel anew");
  options.flag("-v,--verbose", out.verbose, "Phases with their times, every copy");
  options.flag("-q,--quiet", out.quiet, "No report at the end");
  app.set_version_flag("--version", "ternc " TERN_VERSION, "Print the version and exit");
  app.footer(
      "Exit codes: 0 success, 1 the model is damaged or not supported, 2 wrong usage, 3 clang or lld is "
      "missing or failed, 4 a file cannot be read or written.");
  const int done = command_line::parse(app, argc, argv, problems);
  if (done >= 0) return done;
  read_words(words, out.compile, problems);
  if (out.input.ends_with(".tg")) refuse_import_options(words, out.input, problems);
  out.compile.input = out.input;
  out.compile.explain = !out.explain.empty();
  return -1;
}

}  // namespace tern
