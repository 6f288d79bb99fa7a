#include "compiler/kernel/unroll.h"

#include <algorithm>

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

int64_t unrolled_size(const std::vector<Stmt>& body) {
  constexpr int64_t kUnknown = 1000, kMost = 1'000'000;  // more is not told apart
  int64_t size = 0;
  for (const Stmt& s : body) {
    const int64_t inside = unrolled_size(s->body) + unrolled_size(s->else_body);
    const bool loop = s->kind == StmtKind::kFor;
    const int64_t times = !loop                 ? 1
                          : is_const(s->extent) ? std::clamp<int64_t>(s->extent->i, 1, kMost)
                                                : kUnknown;
    size = std::min(size + 1 + inside * times, kMost);
  }
  return size;
}

}  // namespace tern::kernel
