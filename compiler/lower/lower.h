// From a graph to dispatches: layouts, regions, schedules, kernels. The only entry that other folders call.
#pragma once

#include "compiler/graph/ir.h"
#include "compiler/lower/program_ir.h"
#include "compiler/lower/target.h"
#include "compiler/support/result.h"

namespace tern::lower {

// The optional steps of lowering, for --disable-pass.
inline constexpr std::string_view kOptionalSteps[] = {
    "fuse_epilogue",  "fuse_producers", "fuse_rows",      "channels_last",  "split_transposed_conv",
    "winograd",       "fuse_attention", "fuse_depthwise", "share_barriers", "patch_products",
    "split_products", "tf32x3",         "bf16x6"};

// Where one dispatch and several are both legal: what is predicted to be faster (fusion_cost.h); or, to
// measure the prediction, always the one or the other.
enum class Fusion : uint8_t { kPredicted, kTogether, kApart };

struct LowerOptions {
  std::vector<std::string> disabled;  // of kOptionalSteps
  DType precision = DType::kF32;      // how f32 values are stored between dispatches: kF32, kF16, kBF16
  Fusion fusion = Fusion::kPredicted;
  bool tf32 = false;                  // CUDA: matrix units multiply f32 operands rounded to TF32
  std::vector<std::string> keep_f32;  // ONNX nodes, or their outputs, whose results and constants stay f32
};

// The graph must verify and be simplified (graph/passes.h). Problems (ops that cannot be lowered for this
// target) all go to diagnostics, each naming the ONNX node; the result is null then.
std::unique_ptr<LoweredProgram> lower(graph::Graph& graph, const Target& target, const LowerOptions& options,
                                      Diagnostics& diagnostics);

}  // namespace tern::lower
