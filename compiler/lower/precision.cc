#include "compiler/lower/precision.h"

#include <algorithm>
#include <cmath>

#include "compiler/graph/passes/constants.h"
#include "compiler/lower/regions.h"
#include "compiler/support/small_float.h"

namespace tern::lower {

using graph::Node;
using graph::OpKind;
using graph::Value;
using scalar::ScalarOp;

namespace {

// Constants up to this size stay f32 unless a contraction multiplies them: biases and scales cost little.
constexpr int64_t kSmallConstant = 4096;

const Value* looked_at(const Value* v) {
  while (v->def && is_view(*v->def)) v = v->def->operand();
  return v;
}

bool is_f32(const Value* v) {
  return v->type.is_tensor() && v->type.dtype == DType::kF32;
}

bool is_map(const Node& n, std::initializer_list<ScalarOp> ops) {
  return n.kind == OpKind::kMap && std::find(ops.begin(), ops.end(), n.scalar_op()) != ops.end();
}

// Whether views cut the value out of what it looks at, so that it is a copy wherever it is an output.
bool is_cut(const Value* v) {
  for (; v->def && is_view(*v->def); v = v->def->operand()) {
    if (v->def->kind == OpKind::kSlice) return true;
  }
  return false;
}

// Elementwise work and data movement: what a decision or an argument is computed by.
bool is_pointwise_or_movement(const Node& n) {
  return is_view(n) || is_inlinable(n) || n.kind == OpKind::kConcat;
}

double largest_finite(DType storage) {
  return storage == DType::kF16 ? 65504.0 : decode_bf16(0x7f7f);
}

}  // namespace

class PrecisionPlanner {
 public:
  PrecisionPlanner(const graph::Graph& graph, PrecisionPlan& plan) : graph_(graph), plan_(plan) {}

  void run();

 private:
  friend std::string_view keep_reason(Keep keep);
  struct Rule {
    Keep keep;
    std::string_view reason;
    void (PrecisionPlanner::*mark)();
    bool f16_only = false;
  };
  static const Rule kRules[];

  void requested();
  void boundaries();
  void moved();
  void decisions();
  void periodic();
  void positions();
  void sums();
  void growth();
  void range();
  void carry_range(std::unordered_set<const Value*>& wide);
  void masks();
  void small();

  void keep(const Value* v) { plan_.keep(v, now_); }
  void keep_results(const Node& n) {
    for (const Value* v : n.results) keep(v);
  }
  void keep_what_computes(const Value* v, std::unordered_set<const Node*>& seen);
  double largest(const TensorDataPtr& data);
  bool is_wide_constant(const Value* v);

  const graph::Graph& graph_;
  PrecisionPlan& plan_;
  std::vector<const Node*> nodes_;
  Keep now_ = Keep::kRequested;
  std::unordered_map<const TensorData*, double> largest_;
};

// What stays f32. The first rule that finds a value names its reason.
const PrecisionPlanner::Rule PrecisionPlanner::kRules[] = {
    {Keep::kRequested, "--keep-f32 asks for it", &PrecisionPlanner::requested},
    {Keep::kBoundary, "an output of the model, a branch's result or loop-carried state",
     &PrecisionPlanner::boundaries},
    {Keep::kMoved, "the op has a kernel of its own, on elements as they are", &PrecisionPlanner::moved},
    {Keep::kDecides, "it decides an index, a size or a branch", &PrecisionPlanner::decisions},
    {Keep::kPeriodic, "it is the argument of a periodic function", &PrecisionPlanner::periodic},
    {Keep::kPosition, "it is a position, computed from sizes alone", &PrecisionPlanner::positions},
    {Keep::kSum, "it is a sum or product over many elements", &PrecisionPlanner::sums},
    {Keep::kGrowth, "it is a square, a power or an exponential, whose range is beyond f16's",
     &PrecisionPlanner::growth, true},
    {Keep::kRange, "it holds a constant that the narrow type does not", &PrecisionPlanner::range},
    {Keep::kMask, "a softmax's maximum is taken over it, and an input of the model is added to it",
     &PrecisionPlanner::masks},
    {Keep::kSmall, "it is a small constant", &PrecisionPlanner::small},
};

std::string_view keep_reason(Keep keep) {
  for (const PrecisionPlanner::Rule& rule : PrecisionPlanner::kRules) {
    if (rule.keep == keep) return rule.reason;
  }
  TERN_UNREACHABLE("a reason without rule");
}

void PrecisionPlanner::run() {
  graph::walk(graph_.body, [&](Node& n) {
    nodes_.push_back(&n);
    for (const Value* v : n.results) {
      if (is_f32(v) && !is_view(n)) plan_.narrow_.insert(v);
    }
  });
  for (const Rule& rule : kRules) {
    if (rule.f16_only && plan_.storage_ != DType::kF16) continue;
    now_ = rule.keep;
    (this->*rule.mark)();
  }
}

// The node's results, and the constants that it reads.
void PrecisionPlanner::requested() {
  for (const Node* n : nodes_) {
    if (!plan_.requested(*n)) continue;
    keep_results(*n);
    for (const Value* v : n->operands) {
      if (graph::constant_data(looked_at(v))) keep(v);
    }
  }
}

// Keys and values that are outputs too are parts of what products read: those stay narrow, the outputs are
// copies.
void PrecisionPlanner::boundaries() {
  std::unordered_set<const Value*> multiplied;
  for (const Node* n : nodes_) {
    if (n->kind != OpKind::kDot && n->kind != OpKind::kConv) continue;
    for (const Value* v : n->operands) multiplied.insert(looked_at(v));
  }
  for (const Value* v : graph_.body.results) {
    if (!is_cut(v) || !multiplied.contains(looked_at(v))) keep(v);
  }
  for (const Node* n : nodes_) {
    for (const auto& region : n->regions) {
      for (const Value* v : region->results) keep(v);
    }
    if (!n->regions.empty()) keep_results(*n);
  }
}

void PrecisionPlanner::moved() {
  for (const Node* n : nodes_) {
    switch (n->kind) {
      case OpKind::kTopK:
      case OpKind::kScatterElements:
      case OpKind::kScatterNd:
      case OpKind::kNonZero:
      case OpKind::kUnique:
      case OpKind::kNms:
        keep_results(*n);
        break;
      default:
        break;
    }
  }
}

void PrecisionPlanner::keep_what_computes(const Value* v, std::unordered_set<const Node*>& seen) {
  std::vector<const Value*> queue{v};
  while (!queue.empty()) {
    const Value* at = queue.back();
    queue.pop_back();
    if (!graph::constant_data(at)) keep(at);
    if (!at->def || !is_pointwise_or_movement(*at->def) || !seen.insert(at->def).second) continue;
    for (const Value* o : at->def->operands) queue.push_back(o);
  }
}

void PrecisionPlanner::decisions() {
  std::unordered_set<const Node*> seen;
  const auto decides = [&](const Value* v) { keep_what_computes(v, seen); };
  for (const Node* n : nodes_) {
    switch (n->kind) {
      case OpKind::kCast:
        // 8 and 16 bits are quantisation, whose steps are coarser than the narrow types'.
        if (is_int(n->result()->type.dtype) && dtype_bits(n->result()->type.dtype) >= 32)
          decides(n->operand());
        break;
      case OpKind::kTopK:
      case OpKind::kNonZero:
      case OpKind::kUnique:
      case OpKind::kNms:
      case OpKind::kArgReduce:
      case OpKind::kIf:
      case OpKind::kCheck:
        for (const Value* v : n->operands) decides(v);
        break;
      case OpKind::kLoop:
        decides(n->operand(0));
        decides(n->operand(1));
        decides(n->regions[0]->results[0]);
        break;
      default:
        break;
    }
  }
}

void PrecisionPlanner::periodic() {
  std::unordered_set<const Node*> seen;
  for (const Node* n : nodes_) {
    if (is_map(*n, {ScalarOp::kSin, ScalarOp::kCos, ScalarOp::kTan, ScalarOp::kFloorMod, ScalarOp::kRem}))
      keep_what_computes(n->operand(), seen);
  }
}

void PrecisionPlanner::positions() {
  std::unordered_set<const Value*> positions;
  for (const Node* n : nodes_) {
    bool is_position = n->kind == OpKind::kIota || n->kind == OpKind::kFromDims;
    if (!is_position && is_pointwise_or_movement(*n)) {
      bool any = false, all = true;
      for (const Value* v : n->operands) {
        any = any || positions.contains(looked_at(v));
        all = all && (positions.contains(looked_at(v)) || graph::constant_data(looked_at(v)));
      }
      is_position = any && all;
    }
    if (!is_position) continue;
    for (const Value* v : n->results) positions.insert(v);
    keep_results(*n);
  }
}

// Sums that regions hand on, with what is computed from them alone: means, variances, their inverse roots.
void PrecisionPlanner::sums() {
  std::unordered_set<const Value*> sums;
  for (const Node* n : nodes_) {
    if (n->kind == OpKind::kReduce || n->kind == OpKind::kReduceWindow || n->kind == OpKind::kScan) {
      if (n->scalar_op() != ScalarOp::kAdd && n->scalar_op() != ScalarOp::kMul) continue;
      if (n->kind == OpKind::kReduce) sums.insert(n->result());
      keep_results(*n);
      continue;
    }
    if (n->kind != OpKind::kMap) continue;
    bool any = false, all = true;
    for (const Value* v : n->operands) {
      any = any || sums.contains(looked_at(v));
      all = all && (sums.contains(looked_at(v)) || graph::constant_data(looked_at(v)));
    }
    if (!any || !all) continue;
    sums.insert(n->result());
    keep_results(*n);
  }
}

void PrecisionPlanner::growth() {
  for (const Node* n : nodes_) {
    const bool square = is_map(*n, {ScalarOp::kMul}) && n->operand(0) == n->operand(1);
    if (square ||
        is_map(*n, {ScalarOp::kPow, ScalarOp::kExp, ScalarOp::kExpm1, ScalarOp::kSinh, ScalarOp::kCosh}))
      keep_results(*n);
  }
}

double PrecisionPlanner::largest(const TensorDataPtr& data) {
  const auto [it, fresh] = largest_.emplace(data.get(), 0.0);
  if (!fresh) return it->second;
  const float* f = data->as<float>();
  float most = 0;
  for (int64_t i = 0; i < data->count(); ++i) {
    const float a = std::fabs(f[i]);
    if (a > most && std::isfinite(a)) most = a;
  }
  return it->second = most;
}

// Beyond half of the range a sum with anything else may leave it.
bool PrecisionPlanner::is_wide_constant(const Value* v) {
  const TensorDataPtr data = graph::constant_data(looked_at(v));
  return data && data->dtype() == DType::kF32 && largest(data) > largest_finite(plan_.storage_) / 2;
}

// Whether the results of `n` may be as large as what `any` of its operands, or `all` of them, may be.
bool carries_range(const Node& n, bool any, bool all) {
  const bool scatters = n.kind == OpKind::kScatterElements || n.kind == OpKind::kScatterNd;
  if (n.kind != OpKind::kMap) return any && (scatters || is_pointwise_or_movement(n));
  if (is_map(n, {ScalarOp::kMin, ScalarOp::kMax})) return all;  // a bound that bounds nothing
  return any && is_map(n, {ScalarOp::kAdd, ScalarOp::kSub, ScalarOp::kMul, ScalarOp::kNeg, ScalarOp::kAbs,
                           ScalarOp::kSelect});
}

// Masks of -3.4e38 and the like, followed until a function of bounded range or a contraction; out of branches
// and loops too.
void PrecisionPlanner::range() {
  std::unordered_set<const Value*> wide;
  size_t found = 0;
  do {
    found = wide.size();
    carry_range(wide);
  } while (wide.size() != found);
}

void PrecisionPlanner::carry_range(std::unordered_set<const Value*>& wide) {
  const auto is_wide = [&](const Value* v) { return wide.contains(looked_at(v)) || is_wide_constant(v); };
  for (const Node* n : nodes_) {
    if (n->results.empty()) continue;
    if (const TensorDataPtr data = graph::constant_data(n->result()); data && is_f32(n->result())) {
      // Weights that f16 would round in its subnormal numbers lose what they are.
      const bool tiny = plan_.storage_ == DType::kF16 && largest(data) > 0 && largest(data) < 0x1p-14;
      if (tiny || is_wide_constant(n->result())) keep(n->result());
      continue;
    }
    bool any = false, all = !n->operands.empty();
    for (const Value* v : n->operands) {
      any = any || is_wide(v);
      all = all && is_wide(v);
    }
    bool carries = carries_range(*n, any, all);
    for (const auto& region : n->regions)
      carries = carries || std::any_of(region->results.begin(), region->results.end(), is_wide);
    if (!carries) continue;
    wide.insert(n->results.begin(), n->results.end());
    keep_results(*n);
  }
}

// A mask that is an input may hide a whole row by the least f32: were it infinite, the row would be NaN.
void PrecisionPlanner::masks() {
  std::unordered_set<const Value*> from_inputs;
  const auto is_from_input = [&](const Value* v) { return !v->def || from_inputs.contains(v); };
  std::vector<const Value*> queue;
  for (const Node* n : nodes_) {
    if (n->results.empty() || n->operands.empty()) continue;
    if (n->kind == OpKind::kReduce && n->scalar_op() == ScalarOp::kMax) queue.push_back(n->operand());
    bool any = false, all = true;
    for (const Value* v : n->operands) {
      const bool one = is_from_input(v);
      any = any || one;
      all = all && one;
    }
    if (!n->regions.empty() || carries_range(*n, any, all))
      from_inputs.insert(n->results.begin(), n->results.end());
  }
  std::unordered_set<const Value*> seen;
  while (!queue.empty()) {
    const Value* v = queue.back();
    queue.pop_back();
    if (!from_inputs.contains(v) || !seen.insert(v).second) continue;
    keep(v);
    queue.insert(queue.end(), v->def->operands.begin(), v->def->operands.end());
  }
}

void PrecisionPlanner::small() {
  std::unordered_set<const Value*> weights;
  for (const Node* n : nodes_) {
    if (n->kind != OpKind::kDot && n->kind != OpKind::kConv) continue;
    const Value* v = looked_at(n->operand(1));
    // Depthwise filters are few beside what they multiply.
    const bool depthwise = n->kind == OpKind::kConv && v->type.rank() > 1 && v->type.shape[1].is_const(1) &&
                           n->int_attr("groups") > 1;
    if (depthwise && graph::constant_data(v)) {
      keep(v);
    } else {
      weights.insert(v);
    }
  }
  for (const Node* n : nodes_) {
    const TensorDataPtr data = n->results.empty() ? nullptr : graph::constant_data(n->result());
    if (data && data->count() <= kSmallConstant && !weights.contains(n->result())) keep(n->result());
  }
}

// ---- PrecisionPlan

PrecisionPlan::PrecisionPlan(const graph::Graph& graph, DType storage,
                             const std::vector<std::string>& keep_f32)
    : storage_(storage), requested_(keep_f32.begin(), keep_f32.end()) {
  TERN_CHECK(storage == DType::kF32 || storage == DType::kF16 || storage == DType::kBF16,
             "values are stored as {}", dtype_name(storage));
  if (narrows()) PrecisionPlanner(graph, *this).run();
}

DType PrecisionPlan::storage(const Value* value) const {
  return narrow_.contains(looked_at(value)) ? storage_ : value->type.dtype;
}

const Keep* PrecisionPlan::kept(const Value* value) const {
  auto it = kept_.find(looked_at(value));
  return it == kept_.end() ? nullptr : &it->second;
}

void PrecisionPlan::keep(const Value* value, Keep why) {
  const Value* v = looked_at(value);
  if (narrow_.erase(v)) kept_.emplace(v, why);
}

void PrecisionPlan::inherit(const Value* made, const Value* original) {
  if (storage(original) != original->type.dtype) narrow_.insert(made);
}

bool PrecisionPlan::requested(const Node& node) const {
  if (node.source && requested_.contains(node.source->node)) return true;
  return std::any_of(node.results.begin(), node.results.end(),
                     [&](const Value* v) { return requested_.contains(v->name); });
}

TensorDataPtr converted(const TensorDataPtr& data, DType to) {
  if (data->dtype() == to) return data;
  auto out = TensorData::make(to, data->shape());
  if (data->dtype() == DType::kF32 && (to == DType::kF16 || to == DType::kBF16)) {
    const float* from = data->as<float>();
    auto* bits = out->mutable_as<uint16_t>();
    const auto encode = to == DType::kF16 ? encode_f16 : encode_bf16;
    for (int64_t i = 0; i < data->count(); ++i) bits[i] = encode(from[i]);
    return out;
  }
  for (int64_t i = 0; i < data->count(); ++i) out->set_float(i, data->float_at(i));
  return out;
}

std::vector<std::string> unknown_names(const graph::Graph& graph, const std::vector<std::string>& keep_f32) {
  std::unordered_set<std::string> known;
  graph::walk(graph.body, [&](const Node& n) {
    if (n.source) known.insert(n.source->node);
    for (const Value* v : n.results) known.insert(v->name);
  });
  std::vector<std::string> out;
  std::copy_if(keep_f32.begin(), keep_f32.end(), std::back_inserter(out),
               [&](const std::string& name) { return !known.contains(name); });
  return out;
}

}  // namespace tern::lower
