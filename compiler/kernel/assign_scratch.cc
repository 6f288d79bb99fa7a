#include "compiler/kernel/assign_scratch.h"

#include <algorithm>

namespace tern::kernel {

namespace {

std::vector<Stmt> place(const std::vector<Stmt>& body, int64_t top, int64_t& peak) {
  std::vector<Stmt> out;
  for (const Stmt& s : body) {
    if (s->kind == StmtKind::kAlloc && s->buffer->scope == Scope::kScratch) {
      out.push_back(alloc(s->buffer, top));
      top += (dtype_storage_bytes(s->buffer->type.dtype, s->buffer->size) + 63) / 64 * 64;
      peak = std::max(peak, top);
      continue;
    }
    if (s->body.empty() && s->else_body.empty()) {
      out.push_back(s);
      continue;
    }
    StmtNode node = *s;
    node.body = place(s->body, top, peak);
    node.else_body = place(s->else_body, top, peak);
    out.push_back(std::make_shared<const StmtNode>(std::move(node)));
  }
  return out;
}

}  // namespace

void assign_scratch(Kernel& kernel) {
  int64_t peak = 0;
  kernel.body = place(kernel.body, 0, peak);
  kernel.scratch_bytes = peak;
}

}  // namespace tern::kernel
