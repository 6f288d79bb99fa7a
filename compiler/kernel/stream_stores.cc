#include "compiler/kernel/stream_stores.h"

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

void stream_stores(Kernel& kernel, const std::unordered_set<const BufferNode*>& bindings, int least_bits) {
  if (bindings.empty()) return;
  kernel.body = rewrite(kernel.body, nullptr, [&](const Stmt& s) -> std::vector<Stmt> {
    const bool whole = s->kind == StmtKind::kStore && s->value->type.lanes > 1 && !s->count &&
                       s->index->type.lanes == 1 && bindings.contains(s->buffer.get()) &&
                       s->value->type.lanes * dtype_bits(s->buffer->type.dtype) >= least_bits;
    if (!whole) return {s};
    return {store(s->buffer, s->index, s->value, nullptr, true)};
  });
}

bool has_streaming_stores(const std::vector<Stmt>& body) {
  bool found = false;
  visit(body, [&](const Stmt& s) { found |= s->streaming; });
  return found;
}

}  // namespace tern::kernel
