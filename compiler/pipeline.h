// The whole compilation as one function: model file in, module file out. ternc is a command line around it;
// tests and tools call it in process. pipeline.cc is the page that says what happens in what order.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/device_target.h"
#include "compiler/graph/ir.h"
#include "compiler/lower/lower.h"
#include "compiler/lower/program_ir.h"
#include "compiler/lower/target.h"
#include "compiler/onnx/import.h"
#include "compiler/pack/module_writer.h"
#include "compiler/support/result.h"

namespace tern {

struct CompileOptions {
  std::string input;  // .onnx, or graph IR as text (.tg)
  onnx::ImportOptions import;
  std::vector<lower::Target> targets;
  std::vector<TargetDevice> devices;  // those of the targets that are devices
  // GPUs: the model must run on them as a whole, or the compilation fails with the list of what they cannot
  // do. A target that is not required is left out then, with a warning.
  std::vector<lower::Arch> required;
  std::vector<std::string> disabled_passes;  // of graph passes and of lowering's steps
  DType precision = DType::kF32;             // how f32 values are stored: kF32, kF16 or kBF16
  bool tf32 = false;                         // products of f32 in TF32 where the target has it (lower.h)
  lower::Fusion fusion = lower::Fusion::kPredicted;
  std::vector<std::string> keep_f32;            // ONNX nodes that are left out of it
  std::string dump_dir;                         // every stage as text goes here, when set
  int jobs = 0;                                 // processes of the C compiler at once; 0: the cores
  std::optional<graph::SymbolInfo> cache_room;  // caches become buffers of so many positions
  bool use_cache = true;
  bool explain = false;     // fill CompileReport::explanations
  bool check_only = false;  // stop after lowering: what can be compiled is known then
  // Called when a phase begins: its name, and the part of the work that is done (0 to 1, a guess).
  std::function<void(std::string_view phase, double done)> progress;
};

enum class CompileStatus { kOk, kModelError, kToolchainError, kFileError, kInterrupted };

struct ProgramSummary {
  std::string target;  // "x86_64"
  int64_t dispatches = 0, copies = 0, barriers = 0;
  int64_t arena_bytes = 0;  // at the hints
  bool arena_is_static = true;
  std::string arena_formula;
  int64_t scratch_bytes = 0;    // a CPU's worker
  int64_t workgroup_bytes = 0;  // a GPU's workgroup
  bool on_gpu = false;
  int64_t derived_constants = 0, derived_bytes = 0;  // weights that init computes in device memory
  std::vector<std::string> copy_notes;
  lower::PrecisionReport precision;
};
struct PhaseTime {
  std::string name;
  double seconds = 0;
};
struct CompileReport {
  std::vector<ProgramSummary> programs;
  std::vector<PhaseTime> phases;
  std::vector<std::string> explanations;  // one a target, when asked for (explain.h)
  int64_t kernels = 0;                    // distinct, over all levels
  int units_compiled = 0, units_cached = 0;
  double seconds = 0;
};

struct CompileResult {
  CompileStatus status = CompileStatus::kOk;
  std::unique_ptr<pack::ModuleFile> file;  // set when kOk and not check_only
  CompileReport report;
};

// Problems go to diagnostics, all that can be found in one go.
CompileResult compile(const CompileOptions& options, Diagnostics& diagnostics);

// Names that disabled_passes understands.
std::vector<std::string> pass_names();

}  // namespace tern
