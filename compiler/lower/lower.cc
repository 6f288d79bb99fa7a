#include "compiler/lower/lower.h"

#include "compiler/lower/block_lowering.h"
#include "compiler/lower/gather_rolls.h"
#include "compiler/lower/gpu/contraction.h"
#include "compiler/lower/grouped_products.h"
#include "compiler/lower/merge_quantised.h"
#include "compiler/lower/narrow_transposed_conv.h"
#include "compiler/lower/nest_concats.h"
#include "compiler/lower/patch_products.h"
#include "compiler/lower/pixel_products.h"
#include "compiler/lower/quantised_weights.h"
#include "compiler/lower/sink_reshapes.h"
#include "compiler/lower/spread_products.h"
#include "compiler/lower/step_order.h"

namespace tern::lower {
namespace {

using graph::Value;

int add_io(LoweringContext& context, BufferKind kind, const Value* v, const std::string& name, size_t index) {
  BufferDef def;
  def.kind = kind;
  def.name = name;
  def.dtype = v->type.dtype;
  def.bytes = ceildiv(product(v->type.shape) * Dim(dtype_bits(v->type.dtype)), 8);
  def.io_index = static_cast<int>(index);
  return context.add_buffer(std::move(def));
}

bool check_io(const graph::Graph& graph, Diagnostics& diagnostics) {
  bool good = true;
  const auto check = [&](const char* what, const Value* v, const std::string& name) {
    if (v->type.is_tensor() && v->type.dtype != DType::kString) return;
    diagnostics.add(
        error("{} '{}' has type {}, which compiled programs do not support.", what, name, v->type.text()));
    good = false;
  };
  for (size_t i = 0; i < graph.body.args.size(); ++i)
    check("Input", graph.body.args[i], graph.input_names[i]);
  for (size_t i = 0; i < graph.body.results.size(); ++i)
    check("Output", graph.body.results[i], graph.output_names[i]);
  return good;
}

}  // namespace

std::unique_ptr<LoweredProgram> lower(graph::Graph& graph, const Target& target, const LowerOptions& options,
                                      Diagnostics& diagnostics) {
  auto program = std::make_unique<LoweredProgram>();
  program->function = "main";
  LoweringContext context(graph, target, options, *program, diagnostics);
  if (!check_io(graph, diagnostics)) return nullptr;
  for (size_t i = 0; i < graph.body.args.size(); ++i) {
    const Value* v = graph.body.args[i];
    const int buffer = add_io(context, BufferKind::kInput, v, graph.input_names[i], i);
    context.set_place(v, dense_place(buffer, Layout::dense(v->type.rank()), v->type.shape));
    program->inputs.push_back({graph.input_names[i], v->type.dtype, v->type.shape, buffer});
  }
  std::vector<Place> result_places;
  for (size_t i = 0; i < graph.body.results.size(); ++i) {
    const Value* v = graph.body.results[i];
    const int buffer = add_io(context, BufferKind::kOutput, v, graph.output_names[i], i);
    result_places.push_back(dense_place(buffer, Layout::dense(v->type.rank()), v->type.shape));
    program->outputs.push_back({graph.output_names[i], v->type.dtype, v->type.shape, buffer});
  }
  const bool narrow = options.precision == DType::kF16 || options.precision == DType::kBF16;
  if (narrow && is_gpu(target.arch) && context.enabled("patch_products")) patch_products(graph);
  if (!is_gpu(target.arch)) pixel_products(graph);  // not timed there
  spread_products(graph, context);
  narrow_transposed_convs(graph, context);
  group_products(graph);
  if (context.enabled("fuse_epilogue")) sink_reshapes(graph);
  if (is_gpu(target.arch)) gather_rolls(graph);
  nest_concats(graph);
  if (is_gpu(target.arch)) {
    const PrecisionPlan precision(graph, options.precision, options.keep_f32);
    absorb_quantised_weights(graph, [&](const graph::Node& dot, const QuantisedWeights& w) {
      return !precision.requested(dot) && gpu::keeps_integers(dot, w, options.precision, target);
    });
    merge_quantised_products(graph);
  } else {
    absorb_quantised_weights(graph);
  }
  name_iterations(graph, context);
  context.plan_precision();
  const graph::UseMap uses = graph::compute_uses(graph);
  if (!is_gpu(target.arch)) context.set_shared_tables(find_shared_tables(graph, uses, context));
  LayoutMap layouts;
  BlockLowering(context, uses, layouts).run(graph.body, result_places);
  if (!diagnostics.ok()) return nullptr;
  if (is_gpu(target.arch) && context.enabled("share_barriers")) share_barriers(*program);
  program->symbols = graph.symbols;
  for (graph::SymbolInfo& s : program->symbols) s.value = nullptr;
  return program;
}

}  // namespace tern::lower
