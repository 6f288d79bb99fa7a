// Products of bytes by a CPU's tiles: whole ones, what is left of rows, columns and steps, operands in place
// and gathered.
#include <array>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

const Target kTarget{Arch::kX86_64, {Level::kX86V4}, {Level::kX86V4Vnni, Level::kX86V4Amx}};

std::string weights(const std::vector<int64_t>& shape) {
  return literal("i8", shape, [](int64_t i) { return i * 37 % 256 - 128; });
}

// Activations up to 255.
TensorDataPtr bytes(const std::vector<int64_t>& shape) {
  auto data = TensorData::make(DType::kU8, shape);
  for (int64_t i = 0; i < data->count(); ++i) data->set_int(i, (i * 97 + 31) % 256);
  return data;
}

// How the variant of tiles is scheduled, "" where there is none.
std::string tiles_of(const std::string& text) {
  const auto program = lowered(text, kTarget);
  for (const Step& step : program->steps) {
    if (step.kind != Step::Kind::kDispatch) continue;
    for (const KernelVariant& v : step.dispatch->variants) {
      if (v.level == Level::kX86V4Amx) return v.kernel->schedule;
    }
  }
  return "";
}

void check_tiles(const LowerCase& c, std::string_view schedule) {
  const std::string found = tiles_of(c.text);
  CAPTURE(found);
  CHECK(found.find(schedule) != std::string::npos);
  check_lowering_for(c, kTarget, std::string(schedule));
}

std::string product(const std::string& x, int64_t k, int64_t n) {
  return fmt::format(R"(
  input %x: u8[{}] as "x"
  %w = constant {}
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")",
                     x, weights({k, n}));
}

TEST_CASE("products by tiles: whole tiles, rests of rows, columns and steps") {
  check_tiles({product("64,128", 128, 32), {}, {bytes({64, 128})}}, "tiles 32x32");
  for (const int64_t m : {16, 20, 32, 45, 49, 97}) {
    for (const int64_t k : {64, 100, 202}) {
      for (const int64_t n : {16, 53, 64}) {
        if (k == 202 && n != 53) continue;
        check_tiles({product(fmt::format("{},{}", m, k), k, n), {}, {bytes({m, k})}},
                    m < 32 ? "tiles 16x32" : "tiles 32x32");
      }
    }
  }
}

TEST_CASE("products by tiles: several blocks of rows and columns") {
  check_tiles({product("100,64", 64, 700), {}, {bytes({100, 64})}}, "tiles 32x32");
  check_tiles({product("700,64", 64, 100), {}, {bytes({700, 64})}}, "tiles 32x32");
}

TEST_CASE("products by tiles: unknown rows") {
  for (const int64_t rows : {1, 15, 16, 31, 40, 130})
    check_tiles(
        {"  symbol N: input 0 axis 0, hint 100\n" + product("N,96", 96, 48), {rows}, {bytes({rows, 96})}},
        "tiles 32x32");
}

TEST_CASE("products by tiles: a computed right operand, and a left one that is turned") {
  check_tiles({R"(
  input %x: u8[2,45,100] as "x"
  input %w: i8[2,100,40] as "w"
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")"},
              "tiles 32x32");
  check_tiles({fmt::format(R"(
  input %x: u8[96,50] as "x"
  %t = transpose(%x) <perm=[1,0]>
  %w = constant {}
  %s = dot(%t, %w) <accumulate=i32>
  output %s as "y")",
                           weights({96, 40}))},
              "A gathered");
}

TEST_CASE("products by tiles: what follows the sums") {
  const auto text = [](int64_t m, int64_t k, int64_t n) {
    return fmt::format(R"(
  input %x: u8[{0},{1}] as "x"
  input %r: f32[{0},{2}] as "r"
  %w = constant {3}
  %s = dot(%x, %w) <accumulate=i32>
  %b = constant {4}
  %bb = broadcast(%b) <shape=[{0},{2}]>
  %sb = add(%s, %bb)
  %f = cast(%sb) <to=f32>
  %k = constant f32[] {{0.015625}}
  %kb = broadcast(%k) <shape=[{0},{2}]>
  %m = mul(%f, %kb)
  %a = add(%m, %r)
  output %a as "y")",
                       m, k, n, weights({k, n}),
                       literal("i32", {n}, [](int64_t i) { return i * 1000 - 7000; }));
  };
  check_tiles({text(50, 136, 53)}, "tiles 32x32");
  check_tiles({text(64, 64, 64)}, "tiles 32x32");
}

TEST_CASE("convolutions of bytes by tiles") {
  const auto conv = [](const std::string& x, const std::vector<int64_t>& filters, int stride, int pad,
                       int groups) {
    return fmt::format(R"(
  input %x: u8[{0}] as "x"
  %w = constant {1}
  %s = conv(%x, %w) <strides=[{2},{2}], low=[{3},{3}], high=[{3},{3}], dilations=[1,1], lhs_dilations=[1,1], groups={4}, accumulate=i32{5}>
  output %s as "y")",
                       x, weights(filters), stride, pad, groups, pad ? ", pad_value=77" : "");
  };
  check_tiles({conv("1,16,9,8", {24, 16, 3, 3}, 1, 1, 1)}, "windows gathered");
  check_tiles({conv("1,3,20,20", {32, 3, 5, 5}, 2, 2, 1)}, "windows gathered");
  check_tiles({conv("1,64,7,7", {48, 64, 1, 1}, 1, 0, 1)}, "A in place");
  check_tiles({conv("2,64,8,8", {48, 64, 1, 1}, 2, 0, 1)}, "tiles");
  check_tiles({conv("1,64,8,8", {64, 32, 3, 3}, 1, 1, 2)}, "tiles");
}

TEST_CASE("products of bf16 by tiles") {
  const auto floats = [](const std::vector<int64_t>& shape) {
    return literal("f32", shape, [](int64_t i) { return static_cast<double>(i * 37 % 31 - 15) / 4; });
  };
  const Target target{Arch::kX86_64, {Level::kX86V4}, {Level::kX86V4Bf16, Level::kX86V4Amx}};
  const auto check = [&](const std::string& text, std::vector<int64_t> symbols = {}) {
    LowerCase c{text, std::move(symbols)};
    c.precision = DType::kBF16;
    CAPTURE(text.substr(0, 200));
    const auto program = lowered(text, target, {}, DType::kBF16);
    CHECK(most_variants(program->steps) == 3);
    check_lowering_for(c, target, "bf16");
  };
  for (const auto& [m, k, n] : {std::array<int64_t, 3>{49, 75, 53}, {64, 64, 32}, {30, 150, 40}}) {
    check(fmt::format(R"(
  input %x: f32[{},{}] as "x"
  %w = constant {}
  %y = dot(%x, %w)
  output %y as "y")",
                      m, k, floats({k, n})));
  }
  check(fmt::format(R"(
  symbol M: input 0 axis 0, hint 64
  input %x: f32[M,96] as "x"
  %w = constant {}
  %y = dot(%x, %w)
  %z = neg(%y)
  %v = constant {}
  %u = dot(%z, %v)
  output %u as "u")",
                    floats({96, 70}), floats({70, 40})),
        {45});
  check(R"(
  input %x: f32[2,40,66] as "x"
  input %w: f32[2,66,40] as "w"
  %a = add(%x, %x)
  %b = add(%w, %w)
  %s = dot(%a, %b)
  output %s as "y")");
}

TEST_CASE("few rows, short sums and depthwise convolutions have no variant of tiles") {
  CHECK(tiles_of(product("8,64", 64, 64)).empty());
  CHECK(tiles_of(product("64,16", 16, 64)).empty());
  CHECK(tiles_of(fmt::format(R"(
  input %x: u8[1,32,16,16] as "x"
  %w = constant {}
  %s = conv(%x, %w) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=32, accumulate=i32>
  output %s as "y")",
                             weights({32, 1, 3, 3})))
            .empty());
}

}  // namespace
}  // namespace tern::lower
