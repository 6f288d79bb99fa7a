// lower_report [--kernels] [--target T] [--precision P] [--disable STEP] MODEL.onnx: lists the dispatches
// that lowering makes of a model, with their schedules, and the time that import and lowering take. --bounds
// says instead whether the kernels of each level of a CPU keep to their memory, with symbols of several
// sizes.
#include <chrono>
#include <cstring>

#include "compiler/graph/passes.h"
#include "compiler/lower/lower.h"
#include "compiler/lower/step_eval.h"
#include "compiler/onnx/import.h"

namespace {

using namespace tern;
using lower::Step;

void print_steps(const lower::LoweredProgram& program, const std::vector<Step>& steps,
                 const std::string& indent, bool kernels, int& count) {
  for (const Step& s : steps) {
    switch (s.kind) {
      case Step::Kind::kDispatch: {
        const auto& v = s.dispatch->variants.back();
        fmt::print("{}{:4} {:40} tiles {:12} flops {:14} bytes {:12} | {}", indent, count++,
                   s.dispatch->label, v.tiles.text(), v.kernel->flops.text(),
                   (v.kernel->bytes_read + v.kernel->bytes_written).text(), v.kernel->schedule);
        for (const auto& source : s.dispatch->sources) fmt::print(" [{} {}]", source->op, source->node);
        fmt::print("\n");
        if (kernels) fmt::print("{}\n", kernel::print_kernel(*v.kernel));
        break;
      }
      case Step::Kind::kIf:
        fmt::print("{}if\n", indent);
        print_steps(program, s.branch->then_steps, indent + "  ", kernels, count);
        fmt::print("{}else\n", indent);
        print_steps(program, s.branch->else_steps, indent + "  ", kernels, count);
        break;
      case Step::Kind::kLoop:
        fmt::print("{}loop {}\n", indent, s.loop->trip_count.text());
        print_steps(program, s.loop->body, indent + "  ", kernels, count);
        break;
      case Step::Kind::kRead:
        fmt::print("{}read {} <- {}\n", indent, s.read->symbol, s.read->buffer);
        break;
      case Step::Kind::kBind:
        fmt::print("{}bind {} := {}\n", indent, s.bind->symbol, s.bind->value.text());
        break;
      case Step::Kind::kAllocate:
        fmt::print("{}allocate {}: {} bytes\n", indent, s.allocate->buffer, s.allocate->bytes.text());
        break;
      default:
        fmt::print("{}step {}\n", indent, static_cast<int>(s.kind));
    }
  }
}

size_t most_variants(const std::vector<Step>& steps) {
  size_t most = 0;
  for (const Step& s : steps) {
    if (s.kind == Step::Kind::kDispatch) most = std::max(most, s.dispatch->variants.size());
    if (s.kind == Step::Kind::kIf)
      most = std::max({most, most_variants(s.branch->then_steps), most_variants(s.branch->else_steps)});
    if (s.kind == Step::Kind::kLoop) most = std::max(most, most_variants(s.loop->body));
  }
  return most;
}

// Symbols are of one size each run, or of one and the next ones; a size that a check refuses is passed over.
int check_bounds(const lower::LoweredProgram& program) {
  const auto levels = static_cast<int>(most_variants(program.steps));
  int wrong = 0;
  for (const int64_t base : {1, 2, 7, 33, 64, 130}) {
    for (const int64_t step : {0, 1}) {
      std::map<std::string, int64_t> sizes;
      std::vector<std::vector<int64_t>> shapes;
      for (const lower::IoDef& input : program.inputs) {
        std::vector<int64_t>& shape = shapes.emplace_back();
        for (const Dim& d : input.shape) {
          const auto size = d.evaluate([&](const std::string& name) -> std::optional<int64_t> {
            return sizes.try_emplace(name, base + step * static_cast<int64_t>(sizes.size())).first->second;
          });
          shape.push_back(size.value_or(1));
        }
      }
      for (int level = 0; level < levels; ++level) {
        Status inside = lower::check_program_bounds(program, shapes, level);
        if (inside.ok()) continue;
        constexpr int kMost = 5;
        if (wrong == kMost) return wrong;
        const std::string text = inside.error().text();
        if (text.find("While evaluating") == std::string::npos) break;
        fmt::print("symbols of {} (+ {}): {}\n", base, step, text);
        ++wrong;
      }
      if (sizes.empty()) return wrong;
    }
  }
  return wrong;
}

// The exit code.
int usage(bool asked) {
  fmt::print(asked ? stdout : stderr,
             "usage: lower_report [--kernels | --bounds] [--target T] [--precision P] [--disable STEP] "
             "MODEL.onnx\n");
  return asked ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  bool kernels = false, bounds = false;
  std::string path;
  lower::LowerOptions options;
  lower::Target target{lower::Arch::kX86_64, {lower::Level::kX86V3, lower::Level::kX86V4}};
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--kernels") == 0) {
      kernels = true;
    } else if (std::strcmp(argv[i], "--bounds") == 0) {
      bounds = true;
    } else if (std::strcmp(argv[i], "--precision") == 0 && i + 1 < argc) {
      options.precision = dtype_from_name(argv[++i]);
    } else if (std::strcmp(argv[i], "--disable") == 0 && i + 1 < argc) {
      options.disabled.emplace_back(argv[++i]);
    } else if (std::strcmp(argv[i], "--target") == 0 && i + 1 < argc) {
      auto targets = lower::parse_targets(argv[++i]);
      if (!targets.ok() || targets->size() != 1) {
        fmt::print(stderr, "--target takes one target.\n");
        return 2;
      }
      target = std::move(targets->front());
    } else if (argv[i][0] == '-') {
      return usage(std::strcmp(argv[i], "--help") == 0);
    } else {
      path = argv[i];
    }
  }
  if (path.empty()) return usage(false);
  const auto seconds = [start = std::chrono::steady_clock::now()] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  Diagnostics diagnostics;
  auto graph = onnx::import_model(path, {}, diagnostics);
  if (graph) {
    if (Status optimized = graph::optimize(*graph); !optimized.ok()) {
      fmt::print("{}\n", optimized.error().text());
      return 1;
    }
  }
  const double imported = seconds();
  std::unique_ptr<lower::LoweredProgram> program;
  if (graph) {
    program = lower::lower(*graph, target, options, diagnostics);
  }
  if (!program) {
    fmt::print("{}\n", diagnostics.text());
    return 1;
  }
  if (bounds) {
    const int wrong = check_bounds(*program);
    fmt::print("{} inputs, {} wrong; {:.2f} s\n", program->inputs.size(), wrong, seconds());
    return wrong ? 1 : 0;
  }
  int count = 0;
  print_steps(*program, program->steps, "", kernels, count);
  fmt::print("{} dispatches; import and passes {:.2f} s, lowering {:.2f} s\n", count, imported,
             seconds() - imported);
  return 0;
}
