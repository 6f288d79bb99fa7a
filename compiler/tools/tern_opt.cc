// tern-opt: reads a graph (.tg, or .onnx through the importers), runs named passes, prints the result. With
// --run it evaluates instead. Exit codes: 0 done, 1 the input is wrong (message on stderr), 2 wrong use.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/graph/passes.h"
#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/ir.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/unroll.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/onnx/import.h"

namespace {

constexpr const char* kHelp =
    "usage: tern-opt [options] FILE.tg|FILE.onnx|FILE.tk   (FILE `-`: a .tg on standard input)\n"
    "  --passes=A,B,…     run these passes in order\n"
    "  --optimize         run the whole pipeline\n"
    "  --disable-pass=A   skip this pass (repeat for more)\n"
    "  --dump-dir=D       write the graph after each pass that changed it to D/NN-name.tg\n"
    "  --run=TENSORS      evaluate on these inputs (`f32[2] {1, 2}; i64[] {3}`) and print the outputs\n"
    "  --inline-limit=N   print constants up to N elements (64)\n"
    "  --timing           print passes and their times to standard error\n"
    "  --list             list the passes\n";

struct Options {
  std::vector<std::string_view> passes;
  bool optimize = false, run = false, timing = false;
  std::string run_inputs;
  int64_t inline_limit = 64;
  tern::graph::PassOptions pass_options;
  std::string file;
};

int wrong_use(const std::string& message) {
  fmt::print(stderr, "tern-opt: {}\n{}", message, kHelp);
  return 2;
}

int fail(const tern::Error& e) {
  fmt::print(stderr, "error: {}\n", e.text());
  return 1;
}

bool read_file(const std::string& path, std::string& out) {
  std::FILE* f = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (!f) return false;
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, f)) > 0;) out.append(buffer, n);
  const bool ok = !std::ferror(f);
  if (f != stdin) std::fclose(f);
  return ok;
}

int evaluate(const tern::graph::Graph& graph, const Options& options) {
  const auto inputs = tern::graph::parse_tensors(options.run_inputs);
  if (!inputs.ok()) return fail(inputs.error());
  std::vector<tern::graph::EvalValue> values;
  for (const tern::TensorDataPtr& t : inputs.value()) values.push_back({t, nullptr});
  const auto outputs = tern::graph::evaluate(graph, values);
  if (!outputs.ok()) return fail(outputs.error());
  std::string text;
  for (const tern::graph::EvalValue& v : outputs.value()) {
    if (!v.tensor)
      return fail(tern::error("An output is a sequence or optional, which --run does not print."));
    text += (text.empty() ? "" : "; ") + tern::graph::print_tensor(*v.tensor, options.inline_limit);
  }
  fmt::print("{}\n", text);
  return 0;
}

tern::Result<std::unique_ptr<tern::graph::Graph>> read_graph(const std::string& path) {
  if (path.ends_with(".onnx")) {
    tern::Diagnostics diagnostics;
    auto graph = tern::onnx::import_model(path, {}, diagnostics);
    if (!graph) return tern::error("{}", diagnostics.text());
    return graph;
  }
  std::string text;
  if (!read_file(path, text)) return tern::error("The file '{}' cannot be read.", path);
  return tern::graph::parse_graph(text);
}

struct KernelPass {
  std::string_view name, summary;
  void (*run)(tern::kernel::Kernel&);
};
constexpr KernelPass kKernelPasses[] = {
    {"simplify", "algebra on indices and conditions", tern::kernel::simplify},
    {"unroll", "unrolled loops become copies of their body", tern::kernel::unroll},
    {"vectorize", "vector loops become vector operations", tern::kernel::vectorize},
    {"assign_scratch", "allocations get offsets in the worker's scratch", tern::kernel::assign_scratch},
};

int process_kernel(const Options& options) {
  std::string text;
  if (!read_file(options.file, text)) return fail(tern::error("The file '{}' cannot be read.", options.file));
  auto kernel = tern::kernel::parse_kernel(text);
  if (!kernel.ok()) return fail(kernel.error());
  std::string after = "reading";
  for (size_t i = 0;; ++i) {
    if (const std::string problems = verify(kernel.value()); !problems.empty())
      return fail(tern::error("After {} the kernel is malformed: {}.", after, problems));
    if (i == options.passes.size()) break;
    const KernelPass* found = nullptr;
    for (const KernelPass& pass : kKernelPasses)
      if (pass.name == options.passes[i]) found = &pass;
    if (!found) return fail(tern::error("The pass '{}' is not known.", options.passes[i]));
    found->run(kernel.value());
    after = found->name;
  }
  fmt::print("{}", print_kernel(kernel.value()));
  return 0;
}

int process(Options& options) {
  if (options.file.ends_with(".tk")) return process_kernel(options);
  auto graph = read_graph(options.file);
  if (!graph.ok()) return fail(graph.error());
  if (const std::string problems = tern::graph::verify(**graph); !problems.empty())
    return fail(tern::error("The graph is malformed: {}.", problems));
  options.pass_options.verify_each = true;
  if (options.timing)
    options.pass_options.on_pass = [](std::string_view pass, double seconds, bool changed) {
      fmt::print(stderr, "{:<18} {:9.3f} ms{}\n", pass, seconds * 1e3, changed ? "" : "  (unchanged)");
    };
  tern::Status done = options.optimize
                          ? tern::graph::optimize(**graph, options.pass_options)
                          : tern::graph::run_passes(**graph, options.passes, options.pass_options);
  if (!done.ok()) return fail(done.error());
  if (options.run) return evaluate(**graph, options);
  fmt::print("{}", tern::graph::print_graph(**graph, options.inline_limit));
  return 0;
}

// Splits "a,b,c".
std::vector<std::string_view> split(std::string_view list) {
  std::vector<std::string_view> out;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (comma != 0) out.push_back(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const auto value = [&](std::string_view name) { return arg.substr(name.size()); };
    if (arg == "--help" || arg == "-h") {
      fmt::print("{}", kHelp);
      return 0;
    } else if (arg == "--list") {
      fmt::print("graph passes\n");
      for (const tern::graph::Pass& p : tern::graph::passes()) fmt::print("  {:<18} {}\n", p.name, p.summary);
      fmt::print("kernel passes\n");
      for (const KernelPass& p : kKernelPasses) fmt::print("  {:<18} {}\n", p.name, p.summary);
      return 0;
    } else if (arg.starts_with("--passes=")) {
      for (const std::string_view p : split(value("--passes="))) options.passes.push_back(p);
    } else if (arg == "--optimize") {
      options.optimize = true;
    } else if (arg == "--timing") {
      options.timing = true;
    } else if (arg.starts_with("--disable-pass=")) {
      options.pass_options.disabled.emplace_back(value("--disable-pass="));
    } else if (arg.starts_with("--dump-dir=")) {
      options.pass_options.dump_dir = value("--dump-dir=");
    } else if (arg.starts_with("--run=")) {
      options.run = true;
      options.run_inputs = value("--run=");
    } else if (arg.starts_with("--inline-limit=")) {
      options.inline_limit = std::strtoll(std::string(value("--inline-limit=")).c_str(), nullptr, 10);
    } else if (arg.size() > 1 && arg[0] == '-') {
      return wrong_use(fmt::format("the option '{}' is not known", arg));
    } else if (!options.file.empty()) {
      return wrong_use("more than one file is given");
    } else {
      options.file = arg;
    }
  }
  if (options.file.empty()) return wrong_use("no file is given");
  return process(options);
}
