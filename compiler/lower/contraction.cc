#include "compiler/lower/contraction.h"

#include <algorithm>
#include <array>
#include <optional>

#include "compiler/lower/arithmetic_cost.h"
#include "compiler/lower/contraction_access.h"
#include "compiler/lower/contraction_body.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/contraction.h"
#include "compiler/lower/packing.h"
#include "compiler/lower/quantised_weights.h"
#include "compiler/lower/regions.h"
#include "compiler/lower/weight_encoding.h"
#include "compiler/lower/winograd_weights.h"

namespace tern::lower {

bool epilogue_is_long(const Region& region, int limit) {
  int operations = 0;
  for (const graph::Node* node : region.nodes) {
    if (node->kind != graph::OpKind::kMap || node == region.root) continue;
    if (scalar::info(node->scalar_op()).expensive) return true;
    ++operations;
  }
  return operations > limit;
}

Dim contraction_flops(const graph::Node& root) {
  const Shape& out = root.result()->type.shape;
  const Shape& rhs = root.operand(1)->type.shape;
  if (root.kind == graph::OpKind::kDot) return product(out) * rhs[rhs.size() - 2] * 2;
  return product(out) * product(Shape(rhs.begin() + 1, rhs.end())) * 2;
}

bool takes_computed_filters(const Region& region, const LoweringContext& context) {
  constexpr int64_t kLeastColumns = 4;  // a group of fewer leaves most of a tile idle
  const graph::Node& conv = *region.root;
  if (conv.kind != graph::OpKind::kConv || !context.enabled("channels_last")) return false;
  const graph::Value *x = conv.operand(0), *filters = conv.operand(1);
  const auto all_ones = [](const std::vector<int64_t>& v) {
    return std::all_of(v.begin(), v.end(), [](int64_t step) { return step == 1; });
  };
  const bool floats = is_contraction_float(x->type.dtype) && is_contraction_float(filters->type.dtype);
  const bool read = std::find(region.inputs.begin(), region.inputs.end(), filters) != region.inputs.end();
  if (!floats || !read || LoweringContext::constant_data(filters) || LoweringContext::splat(filters) ||
      !is_static(filters->type.shape) || x->type.rank() < 3 || x->type.rank() > 5 ||
      !all_ones(conv.ints("lhs_dilations")))
    return false;
  if (is_depthwise(conv))  // whole vectors of channels of every level
    return !is_gpu(context.target().arch) && x->type.rank() <= 4 && x->type.dtype == DType::kF32 &&
           filters->type.shape[0].value() % kPanelColumns == 0;
  return filters->type.shape[0].value() >= kLeastColumns * conv.int_attr("groups");
}

Layout filter_layout(const graph::Node& conv) {
  const int rank = conv.operand(1)->type.rank();
  if (!is_depthwise(conv)) return Layout::channels_last(rank);
  Layout out;  // channels innermost
  for (int d = 1; d < rank; ++d) out.order.push_back(d);
  out.order.push_back(0);
  return out;
}

bool lies_in_steps(const graph::Node& conv, LoweringContext& context) {
  const graph::Value* filters = conv.operand(1);
  if (!context.has_place(filters)) return false;
  const Place& place = context.place(filters);
  Dim step = 1;
  const Layout layout = filter_layout(conv);
  const size_t dimensions = is_depthwise(conv) ? layout.order.size() : layout.order.size() - 1;
  for (size_t i = 0; i < dimensions; ++i) {
    const auto d = static_cast<size_t>(layout.order[layout.order.size() - 1 - i]);
    const Dim& extent = filters->type.shape[d];
    if (!extent.is_const(1) && !(place.strides[d] == step)) return false;
    step = step * extent;
  }
  return place.planes == 1;
}

namespace {

// Of the whole dispatch: the products, by their schedule where it counts them, a depthwise convolution in
// front of them, and the elementwise nodes around them.
double predicted_cycles(const Region& region, const graph::Node* depthwise, double products,
                        const LoweringContext& context, Level level) {
  const MachineModel& m = machine(level);
  const auto plain = [&](const graph::Node& node) {
    return plain_cycles(m, static_cast<double>(context.hint(contraction_flops(node))), true);
  };
  return (products > 0 ? products : plain(*region.root)) + (depthwise ? plain(*depthwise) : 0) +
         elementwise_cycles(region, context, m);
}

std::vector<Level> product_levels(const Target& target, Variants variants) {
  std::vector<Level> out;
  for (const Level level : target.product_levels) {
    const Variants has = machine(level).variants;
    if (has == variants || (has == Variants::kTiles && variants != Variants::kAll)) out.push_back(level);
  }
  return out;
}

// Both operands are bf16 in memory; or the left one is f32 for no other reason than that nobody stores it (an
// input of the model, a value inside of the region), and is rounded as if it were stored.
bool multiplies_bf16(const graph::Node& root, LoweringContext& context) {
  const graph::Value *lhs = root.operand(0), *rhs = root.operand(1);
  if (context.stored_type(rhs) != DType::kBF16) return false;
  const bool narrows = context.precision().narrow_type() == DType::kBF16 && lhs->type.dtype == DType::kF32 &&
                       !context.precision().kept(lhs);
  return narrows || context.stored_type(lhs) == DType::kBF16;
}

// A single row, or as many as there are, by weights in integers (quantised_digits.cc).
bool may_be_row_by_integers(const graph::Node& root) {
  if (!quantised_weights(root)) return false;
  const Shape& lhs = root.operand(0)->type.shape;
  const Dim rows = lhs.size() < 2 ? Dim(1) : lhs[lhs.size() - 2];
  return !rows.is_const() || rows.is_const(1);
}

// Constants that the region adds to sums of bytes before anything else: add(root, bias), which nobody else
// reads.
struct Bias {
  const graph::Value *sum = nullptr, *bias = nullptr;
};
std::optional<Bias> bias_of(const Region& region) {
  const graph::Value* root = region.root->result();
  const auto is_output = [&](const graph::Value* v) {
    return std::find(region.outputs.begin(), region.outputs.end(), v) != region.outputs.end();
  };
  if (root->type.dtype != DType::kI32 || is_output(root)) return std::nullopt;
  std::optional<Bias> found;
  for (const graph::Node* node : region.nodes) {
    for (const graph::Value* v : node->operands) {
      if (v != root) continue;
      if (found || node->kind != graph::OpKind::kMap || node->scalar_op() != scalar::ScalarOp::kAdd)
        return std::nullopt;
      const graph::Value* other = node->operand(node->operand(0) == root ? 1 : 0);
      const graph::Node* source = other->def;
      while (source && is_view(*source)) source = source->operand(0)->def;
      if (other == root || !source || source->kind != graph::OpKind::kConstant) return std::nullopt;
      found = Bias{node->result(), other};
    }
  }
  return found;
}

// The dispatch that transforms a convolution's weights for Winograd's algorithm; the buffer that it fills.
int transform_weights(const Region& region, LoweringContext& context, int outputs) {
  const graph::Node& conv = *region.root;
  const graph::Value* weights = conv.operand(1);
  kernel::ParamTable unused;
  const ContractionProblem p = conv_problem(conv, unused);
  WinogradWeights w;
  w.transform = &winograd_transform(outputs, static_cast<int>(p.geometry.stride_h));
  w.columns = p.n.value();
  w.planes = p.geometry.window_d;
  w.channels = p.geometry.channels;
  const DType stored = context.stored_type(weights);
  const TensorDataPtr panels =
      pack_panels(*LoweringContext::constant_data(weights), {1, p.k.value(), w.columns, p.b_element}, stored);
  context.note_stored(weights, stored);
  const int from = context.add_constant(weights->name, panels),
            to = context.add_temporary(weights->name + ".points", DType::kF32, Dim(w.elements()));
  Region alone;
  alone.nodes = {region.root};
  DispatchBuilder dispatch(context, alone);
  dispatch.set_label("weights");
  dispatch.set_each_run();
  dispatch.set_flops(Dim(winograd_operations(*w.transform).weights * w.planes * w.channels * w.columns));
  const kernel::Buffer source = dispatch.bind(from), result = dispatch.bind(to, kernel::Access::kWrite);
  for (const Level level : context.target().levels) {
    ContractionBody body = build_winograd_weights(w, machine(level), source, result);
    dispatch.add_variant(level, std::move(body.grid), std::move(body.body), std::move(body.schedule));
  }
  dispatch.finish();
  return to;
}

// `depthwise`: the convolution in the region whose results are the rows of the root's left operand, or null.
bool lower_product(const Region& region, LoweringContext& context, const graph::Node* depthwise,
                   bool finish_is_long) {
  const graph::Node& root = *region.root;
  const graph::Value* rhs = root.operand(1);
  // Through a transpose of a constant and the like, the folder has made a constant already.
  const TensorDataPtr constant = LoweringContext::constant_data(rhs);
  if (!contraction_fits(root, constant, true) &&
      !(takes_computed_filters(region, context) && lies_in_steps(root, context)))
    return false;

  DispatchBuilder dispatch(context, region);
  dispatch.set_label(region.label());
  dispatch.set_flops(contraction_flops(root), root.result()->type.dtype == DType::kI32);
  int packed_buffer = -1, winograd = 0, winograd_weights = -1;
  std::array<int, static_cast<size_t>(ContractionRequest::Parameter::kCount)> parameters;
  parameters.fill(-1);
  int parameter_count = 0;
  // Points are f32. Not for bf16, which some levels multiply in pairs twice as fast.
  const DType weights = context.stored_type(rhs);
  if (constant && context.enabled("winograd") && (weights == DType::kF32 || weights == DType::kF16)) {
    std::vector<const MachineModel*> machines;
    for (const Level level : context.target().levels) machines.push_back(&machine(level));
    winograd = winograd_outputs(root, machines, [&](const Dim& d) { return context.hint(d); });
  }
  if (depthwise) dispatch.set_flops(contraction_flops(root) + contraction_flops(*depthwise));
  if (winograd != 0) dispatch.set_flops(winograd_flops(root, winograd));
  const bool bytes = is_byte_contraction(root);
  const bool bf16 = !bytes && multiplies_bf16(root, context);
  const std::vector<Level> more =
      product_levels(context.target(), bytes || may_be_row_by_integers(root) ? Variants::kBytes
                                       : bf16                                ? Variants::kBf16
                                                                             : Variants::kAll);
  std::vector<Level> levels = context.target().levels;
  levels.insert(levels.end(), more.begin(), more.end());
  std::sort(levels.begin(), levels.end());
  ByteChains chains;
  const std::optional<Bias> bias = bias_of(region);
  for (const Level level : levels) {
    ElementEmitter emitter(dispatch);
    ContractionRequest request;
    bool has_bias = false;
    request.root = &root;
    request.machine = &machine(level);
    request.params = &dispatch.params();
    request.hint = [&](const Dim& d) { return context.hint(d); };
    request.element = [&](int operand, const Index& index) {
      return emitter.element(root.operand(operand), index);
    };
    request.stored = [&](int operand) { return context.stored_type(root.operand(operand)); };
    request.element_stored = [&](int operand, const Index& index) {
      return emitter.load_stored(root.operand(operand), index);
    };
    request.constant_rhs = constant;
    request.pack = [&](const std::function<TensorDataPtr()>& make,
                       const std::function<ContractionRequest::Encoding()>& encoding) {
      if (packed_buffer < 0) {
        packed_buffer = context.add_constant(rhs->name, make(), encoding ? encoding() : nullptr);
        context.note_stored(rhs, context.stored_type(rhs));
      }
      return dispatch.bind(packed_buffer);
    };
    request.pack_parameter = [&](ContractionRequest::Parameter parameter,
                                 const std::function<TensorDataPtr()>& make) {
      int& buffer = parameters[static_cast<size_t>(parameter)];
      if (buffer < 0)
        buffer = context.add_constant(fmt::format("{}.{}", rhs->name, parameter_count++), make());
      return dispatch.bind(buffer);
    };
    request.constant = [&](const char* name, const TensorDataPtr& data) {
      return dispatch.bind(context.add_constant(fmt::format("{}.{}", rhs->name, name), data));
    };
    request.finish = [&](const std::function<Index(const kernel::Expr&)>& index_at, const kernel::Expr& n,
                         const kernel::Expr& value, int lanes, const kernel::Expr& count) {
      return store_epilogue(emitter, index_at, n, value, lanes, count, bytes && machine(level).has_fma,
                            has_bias ? bias->sum : nullptr);
    };
    if (bias) request.bias = [&](const Index& index) { return emitter.element(bias->bias, index); };
    request.has_bias = &has_bias;
    request.chains = &chains;
    request.stores_bytes =
        std::all_of(region.outputs.begin(), region.outputs.end(),
                    [&](const graph::Value* v) { return dtype_bits(context.stored_type(v)) == 8; });
    request.bf16_pairs = bf16 && !more.empty();
    request.winograd = winograd;
    request.winograd_weights = [&] {
      if (winograd_weights < 0) winograd_weights = transform_weights(region, context, winograd);
      return dispatch.bind(winograd_weights);
    };
    request.bytes_by_winograd = context.enabled("winograd");
    request.finish_is_long = finish_is_long;
    if (depthwise) {
      request.depthwise = depthwise;
      request.depthwise_filters = LoweringContext::constant_data(depthwise->operand(1));
      request.depthwise_element = [&](const Index& index) {
        return emitter.element(depthwise->operand(), index);
      };
      request.depthwise_result = [&](const Index& index, const kernel::Var& sum) {
        emitter.bind(depthwise->result(), kernel::var_expr(sum));
        const kernel::Expr e = emitter.element(root.operand(), index);
        emitter.unbind(depthwise->result());
        return e;
      };
    }
    ContractionBody body = build_contraction(request);
    if (body.body.empty()) continue;  // the level below is as fast
    dispatch.add_variant(
        level, std::move(body.grid), std::move(body.body), std::move(body.schedule), {},
        {.cycles = predicted_cycles(region, depthwise, body.cycles, context, level), .tiles = body.tiles});
  }
  dispatch.finish();
  return true;
}

}  // namespace

bool lower_contraction(const Region& region, LoweringContext& context) {
  if (is_gpu(context.target().arch)) return gpu::lower_contraction(region, context);
  const bool bytes = is_byte_contraction(*region.root);
  return lower_product(region, context, nullptr, epilogue_is_long(region, bytes ? 16 : 6));
}

int64_t computations_of_rows(const graph::Node& root, const LoweringContext& context) {
  int64_t most = 1;
  for (const Level level : context.target().levels)
    most = std::max(most,
                    blocks_of_columns(root, machine(level), [&](const Dim& d) { return context.hint(d); }));
  return most;
}

bool lower_depthwise_product(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context) {
  const graph::Node &conv = *chain[0]->root, &root = *chain[1]->root;
  const auto is_f32 = [&](const graph::Node& n) {
    return n.result()->type.dtype == DType::kF32 && context.stored_type(n.operand(1)) == DType::kF32;
  };
  if (!is_f32(conv) || !is_f32(root) || conv.operand()->type.rank() > 4 ||
      !contraction_fits(root, LoweringContext::constant_data(root.operand(1))))
    return false;
  return lower_product(joined(chain), context, &conv, epilogue_is_long(*chain[1], 6));
}

}  // namespace tern::lower
