// lower_report [--kernels] [--target T] [--disable STEP] MODEL.onnx: lists the dispatches that lowering makes
// of a model, with their schedules, and the time that import and lowering take.
#include <chrono>
#include <cstring>

#include "compiler/graph/passes.h"
#include "compiler/lower/lower.h"
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

}  // namespace

int main(int argc, char** argv) {
  bool kernels = false;
  std::string path;
  lower::LowerOptions options;
  lower::Target target{lower::Arch::kX86_64, {lower::Level::kX86V3, lower::Level::kX86V4}};
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--kernels") == 0) {
      kernels = true;
    } else if (std::strcmp(argv[i], "--disable") == 0 && i + 1 < argc) {
      options.disabled.emplace_back(argv[++i]);
    } else if (std::strcmp(argv[i], "--target") == 0 && i + 1 < argc) {
      auto targets = lower::parse_targets(argv[++i]);
      if (!targets.ok() || targets->size() != 1) {
        fmt::print(stderr, "--target takes one target.\n");
        return 2;
      }
      target = std::move(targets->front());
    } else {
      path = argv[i];
    }
  }
  if (path.empty()) {
    fmt::print(stderr, "usage: lower_report [--kernels] [--target T] [--disable STEP] MODEL.onnx\n");
    return 2;
  }
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
  int count = 0;
  print_steps(*program, program->steps, "", kernels, count);
  fmt::print("{} dispatches; import and passes {:.2f} s, lowering {:.2f} s\n", count, imported,
             seconds() - imported);
  return 0;
}
