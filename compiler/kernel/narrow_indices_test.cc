#include "compiler/kernel/narrow_indices.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/test_util.h"

namespace tern::kernel {
namespace {

// The names of variables that keep 64 bits.
std::string wide(const Kernel& k) {
  NarrowIndices indices(k);
  std::string names;
  visit(k.body, [&](const Stmt& s) {
    bool defines = s->kind == StmtKind::kLet || s->kind == StmtKind::kDeclare || s->kind == StmtKind::kFor;
    if (defines && s->var->type == VType{DType::kI64, 1} && !indices.narrow(s->var.get()))
      names += s->var->name + " ";
  });
  return names;
}

TEST_CASE("narrow_indices: index arithmetic is narrow, data and what it is made of is not") {
  Kernel k = parsed(R"(kernel k {
  bind x: i64 read
  bind y: i64 write
  bind z: f32 write
  param n = "N"
  grid r < n = "N"
  threads t < 64
  let position: i64 = ((r * n) + t)
  let loaded: i64 = x[position]
  let scaled: i64 = (r * 1000000)
  let small: i64 = min(r, t)
  let swizzled: i64 = xor((r + 1), and(t, 7))
  let from_data: i64 = (loaded + 1)
  var counter: i64 = 0
  serial i = position .. +n {
    counter = (counter + i)
    z[counter] = cast.f32(small)
  }
  y[position] = (scaled + loaded)
  y[from_data] = small
  z[swizzled] = 0.0
}
)");
  CHECK(wide(k) == "loaded scaled from_data ");
}

TEST_CASE("narrow_indices: a sum that becomes data keeps 64 bits, a choice of indices need not") {
  Kernel k = parsed(R"(kernel k {
  bind y: i64 write
  threads t < 64
  var sum: i64 = 0
  var best: i64 = 0
  serial i = 0 .. +9 {
    sum = (sum + i)
    best = select((i == t), i, best)
  }
  y[t] = sum
  y[(t + 64)] = best
}
)");
  CHECK(wide(k) == "sum ");
}

TEST_CASE(
    "narrow_indices: lanes of indices that are only compared are narrow, lanes that are stored are not") {
  Kernel k = parsed(R"(kernel k {
  bind x: f32 read
  bind y: f32 write
  bind z: i64 write
  param n = "N"
  threads t < 64
  let left: i64 = (n - (t * 4))
  let sum: i64 = (n + t)
  let inside: boolx4 = (ramp((t * 4), 1, 4) < broadcast(left, 4))
  y[(t * 4) if inside] = x[(t * 4); 4 if inside]
  z[(t * 4)] = broadcast(sum, 4)
}
)");
  CHECK(wide(k) == "sum ");
}

}  // namespace
}  // namespace tern::kernel
