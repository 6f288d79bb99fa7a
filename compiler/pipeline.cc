#include "compiler/pipeline.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <new>
#include <stdexcept>
#include <thread>

#include "compiler/explain.h"
#include "compiler/graph/passes.h"
#include "compiler/graph/passes/list_outputs.h"
#include "compiler/graph/passes/number_strings.h"
#include "compiler/graph/passes/room_for_caches.h"
#include "compiler/graph/suggest_sizes.h"
#include "compiler/kernels.h"
#include "compiler/lower/finish_kernel.h"
#include "compiler/lower/lower.h"
#include "compiler/lower/precision.h"
#include "compiler/lower/visit_dispatches.h"
#include "compiler/program/derive.h"
#include "compiler/program/hoist.h"
#include "compiler/program/program.h"
#include "compiler/program/share_literals.h"
#include "compiler/support/dim_overflow.h"
#include "compiler/support/read_text.h"
#include "compiler/support/write_text.h"
#include "compiler/target_problems.h"
#include "compiler/toolchain/shaderc.h"

namespace tern {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// For --disable-pass, beside the graph's passes and lowering's steps.
constexpr std::string_view kShareLiterals = "share_literals";

std::string target_name(const lower::Target& target) {
  return std::string(lower::arch_name(target.arch));
}

// One compilation: what the phases hand on to each other.
class Compilation {
 public:
  Compilation(const CompileOptions& options, Diagnostics& diagnostics)
      : options_(options), diagnostics_(diagnostics) {}

  CompileResult run();

 private:
  const CompileOptions& options_;
  Diagnostics& diagnostics_;
  CompileResult result_;
  Clock::time_point phase_start_ = Clock::now();
  std::string phase_name_;

  std::vector<lower::Target> targets_;                           // those that the model can be compiled for
  std::vector<std::unique_ptr<lower::LoweredProgram>> lowered_;  // one a target of targets_
  std::vector<std::pair<std::string, std::string>> metadata_;
  program::ModuleParts parts_;
  pack::ModuleInput module_;

  int jobs() const {
    return options_.jobs > 0 ? options_.jobs
                             : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  bool is_disabled(std::string_view pass) const {
    return std::find(options_.disabled_passes.begin(), options_.disabled_passes.end(), pass) !=
           options_.disabled_passes.end();
  }
  void phase(const std::string& name, double done);
  void end_phase();
  bool stop(CompileStatus status, Error error);
  bool dump(const std::string& name, const std::string& text);
  bool dump_kernels(const std::string& folder);

  std::unique_ptr<graph::Graph> import() const;
  bool optimize(graph::Graph& graph, const lower::Target& target);
  bool lower_target(const lower::Target& target);
  bool leave_out(const lower::Target& target, const std::vector<std::string>& problems,
                 const Diagnostics& found);
  lower::Target without_matrices(lower::Target target);
  bool build_programs();
  bool compile_kernels();
  bool suits_devices();
  // Else a model is compiled for the other targets, with a warning.
  bool must_suit(lower::Arch arch) const {
    return options_.targets.size() == 1 ||
           std::find(options_.required.begin(), options_.required.end(), arch) != options_.required.end();
  }
};

// The table of contents.
CompileResult Compilation::run() {
  const Clock::time_point start = Clock::now();
  const auto all = [&] {
    // A graph is imported once a target: lowering takes it apart.
    for (const lower::Target& target : options_.targets) {
      if (!lower_target(without_matrices(target))) return false;
    }
    if (targets_.empty()) return false;
    if (options_.check_only) return true;
    // Constants first: their places in the file are numbers in the command lists.
    if (!build_programs()) return false;
    if (!compile_kernels()) return false;
    phase("packing", 0.95);
    module_.sources = parts_.sources.take();
    module_.constants = std::move(parts_.constants);
    module_.metadata = std::move(metadata_);
    result_.file = std::make_unique<pack::ModuleFile>(std::move(module_));
    return true;
  };
  const bool done = all();
  end_phase();
  if (!done && result_.status == CompileStatus::kOk) result_.status = CompileStatus::kModelError;
  result_.report.seconds = seconds_since(start);
  return std::move(result_);
}

void Compilation::phase(const std::string& name, double done) {
  if (options_.progress) options_.progress(name, done);
  if (name == phase_name_) return;
  end_phase();
  phase_name_ = name;
  phase_start_ = Clock::now();
}

void Compilation::end_phase() {
  if (!phase_name_.empty()) result_.report.phases.push_back({phase_name_, seconds_since(phase_start_)});
  phase_name_.clear();
}

bool Compilation::stop(CompileStatus status, Error error) {
  result_.status = status;
  diagnostics_.add(std::move(error));
  return false;
}

// True: written, or not asked for.
bool Compilation::dump(const std::string& name, const std::string& text) {
  if (options_.dump_dir.empty()) return true;
  const std::filesystem::path path = std::filesystem::path(options_.dump_dir) / name;
  std::error_code problem;
  std::filesystem::create_directories(path.parent_path(), problem);
  if (problem)
    return stop(CompileStatus::kFileError,
                error("The folder '{}' cannot be made: {}.", path.parent_path().string(), problem.message()));
  Status status = write_text(path.string(), text);
  return status.ok() || stop(CompileStatus::kFileError, status.take_error());
}

std::unique_ptr<graph::Graph> Compilation::import() const {
  if (!options_.input.ends_with(".tg"))
    return onnx::import_model(options_.input, options_.import, diagnostics_);
  const Result<std::string> text = read_text(options_.input, "graph as text", INT32_MAX);
  if (!text.ok()) {
    diagnostics_.add(text.error());
    return nullptr;
  }
  Result<std::unique_ptr<graph::Graph>> graph = graph::parse_graph(text.value());
  if (!graph.ok()) {
    diagnostics_.add(graph.take_error().note(fmt::format("While reading '{}'", options_.input)));
    return nullptr;
  }
  if (const std::string problems = graph::verify(**graph); !problems.empty()) {
    diagnostics_.add(error("The graph in '{}' is not well-formed:\n{}", options_.input, problems));
    return nullptr;
  }
  return std::move(graph).value();
}

// The target as this build of ternc can compile it.
lower::Target Compilation::without_matrices(lower::Target target) {
  if (toolchain::shaders_have_matrices()) return target;
  if (std::erase_if(target.levels, [](lower::Level level) {
        return lower::is_gpu(lower::level_arch(level)) && lower::gpu_model(level).tiles != DType::kNone;
      }))
    diagnostics_.warn(
        "kernels for Vulkan's cooperative matrices are left out: this ternc was built with a Shaderc that "
        "does not know them (tools/setup vulkan-extra)");
  return target;
}

bool is_graph_pass(const std::string& name) {
  return graph::find_pass(name) != nullptr;
}

bool Compilation::optimize(graph::Graph& graph, const lower::Target& target) {
  graph::PassOptions options;
  for (const std::string& name : options_.disabled_passes) {
    if (is_graph_pass(name)) options.disabled.push_back(name);
  }
  // GPUs have fast kernels of bytes by constant weights: other products of quantised models are floats there.
  if (lower::is_gpu(target.arch)) options.disabled.emplace_back("integer_products");
  // CPUs' rows are vectors along their runs, which groups of few channels do not fill (decision 119).
  if (!lower::is_gpu(target.arch)) options.disabled.emplace_back("unmerge_axes");
  if (!options_.dump_dir.empty()) {
    options.dump_dir = (std::filesystem::path(options_.dump_dir) / target_name(target)).string();
    if (!dump(target_name(target) + "/00-import.tg", graph::print_graph(graph))) return false;
  }
#ifndef NDEBUG
  options.verify_each = true;
#endif
  Status status = graph::optimize(graph, options);  // fails only where it cannot dump
  if (!status.ok()) return stop(CompileStatus::kFileError, status.take_error());
  graph::suggest_sizes(graph);
  return true;
}

bool Compilation::lower_target(const lower::Target& target) {
  const double part = 1.0 / static_cast<double>(options_.targets.size());
  const double before = 0.3 * part * static_cast<double>(lowered_.size());
  phase("importing", before);
  const std::unique_ptr<graph::Graph> graph = import();
  if (!graph) return false;
  for (const std::string& name : lower::unknown_names(*graph, options_.keep_f32)) {
    diagnostics_.add(
        error("--keep-f32 names '{}', which is no node of the model that computes something, nor such a "
              "node's output.",
              name));
  }
  if (!diagnostics_.ok()) return false;
  std::vector<std::string> said = graph::name_listed_outputs(*graph);
  for (std::string& table : graph::name_strings(*graph)) said.push_back(std::move(table));
  for (const std::string& sentence : said)
    if (lowered_.empty()) diagnostics_.warn(sentence);  // once, not for each target
  if (options_.cache_room) {
    const Result<int> caches = graph::room_for_caches(*graph, *options_.cache_room);
    if (!caches.ok())
      return stop(CompileStatus::kModelError, Error(caches.error()).note("As --cache-room asks"));
  }
  phase("simplifying", before + 0.1 * part);
  if (!optimize(*graph, target)) return false;
  phase("lowering", before + 0.2 * part);
  lower::LowerOptions options;
  for (const std::string& name : options_.disabled_passes) {
    if (!is_graph_pass(name)) options.disabled.push_back(name);
  }
  options.precision = options_.precision;
  options.tf32 = options_.tf32;
  options.fusion = options_.fusion;
  options.keep_f32 = options_.keep_f32;
  Diagnostics found;
  std::unique_ptr<lower::LoweredProgram> program;
  {
    lower::FinishingThreads others(jobs() - 1);
    program = lower::lower(*graph, target, options, found);
    others.wait();
  }
  for (const std::string& warning : found.warnings()) diagnostics_.warn(warning);
  std::vector<std::string> problems;
  for (const Error& problem : found.errors()) problems.push_back(problem.text());
  if (program) problems = target_problems(*program, target.arch);
  if (!problems.empty()) return leave_out(target, problems, found);
  if (!program) return false;
  if (options_.explain) result_.report.explanations.push_back(explain(*program, target));
  targets_.push_back(target);
  lowered_.push_back(std::move(program));
  return true;
}

// A GPU that cannot run the model as a whole: nothing falls back to the CPU in the middle of a program.
bool Compilation::leave_out(const lower::Target& target, const std::vector<std::string>& problems,
                            const Diagnostics& found) {
  if (!lower::is_gpu(target.arch)) {
    for (const Error& problem : found.errors()) diagnostics_.add(problem);
    return false;
  }
  const std::string name = target_name(target);
  if (must_suit(target.arch)) {
    Error whole = error("The model cannot run on {}; what it lacks ({}):", name, problems.size());
    for (const std::string& problem : problems) whole.message += "\n - " + problem;
    diagnostics_.add(std::move(whole));
    return false;
  }
  std::string more;
  if (problems.size() > 1)
    more = fmt::format(" (and {} more: --require={} lists them)", problems.size() - 1, name);
  diagnostics_.warn(fmt::format("there is no program for {}: {}{}", name, problems[0], more));
  return true;
}

bool Compilation::build_programs() {
  phase("planning memory", 0.3);
  program::derive_constants(lowered_, targets_);
  for (const auto& lowered : lowered_) {
    program::hoist_constant_work(*lowered);
    if (!is_disabled(kShareLiterals)) program::share_literals(*lowered, jobs());
  }
  std::vector<const kernel::Kernel*> kernels;
  const auto list = [&](const lower::DispatchStep& step) {
    for (const lower::KernelVariant& variant : step.variants) kernels.push_back(variant.kernel.get());
  };
  for (const auto& lowered : lowered_) {
    lower::visit_dispatches(lowered->init_steps, list);
    lower::visit_dispatches(lowered->steps, list);
  }
  parts_.kernels.expect(kernels, jobs());
  for (size_t i = 0; i < lowered_.size(); ++i)
    program::add_constants(*lowered_[i], static_cast<int>(i), parts_.constants);
  int64_t alignment = program::ConstantPool::kAlignment;
  for (const lower::Target& target : options_.targets)
    alignment = std::max(alignment, program::binding_alignment(target.arch));
  parts_.constants.layout(alignment);
  module_.symbols = program::module_symbols(*lowered_[0]);
  Result<std::unique_ptr<module::FunctionT>> function = program::module_function(*lowered_[0]);
  if (!function.ok()) return stop(CompileStatus::kModelError, function.take_error());
  module_.functions.push_back(std::move(function).value());
  for (size_t i = 0; i < lowered_.size(); ++i) {
    const lower::Target& target = targets_[i];
    Result<program::BuiltProgram> built =
        program::build_program(*lowered_[i], target, static_cast<int>(i), parts_);
    if (!built.ok()) return stop(CompileStatus::kModelError, built.take_error());
    ProgramSummary summary;
    summary.target = target_name(target);
    summary.dispatches = built->report.dispatches;
    summary.copies = built->report.copies;
    summary.barriers = built->report.barriers;
    summary.arena_bytes = built->plan.bytes_at_hints;
    summary.arena_is_static = built->plan.arena_bytes.is_const();
    summary.arena_formula = built->plan.formula();
    summary.scratch_bytes = built->report.scratch_bytes;
    summary.workgroup_bytes = built->report.workgroup_bytes;
    summary.on_gpu = lower::is_gpu(target.arch);
    summary.derived_constants = built->report.derived_constants;
    summary.derived_bytes = built->report.derived_bytes;
    summary.copy_notes = std::move(built->report.copy_notes);
    summary.precision = std::move(lowered_[i]->precision);
    result_.report.programs.push_back(std::move(summary));
    if (!dump(target_name(target) + "/program.txt", program::print_program(*built->program))) return false;
    module_.programs.push_back(std::move(built->program));
  }
  return true;
}

// Before they are compiled, which may fail.
bool Compilation::dump_kernels(const std::string& folder) {
  for (const program::KernelPool::LevelKernels& level : parts_.kernels.levels()) {
    for (const auto& kernel : level.kernels) {
      if (!dump(fmt::format("{}/{}/{}.tk", folder, lower::level_name(level.level), kernel->name),
                kernel::print_kernel(*kernel)))
        return false;
    }
  }
  return true;
}

// The kernels of a device's first level are those of every dispatch: it must have what they ask for. What
// later levels ask for and it lacks leaves their dispatches to the first.
bool Compilation::suits_devices() {
  bool suits = true;
  for (const TargetDevice& device : options_.devices) {
    const auto target = std::find_if(targets_.begin(), targets_.end(),
                                     [&](const lower::Target& t) { return t.arch == device.arch; });
    if (target == targets_.end()) continue;
    for (const pack::ExecutableImage& image : module_.executables) {
      if (image.level != target->levels.front()) continue;
      const std::vector<std::string> unmet = unmet_conditions(device, image.conditions);
      if (unmet.empty()) continue;
      Error whole =
          error("The model's kernels do not run on the device of '{}'; what it lacks ({}):", device.path,
                unmet.size());
      for (const std::string& condition : unmet) whole.message += "\n - " + condition;
      if (must_suit(device.arch)) {
        diagnostics_.add(std::move(whole));
        suits = false;
      } else {
        diagnostics_.warn(whole.message);
      }
    }
  }
  return suits;
}

bool Compilation::compile_kernels() {
  phase("compiling kernels", 0.35);
  KernelBuildOptions options;
  options.jobs = jobs();
  options.use_cache = options_.use_cache;
  if (!options_.dump_dir.empty()) {
    options.dump_dir = (std::filesystem::path(options_.dump_dir) / "kernels").string();
    if (!dump_kernels("kernels")) return false;
  }
  options.progress = [&](size_t unit, size_t units) {
    phase("compiling kernels", 0.35 + 0.6 * static_cast<double>(unit) / static_cast<double>(units));
  };
  for (const auto& level : parts_.kernels.levels())
    result_.report.kernels += static_cast<int64_t>(level.kernels.size());
  Result<KernelBuildResult> built = build_kernels(parts_.kernels, options);
  if (!built.ok()) return stop(CompileStatus::kToolchainError, built.take_error());
  module_.executables = std::move(built->images);
  // Images follow the pool's levels, each level's kinds in order.
  size_t image = 0;
  for (const program::KernelPool::LevelKernels& level : parts_.kernels.levels()) {
    for (const lower::ImageKind& kind : level.images) {
      TERN_CHECK(image < module_.executables.size(), "image {} was not made", kind.name);
      pack::describe_image(level, kind, module_.executables[image++]);
    }
  }
  TERN_CHECK(image == module_.executables.size(), "{} images were not asked for",
             module_.executables.size() - image);
  if (!suits_devices()) return false;
  result_.report.units_compiled = built->units_compiled;
  result_.report.units_cached = built->units_cached;
  return true;
}

Error too_large() {
  return error(
      "The memory of this machine, or the limit that is set for it, does not suffice to compile the model.");
}

}  // namespace

CompileResult compile(const CompileOptions& options, Diagnostics& diagnostics) {
  const CheckContext context(fmt::format("compiling '{}'", options.input));
  if (!options.dump_dir.empty()) {
    std::error_code problem;
    std::filesystem::create_directories(options.dump_dir, problem);
    if (problem) {
      diagnostics.add(error("The folder '{}' cannot be made: {}.", options.dump_dir, problem.message()));
      CompileResult result;
      result.status = CompileStatus::kFileError;
      return result;
    }
  }
  CompileResult failed;
  failed.status = CompileStatus::kModelError;
  try {
    return Compilation(options, diagnostics).run();
  } catch (DimOverflow& overflow) {
    diagnostics.add(std::move(overflow.error));
  } catch (const std::bad_alloc&) {
    diagnostics.add(too_large());
  } catch (const std::length_error&) {
    diagnostics.add(too_large());
  }
  return failed;
}

std::vector<std::string> pass_names() {
  std::vector<std::string> names;
  for (const graph::Pass& pass : graph::passes()) names.emplace_back(pass.name);
  for (std::string_view step : lower::kOptionalSteps) names.emplace_back(step);
  names.emplace_back(kShareLiterals);
  return names;
}

}  // namespace tern
