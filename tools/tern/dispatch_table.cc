#include "tools/tern/dispatch_table.h"

#include <algorithm>
#include <cstdio>

#include "tools/tern/devices.h"

namespace tern::cli {
namespace {

std::string nodes_text(const module::SourceT& source) {
  std::string out;
  for (size_t i = 0; i < source.nodes.size(); ++i) {
    const std::string op = i < source.ops.size() ? source.ops[i] : "";
    out += (i ? ", " : "") + (source.nodes[i].empty() ? op : source.nodes[i] + " (" + op + ")");
  }
  return out.empty() ? source.note : out;
}

std::string column(double value, int width, const char* format) {
  char text[64];
  if (value < 0) {
    std::snprintf(text, sizeof text, "%*s", width, "-");
  } else {
    std::snprintf(text, sizeof text, format, width, value);
  }
  return text;
}

}  // namespace

DispatchTable::DispatchTable(const BenchOptions& options, const Arguments& arguments,
                             const std::string& device, int runs)
    : runs_(runs) {
  const vm::ModuleFile file = read_module_file(options.module);
  const auto value_of = [&](std::string_view name) -> std::optional<int64_t> {
    for (const tern_dim_bound_t& bound : arguments.bounds()) {
      if (name == bound.symbol) return bound.max;
    }
    return std::nullopt;
  };
  for (const auto& source : file.module.sources)
    sources_.push_back({nodes_text(*source), evaluate_work(source->work, value_of)});
  if (const std::optional<MachinePeak> known = known_peak(device)) {
    peak_ = *known;
    device_ = device;
  } else if (device.empty() && (options.peak_gflops == 0 || options.peak_gbs == 0)) {
    threads_ = cpu_threads(options.device);
    peak_ = measure_peak(threads_);
    measured_ = true;
  }
  if (options.peak_gflops > 0) peak_.gflops = options.peak_gflops;
  if (options.peak_gbs > 0) peak_.gbs = options.peak_gbs;
}

void DispatchTable::add(uint32_t number, const tern_profile_event_t& event) {
  while (number >= rows_.size()) rows_.push_back({});
  Row& row = rows_[number];
  if (row.us == 0) {
    const bool known = event.source < sources_.size();
    row.label = known ? sources_[event.source].text : std::string(event.label, event.label_size);
    if (known) row.work = sources_[event.source].work;
  }
  row.us += static_cast<double>(event.end_ns - event.begin_ns) / 1000 / runs_;
}

DispatchTable::Rates DispatchTable::rates(const Row& row) const {
  Rates out;
  if (!row.work || row.us <= 0) return out;
  const double seconds = row.us * 1e-6;
  out.gflops = row.work->operations / seconds * 1e-9;
  out.gbs = row.work->bytes / seconds * 1e-9;
  const double peak = row.work->on_bytes                                     ? peak_.byte_gops
                      : row.work->on_matrix_units && peak_.matrix_gflops > 0 ? peak_.matrix_gflops
                                                                             : peak_.gflops;
  const bool idle = row.work->operations == 0;
  if (peak_.gbs > 0 && (peak > 0 || idle))
    out.roofline = std::max(out.gbs / peak_.gbs, idle ? 0 : out.gflops / peak);
  return out;
}

void DispatchTable::print() const {
  double total_us = 0, operations = 0, bytes = 0;
  for (const Row& row : rows_) {
    total_us += row.us;
    if (!row.work) continue;
    operations += row.work->operations;
    bytes += row.work->bytes;
  }
  std::printf("\n%s, mean of %d runs one dispatch after the other\n", bold("dispatches").c_str(), runs_);
  if (peak_.gflops > 0 || peak_.gbs > 0) {
    std::printf("limits: %.0f GFLOP/s of f32", peak_.gflops);
    if (peak_.byte_gops > 0) std::printf(", %.0f GOP/s on bytes", peak_.byte_gops);
    if (peak_.matrix_gflops > 0) std::printf(", %.0f of f16 on matrix units", peak_.matrix_gflops);
    std::printf(", %.1f GB/s from memory", peak_.gbs);
    if (!device_.empty()) std::printf(" (the maker's figures for %s)", device_.c_str());
    if (measured_) std::printf(" (measured now on %d thread%s)", threads_, threads_ == 1 ? "" : "s");
    std::printf("; above 100 %%: caches\n");
  } else {
    std::printf("limits of this device are not known: --peak-gflops and --peak-gbs say them\n");
  }
  std::printf("%10s %7s %9s %8s %9s  %s\n", "us", "of all", "GFLOP/s", "GB/s", "roofline", "nodes");
  for (const Row& row : rows_) {
    const Rates r = rates(row);
    std::printf("%10.1f %5.1f %% %s %s %s %%  %s\n", row.us, total_us > 0 ? 100 * row.us / total_us : 0,
                column(r.gflops, 9, "%*.1f").c_str(), column(r.gbs, 8, "%*.1f").c_str(),
                column(r.roofline < 0 ? -1 : 100 * r.roofline, 7, "%*.1f").c_str(),
                command_line::printable(row.label).c_str());
  }
  if (total_us > 0)
    std::printf("%10.1f %5.1f %% %9.1f %8.1f            all\n", total_us, 100.0, operations / total_us * 1e-3,
                bytes / total_us * 1e-3);
}

void DispatchTable::json(Json& out) const {
  if (peak_.gflops > 0) out.number("peak_gflops", peak_.gflops);
  if (peak_.byte_gops > 0) out.number("peak_byte_gops", peak_.byte_gops);
  if (peak_.matrix_gflops > 0) out.number("peak_matrix_gflops", peak_.matrix_gflops);
  if (peak_.gbs > 0) out.number("peak_gbs", peak_.gbs);
  out.open('[', "dispatches");
  for (const Row& row : rows_) {
    const Rates r = rates(row);
    out.open('{').text("label", row.label).number("us", row.us);
    if (row.work) out.number("operations", row.work->operations).number("bytes", row.work->bytes);
    if (r.gflops >= 0) out.number("gflops", r.gflops).number("gbs", r.gbs);
    if (r.roofline >= 0) out.number("roofline", r.roofline);
    out.close();
  }
  out.close();
}

}  // namespace tern::cli
