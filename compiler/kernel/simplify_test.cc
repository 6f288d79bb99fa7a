#include "compiler/kernel/simplify.h"

#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/test_util.h"

namespace tern::kernel {
namespace {

// What index `text` of a store becomes; i < 10, j < 4, c < n (a dimension), w a dimension, z any parameter.
std::string simplified(const std::string& text) {
  Kernel k =
      parsed(fmt::format("kernel k {{\n  bind y: f32 write\n  param n = \"N\"\n  param w = \"W\"\n  param z "
                         "= \"N-3\"\n  grid i < 10 = \"10\"\n"
                         "  grid j < 4 = \"4\"\n  grid c < n = \"N\"\n  y[{}] = 1.0\n}}\n",
                         text));
  simplify(k);
  std::string out = print_kernel(k);
  size_t at = out.rfind("y["), end = out.find("] = ", at);
  return out.substr(at + 2, end - at - 2);
}

TEST_CASE("simplify: index algebra") {
  struct Row {
    const char *from, *to;
  };
  const Row kRows[] = {
      {"(i + 0)", "i"},
      {"((i * 4) + (j - j))", "(i * 4)"},
      {"idiv(((i * 4) + j), 4)", "i"},
      {"irem(((i * 4) + j), 4)", "j"},
      {"idiv(((i * 8) + j), 4)", "(i * 2)"},
      {"irem(((i * 8) + (j + 4)), 8)", "(j + 4)"},
      {"idiv(((i * 4) + (j + 4)), 4)", "(i + 1)"},
      {"idiv(((i * n) + c), n)", "i"},
      {"irem(((i * n) + c), n)", "c"},
      {"((4 * idiv(z, 4)) + irem(z, 4))", "z"},
      {"((w * idiv(z, w)) + irem(z, w))", "z"},
      {"idiv(i, 16)", "0"},
      {"irem(i, 16)", "i"},
      {"idiv(idiv(w, 3), 5)", "idiv(w, 15)"},
      {"min(i, 20)", "i"},
      {"max(j, 0)", "j"},
      {"min(c, n)", "c"},
      {"max((i + 1), (i + 3))", "(i + 3)"},
      {"select((i < 10), i, 99)", "i"},
      {"select((c < n), j, 99)", "j"},
      {"select((j >= 4), 99, j)", "j"},
      {"(i / 4)", "idiv(i, 4)"},
      {"(z / 4)", "(z / 4)"},  // may be negative
      {"((n + i) - n)", "i"},
  };
  for (const Row& r : kRows) {
    CAPTURE(r.from);
    CHECK(simplified(r.from) == r.to);
  }
}

TEST_CASE("simplify: a loop of one pass, a dead let, a constant if") {
  Kernel k = parsed(
      "kernel k {\n  bind a: f32 read\n  bind y: f32 write\n  serial i = 3 .. +1 {\n    let dead: f32 = "
      "a[i]\n"
      "    let two: i64 = (i - 1)\n    if (two == 2) {\n      y[i] = a[two]\n    } else {\n      y[0] = "
      "0.0\n    }\n  }\n}\n");
  auto expected = run_f32(k, 8);
  simplify(k);
  CHECK(print_kernel(k) == "kernel k {\n  bind a: f32 read\n  bind y: f32 write\n  y[3] = a[2]\n}\n");
  CHECK(run_f32(k, 8) == expected);
}

TEST_CASE("simplify: common subexpressions, but no load out of a select") {
  Kernel k = parsed(
      "kernel k {\n  bind a: f32 read\n  bind y: f32 write\n  serial i = 0 .. +8 {\n"
      "    y[i] = ((exp(a[i]) * exp(a[i])) + select((i > 0), (a[(i - 1)] * a[(i - 1)]), 0.0))\n  }\n}\n");
  auto expected = run_f32(k, 8);
  simplify(k);
  std::string text = print_kernel(k);
  CHECK(text.find("let t: f32 = exp(a[i])") != std::string::npos);
  CHECK(text.find("(t * t)") != std::string::npos);
  CHECK(text.find("select((i > 0), (a[(i - 1)] * a[(i - 1)]), 0.0)") != std::string::npos);
  CHECK(run_f32(k, 8) == expected);
}

TEST_CASE("simplify: a variable that changes is not seen through") {
  Kernel k = parsed(
      "kernel k {\n  bind a: f32 read\n  bind y: f32 write\n  var m: i64 = 1\n  let before: i64 = (m * 2)\n  "
      "m = 3\n"
      "  y[before] = a[m]\n}\n");
  auto expected = run_f32(k, 8);
  simplify(k);
  CHECK(run_f32(k, 8) == expected);
}

TEST_CASE("simplify: the body as some of the threads see it") {
  const Kernel k = parsed(
      "kernel k {\n  bind y: f32 write\n  threads t < 256\n  subgroup 32\n  copiers 128\n"
      "  if (t < 128) {\n    y[t] = 1.0\n  }\n  barrier\n"
      "  if (t >= 128) {\n    y[t] = 2.0\n  }\n}\n");
  Kernel first = k, last = k;
  first.body = body_of_threads(k, 0, 128);
  last.body = body_of_threads(k, 128, 256);
  CHECK(parsed(print_kernel(k)).copiers == 128);
  CHECK(first.body.size() == 2);
  CHECK(first.body[0]->kind == StmtKind::kStore);
  CHECK(last.body.size() == 2);
  CHECK(last.body[0]->kind == StmtKind::kBarrier);
  CHECK(last.body[1]->kind == StmtKind::kStore);
}

TEST_CASE("assign_scratch: aligned, shared between scopes that never live together") {
  Kernel k = parsed(
      "kernel k {\n  bind y: f32 write\n  alloc a: f32[3] scratch\n  a[0] = 1.0\n  {\n    alloc b: f32[17] "
      "scratch\n    b[0] = 2.0\n"
      "    y[0] = b[0]\n  }\n  {\n    alloc c: f32[1] scratch\n    c[0] = 3.0\n    y[1] = (c[0] + a[0])\n  "
      "}\n}\n");
  assign_scratch(k);
  CHECK(k.scratch_bytes == 64 + 128);
  std::string text = print_kernel(k);
  CHECK(text.find("alloc b: f32[17] scratch at 64") != std::string::npos);
  CHECK(text.find("alloc c: f32[1] scratch at 64") != std::string::npos);
}

}  // namespace
}  // namespace tern::kernel
