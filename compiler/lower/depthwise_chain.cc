#include "compiler/lower/depthwise_chain.h"

#include <algorithm>
#include <unordered_map>

#include "compiler/lower/short_sums.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::Value;

// A product along the channels of a value in memory: a dot's, or a convolution's of one pixel.
bool is_product_of_channels(const Node& root) {
  if (root.kind != graph::OpKind::kConv || root.int_attr("groups") != 1) return false;
  const Shape& filters = root.operand(1)->type.shape;
  const auto all = [&](const char* name, int64_t value) {
    const std::vector<int64_t> values = root.ints(name);
    return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == value; });
  };
  return product(Shape(filters.begin() + 2, filters.end())).is_const(1) && all("strides", 1) &&
         all("low", 0) && all("high", 0) && all("lhs_dilations", 1) &&
         LoweringContext::constant_data(root.operand(1));
}

}  // namespace

void chain_depthwise(BlockPlan& plan, const graph::UseMap& uses) {
  std::unordered_map<const Value*, BlockItem*> made_by;
  for (BlockItem& item : plan.items) {
    if (!item.region || item.region->outputs.size() != 1 || !item.region->root ||
        !has_short_sums(*item.region->root) || !LoweringContext::constant_data(item.region->root->operand(1)))
      continue;
    made_by[item.region->outputs[0]] = &item;
  }
  for (BlockItem& last : plan.items) {
    if (!last.region || last.region->kind != RootKind::kContraction ||
        !is_product_of_channels(*last.region->root))
      continue;
    const Value* rows = last.region->root->operand(0);
    const auto maker = made_by.find(rows);
    const auto readers = uses.find(rows);
    if (maker == made_by.end() || readers == uses.end() || readers->second.size() != 1 ||
        readers->second[0].node != last.region->root)
      continue;
    last.chain.push_back(std::move(maker->second->region));
    last.chain.push_back(std::move(last.region));
    last.chain_kind = ChainKind::kDepthwiseProduct;
    made_by.erase(maker);
  }
  std::erase_if(plan.items,
                [](const BlockItem& item) { return !item.region && !item.node && item.chain.empty(); });
}

}  // namespace tern::lower
