// onnx_eval DIR...: imports the ONNX node tests in DIR (folders with model.onnx and
// test_data_set_*/{input,output}_*.pb), evaluates them with the graph evaluator and compares. This is how far
// the importers are right, without any backend.
//
//   --import-only   import and verify, do not evaluate
//   --lower         lower each graph and run the program's kernels on the kernel evaluator instead
//   --target T      what to lower for (ternc's --targets, one of them); default: cpu:x86_64_v3
//   --precision T   with --lower: how f32 values are stored (ternc's --precision): f32, f16, bf16
//   --optimize      run the graph passes first, verifying after each
//   --list          print every case's result, not only failures
//   --filter TEXT   only folders whose name contains TEXT
//   --print         print the graph of each case
//   --mutate N      N times: flip some bytes of the model and import that; a crash fails the case
//   --expect N      exit with 1 when fewer than N cases pass
//
// Each case runs in a process of its own, so that a crash is one failed case.
#include <dirent.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "compiler/graph/passes.h"
#include "compiler/lower/lower.h"
#include "compiler/lower/step_eval.h"
#include "compiler/onnx/import.h"
#include "compiler/onnx/model_file.h"

namespace {

using namespace tern;
using graph::EvalValue;
namespace importer = tern::onnx;

struct Options {
  bool import_only = false, optimize = false, list = false, print = false, lower = false, help = false;
  std::string filter;
  lower::Target target{lower::Arch::kX86_64, {lower::Level::kX86V3}};
  DType precision = DType::kF32;
  long expect = -1, mutate = 0;
  std::vector<std::string> folders;
};

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return error("Cannot open '{}'.", path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Result<EvalValue> parse_value(const std::string& bytes, const graph::Type& type) {
  EvalValue value;
  if (type.is_tensor()) {
    ::onnx::TensorProto proto;
    if (!proto.ParseFromString(bytes)) return error("A test tensor cannot be parsed.");
    TERN_ASSIGN(value.tensor, importer::tensor_from_proto(proto));
    return value;
  }
  // Both kinds keep tensors in field 3 and sequences in field 5.
  value.list = std::make_shared<std::vector<EvalValue>>();
  for (const std::string& item : importer::unknown_fields(bytes, type.element->is_tensor() ? 3 : 5)) {
    TERN_ASSIGN(EvalValue element, parse_value(item, *type.element));
    value.list->push_back(std::move(element));
  }
  return value;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (int64_t d : shape) text += (text.empty() ? "" : "x") + std::to_string(d);
  return text;
}

struct Tolerance {
  double relative, absolute;
};

Tolerance tolerance_of(DType dtype) {
  if (!is_float(dtype)) return {0, 0};
  if (dtype_bits(dtype) <= 8) return {0, 0};
  if (dtype_bits(dtype) == 16) return {1e-2, 1e-3};
  return {1e-3, 1e-5};
}

Status compare_numbers(const TensorData& got, const TensorData& want) {
  bool complex = is_complex(got.dtype());
  int64_t count = got.count() * (complex ? 2 : 1);
  Tolerance tolerance = tolerance_of(complex ? DType::kF32 : got.dtype());
  for (int64_t i = 0; i < count; ++i) {
    double a, b;
    if (got.dtype() == DType::kC64) {
      a = static_cast<double>(got.as<float>()[i]);
      b = static_cast<double>(want.as<float>()[i]);
    } else if (got.dtype() == DType::kC128) {
      a = got.as<double>()[i];
      b = want.as<double>()[i];
    } else if (is_float(got.dtype())) {
      a = got.float_at(i);
      b = want.float_at(i);
    } else {
      if (got.int_at(i) == want.int_at(i)) continue;
      return error("element {} is {} instead of {}", i, got.int_at(i), want.int_at(i));
    }
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (std::fabs(a - b) <= tolerance.absolute + tolerance.relative * std::fabs(b)) continue;
    return error("element {} is {} instead of {}", i, a, b);
  }
  return Ok{};
}

Status compare(const EvalValue& got, const EvalValue& want) {
  if (!want.tensor) {
    if (!got.list || !want.list || got.list->size() != want.list->size())
      return error("a list has {} elements instead of {}", got.list ? got.list->size() : 0,
                   want.list ? want.list->size() : 0);
    for (size_t i = 0; i < want.list->size(); ++i) TERN_TRY(compare((*got.list)[i], (*want.list)[i]));
    return Ok{};
  }
  if (!got.tensor) return error("an output is no tensor");
  const TensorData &a = *got.tensor, &b = *want.tensor;
  if (a.dtype() != b.dtype())
    return error("type {} instead of {}", dtype_name(a.dtype()), dtype_name(b.dtype()));
  if (a.shape() != b.shape())
    return error("shape [{}] instead of [{}]", shape_text(a.shape()), shape_text(b.shape()));
  if (a.dtype() == DType::kString) {
    if (a.string_values() != b.string_values()) return error("strings differ");
    return Ok{};
  }
  return compare_numbers(a, b);
}

// The graph's outputs through lowering, at the best level.
Result<std::vector<EvalValue>> evaluate_lowered(const lower::LoweredProgram& program,
                                                const std::vector<EvalValue>& inputs) {
  std::vector<TensorDataPtr> tensors;
  for (const EvalValue& v : inputs) tensors.push_back(v.tensor);
  TERN_ASSIGN(auto outputs, lower::evaluate_program(program, tensors));
  std::vector<EvalValue> values;
  for (TensorDataPtr& t : outputs) values.push_back({std::move(t), nullptr});
  return values;
}

Status run_data_set(const graph::Graph& graph, const lower::LoweredProgram* program,
                    const std::string& folder) {
  std::vector<EvalValue> inputs;
  for (size_t i = 0; i < graph.body.args.size(); ++i) {
    TERN_ASSIGN(std::string bytes, read_file(folder + "/input_" + std::to_string(i) + ".pb"));
    TERN_ASSIGN(EvalValue value, parse_value(bytes, graph.body.args[i]->type));
    inputs.push_back(std::move(value));
  }
  TERN_ASSIGN(std::vector<EvalValue> outputs,
              program ? evaluate_lowered(*program, inputs) : graph::evaluate(graph, inputs));
  for (size_t i = 0; i < outputs.size(); ++i) {
    TERN_ASSIGN(std::string bytes, read_file(folder + "/output_" + std::to_string(i) + ".pb"));
    TERN_ASSIGN(EvalValue want, parse_value(bytes, graph.body.results[i]->type));
    Status equal = compare(outputs[i], want);
    if (!equal.ok()) return error("wrong: output {}: {}", i, equal.error().message);
  }
  return Ok{};
}

// Imports damaged copies of the model. Errors are what is expected; a crash ends the process.
Status run_mutations(const std::string& folder, long count) {
  TERN_ASSIGN(std::string bytes, read_file(folder + "/model.onnx"));
  std::string path = fmt::format("/tmp/onnx_eval_{}.onnx", getpid());
  uint64_t state = std::hash<std::string>()(bytes) | 1;
  auto random = [&](uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
  };
  std::string problem;
  for (long n = 0; n < count && problem.empty() && !bytes.empty(); ++n) {
    std::string damaged = bytes;
    for (uint64_t flips = 1 + random(4); flips > 0; --flips)
      damaged[random(damaged.size())] = static_cast<char>(random(3) == 0 ? random(256) : 1u << random(8));
    if (random(10) == 0) damaged.resize(random(damaged.size()));
    std::ofstream(path, std::ios::binary).write(damaged.data(), static_cast<std::streamsize>(damaged.size()));
    Diagnostics diagnostics;
    auto graph = importer::import_model(path, {}, diagnostics);
    if (graph) problem = graph::verify(*graph);
    if (!graph && diagnostics.ok()) problem = "neither a graph nor an error";
  }
  if (problem.empty()) unlink(path.c_str());
  if (!problem.empty()) return error("verify: {} ({})", problem, path);
  return Ok{};
}

Status run_case(const std::string& folder, const Options& options) {
  if (options.mutate > 0) return run_mutations(folder, options.mutate);
  Diagnostics diagnostics;
  auto graph = importer::import_model(folder + "/model.onnx", {}, diagnostics);
  if (!graph) return error("import: {}", diagnostics.errors().front().text());
  if (options.print) fmt::print("{}\n", graph::print_graph(*graph));
  std::string violations = graph::verify(*graph);
  if (!violations.empty()) return error("verify: {}", violations);
  if (options.import_only) return Ok{};
  if (options.optimize) {
    graph::PassOptions passes;
    passes.verify_each = true;
    TERN_TRY(graph::optimize(*graph, passes));
  }
  std::unique_ptr<lower::LoweredProgram> program;
  if (options.lower) {
    lower::LowerOptions how;
    how.precision = options.precision;
    program = lower::lower(*graph, options.target, how, diagnostics);
    if (!program) return error("lower: {}", diagnostics.errors().front().text());
  }
  for (int i = 0;; ++i) {
    std::string data = folder + "/test_data_set_" + std::to_string(i);
    if (access(data.c_str(), R_OK) != 0) return i > 0 ? Status(Ok{}) : Status(error("no test data"));
    TERN_TRY(run_data_set(*graph, program.get(), data));
  }
}

// "" when the case passes; else why it does not.
std::string run_forked(const std::string& folder, const Options& options) {
  int ends[2];
  if (pipe(ends) != 0) return "pipe failed";
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    alarm(60);
    Status status = run_case(folder, options);
    std::string text = status.ok() ? "" : status.error().text();
    fflush(stdout);
    if (!text.empty() && write(ends[1], text.data(), text.size()) < 0) _exit(2);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGALRM ? "timeout"
                                       : fmt::format("crash (signal {}): {}", WTERMSIG(status), text);
  }
  return text;
}

// The reason without what differs from case to case: names in quotes and numbers.
std::string reason_of(const std::string& text) {
  std::string line = text.substr(0, text.find('\n')), out;
  bool quoted = false;
  for (char c : line) {
    if (c == '\'') quoted = !quoted;
    if (quoted && c != '\'') continue;
    out += isdigit(static_cast<unsigned char>(c)) ? '#' : c;
  }
  if (text.rfind("wrong:", 0) == 0) return "wrong result";
  if (text.rfind("import: Operator", 0) == 0)
    return text.substr(0, text.find(" (opset")) + " is not supported";
  return out.substr(0, 110);
}

bool parse_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    std::string a = argv[i];
    if (a == "--import-only") {
      options.import_only = true;
    } else if (a == "--optimize") {
      options.optimize = true;
    } else if (a == "--lower") {
      options.lower = true;
    } else if (a == "--list") {
      options.list = true;
    } else if (a == "--print") {
      options.print = true;
    } else if (a == "--target" && i + 1 < argc) {
      auto targets = lower::parse_targets(argv[++i]);
      if (!targets.ok() || targets->size() != 1) return false;
      options.target = std::move(targets->front());
    } else if (a == "--precision" && i + 1 < argc) {
      const std::string_view type = argv[++i];
      options.precision = type == "f16" ? DType::kF16 : type == "bf16" ? DType::kBF16 : DType::kF32;
      if (type != dtype_name(options.precision)) return false;
    } else if (a == "--filter" && i + 1 < argc) {
      options.filter = argv[++i];
    } else if (a == "--mutate" && i + 1 < argc) {
      options.mutate = atol(argv[++i]);
    } else if (a == "--expect" && i + 1 < argc) {
      options.expect = atol(argv[++i]);
    } else if (a.starts_with("-")) {
      options.help = a == "--help";
      return false;
    } else {
      options.folders.push_back(a);
    }
  }
  return !options.folders.empty();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse_options(argc, argv, options)) {
    fmt::print(options.help ? stdout : stderr,
               "usage: onnx_eval [--import-only] [--optimize] [--lower] [--target T] [--precision T] "
               "[--list] [--print] "
               "[--filter TEXT] "
               "[--expect N] "
               "DIR...\n");
    return options.help ? 0 : 2;
  }
  std::vector<std::string> cases;
  for (const std::string& folder : options.folders) {
    DIR* directory = opendir(folder.c_str());
    if (!directory) {
      fmt::print(stderr, "Cannot read the folder '{}'.\n", folder);
      return 2;
    }
    while (dirent* entry = readdir(directory)) {
      std::string path = folder + "/" + entry->d_name;
      if (path.find(options.filter) != std::string::npos && access((path + "/model.onnx").c_str(), R_OK) == 0)
        cases.push_back(path);
    }
    closedir(directory);
  }
  std::sort(cases.begin(), cases.end());
  std::map<std::string, int> reasons;
  long passed = 0;
  for (const std::string& path : cases) {
    std::string text = run_forked(path, options);
    std::string name = path.substr(path.rfind('/') + 1);
    if (text.empty()) {
      ++passed;
      if (options.list) fmt::print("pass {}\n", name);
      continue;
    }
    ++reasons[reason_of(text)];
    fmt::print("FAIL {}: {}\n", name, text.substr(0, 400));
  }
  std::vector<std::pair<int, std::string>> sorted;
  for (const auto& [reason, count] : reasons) sorted.emplace_back(-count, reason);
  std::sort(sorted.begin(), sorted.end());
  fmt::print("\n");
  for (const auto& [count, reason] : sorted) fmt::print("{:5} {}\n", -count, reason);
  fmt::print("{} passed, {} failed\n", passed, static_cast<long>(cases.size()) - passed);
  return passed < options.expect ? 1 : 0;
}
