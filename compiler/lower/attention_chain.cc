#include "compiler/lower/attention_chain.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/lower/rows.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using scalar::ScalarOp;

bool over_last_axis(const Node& reduce) {
  const std::vector<int64_t> axes = reduce.ints("axes");
  return axes.size() == 1 && axes[0] == reduce.operand()->type.rank() - 1;
}

// The x of exp(x - max x) / sum exp(x - max x), when that, stored in 16 bits or not, is what the value is.
Value* softmax_operand(const Value* value) {
  if (const Node* n = value->def;
      n && n->kind == OpKind::kCast && is_float(value->type.dtype) && n->operand()->type.dtype == DType::kF32)
    value = n->operand();
  const std::optional<Softmax> s = value->def ? softmax_of(*value->def) : std::nullopt;
  return s && over_last_axis(*s->sum) ? s->difference->operand(0) : nullptr;
}

bool is_product(const Region* region) {
  return region && region->kind == RootKind::kContraction && region->root->kind == OpKind::kDot &&
         region->outputs.size() == 1 && !LoweringContext::constant_data(region->root->operand(1));
}

// Whether a region computes a value without sums or maxima of rows, as a mask that is lifted where it would
// hide a whole row needs them: what attention reads of such a region it computes element by element.
bool needs_no_row(const Region& region, const Value* value, std::unordered_set<const Node*>& seen) {
  const Node* node = value->def;
  if (!node || !region.contains(node) || !seen.insert(node).second) return true;
  return node->kind != OpKind::kReduce &&
         std::all_of(node->operands.begin(), node->operands.end(),
                     [&](const Value* v) { return needs_no_row(region, v, seen); });
}

}  // namespace

void chain_attention(BlockPlan& plan, const graph::UseMap& uses) {
  std::unordered_map<const Value*, size_t> made_by;
  for (size_t i = 0; i < plan.items.size(); ++i) {
    if (!plan.items[i].region) continue;
    for (const Value* v : plan.items[i].region->outputs) made_by[v] = i;
  }
  const auto maker = [&](const Value* v) -> BlockItem* {
    auto it = made_by.find(v);
    return it == made_by.end() ? nullptr : &plan.items[it->second];
  };
  const auto read_by = [&](const Value* v, const Region& region) {
    auto it = uses.find(v);
    if (it == uses.end()) return false;
    return std::all_of(it->second.begin(), it->second.end(),
                       [&](const graph::Use& use) { return use.node && region.contains(use.node); });
  };
  for (BlockItem& last : plan.items) {
    if (!is_product(last.region.get())) continue;
    Value* weights = last.region->root->operand(0);
    BlockItem* middle = maker(weights);
    if (!middle || !middle->region || middle->region->kind != RootKind::kRows ||
        middle->region->outputs.size() != 1 || !read_by(weights, *last.region) ||
        last.region->root->operand(1) == weights)
      continue;
    const Value* operand = softmax_operand(weights);
    if (!operand) continue;
    if (std::unordered_set<const Node*> seen; !needs_no_row(*middle->region, operand, seen)) continue;
    for (Value* scores : middle->region->inputs) {
      BlockItem* first = maker(scores);
      if (!first || !is_product(first->region.get()) || !read_by(scores, *middle->region)) continue;
      // The product's elements are the scores' own: nothing but elementwise work between.
      if (scores->type.shape != operand->type.shape ||
          first->region->root->result()->type.shape != operand->type.shape)
        continue;
      last.chain.push_back(std::move(first->region));
      last.chain.push_back(std::move(middle->region));
      last.chain.push_back(std::move(last.region));
      last.chain_kind = ChainKind::kAttention;
      break;
    }
  }
  std::erase_if(plan.items,
                [](const BlockItem& item) { return !item.region && !item.node && item.chain.empty(); });
}

AttentionChain::AttentionChain(const std::vector<std::unique_ptr<Region>>& chain)
    : scores(*chain[0]->root),
      product(*chain[2]->root),
      q(scores.operand(0)),
      k(scores.operand(1)),
      v(product.operand(1)),
      softmax_operand(lower::softmax_operand(chain[1]->outputs[0])),
      region(joined(chain)) {}

}  // namespace tern::lower
