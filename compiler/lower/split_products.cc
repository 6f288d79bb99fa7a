#include "compiler/lower/split_products.h"

#include <algorithm>

#include "compiler/lower/gpu/mma_contraction.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

class Splitter {
 public:
  Splitter(BlockPlan& plan, const graph::UseMap& uses, LoweringContext& context)
      : plan_(plan), uses_(uses), context_(context) {}

  void run() {
    for (BlockItem& item : plan_.items) {
      Region* region = item.region.get();
      if (!region || region->kind != RootKind::kContraction || region->outputs.size() != 1) continue;
      const Value* out = region->outputs.front();
      if (context_.has_place(out) || !only_adds(*region) || !read_by_elements(out, *region)) continue;
      region->split = gpu::depth_parts(*region->root, context_);
    }
  }

 private:
  static ptrdiff_t reads_of(const Value* value, const Node& node) {
    return std::count(node.operands.begin(), node.operands.end(), value);
  }

  // Whether the output is the root's sums and what is added to them.
  static bool only_adds(const Region& region) {
    const Value* sums = region.root->result();
    const Value* out = region.outputs.front();
    if (out->type.dtype != DType::kF32) return false;  // planes of fewer bits would be rounded
    const auto root = std::find(region.nodes.begin(), region.nodes.end(), region.root);
    for (auto n = root + 1; n < region.nodes.end() && sums != out; ++n) {
      if (reads_of(sums, **n) == 0) continue;
      const bool adds = (*n)->kind == OpKind::kMap && (*n)->scalar_op() == kernel::ScalarOp::kAdd;
      if (!(adds || is_view(**n))) return false;
      // Nothing else may see sums of a part.
      ptrdiff_t reads = 0;
      for (const Node* reader : region.nodes) reads += reads_of(sums, *reader);
      if (reads != 1) return false;
      sums = (*n)->result();
    }
    return sums == out;
  }

  bool read_by_elements(const Value* value, const Region& writer) const {
    const auto uses = uses_.find(value);
    if (uses == uses_.end()) return false;
    return std::all_of(uses->second.begin(), uses->second.end(), [&](const graph::Use& use) {
      if (!use.node) return false;
      bool read = false;
      for (const BlockItem& item : plan_.items) {
        for (const auto& part : item.chain) {
          if (part->contains(use.node)) return false;
        }
        if (!item.region || item.region.get() == &writer || !item.region->contains(use.node)) continue;
        if (!takes_elements(*item.region, use.node) || !as_many(*item.region, writer)) return false;
        read = true;
      }
      return read || (is_view(*use.node) && read_by_elements(use.node->result(), writer));
    });
  }

  static bool takes_elements(const Region& region, const Node* reader) {
    if (region.kind == RootKind::kNone || region.kind == RootKind::kRows) return true;
    if (region.kind != RootKind::kContraction) return false;
    const auto root = std::find(region.nodes.begin(), region.nodes.end(), region.root);
    return std::find(root + 1, region.nodes.end(), reader) != region.nodes.end();
  }

  // One that repeats the sums would add the planes up for each of its elements.
  static bool as_many(const Region& reader, const Region& writer) {
    const Dim sums = product(writer.outputs.front()->type.shape);
    return std::all_of(reader.outputs.begin(), reader.outputs.end(), [&](const Value* out) {
      const Dim elements = product(out->type.shape);
      return elements == sums || (elements.is_const() && sums.is_const() && elements.value() <= sums.value());
    });
  }

  BlockPlan& plan_;
  const graph::UseMap& uses_;
  LoweringContext& context_;
};

}  // namespace

void split_products(BlockPlan& plan, const graph::UseMap& uses, LoweringContext& context) {
  if (context.target().arch == Arch::kVulkan) Splitter(plan, uses, context).run();
}

}  // namespace tern::lower
