// tern bench: load time, first run, steady runs, memory; single dispatches (dispatch_table.h).
#include <algorithm>
#include <cstdio>
#include <numeric>

#include "tools/tern/commands.h"
#include "tools/tern/dispatch_table.h"

namespace tern::cli {
namespace {

constexpr int kResidentInARow = 3;

struct Timing {
  double load_ms = 0, first_ms = 0;
  // Sorted. Whole invocations, and without the copies between host and device.
  std::vector<double> runs, resident;
  static double at(const std::vector<double>& sorted, double part) {
    return sorted[std::min(sorted.size() - 1,
                           static_cast<size_t>(part * static_cast<double>(sorted.size())))];
  }
  double at(double part) const { return at(runs, part); }
  double mean() const {
    return std::accumulate(runs.begin(), runs.end(), 0.0) / static_cast<double>(runs.size());
  }
};

class Bench {
 public:
  explicit Bench(const BenchOptions& options) : options_(options), instance_(make_instance()) {}

  void run() {
    const double begin = now_ms();
    module_ = load_module(instance_.get(), options_.module);
    const double loaded = now_ms();
    function_ = find_function(module_.get(), options_.function);
    arguments_ = std::make_unique<Arguments>(module_.get(), function_, options_.inputs);
    double session_ms = 0;
    placed_ = place(instance_.get(), module_.get(), options_.device,
                    [&](tern_device_t* device, tern_session_t** out) {
                      const double prepared = now_ms();
                      const tern_status_t status = make_session(device, 0, out);
                      session_ms = now_ms() - prepared;
                      return status;
                    });
    timing_.load_ms = loaded - begin + session_ms;
    timing_.first_ms = invoke(session());
    const double until = now_ms() + options_.seconds * 1000;
    const auto enough = [&] {
      const int done = static_cast<int>(timing_.runs.size());
      return options_.runs ? done >= options_.runs : done >= 5 && now_ms() >= until;
    };
    while (!enough()) {
      timing_.runs.push_back(invoke(session()));
      if (timing_.runs.size() == 1 && tern_session_stats(session()).transfer_ns > 0) make_buffers();
      // The first one of a row has other arguments than the run before, and its recording is patched.
      for (int i = 0; copies() && i < kResidentInARow; ++i)
        timing_.resident.push_back(invoke(session(), inputs_in_buffers_, outputs_in_buffers_));
    }
    std::sort(timing_.runs.begin(), timing_.runs.end());
    std::sort(timing_.resident.begin(), timing_.resident.end());
    peak_mb_ = peak_rss_mb();
    if (options_.dispatches) profile();
  }

  void print() const {
    const tern_session_stats_t stats = tern_session_stats(session());
    if (options_.json) return print_json(stats);
    for (const std::string& note : arguments_->notes())
      std::fprintf(stderr, "%s\n", command_line::printable(note).c_str());
    std::printf("%s %.3f ms median, %.3f min, %.3f p90, %.3f p99 (%s)\n", bold("run").c_str(),
                timing_.at(0.5), timing_.runs[0], timing_.at(0.9), timing_.at(0.99),
                command_line::counted(static_cast<long long>(timing_.runs.size()), "run", "runs").c_str());
    if (copies()) {
      std::printf("%s %.3f ms median, %.3f min without copying inputs and outputs\n", bold("    ").c_str(),
                  Timing::at(timing_.resident, 0.5), timing_.resident[0]);
    }
    std::printf("%s %.3f ms, first run %.3f ms\n", bold("load").c_str(), timing_.load_ms, timing_.first_ms);
    std::printf("%s %s weights, %s arena, %s outputs; peak of the process %.1f MB\n", bold("memory").c_str(),
                bytes_text(static_cast<double>(stats.constant_bytes)).c_str(),
                bytes_text(static_cast<double>(stats.arena_bytes)).c_str(),
                bytes_text(static_cast<double>(stats.output_bytes)).c_str(), peak_mb_);
    if (table_) table_->print();
  }

 private:
  static constexpr int kProfileRuns = 10;
  const BenchOptions& options_;
  Handle<tern_instance_t> instance_;
  Handle<tern_module_t> module_;
  Placed placed_;
  // On a device with memory of its own: the tensors of an invocation that copies nothing.
  std::vector<Handle<tern_buffer_t>> buffers_;
  std::vector<tern_tensor_t> inputs_in_buffers_, outputs_in_buffers_;
  std::unique_ptr<Arguments> arguments_;
  uint32_t function_ = 0;
  Timing timing_;
  double peak_mb_ = 0;
  std::unique_ptr<DispatchTable> table_;

  tern_session_t* session() const { return placed_.session.get(); }

  tern_status_t make_session(tern_device_t* device, uint32_t profile_capacity, tern_session_t** out) const {
    tern_session_desc_t desc = {};
    desc.function = tern_module_function_name(module_.get(), function_);
    desc.bounds = arguments_->bounds().data();
    desc.bound_count = static_cast<uint32_t>(arguments_->bounds().size());
    desc.profile_capacity = profile_capacity;
    return tern_session_create(module_.get(), device, &desc, out);
  }

  bool copies() const { return !buffers_.empty(); }

  double invoke(tern_session_t* on) const {
    std::vector<tern_tensor_t> outputs = arguments_->outputs(arguments_->inputs(), options_.in_place);
    return invoke(on, arguments_->inputs(), outputs);
  }

  static double invoke(tern_session_t* on, const std::vector<tern_tensor_t>& inputs,
                       std::vector<tern_tensor_t>& outputs) {
    tern_invoke_t desc = {};
    desc.inputs = inputs.data();
    desc.outputs = outputs.data();
    desc.input_count = static_cast<uint32_t>(inputs.size());
    desc.output_count = static_cast<uint32_t>(outputs.size());
    const double begin = now_ms();
    must(tern_session_invoke(on, &desc));
    return now_ms() - begin;
  }

  tern_buffer_t* make_buffer(uint64_t size) {
    tern_buffer_t* buffer = nullptr;
    must(tern_buffer_create(placed_.device.get(), std::max<uint64_t>(size, 1), &buffer));
    buffers_.emplace_back(buffer);
    return buffer;
  }

  void make_buffers() {
    inputs_in_buffers_ = arguments_->inputs();
    for (tern_tensor_t& tensor : inputs_in_buffers_) {
      if (!tensor.data) continue;  // an optional input that is not given
      tensor.buffer = make_buffer(tensor.size);
      must(tern_buffer_write(tensor.buffer, 0, tensor.data, tensor.size));
    }
    std::vector<tern_tensor_t> outputs = arguments_->outputs(arguments_->inputs(), false);
    invoke(session(), arguments_->inputs(), outputs);
    outputs_in_buffers_ = arguments_->outputs(inputs_in_buffers_, options_.in_place);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs_in_buffers_[i].buffer) outputs_in_buffers_[i].buffer = make_buffer(outputs[i].size);
    }
  }

  void profile() {
    tern_session_t* created = nullptr;
    must(make_session(placed_.device.get(), 1 << 16, &created));
    const Handle<tern_session_t> profiled(created);
    table_ = std::make_unique<DispatchTable>(
        options_, *arguments_, placed_.driver == "cpu" ? "" : device_name(instance_.get(), placed_),
        kProfileRuns);
    invoke(created);
    for (int number = 0; number < kProfileRuns; ++number) {
      invoke(created);
      const uint32_t count = tern_session_profile_count(created);
      for (uint32_t i = 0; i < count; ++i) table_->add(i, tern_session_profile_event(created, i));
    }
  }

  void print_json(const tern_session_stats_t& stats) const {
    Json out;
    out.open('{');
    out.number("median_ms", timing_.at(0.5))
        .number("min_ms", timing_.runs[0])
        .number("p90_ms", timing_.at(0.9))
        .number("p99_ms", timing_.at(0.99))
        .number("max_ms", timing_.runs.back())
        .number("mean_ms", timing_.mean());
    if (copies()) out.number("resident_median_ms", Timing::at(timing_.resident, 0.5));
    out.number("load_ms", timing_.load_ms).number("first_ms", timing_.first_ms);
    out.number("peak_rss_mb", peak_mb_).integer("runs", static_cast<int64_t>(timing_.runs.size()));
    out.integer("arena_bytes", static_cast<int64_t>(stats.arena_bytes));
    out.integer("weight_bytes", static_cast<int64_t>(stats.constant_bytes));
    if (table_) table_->json(out);
    std::fputs(out.take().c_str(), stdout);
  }
};

}  // namespace

int bench_command(const BenchOptions& options) {
  Bench bench(options);
  bench.run();
  bench.print();
  return kSuccess;
}

}  // namespace tern::cli
