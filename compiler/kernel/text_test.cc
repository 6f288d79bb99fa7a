#include <cstdio>

#include "compiler/kernel/test_util.h"
#include "tests/support/source_path.h"

namespace tern::kernel {
namespace {

void check_round_trip(const std::string& path) {
  CAPTURE(path);
  std::FILE* f = std::fopen(path.c_str(), "rb");
  REQUIRE(f != nullptr);
  std::string text(1 << 14, 0);
  text.resize(std::fread(text.data(), 1, text.size(), f));
  std::fclose(f);
  auto k = parse_kernel(text);
  REQUIRE_MESSAGE(k.ok(), (k.ok() ? "" : k.error().text()));
  CHECK(verify(*k) == "");
  CHECK(print_kernel(*k) == text);
}

TEST_CASE("text: print and parse are inverse") {
  check_round_trip(test::source_path("tests/filetests/kernel/everything.tk"));
  check_round_trip(test::source_path("tests/filetests/kernel/gpu_everything.tk"));
}

TEST_CASE("text: a select whose arms are both there stays one") {
  const std::string text =
      "kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  serial i = 0 .. +4 {\n"
      "    y[i] = (select_both((i < 2), x[i], -1.0) + select((i < 3), x[i], 1.0))\n  }\n}\n";
  auto k = parse_kernel(text);
  REQUIRE_MESSAGE(k.ok(), (k.ok() ? "" : k.error().text()));
  CHECK(print_kernel(*k) == text);
}

TEST_CASE("text: problems name the line") {
  auto message = [](const std::string& text) {
    auto k = parse_kernel(text);
    return k.ok() ? std::string("parsed") : k.error().message;
  };
  CHECK(message("kernel a {\n  y[0] = 1.0\n}\n") == "Line 2: there is no buffer 'y'.");
  CHECK(message("kernel a {\n  let v: f32 = 1\n}\n") == "Line 2: 'v' is f32 but its value is i64.");
  CHECK(message("kernel a {\n  let v: i64 = (1 + )\n}\n") ==
        "Line 2: ')' stands where an expression is expected.");
  CHECK(message("kernel a {\n  let v: f32 = frob(1.0)\n}\n") == "Line 2: there is no function 'frob'.");
  CHECK(message("kernel a {\n  let v: f32 = (1.0 + 2)\n}\n") ==
        "Line 2: The operands of 'add' have different types, f32 and i64.");
  CHECK(message("kernel a {\n") == "Line 1: a '}' is missing.");
}

TEST_CASE("text: what nests deeper than a stack is refused") {
  const auto parse = [](const std::string& line) {
    const auto k = parse_kernel("kernel k {\n  bind x: f32 read\n  bind y: f32 write\n" + line + "\n}\n");
    return k.ok() ? std::string("parsed") : k.error().message;
  };
  const auto times = [](int count, const std::string& part) {
    std::string out;
    for (int i = 0; i < count; ++i) out += part;
    return out;
  };
  CHECK(parse("  y[0] = " + times(900, "(") + "x[0]" + times(900, " + x[0])")) == "parsed");
  CHECK(parse("  y[0] = " + times(200000, "(") + "x[0]" + times(200000, " + x[0])")) ==
        "Line 4: more than 1000 levels are nested.");
  CHECK(parse(times(200000, "  if (x[0] < x[1]) {") + times(200000, "}")) ==
        "Line 4: more than 1000 levels are nested.");
  CHECK(parse(times(200000, "{") + times(200000, "}")) == "Line 4: more than 1000 levels are nested.");
}

TEST_CASE("verify: what is not well-formed is said") {
  Kernel k;
  k.name = "k";
  Var v = make_var("v");
  Buffer x = make_buffer("x", {DType::kF32, 1}, Scope::kGlobal, Access::kRead);
  Buffer r = make_buffer("r", {DType::kF32, 8}, Scope::kRegister, Access::kReadWrite, 2);
  k.bindings = {x};
  k.body = {store(x, int_const(0), float_const(1))};
  CHECK(verify(k) == "Buffer 'x' is read-only.\n");
  k.body = {let(v, int_const(1)), let(v, int_const(2))};
  CHECK(verify(k) == "Variable 'v' is defined twice.\n");
  k.body = {assign(v, int_const(1))};
  CHECK(verify(k) == "'v' is assigned outside its scope.\n'v' is assigned but not mutable.\n");
  k.body = {alloc(r), store(r, int_const(2), broadcast(float_const(0), 8))};
  CHECK(verify(k) == "Index 2 of buffer 'r' lies outside its 2 elements.\n");
  Var i = make_var("i");
  k.body = {alloc(r), loop(i, int_const(0), int_const(2), LoopKind::kSerial,
                           {store(r, var_expr(i), broadcast(float_const(0), 8))})};
  CHECK(verify(k) == "The index of register buffer 'r' is not constant.\n");
}

TEST_CASE("evaluate: an access outside a buffer is an error that names it") {
  Kernel k = parsed("kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  y[0] = x[5]\n}\n");
  std::vector<float> x(5), y(1);
  auto r = evaluate(
      k, {{reinterpret_cast<uint8_t*>(x.data()), 20}, {reinterpret_cast<uint8_t*>(y.data()), 4}}, {}, 0, 1);
  REQUIRE(!r.ok());
  CHECK(r.error().message == "A load of buffer 'x' at element 5 lies outside its 5 elements.");
}

TEST_CASE("check_bounds: the ends of loops and axes say whether an index leaves a buffer, however large") {
  const auto said = [](const std::string& index, int64_t tiles) {
    Kernel k = parsed(
        "kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  param n = \"N\"\n  grid t < n = \"N\"\n  "
        "serial i = 0 .. "
        "+1000000 {\n    y[" +
        index + "] = x[i]\n  }\n}\n");
    std::vector<float> x(1000000), y(1000010);
    const Status inside = check_bounds(
        k, {{reinterpret_cast<uint8_t*>(x.data()), 4000000}, {reinterpret_cast<uint8_t*>(y.data()), 4000040}},
        {tiles});
    return inside.ok() ? "" : inside.error().message;
  };
  CHECK(said("(i + t)", 10) == "");
  CHECK(said("(i + t)", 12) == "A store of buffer 'y' at element 1000010 lies outside its 1000010 elements.");
  CHECK(said("(i - t)", 2) == "A store of buffer 'y' at element -1 lies outside its 1000010 elements.");
}

TEST_CASE("evaluate: select reads only what it chooses") {
  Kernel k = parsed(
      "kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  serial i = 0 .. +4 {\n"
      "    y[i] = select((i < 2), x[i], -1.0)\n  }\n}\n");
  std::vector<float> x = {5, 6}, y(4);
  auto r = evaluate(
      k, {{reinterpret_cast<uint8_t*>(x.data()), 8}, {reinterpret_cast<uint8_t*>(y.data()), 16}}, {}, 0, 1);
  REQUIRE(r.ok());
  CHECK(y == std::vector<float>{5, 6, -1, -1});
}

}  // namespace
}  // namespace tern::kernel
