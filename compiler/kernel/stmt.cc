#include "compiler/kernel/ir.h"

namespace tern::kernel {

namespace {

Stmt make(StmtNode node) {
  return std::make_shared<const StmtNode>(std::move(node));
}

}  // namespace

Stmt block(std::vector<Stmt> body) {
  StmtNode node{.kind = StmtKind::kBlock};
  node.body = std::move(body);
  return make(std::move(node));
}

Stmt loop(const Var& var, Expr begin, Expr extent, LoopKind kind, std::vector<Stmt> body) {
  TERN_CHECK(var->type == (VType{DType::kI64, 1}), "loop variable '{}' is not i64", var->name);
  StmtNode node{.kind = StmtKind::kFor, .loop = kind};
  node.var = var;
  node.begin = std::move(begin);
  node.extent = std::move(extent);
  node.body = std::move(body);
  return make(std::move(node));
}

Stmt let(const Var& var, Expr value) {
  TERN_CHECK(var->type == value->type, "let '{}' of another type than its value", var->name);
  StmtNode node{.kind = StmtKind::kLet};
  node.var = var;
  node.value = std::move(value);
  return make(std::move(node));
}

Stmt declare(const Var& var, Expr initial) {
  TERN_CHECK(var->type == initial->type, "variable '{}' of another type than its value", var->name);
  StmtNode node{.kind = StmtKind::kDeclare};
  node.var = var;
  node.value = std::move(initial);
  return make(std::move(node));
}

Stmt assign(const Var& var, Expr value) {
  TERN_CHECK(var->type == value->type, "assignment to '{}' of another type", var->name);
  StmtNode node{.kind = StmtKind::kAssign};
  node.var = var;
  node.value = std::move(value);
  return make(std::move(node));
}

Stmt store(const Buffer& buffer, Expr index, Expr value, Expr count, bool streaming) {
  TERN_CHECK(index->type.dtype == DType::kI64, "the index of buffer '{}' is not i64", buffer->name);
  TERN_CHECK(value->type.dtype == buffer->type.dtype, "store of {} into '{}' of {}",
             dtype_name(value->type.dtype), buffer->name, dtype_name(buffer->type.dtype));
  if (index->kind == ExprKind::kRamp && index->i == 1 && buffer->type.lanes == 1) {
    value = broadcast(value, index->type.lanes);
    index = index->args[0];
  }
  StmtNode node{.kind = StmtKind::kStore};
  node.buffer = buffer;
  node.value = std::move(value);
  node.index = std::move(index);
  node.count = std::move(count);
  node.streaming = streaming;
  return make(std::move(node));
}

Stmt if_then(Expr condition, std::vector<Stmt> then_body, std::vector<Stmt> else_body) {
  TERN_CHECK(condition->type == (VType{DType::kBool, 1}), "the condition is no scalar bool");
  StmtNode node{.kind = StmtKind::kIf};
  node.value = std::move(condition);
  node.body = std::move(then_body);
  node.else_body = std::move(else_body);
  return make(std::move(node));
}

Stmt while_loop(Expr condition, std::vector<Stmt> body) {
  TERN_CHECK(condition->type == (VType{DType::kBool, 1}), "the condition is no scalar bool");
  StmtNode node{.kind = StmtKind::kWhile};
  node.value = std::move(condition);
  node.body = std::move(body);
  return make(std::move(node));
}

Stmt alloc(const Buffer& buffer, int64_t scratch_offset) {
  StmtNode node{.kind = StmtKind::kAlloc};
  node.buffer = buffer;
  node.code = scratch_offset;
  return make(std::move(node));
}

Stmt barrier(BarrierScope scope) {
  return make(StmtNode{.kind = StmtKind::kBarrier, .code = static_cast<int64_t>(scope)});
}

bool is_barrier(const Stmt& s, BarrierScope scope) {
  return s->kind == StmtKind::kBarrier && s->code == static_cast<int64_t>(scope);
}

Stmt async_copy(const Buffer& dst, Expr index, Expr value) {
  TERN_CHECK(value->kind == ExprKind::kLoad, "an asynchronous copy into '{}' of no load", dst->name);
  TERN_CHECK(value->type.dtype == dst->type.dtype, "an asynchronous copy of {} into '{}' of {}",
             dtype_name(value->type.dtype), dst->name, dtype_name(dst->type.dtype));
  TERN_CHECK(index->type == (VType{DType::kI64, 1}), "the index of buffer '{}' is no scalar i64", dst->name);
  StmtNode node{.kind = StmtKind::kAsyncCopy};
  node.buffer = dst;
  node.index = std::move(index);
  node.value = std::move(value);
  return make(std::move(node));
}

Stmt group_mma(const Buffer& sums, Expr a, Expr b, GroupMmaForm form) {
  TERN_CHECK(a->kind == ExprKind::kLoad && b->kind == ExprKind::kLoad, "group_mma into '{}' of no loads",
             sums->name);
  StmtNode node{.kind = StmtKind::kGroupMma};
  node.buffer = sums;
  node.value = std::move(a);
  node.begin = std::move(b);
  node.code = form.b_panel;
  node.fresh = form.fresh;
  return make(std::move(node));
}

Stmt group_mma_commit() {
  return make(StmtNode{.kind = StmtKind::kGroupMmaCommit});
}

Stmt group_mma_wait(int64_t groups_left, Expr after) {
  StmtNode node{.kind = StmtKind::kGroupMmaWait};
  node.value = std::move(after);
  node.code = groups_left;
  return make(std::move(node));
}

Stmt grid_wait() {
  return make(StmtNode{.kind = StmtKind::kGridWait});
}

Stmt arrival(ArrivalOp op, const Buffer& counters, Expr index, Expr value) {
  TERN_CHECK(op == ArrivalOp::kStart || (op == ArrivalOp::kWait) == (value != nullptr),
             "an arrival at '{}' and its value", counters->name);
  StmtNode node{.kind = StmtKind::kArrival, .arrival = op};
  node.buffer = counters;
  node.index = std::move(index);
  node.value = std::move(value);
  return make(std::move(node));
}

Stmt tensor_copy(const Buffer& dst, Expr index, const Tensor& tensor, std::vector<Expr> at, Expr counter) {
  TERN_CHECK(counter->kind == ExprKind::kLoad, "a copy of '{}' that no counter waits for", tensor->name);
  StmtNode node{.kind = StmtKind::kTensorCopy};
  node.buffer = dst;
  node.index = std::move(index);
  node.value = std::move(counter);
  node.tensor = tensor;
  node.at = std::move(at);
  return make(std::move(node));
}

Stmt tile(TileOp op, const Buffer& buffer, Expr index, Expr value, Expr operand) {
  TERN_CHECK(op == TileOp::kFill || value->kind == ExprKind::kLoad, "a tile of '{}' and no load",
             buffer->name);
  TERN_CHECK((op == TileOp::kFill) == (operand == nullptr), "operands of a tile of '{}'", buffer->name);
  StmtNode node{.kind = StmtKind::kTile, .tile = op};
  node.buffer = buffer;
  node.index = std::move(index);
  node.value = std::move(value);
  (op == TileOp::kMultiply ? node.begin : node.count) = std::move(operand);
  return make(std::move(node));
}

Stmt async_commit() {
  return make(StmtNode{.kind = StmtKind::kAsyncCommit});
}

Stmt async_wait(int64_t groups_left) {
  StmtNode node{.kind = StmtKind::kAsyncWait};
  node.code = groups_left;
  return make(std::move(node));
}

Stmt prefetch(const Buffer& buffer, Expr index, bool near) {
  TERN_CHECK(index->type == (VType{DType::kI64, 1}), "the index of buffer '{}' is no scalar i64",
             buffer->name);
  StmtNode node{.kind = StmtKind::kPrefetch};
  node.code = near ? 1 : 0;
  node.buffer = buffer;
  node.index = std::move(index);
  return make(std::move(node));
}

Stmt fail(int64_t code) {
  StmtNode node{.kind = StmtKind::kFail};
  node.code = code;
  return make(std::move(node));
}

Stmt comment(std::string text) {
  StmtNode node{.kind = StmtKind::kComment};
  node.text = std::move(text);
  return make(std::move(node));
}

}  // namespace tern::kernel
