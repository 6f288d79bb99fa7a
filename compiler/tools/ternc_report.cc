#include "compiler/tools/ternc_report.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tools/command_line/problems.h"

namespace tern {

using command_line::counted;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string bytes_text(int64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  const char* const units[] = {"KB", "MB", "GB", "TB"};
  int unit = -1;
  for (; value >= 1000 && unit < 3; ++unit) value /= 1000;
  return value < 100 ? fmt::format("{:.1f} {}", value, units[unit])
                     : fmt::format("{:.0f} {}", value, units[unit]);
}

// "stored as f16: 57 values, 54 constants; f32 stayed 12 (-v lists them)", and the list.
std::string precision_report(const lower::PrecisionReport& report, bool verbose) {
  if (report.storage == DType::kF32 && !report.tf32) return "";
  const std::string out_of_reach = report.tf32_products == 0 ? " (only CUDA multiplies in TF32)" : "";
  std::string out =
      report.tf32 ? fmt::format("  products of f32: {} in TF32{}, {} in f32\n", report.tf32_products,
                                out_of_reach, report.f32_products)
                  : fmt::format("  stored as {}: {}, {}; left in f32: {}{}\n", dtype_name(report.storage),
                                counted(report.narrow_values, "value", "values"),
                                counted(report.narrow_constants, "constant", "constants"), report.kept.size(),
                                verbose || report.kept.empty() ? "" : " (-v tells which and why)");
  if (!verbose) return out;
  for (const lower::PrecisionReport::Kept& kept : report.kept) {
    const std::string node = kept.node.empty() ? "" : fmt::format(" of node '{}'", kept.node);
    out += fmt::format("  f32 '{}'{}: {}\n", kept.value, node, kept.reason);
  }
  return out;
}

std::string end_report(const CompileResult& result, const std::string& output, bool verbose) {
  const pack::ModuleSize& size = result.file->size();
  std::string out;
  for (const ProgramSummary& program : result.report.programs) {
    out += fmt::format("{}: {}", program.target, counted(program.dispatches, "dispatch", "dispatches"));
    if (program.copies) out += ", " + counted(program.copies, "copy", "copies");
    out += fmt::format(", arena {}", bytes_text(program.arena_bytes));
    if (!program.arena_is_static) out += " at usual sizes";
    out += program.on_gpu ? fmt::format(", workgroup memory {}\n", bytes_text(program.workgroup_bytes))
                          : fmt::format(", scratch {} a thread\n", bytes_text(program.scratch_bytes));
    if (!program.arena_is_static) out += fmt::format("  arena bytes = {}\n", program.arena_formula);
    for (const std::string& note : program.copy_notes) {
      if (verbose) out += fmt::format("  copy {}\n", note);
    }
    if (program.derived_constants)
      out += fmt::format("  computed from other encodings when a session is created: {} ({})\n",
                         counted(program.derived_constants, "weight", "weights"),
                         bytes_text(program.derived_bytes));
    if (verbose) out += fmt::format("  {}\n", counted(program.barriers, "barrier", "barriers"));
    out += precision_report(program.precision, verbose);
  }
  out += fmt::format("{}: {} = weights {} + code {} ({}) + metadata {}\n", output, bytes_text(size.total),
                     bytes_text(size.weights), bytes_text(size.code),
                     counted(result.report.kernels, "kernel", "kernels"), bytes_text(size.metadata));
  if (verbose) {
    for (const PhaseTime& phase : result.report.phases)
      out += fmt::format("  {:<18} {:8.1f} ms\n", phase.name, phase.seconds * 1000);
    out += fmt::format("  {} compiled, {} from the cache\n",
                       counted(result.report.units_compiled, "unit", "units"), result.report.units_cached);
  }
  out += fmt::format("compiled in {:.2f} s\n", result.report.seconds);
  return out;
}

std::string coverage_report(const std::vector<onnx::OpUse>& uses) {
  std::vector<const onnx::OpUse*> order;
  for (const onnx::OpUse& use : uses) order.push_back(&use);
  std::sort(order.begin(), order.end(), [](const onnx::OpUse* a, const onnx::OpUse* b) {
    if (a->supported != b->supported) return !a->supported;
    if (a->count != b->count) return a->count > b->count;
    return a->op < b->op;
  });
  int64_t total = 0, supported = 0;
  std::string out;
  for (const onnx::OpUse* use : order) {
    total += use->count;
    if (use->supported) supported += use->count;
    const std::string domain = use->domain.empty() || use->domain == "ai.onnx" ? "" : use->domain + ".";
    out += fmt::format("{:>6} x {}{}{}\n", use->count, domain, use->op,
                       use->supported ? std::string()
                                      : fmt::format("   not supported (opset {}, first in node '{}')",
                                                    use->opset, use->first_node));
  }
  out += fmt::format("{} of {} a supported operator.\n", supported, counted(total, "node has", "nodes have"));
  return out;
}

Progress::Progress() : terminal_(command_line::color_enabled(STDERR_FILENO)), start_(now()) {}

void Progress::show(std::string_view phase, double done) {
  // Short compilations show nothing.
  if (!terminal_ || now() - start_ < 0.3) return;
  std::fprintf(stderr, "\r\033[K[%3.0f %%] %.*s", done * 100, static_cast<int>(phase.size()), phase.data());
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fputs("\r\033[K", stderr);
  shown_ = false;
}

}  // namespace tern
