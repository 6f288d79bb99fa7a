// evaluate and evaluate_node: what runs where; the ops' meaning is in eval_*.cc.
#include "compiler/graph/eval.h"

#include <algorithm>

namespace tern::graph {

Result<int64_t> EvalNode::resolve(const Dim& d) const {
  if (d.is_const()) return d.value();
  const std::optional<int64_t> v = d.evaluate(symbols);
  if (v) return *v;
  return error("The dimension {} of '{}' has no value here.", d.text(), info(node.kind).name);
}

Result<Indices> EvalNode::resolve(const std::vector<Dim>& dims) const {
  Indices out;
  for (const Dim& d : dims) {
    TERN_ASSIGN(const int64_t v, resolve(d));
    out.push_back(v);
  }
  return out;
}

Result<Indices> EvalNode::shape_attr() const {
  TERN_ASSIGN(Indices shape, resolve(node.dims("shape")));
  for (const int64_t d : shape)
    if (d < 0) return error("'{}' makes the negative dimension {}.", info(node.kind).name, d);
  return shape;
}

namespace {

Result<std::vector<EvalValue>> one(Result<TensorDataPtr> r) {
  if (!r.ok()) return r.take_error();
  return std::vector<EvalValue>{{std::move(r).value(), nullptr}};
}

}  // namespace

Result<std::vector<EvalValue>> evaluate_node(const Node& node, const std::vector<EvalValue>& operands,
                                             const Lookup& symbols) {
  Tensors in;
  for (const EvalValue& v : operands)
    if (v.tensor) in.push_back(v.tensor);
  const EvalNode e = {node, in, symbols};
  switch (node.kind) {
    case OpKind::kConstant:
    case OpKind::kMap:
    case OpKind::kCast:
    case OpKind::kBitcast:
    case OpKind::kLookup:
    case OpKind::kIota:
    case OpKind::kFromDims:
      return one(eval_elementwise(e));
    case OpKind::kReshape:
    case OpKind::kBroadcast:
    case OpKind::kTranspose:
    case OpKind::kSlice:
    case OpKind::kPad:
    case OpKind::kConcat:
      return one(eval_view(e));
    case OpKind::kGather:
    case OpKind::kGatherElements:
    case OpKind::kGatherNd:
    case OpKind::kScatterElements:
    case OpKind::kScatterNd:
      return one(eval_gather(e));
    case OpKind::kReduce:
    case OpKind::kArgReduce:
    case OpKind::kScan:
    case OpKind::kReduceWindow:
    case OpKind::kArgReduceWindow:
      return one(eval_reduce(e));
    case OpKind::kDot:
    case OpKind::kConv:
      return one(eval_contract(e));
    case OpKind::kTopK:
    case OpKind::kNonZero:
    case OpKind::kUnique:
    case OpKind::kNms: {
      TERN_ASSIGN(const Tensors out, eval_select(e));
      std::vector<EvalValue> values;
      for (const TensorDataPtr& t : out) values.push_back({t, nullptr});
      return values;
    }
    case OpKind::kCheck:
      if (node.operands.empty()) {
        TERN_ASSIGN(const int64_t holds, e.resolve(node.dims("holds")[0]));
        if (holds == 0) return error("{}", node.str("message"));
      } else if (!in[0]->as<uint8_t>()[0]) {
        return error("{}", node.str("message"));
      }
      return std::vector<EvalValue>{};
    case OpKind::kIf:
    case OpKind::kLoop:
    case OpKind::kCount:
      return error("'{}' is not evaluated as a single node.", info(node.kind).name);
    default:
      return eval_sequence(node, operands);
  }
}

namespace {

class Evaluator {
 public:
  explicit Evaluator(const Graph& graph) : graph_(const_cast<Graph&>(graph)) {
    lookup_ = [this](const std::string& s) -> std::optional<int64_t> {
      const auto it = symbols_.find(s);
      return it == symbols_.end() ? std::nullopt : std::optional<int64_t>(it->second);
    };
    for (const SymbolInfo& s : graph.symbols)
      if (s.origin == SymbolInfo::Origin::kElement && s.value) reads_[s.value].push_back(&s);
  }

  Result<std::vector<EvalValue>> run(const std::vector<EvalValue>& inputs) {
    const std::vector<Value*>& args = graph_.body.args;
    if (inputs.size() != args.size())
      return error("The graph takes {} inputs and is given {}.", args.size(), inputs.size());
    TERN_TRY(bind_inputs(inputs));
    for (size_t i = 0; i < args.size(); ++i)
      TERN_TRY(set(args[i], inputs[i], fmt::format("Input {} ('{}')", i, args[i]->name)));
    return block(graph_.body);
  }

 private:
  Status bind_inputs(const std::vector<EvalValue>& inputs) {
    for (const SymbolInfo& s : graph_.symbols) {
      if (s.origin != SymbolInfo::Origin::kInput) continue;
      const EvalValue& v = inputs[static_cast<size_t>(s.input)];
      if (!v.tensor || s.axis >= static_cast<int>(v.tensor->shape().size())) continue;
      const int64_t size = v.tensor->shape()[static_cast<size_t>(s.axis)];
      if (size < s.min || size > s.max)
        return error("The dimension {} is {} and must lie in [{}, {}].", s.name, size, s.min, s.max);
      symbols_[s.name] = size;
    }
    return Ok{};
  }

  // Stores a value, binds the symbols that it decides, and checks it against its type.
  Status set(const Value* v, EvalValue value, const std::string& what) {
    if (v->type.is_tensor() != (value.tensor != nullptr))
      return error("{} is {} and its type says {}.", what, value.tensor ? "a tensor" : "a list",
                   v->type.text());
    if (value.tensor) TERN_TRY(check_type(v->type, *value.tensor, what));
    const auto reads = reads_.find(v);
    if (reads != reads_.end()) {
      for (const SymbolInfo* s : reads->second) {
        if (s->element >= value.tensor->count())
          return error("The symbol {} reads element {} of a tensor of {}.", s->name, s->element,
                       value.tensor->count());
        symbols_[s->name] = value.tensor->int_at(s->element);
      }
    }
    values_[v] = std::move(value);
    return Ok{};
  }

  Status check_type(const Type& type, const TensorData& t, const std::string& what) {
    bool fits = type.dtype == t.dtype() && type.shape.size() == t.shape().size();
    for (size_t i = 0; fits && i < type.shape.size(); ++i) {
      const Dim& d = type.shape[i];
      if (is_bound_here(d)) {
        symbols_[d.symbol_name()] = t.shape()[i];
      } else {
        const std::optional<int64_t> size = d.evaluate(lookup_);
        fits = size && *size == t.shape()[i];
      }
    }
    if (fits) return Ok{};
    return error("{} is a {} and its type says {}.", what,
                 Type::tensor(t.dtype(), Shape(t.shape().begin(), t.shape().end())).text(), type.text());
  }

  // A kControl symbol takes each size that it meets.
  bool is_bound_here(const Dim& d) {
    if (d.op() != Dim::Op::kSymbol) return false;
    const SymbolInfo* s = graph_.find_symbol(d.symbol_name());
    if (!s) return false;
    return s->origin == SymbolInfo::Origin::kControl;
  }

  Result<std::vector<EvalValue>> block(const Block& b) {
    // Values of this block are dropped after their last use.
    std::unordered_map<const Value*, size_t> last_use;
    for (size_t i = 0; i < b.nodes.size(); ++i) note_uses(*b.nodes[i], i, last_use);
    for (const Value* v : b.results) last_use[v] = b.nodes.size();
    std::vector<std::vector<const Value*>> dead(b.nodes.size() + 1);
    for (const auto& n : b.nodes)
      for (const Value* v : n->results) {
        const auto it = last_use.find(v);
        if (it != last_use.end() && it->second < b.nodes.size()) dead[it->second].push_back(v);
      }
    for (size_t i = 0; i < b.nodes.size(); ++i) {
      TERN_TRY(node(*b.nodes[i]));
      for (const Value* v : dead[i]) values_.erase(v);
    }
    std::vector<EvalValue> out;
    for (const Value* v : b.results) out.push_back(values_.at(v));
    return out;
  }

  static void note_uses(const Node& n, size_t at, std::unordered_map<const Value*, size_t>& last_use) {
    for (const Value* v : n.operands) last_use[v] = at;
    for (const auto& region : n.regions) {
      for (const auto& inner : region->nodes) note_uses(*inner, at, last_use);
      for (const Value* v : region->results) last_use[v] = at;
    }
  }

  Status node(const Node& n) {
    std::vector<EvalValue> operands;
    for (const Value* v : n.operands) operands.push_back(values_.at(v));
    Result<std::vector<EvalValue>> results = n.kind == OpKind::kIf     ? run_if(n, operands)
                                             : n.kind == OpKind::kLoop ? run_loop(n, operands)
                                                                       : evaluate_node(n, operands, lookup_);
    std::string where = fmt::format("While evaluating '{}'", info(n.kind).name);
    if (n.source) where += fmt::format(" of node '{}' ({})", n.source->node, n.source->op);
    if (!results.ok()) return results.take_error().note(where);
    // Results that symbols read come first: other results' dims may need them.
    for (const bool reads : {true, false})
      for (size_t i = 0; i < n.results.size(); ++i) {
        if ((reads_.count(n.results[i]) != 0) != reads) continue;
        Status s = set(n.results[i], (*results)[i], fmt::format("Result {} of '{}'", i, info(n.kind).name));
        if (!s.ok()) return s.take_error().note(where);
      }
    return Ok{};
  }

  Result<std::vector<EvalValue>> run_if(const Node& n, const std::vector<EvalValue>& operands) {
    return block(*n.regions[operands[0].tensor->as<uint8_t>()[0] ? 0 : 1]);
  }

  Result<std::vector<EvalValue>> run_loop(const Node& n, const std::vector<EvalValue>& operands) {
    const Block& body = *n.regions[0];
    const size_t carried = operands.size() - 2;
    const int64_t trip = operands[0].tensor->as<int64_t>()[0];
    bool go = operands[1].tensor->as<uint8_t>()[0] != 0;
    std::vector<EvalValue> state(operands.begin() + 2, operands.end());
    std::vector<Tensors> stacks(static_cast<size_t>(n.int_attr("scans")));
    for (int64_t i = 0; go && (trip < 0 || i < trip); ++i) {
      auto iteration = TensorData::make(DType::kI64, {}), condition = TensorData::make(DType::kBool, {});
      iteration->mutable_as<int64_t>()[0] = i;
      condition->mutable_as<uint8_t>()[0] = 1;
      TERN_TRY(set(body.args[0], {iteration, nullptr}, "A loop's iteration number"));
      TERN_TRY(set(body.args[1], {condition, nullptr}, "A loop's condition"));
      for (size_t k = 0; k < carried; ++k)
        TERN_TRY(set(body.args[k + 2], state[k], fmt::format("Carried value {}", k)));
      TERN_ASSIGN(std::vector<EvalValue> out, block(body));
      go = out[0].tensor->as<uint8_t>()[0] != 0;
      for (size_t k = 0; k < carried; ++k) state[k] = out[k + 1];
      for (size_t k = 0; k < stacks.size(); ++k) stacks[k].push_back(out[carried + 1 + k].tensor);
    }
    for (size_t k = 0; k < stacks.size(); ++k) {
      TERN_ASSIGN(TensorDataPtr t, stack(stacks[k], n.results[carried + k]->type));
      state.push_back({std::move(t), nullptr});
    }
    return state;
  }

  Result<TensorDataPtr> stack(const Tensors& parts, const Type& type) {
    Indices shape = {static_cast<int64_t>(parts.size())};
    if (parts.empty()) {
      for (size_t i = 1; i < type.shape.size(); ++i)
        shape.push_back(std::max<int64_t>(type.shape[i].evaluate(lookup_).value_or(0), 0));
      return TensorDataPtr(TensorData::make(type.dtype, shape));
    }
    shape.insert(shape.end(), parts[0]->shape().begin(), parts[0]->shape().end());
    Movable movable;
    Tensors moved;
    for (const TensorDataPtr& p : parts) {
      if (p->shape() != parts[0]->shape()) return error("A loop stacks values of different shapes.");
      moved.push_back(movable.enter(p));
    }
    auto out = TensorData::make(moved[0]->dtype(), shape);
    const size_t block_bytes = moved[0]->bytes().size();
    for (size_t i = 0; i < moved.size() && block_bytes; ++i)
      std::memcpy(out->mutable_bytes().data() + i * block_bytes, moved[i]->bytes().data(), block_bytes);
    return movable.leave(out, type.dtype);
  }

  Graph& graph_;
  std::unordered_map<const Value*, EvalValue> values_;
  std::unordered_map<std::string, int64_t> symbols_;
  std::unordered_map<const Value*, std::vector<const SymbolInfo*>> reads_;
  Lookup lookup_;
};

}  // namespace

Result<std::vector<EvalValue>> evaluate(const Graph& graph, const std::vector<EvalValue>& inputs) {
  return Evaluator(graph).run(inputs);
}

}  // namespace tern::graph
