#include "compiler/kernel/assign_workgroup.h"

#include <algorithm>
#include <utility>

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

namespace {

constexpr int64_t kAlignment = 128;
constexpr int64_t kSwizzleAlignment = 1024;  // of what group_mma reads and tensor_copy writes

class Placer {
 public:
  explicit Placer(int64_t alignment) : alignment_(alignment) {}
  std::vector<Stmt> place(const std::vector<Stmt>& body, int64_t top);
  int64_t peak() const { return peak_; }

 private:
  const int64_t alignment_;
  int64_t peak_ = 0;
  int64_t dirty_ = 0;  // bytes below were in use since the last barrier by scopes that may have ended
};

std::vector<Stmt> Placer::place(const std::vector<Stmt>& body, int64_t top) {
  std::vector<Stmt> out;
  for (const Stmt& s : body) {
    if (s->kind == StmtKind::kBarrier && !is_barrier(s, BarrierScope::kSubgroup)) dirty_ = top;
    if (s->kind == StmtKind::kAlloc && s->buffer->scope == Scope::kWorkgroup) {
      if (dirty_ > top) {
        out.push_back(barrier());
        dirty_ = top;
      }
      out.push_back(alloc(s->buffer, top));
      top += (dtype_storage_bytes(s->buffer->type.dtype, s->buffer->size) + alignment_ - 1) / alignment_ *
             alignment_;
      peak_ = std::max(peak_, top);
      continue;
    }
    if (s->body.empty() && s->else_body.empty()) {
      out.push_back(s);
      continue;
    }
    StmtNode node = *s;
    int64_t outer_peak = std::exchange(peak_, top);
    node.body = place(s->body, top);
    node.else_body = place(s->else_body, top);
    // What lived inside may be in use by slower threads, and a barrier inside may not have been reached.
    if (peak_ > top) dirty_ = std::max(dirty_, peak_);
    peak_ = std::max(peak_, outer_peak);
    out.push_back(std::make_shared<const StmtNode>(std::move(node)));
  }
  return out;
}

}  // namespace

void assign_workgroup(Kernel& kernel) {
  bool groups = !kernel.tensors.empty();
  visit(kernel.body, [&](const Stmt& s) { groups |= s->kind == StmtKind::kGroupMma; });
  Placer placer(groups ? kSwizzleAlignment : kAlignment);
  kernel.body = placer.place(kernel.body, 0);
  kernel.workgroup_bytes = placer.peak();
}

}  // namespace tern::kernel
