#include "compiler/kernel/unroll.h"

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

std::vector<Stmt> unroll(const std::vector<Stmt>& body) {
  return rewrite(body, nullptr, [](const Stmt& s) -> std::vector<Stmt> {
    if (s->kind != StmtKind::kFor || s->loop != LoopKind::kUnroll) return {s};
    std::optional<int64_t> extent = int_value(s->extent);
    if (!extent) return {loop(s->var, s->begin, s->extent, LoopKind::kSerial, s->body)};
    std::vector<Stmt> out;
    for (int64_t i = 0; i < *extent; ++i) {
      for (Stmt& copy : clone_fresh(s->body, {{s->var.get(), add(s->begin, int_const(i))}})) {
        out.push_back(std::move(copy));
      }
    }
    return out;
  });
}

void unroll(Kernel& kernel) {
  kernel.body = unroll(kernel.body);
}

}  // namespace tern::kernel
