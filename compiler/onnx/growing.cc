#include "compiler/onnx/growing.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace tern::onnx {

namespace {

// Which values of a body are the same in every iteration, and which symbols then differ.
class Varying {
 public:
  Varying(graph::Graph& graph, Block& body, const std::set<std::string>& own, size_t symbols) : own_(own) {
    graph::walk(body, [&](graph::Node& n) {
      inside_.insert(&n);
      for (const auto& region : n.regions) arguments_.insert(region->args.begin(), region->args.end());
    });
    arguments_.insert(body.args.begin(), body.args.end());
    for (size_t i = symbols; i < graph.symbols.size(); ++i)
      made_[graph.symbols[i].name] =
          graph.symbols[i].origin == graph::SymbolInfo::Origin::kElement ? graph.symbols[i].value : nullptr;
  }

  bool operator()(const Dim& dim) {
    std::vector<std::string> names;
    dim.collect_symbols(names);
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      if (own_.count(name)) return true;
      const auto made = made_.find(name);
      return made != made_.end() && !(made->second && same(made->second));
    });
  }

 private:
  bool same(const Value* v) {
    if (!v->def) return !arguments_.count(v);
    if (!inside_.count(v->def)) return true;
    if (!v->def->regions.empty()) return false;
    const auto known = same_.find(v);
    if (known != same_.end()) return known->second;
    const bool all = std::all_of(v->def->operands.begin(), v->def->operands.end(),
                                 [&](const Value* operand) { return same(operand); });
    return same_[v] = all;
  }

  const std::set<std::string>& own_;
  std::unordered_set<const graph::Node*> inside_;
  std::unordered_set<const Value*> arguments_;
  std::unordered_map<std::string, const Value*> made_;
  std::unordered_map<const Value*, bool> same_;
};

}  // namespace

Value* zeros(Emit& b, DType dtype, Shape shape) {
  return b.full(std::move(shape), is_float(dtype) ? b.scalar(dtype, 0) : b.integer(dtype, 0));
}

Value* region_argument(Importer::Region& region, graph::Graph& graph, const Type& type) {
  Value* v = graph.new_value(type);
  v->block = region.block.get();
  v->index = static_cast<int>(region.block->args.size());
  region.block->args.push_back(v);
  return v;
}

Dim control_symbol(graph::Graph& graph) {
  graph::SymbolInfo info;
  info.origin = graph::SymbolInfo::Origin::kControl;
  return Dim::symbol(graph.new_symbol("c", info).name);
}

std::vector<GrownScan> grow_scans(Emit& outer, Importer::Region& region, Value* number,
                                  const std::set<std::string>& own, size_t symbols, bool unlimited,
                                  std::vector<Value*>& carried, LoopResult& result) {
  std::vector<GrownScan> grown;
  if (result.scans.empty()) return grown;
  graph::Graph& graph = outer.graph();
  Emit& e = *region.emit;
  Varying varying(graph, *region.block, own, symbols);
  for (size_t i = 0; i < result.scans.size(); ++i) {
    Value* v = result.scans[i];
    GrownScan g{i, carried.size(), v->type, {}};
    Shape sizes;
    for (size_t axis = 0; v->type.is_tensor() && axis < v->type.shape.size(); ++axis) {
      const Dim size = dimension(v, axis);
      if (!varying(size)) continue;
      g.unknown.push_back(axis);
      sizes.push_back(size);
    }
    if ((sizes.empty() && !unlimited) || !v->type.is_tensor()) continue;
    const Dim count(static_cast<int64_t>(sizes.size()));
    Value* row = region_argument(region, graph, Type::tensor(v->type.dtype, {control_symbol(graph)}));
    Value* seen = region_argument(region, graph, Type::tensor(DType::kI64, {count + Dim(1)}));
    Value* now = e.reshape(e.add(number, e.i64(1)), {Dim(1)});
    if (!sizes.empty()) {
      Value* these = e.from_dims(sizes, {count});
      Value* equal = e.reduce(ScalarOp::kAnd,
                              e.compare(ScalarOp::kEq, these, e.slice_axis(seen, 0, Dim(1), count)), {0});
      e.check(e.map(ScalarOp::kOr, {e.compare(ScalarOp::kEq, number, e.i64(0)), equal}),
              fmt::format("A loop stacks values of the shape [{}], whose sizes differ between iterations.",
                          shape_text(v->type.shape)));
      now = e.concat({now, these}, 0);
    }
    result.carried.push_back(e.concat({row, e.reshape(v, {product(v->type.shape)})}, 0));
    result.carried.push_back(now);
    carried.push_back(zeros(outer, v->type.dtype, {Dim(0)}));
    carried.push_back(outer.i64s(std::vector<int64_t>(sizes.size() + 1, 0)));
    grown.push_back(std::move(g));
  }
  for (auto g = grown.rbegin(); g != grown.rend(); ++g)
    result.scans.erase(result.scans.begin() + static_cast<int64_t>(g->scan));
  return grown;
}

Value* stacked_scan(Emit& b, const GrownScan& grown, const std::vector<Value*>& results) {
  const Shape sizes = b.dims(results[grown.carried + 1]);
  Shape shape = grown.element.shape;
  for (size_t i = 0; i < grown.unknown.size(); ++i) shape[grown.unknown[i]] = sizes[i + 1];
  shape.insert(shape.begin(), sizes[0]);
  return b.reshape(results[grown.carried], shape);
}

void grow_joined(Emit& outer, Importer::Region& region, Value* element, int64_t axis, bool in_front,
                 std::vector<Value*>& carried, LoopResult& result) {
  const DType dtype = element->type.dtype;
  Shape shape = element->type.shape;
  shape[static_cast<size_t>(axis)] = Dim(0);
  carried.push_back(zeros(outer, dtype, shape));
  shape[static_cast<size_t>(axis)] = control_symbol(outer.graph());
  Value* before = region_argument(region, outer.graph(), Type::tensor(dtype, shape));
  result.carried.push_back(region.emit->concat(
      in_front ? std::vector<Value*>{element, before} : std::vector<Value*>{before, element}, axis));
}

}  // namespace tern::onnx
