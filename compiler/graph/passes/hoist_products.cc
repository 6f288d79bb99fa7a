#include "compiler/graph/passes/hoist_products.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

constexpr int64_t kMostRows = 1 << 20;  // of a hoisted product whose size is known

// Behind reshapes that keep the last axis.
const Value* seen_through(const Value* v) {
  while (const Node* n = def_of(v, OpKind::kReshape)) {
    const Shape &to = v->type.shape, &from = n->operand()->type.shape;
    if (to.empty() || from.empty() || to.back() != from.back()) break;
    v = n->operand();
  }
  return v;
}

class Hoister {
 public:
  explicit Hoister(Graph& graph) : graph_(graph) {}

  bool run() {
    block(graph_.body);
    if (!replacements_.empty()) replace_uses(graph_, replacements_);
    return changed_;
  }

 private:
  void block(Block& b) {
    for (size_t i = 0; i < b.nodes.size(); ++i) {
      for (const auto& region : b.nodes[i]->regions) block(*region);
      if (b.nodes[i]->kind != OpKind::kLoop) continue;
      Builder before(graph_, b, i);
      loop(*b.nodes[i], before);
      i = before.position();
    }
  }

  static std::optional<Dim> trips_of(const Node& loop) {
    const Block& body = *loop.regions[0];
    const auto begins = splat_of(loop.operand(1)), stays = splat_of(body.results[0]);
    if (!begins || !begins->i || !((stays && stays->i) || body.results[0] == body.args[1]))
      return std::nullopt;
    const auto trips = dims_of(loop.operand(0));
    if (!trips || trips->size() != 1) return std::nullopt;
    return (*trips)[0];
  }

  void loop(Node& n, Builder& before) {
    const auto trips = trips_of(n);
    if (!trips) return;
    Block& body = *n.regions[0];
    inside_.clear();
    inside_.insert(body.args.begin(), body.args.end());
    for (const auto& m : body.nodes)
      if (m->kind != OpKind::kConstant) inside_.insert(m->results.begin(), m->results.end());
    for (size_t i = 0; i < body.nodes.size(); ++i) {
      Node& dot = *body.nodes[i];
      if (dot.kind != OpKind::kDot || dot.operands.size() != 2 || dot.find("accumulate") ||
          !is_float(dot.result()->type.dtype) || dot.result()->type.rank() != 2)
        continue;
      const TensorDataPtr weights = constant_data(dot.operand(1));
      if (!weights || weights->dtype() != dot.result()->type.dtype) continue;
      Builder in(graph_, body, i);
      in.set_source(dot.source);
      before.set_source(dot.source);
      Value* whole = sequence_of(dot.operand(), *trips) ? hoisted(dot.operand(), weights, in, before)
                                                        : split(dot, weights, *trips, in, before);
      if (!whole) continue;
      replacements_[dot.result()] = whole;
      changed_ = true;
      i = in.position();
    }
  }

  // The gather that takes the iteration's slice of a sequence from outside; null: x is something else.
  const Node* sequence_of(const Value* x, const Dim& trips) const {
    const Node* gather = def_of(seen_through(x), OpKind::kGather);
    if (!gather || inside_.contains(gather->operand())) return nullptr;
    const int64_t axis = gather->int_attr("axis");
    const Shape& shape = gather->operand()->type.shape;
    if (axis + 1 >= static_cast<int64_t>(shape.size()) || shape[static_cast<size_t>(axis)] != trips ||
        gather->operand(1)->type.rank() != 0 || !inside_.contains(gather->operand(1)))
      return nullptr;
    const Dim rows = product(Shape(shape.begin(), shape.end() - 1));
    return rows.is_const() && rows.value() > kMostRows ? nullptr : gather;
  }

  Value* hoisted(const Value* x, const TensorDataPtr& weights, Builder& in, Builder& before) {
    const Node& gather = *def_of(seen_through(x), OpKind::kGather);
    Value* sequence = gather.operand();
    Shape shape = sequence->type.shape;
    const Dim rows = product(Shape(shape.begin(), shape.end() - 1));
    Value* all = before.dot(before.reshape(sequence, {rows, shape.back()}), before.constant(weights));
    shape.back() = all->type.shape[1];
    Value* slice =
        in.gather(before.reshape(all, shape), gather.operand(1), static_cast<int>(gather.int_attr("axis")));
    return in.reshape(slice, {x->type.shape[0], all->type.shape[1]});
  }

  // Of rows side by side: products of slices of sequences, and one of what is left.
  Value* split(Node& dot, const TensorDataPtr& weights, const Dim& trips, Builder& in, Builder& before) {
    const Node* concat = def_of(dot.operand(), OpKind::kConcat);
    if (!concat || concat->int_attr("axis") != 1) return nullptr;
    const auto is_slice = [&](const Value* v) { return sequence_of(v, trips) != nullptr; };
    if (std::none_of(concat->operands.begin(), concat->operands.end(), is_slice)) return nullptr;
    const int64_t columns = weights->shape()[1];
    const auto size = static_cast<size_t>(dtype_bits(weights->dtype()) / 8);
    int64_t first = 0;
    Value* sum = nullptr;
    for (Value* part : concat->operands) {
      const auto depth = part->type.shape[1].maybe_value();
      if (!depth) return nullptr;
      auto rows = TensorData::make(weights->dtype(), {*depth, columns});
      const uint8_t* from = weights->bytes().data() + static_cast<size_t>(first * columns) * size;
      std::copy(from, from + static_cast<size_t>(*depth * columns) * size, rows->mutable_bytes().data());
      first += *depth;
      Value* product = is_slice(part) ? hoisted(part, rows, in, before) : in.dot(part, in.constant(rows));
      sum = sum ? in.add(sum, product) : product;
    }
    return sum;
  }

  Graph& graph_;
  std::unordered_set<const Value*> inside_;
  std::unordered_map<const Value*, Value*> replacements_;
  bool changed_ = false;
};

}  // namespace

bool hoist_products(Graph& graph) {
  return Hoister(graph).run();
}

}  // namespace tern::graph
