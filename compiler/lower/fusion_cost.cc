#include "compiler/lower/fusion_cost.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/lower/arithmetic_cost.h"
#include "compiler/lower/region_growth.h"
#include "compiler/lower/regions.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

// An element that is fetched by an index of its own (Zen 3, from L2: 4.2 ns for eight).
constexpr double kLaneCycles = 1.7;

// Of the shorter of arithmetic and traffic, what the longer does not hide (Zen 3: exp of a row that 768 rows
// of 512 read again took 2.6 times as long as reading its result, where traffic alone was predicted to be
// longer).
constexpr double kUnhidden = 0.25;

// Vectors of f32 that one of this type fills.
double widths(const Node& node) {
  double bits = dtype_bits(node.result()->type.dtype);
  for (const Value* v : node.operands) bits = std::max<double>(bits, dtype_bits(v->type.dtype));
  return std::max(bits, 8.0) / 32;
}

// Whether neighbouring elements of the result come from places that have nothing to do with each other.
bool fetches_lanes(const Node& node) {
  constexpr int64_t kRun = 8;
  const Shape& shape = node.result()->type.shape;
  switch (node.kind) {
    case OpKind::kGather: {
      const auto inner = static_cast<size_t>(node.int_attr("axis")) + 1;
      const Shape& table = node.operand()->type.shape;
      const Dim run = product(Shape(table.begin() + static_cast<std::ptrdiff_t>(inner), table.end()));
      return run.is_const() && run.value() < kRun;
    }
    case OpKind::kGatherElements:
      return node.int_attr("axis") + 1 == static_cast<int64_t>(shape.size());
    case OpKind::kGatherNd:
      return true;
    default:
      return false;
  }
}

}  // namespace

void DispatchWork::add(const DispatchWork& more, double times) {
  operations += more.operations * times;
  multiply_adds += more.multiply_adds * times;
  lanes += more.lanes * times;
  for (const auto& [value, count] : more.read) {
    double& known = read[value];
    known = std::max(known, count * std::min(times, 1.0));
  }
}

DispatchWork FusionCost::work_of(const std::vector<Node*>& members,
                                 const std::vector<Value*>& outputs) const {
  DispatchWork work;
  for (const Node* n : members) take(work, *n, elements(n->results[0]));
  for (const Node* n : members) {
    for (const Value* v : n->results) work.read.erase(v);
  }
  for (const Value* v : outputs) write(work, v);
  return work;
}

Prediction FusionCost::chain(const std::vector<std::unique_ptr<Region>>& regions, int64_t times) const {
  std::vector<DispatchWork> together(1), apart;
  for (const auto& region : regions) {
    apart.push_back(work_of(region->nodes, region->outputs));
    together[0].add(apart.back(), region == regions.back() ? 1.0 : static_cast<double>(times));
  }
  for (const auto& region : regions) {
    for (const Value* v : region->outputs) together[0].read.erase(v);
  }
  together[0].written = apart.back().written;
  return {seconds(together), seconds(apart)};
}

double FusionCost::elements(const Value* value) const {
  return static_cast<double>(context_.hint(product(value->type.shape)));
}

double FusionCost::bytes(const Value* value) const {
  return elements(value) * std::max(dtype_bits(context_.stored_type(value)), 8) / 8;
}

void FusionCost::evaluate(DispatchWork& work, const Node& node, double evaluations) const {
  switch (node.kind) {
    case OpKind::kMap:
      work.operations += evaluations * operations_of(node) * widths(node);
      return;
    case OpKind::kCast:
    case OpKind::kLookup:
    case OpKind::kIota:
    case OpKind::kFromDims:
      work.operations += evaluations * widths(node);
      return;
    case OpKind::kReshape:  // repeated elements (is_repeat), which only a kernel of their own takes in
                            // vectors
      if (is_repeat(node)) work.lanes += evaluations;
      return;
    case OpKind::kPad:
    case OpKind::kConcat:
      work.operations += evaluations * 2 * static_cast<double>(node.operands.size());
      return;
    case OpKind::kGather:
    case OpKind::kGatherElements:
    case OpKind::kGatherNd:
      (fetches_lanes(node) ? work.lanes : work.operations) += evaluations;
      return;
    case OpKind::kReduce:
    case OpKind::kScan:
      work.operations += elements(node.operand()) * widths(node);
      return;
    case OpKind::kDot: {
      const Shape& rhs = node.operand(1)->type.shape;
      work.multiply_adds += evaluations * static_cast<double>(context_.hint(rhs[rhs.size() - 2])) * 2;
      return;
    }
    case OpKind::kConv: {
      const Shape& filters = node.operand(1)->type.shape;
      work.multiply_adds +=
          evaluations *
          static_cast<double>(context_.hint(product(Shape(filters.begin() + 1, filters.end())))) * 2;
      return;
    }
    default:
      return;
  }
}

void FusionCost::take(DispatchWork& work, const Node& node, double evaluations) const {
  for (const Value* v : node.results) work.read.erase(v);
  evaluate(work, node, evaluations);
  const bool gathers =
      node.kind == OpKind::kGather || node.kind == OpKind::kGatherElements || node.kind == OpKind::kGatherNd;
  for (size_t i = 0; i < node.operands.size(); ++i)
    read(work, node.operands[i], i == 0 && gathers ? evaluations : elements(node.operands[i]));
}

void FusionCost::read(DispatchWork& work, const Value* value, double elements) const {
  const Value* memory = read_behind_views(value);
  if (!memory) return;
  const double bits = std::max(dtype_bits(context_.stored_type(memory)), 8);
  const double bytes = std::min(elements, this->elements(memory)) * bits / 8;
  double& known = work.read[memory];
  known = std::max(known, bytes);
}

void FusionCost::write(DispatchWork& work, const Value* value) const {
  work.written += bytes(value);
}

double FusionCost::seconds(const std::vector<DispatchWork>& dispatches) const {
  std::unordered_set<const Value*> seen;
  std::vector<double> weights, values;  // of each
  double footprint = 0;
  for (const DispatchWork& work : dispatches) {
    weights.push_back(0);
    values.push_back(work.written);
    footprint += work.written;
    for (const auto& [value, count] : work.read) {
      // Weights come from memory, since the last run, but once.
      const bool fresh = seen.insert(value).second;
      const bool is_weight = fresh && LoweringContext::constant_data(value);
      (is_weight ? weights : values).back() += count;
      if (fresh) footprint += count;
    }
  }
  const std::vector<Level>& levels = context_.target().levels;
  double total = 0;
  for (size_t i = 0; i < dispatches.size(); ++i) {
    const DispatchWork& work = dispatches[i];
    for (const Level level : levels) {
      const MachineModel& m = machine(level);
      const double cycles = plain_cycles(m, work.operations, false) +
                            plain_cycles(m, work.multiply_adds, true) + work.lanes * kLaneCycles;
      const double dispatch = cpu_dispatch_cycles(m, 0, {}),
                   moved = cpu_dispatch_cycles(m, 0, {values[i], weights[i], footprint}) - dispatch;
      total += (std::max(cycles, moved) + kUnhidden * std::min(cycles, moved) + dispatch) / m.cycles_a_second;
    }
  }
  return total / static_cast<double>(levels.size());
}

bool FusionCost::join(const Prediction& prediction) const {
  switch (context_.fusion()) {
    case Fusion::kTogether:
      return true;
    case Fusion::kApart:
      return false;
    case Fusion::kPredicted:
      return prediction.together <= prediction.apart;
  }
  TERN_UNREACHABLE("a way to fuse without answer");
}

}  // namespace tern::lower
