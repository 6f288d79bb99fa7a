#include "compiler/lower/block_lowering.h"

namespace tern::lower {

using graph::Node;
using graph::Value;

void lower_check(Node& node, BlockLowering& block) {
  LoweringContext& context = block.context();
  if (!block.check_types(node) || !context.diagnostics().ok()) return;
  const Value* condition = block.ensure_dense(node.operand());
  Step step;
  step.kind = Step::Kind::kCheck;
  step.check = std::make_shared<CheckStep>(CheckStep{context.place(condition).buffer, node.str("message")});
  context.push(std::move(step));
}

void lower_if(Node& node, BlockLowering& block) {
  block.context().fail(node, error("Conditional branches have no CPU lowering yet."));
}

void lower_loop(Node& node, BlockLowering& block) {
  block.context().fail(node, error("Loops have no CPU lowering yet."));
}

}  // namespace tern::lower
