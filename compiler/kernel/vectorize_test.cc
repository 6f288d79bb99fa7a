#include "compiler/kernel/vectorize.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/test_util.h"
#include "compiler/kernel/unroll.h"

namespace tern::kernel {
namespace {

// Every top-level loop named v through vectorize_loop.
Kernel vectorized(Kernel k, int lanes, int interleave) {
  std::vector<Stmt> out;
  for (const Stmt& s : k.body) {
    if (s->kind != StmtKind::kFor || s->var->name != "v") {
      out.push_back(s);
      continue;
    }
    CHECK(why_not_vectorizable(s) == "");
    for (Stmt& r : vectorize_loop(s, lanes, interleave)) out.push_back(std::move(r));
  }
  k.body = std::move(out);
  std::string problems = verify(k);
  REQUIRE_MESSAGE(problems.empty(), problems << print_kernel(k));
  return k;
}

int count_vector_stores(const Kernel& k) {
  std::string text = print_kernel(k);
  int n = 0;
  for (size_t at = 0; (at = text.find("; ", at)) != std::string::npos; ++at) ++n;
  return n;
}

// `body`: statements of the loop over v, reading a and b and writing y; extents from 0 up, constant and
// symbolic.
void check_same(const std::string& body, const std::string& before = "", const std::string& after = "") {
  for (int64_t extent : {1, 2, 3, 4, 7, 8, 16, 29, 64}) {
    for (bool symbolic : {false, true}) {
      std::string n = symbolic ? "n" : std::to_string(extent);
      std::string text = fmt::format(
          "kernel k {{\n  bind a: f32 read\n  bind b: f32 read\n  bind y: f32 read_write\n{}{}  serial v = 0 "
          ".. +{} {{\n{}  "
          "}}\n{}}}\n",
          symbolic ? "  param n = \"N\"\n" : "", before, n, body, after);
      Kernel plain = parsed(text);
      std::vector<int64_t> params;
      if (symbolic) params.push_back(extent);
      auto expected = run_f32(plain, 400, params);
      for (int lanes : {4, 8}) {
        for (int interleave : {1, 2, 4}) {
          Kernel k = vectorized(plain, lanes, interleave);
          if (extent >= lanes)
            CHECK(count_vector_stores(k) +
                      static_cast<int>(print_kernel(k).find("ramp") != std::string::npos) >
                  0);
          CHECK(run_f32(k, 400, params) == expected);
          simplify(k);
          REQUIRE_MESSAGE(verify(k) == "", verify(k) << print_kernel(k));
          CHECK(run_f32(k, 400, params) == expected);
        }
      }
    }
  }
}

TEST_CASE("vectorize: element by element, with a broadcast") {
  check_same("    let t: f32 = (a[v] * b[3])\n    y[(v + 5)] = select((t < 0.0), 0.0, t)\n");
}
TEST_CASE("vectorize: strided reads and writes gather and scatter") {
  check_same("    y[(v * 2)] = a[((v * 3) + 1)]\n");
}
TEST_CASE(
    "vectorize: small strides are whole vectors and shuffles, larger ones and strides under a mask gathers") {
  for (const int stride : {2, 3, 4, 5}) check_same(fmt::format("    y[v] = a[((v * {}) + 1)]\n", stride));
  check_same("    y[v] = select((v < 11), a[((v * 2) + 1)], 7.0)\n");
}
TEST_CASE("vectorize: an index through a let stays affine") {
  check_same("    let i: i64 = ((v * 1) + 2)\n    y[i] = (a[i] + b[(i - 2)])\n");
}
TEST_CASE("vectorize: division of the variable gathers") {
  check_same("    y[v] = a[idiv(v, 3)]\n");
}
TEST_CASE("vectorize: neighbours that repeat an element are a whole load and a shuffle") {
  for (const char* each : {"2", "4"}) {
    check_same(fmt::format("    y[v] = (a[(idiv(v, {}) + 3)] + b[v])\n", each));
    const Kernel k = vectorized(parsed(fmt::format("kernel k {{\n  bind a: f32 read\n  bind y: f32 write\n"
                                                   "  serial v = 0 .. +61 {{\n    y[v] = a[(idiv(v, {}) + "
                                                   "3)]\n  }}\n}}\n",
                                                   each)),
                                8, 1);
    const std::string text = print_kernel(k);
    CAPTURE(text);
    CHECK(text.find("ramp") == std::string::npos);
    CHECK(text.find("shuffle(a[") != std::string::npos);
  }
  // A mask counts lanes, not elements; the loop does not begin with a first repetition.
  check_same("    y[v] = select((v < 11), a[idiv(v, 2)], 7.0)\n");
  check_same("    y[v] = a[idiv((v + 1), 2)]\n");
}
TEST_CASE("vectorize: padded reads stay inside") {
  check_same("    y[v] = select(((v < 190) == (v > 4)), a[(v - 5)], 7.0)\n");
}
TEST_CASE("vectorize: conditions mask stores and assignments") {
  check_same(
      "    var t: f32 = a[v]\n    if (t < 0.0) {\n      t = (t * 2.0)\n      y[v] = t\n    } else {\n      "
      "y[(v + 100)] = t\n    }\n    y[v] = (y[v] + t)\n");
}
TEST_CASE("vectorize: reductions") {
  check_same("    s = (s + a[v])\n    m = max(m, b[v])\n", "  var s: f32 = 1.0\n  var m: f32 = -100.0\n",
             "  y[0] = s\n  y[1] = m\n");
}
TEST_CASE("vectorize: fma reductions and a condition") {
  check_same("    if (a[v] > 0.0) {\n      s = fma(a[v], b[v], s)\n    }\n", "  var s: f32 = 0.0\n",
             "  y[0] = s\n");
}
TEST_CASE("vectorize: a serial loop inside keeps vector accumulators") {
  check_same(
      "    var s: f32 = 0.0\n    serial k = 0 .. +5 {\n      s = (s + (a[(v + k)] * b[k]))\n    }\n    y[v] "
      "= s\n");
}
TEST_CASE("vectorize: private buffers") {
  check_same(
      "    alloc t: f32[3] stack\n    serial k = 0 .. +3 {\n      t[k] = a[(v + k)]\n    }\n    y[v] = (t[0] "
      "- t[2])\n");
}
TEST_CASE("vectorize: fail happens if any lane fails") {
  check_same("    if (a[v] == 5.0) {\n      fail 3\n    }\n");
}

TEST_CASE("vectorize: what cannot be vectorized is said") {
  auto why = [](const std::string& body) {
    Kernel k = parsed(
        "kernel k {\n  bind a: f32 read\n  bind y: f32 read_write\n  var s: f32 = 0.0\n  serial v = 0 .. +9 "
        "{\n" +
        body + "  }\n}\n");
    return why_not_vectorizable(k.body[1]);
  };
  CHECK(why("    s = (a[v] - s)\n") == "variable 's' carries a value from one iteration to the next");
  CHECK(why("    s = (s + a[v])\n    y[v] = s\n") == "the partial result 's' is used inside the loop");
  CHECK(why("    y[0] = a[v]\n") == "every iteration stores to one element of 'y'");
  CHECK(why("    serial k = 0 .. +v {\n      y[v] = a[k]\n    }\n") ==
        "the bounds of loop 'k' differ between iterations");
}

TEST_CASE("vectorize: kVector loops inside a kernel") {
  Kernel k = parsed(
      "kernel k {\n  bind a: f32 read\n  bind y: f32 write\n  serial r = 0 .. +3 {\n    vector v = 0 .. +8 "
      "{\n"
      "      y[((r * 8) + v)] = (a[((r * 8) + v)] + 1.0)\n    }\n  }\n}\n");
  auto expected = run_f32(k, 24);
  vectorize(k);
  CHECK(verify(k) == "");
  CHECK(print_kernel(k).find("vector v") == std::string::npos);
  CHECK(run_f32(k, 24) == expected);
}

TEST_CASE("vectorize: expressions with widened variables") {
  Buffer b = make_buffer("b", {DType::kF32, 1}, Scope::kGlobal, Access::kRead);
  Var n = make_var("n"), acc = make_var("acc", {DType::kF32, 1}), wide = make_var("wide", {DType::kF32, 8});
  Expr e = add(mul(var_expr(acc), load(b, var_expr(n))), load(b, int_const(0)));
  Expr v = vectorize(e, n, 8, {{acc.get(), var_expr(wide)}});
  CHECK(v->type == VType{DType::kF32, 8});
  Kernel k;
  k.name = "k";
  k.bindings = {b};
  k.params = {{n, Dim::symbol("N")}};
  k.body = {declare(wide, broadcast(float_const(1), 8)), assign(wide, v)};
  CHECK(verify(k) == "");
  CHECK(print_kernel(k).find("wide = ((wide * b[n; 8]) + broadcast(b[0], 8))") != std::string::npos);
}

TEST_CASE("vectorize: what both arms of a selection load is read without a mask where it exists anyway") {
  const Buffer a = make_buffer("a", {DType::kF32, 1}, Scope::kGlobal, Access::kRead),
               y = make_buffer("y", {DType::kF32, 1}, Scope::kGlobal, Access::kWrite);
  const Var v = make_var("v");
  const Expr x = load(a, var_expr(v)), other = load(a, add(var_expr(v), int_const(64)));
  const Expr condition = compare(ScalarOp::kLt, x, float_const(0.0));
  for (const bool both : {false, true}) {
    const Expr value = both ? select_both(condition, other, x) : select(condition, other, x);
    Kernel k;
    k.name = "k";
    k.bindings = {a, y};
    k.body = {loop(v, int_const(0), int_const(64), LoopKind::kSerial, {store(y, var_expr(v), value)})};
    const Kernel wide = vectorized(k, 8, 1);
    CHECK((print_kernel(wide).find("; 8 if ") == std::string::npos) == both);
    // Rewriting keeps what is known.
    CHECK(with_args(value, value->args)->both_arms == both);
  }
}

TEST_CASE("vectorize: a prefetch is one a cache line") {
  const auto prefetches = [](const char* index) {
    Kernel k =
        parsed(fmt::format("kernel k {{\n  bind x: f32 read\n  bind y: f32 write\n  serial v = 0 .. +32 {{\n"
                           "    prefetch x[{}]\n    y[v] = x[v]\n  }}\n}}\n",
                           index));
    const std::string text = print_kernel(vectorized(k, 32, 1));
    int n = 0;
    for (size_t at = 0; (at = text.find("prefetch", at)) != std::string::npos; ++at) ++n;
    return n;
  };
  CHECK(prefetches("(v + 64)") == 2);
  CHECK(prefetches("64") == 1);
  CHECK(prefetches("(v * 2)") == 4);
  CHECK(prefetches("(v * 100)") == 0);
}

TEST_CASE("unroll: register indices become constants") {
  Kernel k = parsed(
      "kernel k {\n  bind y: f32 write\n  alloc r: f32x4[3] register\n  unroll i = 0 .. +3 {\n"
      "    let t: f32 = cast.f32(i)\n    r[i] = broadcast(t, 4)\n  }\n  unroll j = 0 .. +3 {\n    y[(j * 4)] "
      "= r[j]\n  }\n}\n");
  auto expected = run_f32(k, 12);
  unroll(k);
  CHECK(verify(k) == "");
  CHECK(print_kernel(k).find("unroll") == std::string::npos);
  CHECK(run_f32(k, 12) == expected);
}

}  // namespace
}  // namespace tern::kernel
