#include "compiler/lower/transposed_conv.h"

#include <algorithm>
#include <cstring>

#include "compiler/lower/contraction.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

constexpr int64_t kLeastChannels = 3;

// One phase along one spatial axis: outputs p, p + s, …, from taps first, first + s, ….
struct PhaseAxis {
  int64_t step = 1, phase = 0, first = 0, taps = 1, low = 0;
  Dim outputs;
};

PhaseAxis phase_axis(int64_t step, int64_t phase, int64_t window, int64_t low, const Dim& outputs) {
  PhaseAxis a{step, phase, 0, 0, 0, {}};
  a.first = ((low - phase) % step + step) % step;
  a.taps = a.first < window ? (window - a.first + step - 1) / step : 0;
  a.low = (low - phase - a.first) / step;
  a.outputs = ceildiv(outputs - Dim(phase), step);
  return a;
}

// The weights of one phase: [O, C, taps…].
TensorDataPtr phase_weights(const TensorData& weights, const std::vector<PhaseAxis>& axes) {
  std::vector<int64_t> shape{weights.shape()[0], weights.shape()[1]};
  for (const PhaseAxis& a : axes) shape.push_back(a.taps);
  auto out = TensorData::make(weights.dtype(), shape);
  const auto size = static_cast<size_t>(dtype_bits(weights.dtype()) / 8);
  std::vector<int64_t> at(shape.size(), 0);
  for (int64_t i = 0; i < out->count(); ++i) {
    int64_t source = 0;
    for (size_t d = 0; d < shape.size(); ++d) {
      const int64_t c = d < 2 ? at[d] : axes[d - 2].first + axes[d - 2].step * at[d];
      source = source * weights.shape()[d] + c;
    }
    std::memcpy(out->mutable_bytes().data() + static_cast<size_t>(i) * size,
                weights.bytes().data() + static_cast<size_t>(source) * size, size);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++at[d] < shape[d]) break;
      at[d] = 0;
    }
  }
  return out;
}

class Phases {
 public:
  Phases(const Region& region, LoweringContext& context) : region_(region), context_(context) {}

  bool fits() {
    const Node& root = *region_.root;
    if (root.kind != OpKind::kConv || region_.outputs.size() != 1) return false;
    weights_ = LoweringContext::constant_data(root.operand(1));
    const auto is = [&](std::string_view name, int64_t v) {
      return std::all_of(root.ints(name).begin(), root.ints(name).end(), [v](int64_t x) { return x == v; });
    };
    if (!weights_ || !is("strides", 1) || !is("dilations", 1) || is("lhs_dilations", 1)) return false;
    if (dtype_bits(weights_->dtype()) < 8) return false;
    for (const Node* n : region_.nodes) {
      const bool pointwise =
          n->kind == OpKind::kMap || n->kind == OpKind::kCast || n->kind == OpKind::kLookup;
      if (n != &root && (!pointwise || n->result()->type.shape != root.result()->type.shape)) return false;
    }
    // Few output channels leave vectors mostly empty; the plain nest runs its lanes elsewhere.
    if (weights_->shape()[0] / root.int_attr("groups") < kLeastChannels) return false;
    const std::vector<int64_t>& steps = root.ints("lhs_dilations");
    for (size_t d = 0; d < steps.size(); ++d) {
      if (steps[d] > weights_->shape()[d + 2]) return false;  // a phase without taps
    }
    return true;
  }

  void run() {
    const std::vector<int64_t>& steps = region_.root->ints("lhs_dilations");
    std::vector<int64_t> phase(steps.size(), 0);
    while (true) {
      lower_phase(phase);
      size_t d = steps.size();
      while (d-- > 0) {
        if (++phase[d] < steps[d]) break;
        phase[d] = 0;
      }
      if (d == SIZE_MAX) return;
    }
  }

 private:
  Value* new_value(const Value* like, const Shape& shape) {
    return context_.graph().new_value(graph::Type::tensor(like->type.dtype, shape), like->name);
  }

  // The value at the phase's positions only: a strided view.
  Value* phase_view(const Value* v, const std::vector<PhaseAxis>& axes, const Shape& shape) {
    Value* out = new_value(v, shape);
    Place place = context_.place(v);
    for (size_t d = 0; d < axes.size(); ++d) {
      place.offset = place.offset + place.strides[d + 2] * Dim(axes[d].phase);
      place.strides[d + 2] = place.strides[d + 2] * Dim(axes[d].step);
    }
    context_.set_place(out, std::move(place));
    return out;
  }

  void lower_phase(const std::vector<int64_t>& phase) {
    const Node& root = *region_.root;
    Shape shape = root.result()->type.shape;
    std::vector<PhaseAxis> axes;
    std::vector<int64_t> lows, ones, highs;
    for (size_t d = 0; d < phase.size(); ++d) {
      axes.push_back(phase_axis(root.ints("lhs_dilations")[d], phase[d], weights_->shape()[d + 2],
                                root.ints("low")[d], shape[d + 2]));
      shape[d + 2] = axes[d].outputs;
      lows.push_back(axes[d].low);
      ones.push_back(1);
      const Dim high =
          axes[d].outputs - root.operand()->type.shape[d + 2] - Dim(axes[d].low - axes[d].taps + 1);
      highs.push_back(high.maybe_value().value_or(0));  // the result's shape is what counts
    }
    if (product(shape).is_const(0)) return;

    std::vector<std::unique_ptr<Node>> nodes;
    std::unordered_map<const Value*, Value*> moved;
    Region part;
    part.kind = RootKind::kContraction;
    for (const Node* n : region_.nodes) {
      auto copy = std::make_unique<Node>();
      copy->kind = n->kind;
      copy->attrs = n->attrs;
      copy->source = n->source;
      for (Value* v : n->operands) {
        if (n == &root) {
          copy->operands.push_back(v);
          continue;
        }
        auto it = moved.find(v);
        if (it == moved.end()) {
          const bool splat = LoweringContext::splat(v).has_value();
          it = moved.emplace(v, splat ? v : phase_view(v, axes, shape)).first;
          part.inputs.push_back(it->second);
        }
        copy->operands.push_back(it->second);
      }
      const Value* result = n->result();
      Value* own = result == region_.outputs[0] ? phase_view(result, axes, shape) : new_value(result, shape);
      own->def = copy.get();
      copy->results = {own};
      moved[result] = own;
      if (n == &root) {
        auto constant = std::make_unique<Node>();
        constant->kind = OpKind::kConstant;
        const TensorDataPtr weights = phase_weights(*weights_, axes);
        constant->set("value", weights);
        Value* w = context_.graph().new_value(
            graph::Type::tensor(weights->dtype(), Shape(weights->shape().begin(), weights->shape().end())),
            n->operand(1)->name);
        w->def = constant.get();
        context_.precision().inherit(w, n->operand(1));
        constant->results = {w};
        copy->operands[1] = w;
        copy->set("low", lows);
        copy->set("high", highs);
        copy->set("lhs_dilations", ones);
        part.root = copy.get();
        part.inputs.push_back(copy->operands[0]);
        part.inputs.push_back(w);
        nodes.push_back(std::move(constant));
      }
      part.nodes.push_back(copy.get());
      part.members.insert(copy.get());
      nodes.push_back(std::move(copy));
    }
    part.outputs = {moved.at(region_.outputs[0])};
    if (!lower_contraction(part, context_)) lower_contraction_naive(part, context_);
    for (const auto& [from, to] : moved) {
      if (to != from) to->def = nullptr;  // the nodes end here
    }
  }

  const Region& region_;
  LoweringContext& context_;
  TensorDataPtr weights_;
};

}  // namespace

bool lower_transposed_conv(const Region& region, LoweringContext& context) {
  Phases phases(region, context);
  if (!phases.fits()) return false;
  phases.run();
  return true;
}

}  // namespace tern::lower
