// Contractions of u8 with i8 in i32: every shape of operand, at the levels with and without instructions for
// them.
#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/winograd_bytes.h"

namespace tern::lower {
namespace {

// "i8[2,3] {…}" of numbers between -128 and 127.
std::string weights(const std::vector<int64_t>& shape) {
  return literal("i8", shape, [](int64_t i) { return i * 37 % 256 - 128; });
}

struct Conv {
  std::vector<int64_t> weights;
  std::string x, out;
  std::string attributes;
  int64_t padding = 0;
};

// A convolution that requantises.
std::string conv_text(const Conv& c) {
  return fmt::format(R"(
  input %x: u8[{}] as "x"
  %w = constant {}
  %s = conv(%x, %w) <{}, accumulate=i32{}>
  %f = cast(%s) <to=f32>
  %k = constant f32[] {{0.015625}}
  %kb = broadcast(%k) <shape=[{}]>
  %m = mul(%f, %kb)
  %r = round_even(%m)
  %z = constant f32[] {{100}}
  %zb = broadcast(%z) <shape=[{}]>
  %a = add(%r, %zb)
  %h = constant f32[] {{255}}
  %hb = broadcast(%h) <shape=[{}]>
  %l = constant f32[] {{0}}
  %lb = broadcast(%l) <shape=[{}]>
  %n = min(%a, %hb)
  %o = max(%n, %lb)
  %q = cast(%o) <to=u8>
  output %q as "y")",
                     c.x, weights(c.weights), c.attributes,
                     c.padding == 0 ? "" : fmt::format(", pad_value={}", c.padding), c.out, c.out, c.out,
                     c.out);
}

std::string window(int64_t stride, int64_t pad, int64_t dilation, int64_t groups) {
  return fmt::format(
      "strides=[{0},{0}], low=[{1},{1}], high=[{1},{1}], dilations=[{2},{2}], lhs_dilations=[1,1], "
      "groups={3}",
      stride, pad, dilation, groups);
}

// On CPUs, CUDA, and Vulkan with and without cooperative matrices and dot products.
void check_everywhere(const LowerCase& c, const std::string& what) {
  Evaluated seen;
  check_lowering_once(c, what, seen);
  check_lowering_for(c,
                     {Arch::kVulkan,
                      {Level::kVulkan11, Level::kVulkanF16, Level::kVulkanDot4Signed, Level::kVulkanDot4,
                       Level::kVulkanMatrix, Level::kVulkanI8x16x8x32, Level::kVulkanI8x8x8x32,
                       Level::kVulkanI8x8x16x32, Level::kVulkanI8x16x16x16, Level::kVulkanMatrixI8}},
                     what, seen);
}

TEST_CASE("convolutions of bytes: windows, padding, few channels, groups") {
  check_everywhere({conv_text({{20, 8, 1, 1}, "1,8,6,7", "1,20,6,7", window(1, 0, 1, 1)})}, "pointwise");
  check_everywhere({conv_text({{19, 8, 3, 3}, "2,8,6,7", "2,19,6,7", window(1, 1, 1, 1), 130})}, "padded");
  check_everywhere({conv_text({{16, 3, 3, 3}, "1,3,9,8", "1,16,5,4", window(2, 1, 1, 1), 7})},
                   "few channels");
  check_everywhere({conv_text({{16, 3, 5, 5}, "1,3,40,37", "1,16,20,19", window(2, 2, 1, 1), 7})},
                   "few channels, windows with room around them");
  check_everywhere(
      {conv_text({{16, 3, 7, 3},
                  "2,3,24,45",
                  "2,16,20,45",
                  "strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=1"})},
      "few channels, high windows");
  check_everywhere({conv_text({{12, 6, 3, 3}, "1,6,7,7", "1,12,7,7", window(1, 2, 2, 1)})}, "odd channels");
  check_everywhere({conv_text({{8, 4, 3, 3}, "1,8,5,5", "1,8,5,5", window(1, 1, 1, 2), 3})}, "groups");
  check_everywhere({conv_text({{3, 2, 3, 3}, "1,2,N,5", "1,3,N,5", window(1, 1, 1, 1), 9}), {6}}, "symbolic");
}

// Two branches that meet: each is quantised, and what lies between dispatches are bytes.
TEST_CASE("a dequantisation belongs to its reader") {
  const auto branch = [](const std::string& name, int64_t scale) {
    return fmt::format(R"(
  %w{0} = constant {1}
  %s{0} = conv(%x, %w{0}) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1, accumulate=i32>
  %f{0} = cast(%s{0}) <to=f32>
  %m{0} = mul(%f{0}, %k)
  %r{0} = round_even(%m{0})
  %a{0} = add(%r{0}, %z)
  %n{0} = min(%a{0}, %h)
  %o{0} = max(%n{0}, %l)
  %q{0} = cast(%o{0}) <to=u8>
  %i{0} = cast(%q{0}) <to=i32>
  %cs{0} = constant i32[] {{{2}}}
  %c{0} = broadcast(%cs{0}) <shape=[1,20,6,7]>
  %e{0} = sub(%i{0}, %c{0})
  %d{0} = cast(%e{0}) <to=f32>
  %y{0} = mul(%d{0}, %k))",
                       name, weights({20, 8, 1, 1}), scale);
  };
  const std::string text = R"(
  input %x: u8[1,8,6,7] as "x"
  %ks = constant f32[] {0.015625}
  %zs = constant f32[] {100}
  %hs = constant f32[] {255}
  %ls = constant f32[] {0}
  %k = broadcast(%ks) <shape=[1,20,6,7]>
  %z = broadcast(%zs) <shape=[1,20,6,7]>
  %h = broadcast(%hs) <shape=[1,20,6,7]>
  %l = broadcast(%ls) <shape=[1,20,6,7]>)" +
                           branch("0", 100) + branch("1", 90) +
                           R"(
  %sum = add(%y0, %y1)
  %big = div(%sum, %k)
  %r = round_even(%big)
  %n = min(%r, %h)
  %o = max(%n, %l)
  %q = cast(%o) <to=u8>
  output %q as "y")";
  check_lowering_once({.text = text, .dispatches = 4}, "two branches");
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE(g.ok());
  Diagnostics diagnostics;
  auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V4}}, {}, diagnostics);
  REQUIRE(diagnostics.ok());
  int between = 0;
  for (const BufferDef& b : program->buffers) {
    if (b.kind != BufferKind::kTemporary) continue;
    ++between;
    CHECK(b.dtype == DType::kU8);
  }
  CHECK(between == 3);  // one branch, and input and output channels-last
}

TEST_CASE(
    "sums of bytes that begin with a bias: columns that are no whole vectors, biases that differ by row") {
  const auto conv = [](int64_t columns, const std::string& w, int64_t groups, int64_t from = 0) {
    return fmt::format(R"(
  input %x: u8[1,{3},9,10] as "x"
  %w = constant {0}
  %b = constant {1}
  %s = conv(%x, %w) <{2}, accumulate=i32, pad_value=5>
  %br = reshape(%b) <shape=[1,{4},1,1]>
  %bb = broadcast(%br) <shape=[1,{4},9,10]>
  %t = add(%bb, %s)
  %f = cast(%t) <to=f32>
  output %f as "y")",
                       w, literal("i32", {columns}, [](int64_t i) { return i * 1000003 % 70001 - 30000; }),
                       window(1, 1, 1, groups),
                       from > 0      ? from
                       : groups == 1 ? 8
                                     : groups,
                       columns);
  };
  for (const int64_t columns : {16, 19, 53}) {
    check_lowering_once({conv(columns, weights({columns, 8, 3, 3}), 1)}, "conv");
    check_lowering_once({conv(columns, weights({columns, 1, 3, 3}), columns)}, "depthwise");
    check_lowering_for({conv(columns, weights({columns, 1, 3, 3}), columns)},
                       {Arch::kX86_64, {Level::kX86V3}}, "depthwise");
  }
  check_lowering_for({conv(16, weights({16, 4, 3, 3}), 4, 16)}, {Arch::kX86_64, {Level::kX86V3}}, "groups");
  for (const std::string bias : {"i32[21]", "i32[1,21]", "i32[7,21]"}) {
    const int64_t count = bias == "i32[7,21]" ? 147 : 21;
    std::string numbers;
    for (int64_t i = 0; i < count; ++i) numbers += fmt::format("{}{}", i == 0 ? "" : ", ", i * 997 % 5003);
    check_lowering_once({fmt::format(R"(
  input %x: u8[7,1700] as "x"
  %w = constant {}
  %b = constant {} {{{}}}
  %s = dot(%x, %w) <accumulate=i32>
  %bb = broadcast(%b) <shape=[7,21]>
  %t = add(%s, %bb)
  %f = cast(%t) <to=f32>
  output %f as "y")",
                                     weights({1700, 21}), bias, numbers)},
                        bias);
  }
}

TEST_CASE("depthwise convolutions of bytes") {
  check_lowering_once({conv_text({{19, 1, 3, 3}, "1,19,9,10", "1,19,9,10", window(1, 1, 1, 19), 11})}, "3x3");
  check_lowering_once({conv_text({{16, 1, 3, 3}, "2,16,9,9", "2,16,5,5", window(2, 1, 1, 16), 0})},
                      "stride 2");
  check_lowering_once({conv_text({{17, 1, 5, 5}, "1,17,8,12", "1,17,8,12", window(1, 2, 1, 17), 255})},
                      "5x5");
  check_lowering_once({conv_text({{16, 1, 3, 3}, "1,16,9,9", "1,16,9,9", window(1, 2, 2, 16), 4})},
                      "dilated");
  check_lowering_once({conv_text({{16, 1, 7, 7}, "1,16,8,20", "1,16,8,20", window(1, 3, 1, 16), 1})}, "7x7");
  // Whole words of two vectors, a vector more, and some channels more.
  for (const int64_t c : {32, 45, 59}) {
    const auto text = [&](int64_t side, int64_t stride, int64_t out, int64_t dilation, int64_t padding) {
      return conv_text({{c, 1, side, side},
                        fmt::format("2,{},9,11", c),
                        fmt::format("2,{},{},{}", c, (9 + stride - 1) / stride, out),
                        window(stride, side / 2 * dilation, dilation, c),
                        padding});
    };
    for (const Level level : {Level::kX86V2, Level::kX86V3, Level::kX86V4}) {
      const Target target{Arch::kX86_64, {level}};
      check_lowering_for({text(3, 1, 11, 1, 9)}, target, fmt::format("{} channels, 3x3", c));
      check_lowering_for({text(3, 2, 6, 1, 0)}, target, fmt::format("{} channels, stride 2", c));
      check_lowering_for({text(5, 1, 11, 1, 255)}, target, fmt::format("{} channels, 5x5", c));
      check_lowering_for({text(3, 1, 11, 2, 3)}, target, fmt::format("{} channels, dilated", c));
    }
  }
}

TEST_CASE("convolutions of bytes in small groups") {
  // Channels and outputs of a group: spread over lanes, shared by a vector, a product.
  struct Case {
    int64_t groups, inputs, outputs, window, stride, pad, dilation, around;
  };
  const Case cases[] = {{6, 4, 4, 3, 1, 1, 1, 9},  {5, 2, 2, 3, 2, 1, 1, 255}, {3, 8, 8, 3, 1, 2, 2, 3},
                        {2, 6, 16, 3, 1, 1, 1, 0}, {4, 4, 4, 1, 1, 0, 1, 0},   {3, 3, 4, 3, 1, 1, 1, 7}};
  for (const Case& c : cases) {
    const int64_t reach = c.dilation * (c.window - 1);
    const auto out = [&](int64_t n) { return (n + 2 * c.pad - reach - 1) / c.stride + 1; };
    const int64_t from = c.groups * c.inputs, to = c.groups * c.outputs;
    const std::string text = conv_text({{to, c.inputs, c.window, c.window},
                                        fmt::format("2,{},7,11", from),
                                        fmt::format("2,{},{},{}", to, out(7), out(11)),
                                        window(c.stride, c.pad, c.dilation, c.groups),
                                        c.around});
    for (const Level level : {Level::kX86V2, Level::kX86V3})
      check_lowering_for({text}, {Arch::kX86_64, {level}},
                         fmt::format("{} groups of {} and {}", c.groups, c.inputs, c.outputs));
  }
}

TEST_CASE("padding that holds a number, on the plain nest") {
  check_lowering_once({fmt::format(R"(
  input %x: u8[1,2,3,4,5] as "x"
  %w = constant {}
  %s = conv(%x, %w) <strides=[1,1,1], low=[1,1,1], high=[1,0,1], dilations=[1,1,1], lhs_dilations=[1,1,1], groups=1, accumulate=i32, pad_value=6>
  output %s as "y")",
                                   weights({3, 2, 2, 2, 3}))},
                      "three dimensions");
}

TEST_CASE("products of bytes with constant weights") {
  for (const int64_t k : {4, 10, 33}) {
    check_everywhere({fmt::format(R"(
  input %x: u8[M,{}] as "x"
  %w = constant {}
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")",
                                  k, weights({k, 21})),
                      {7}},
                     fmt::format("depth {}", k));
  }
  // Sums that f32 does not hold.
  for (const int64_t m : {1, 19}) {
    auto text = fmt::format(R"(
  input %x: u8[{},1300] as "x"
  %l = constant u8[] {{250}}
  %lb = broadcast(%l) <shape=[{},1300]>
  %h = max(%x, %lb)
  %w = constant i8[1300,21] splat 127
  %s = dot(%h, %w) <accumulate=i32>
  output %s as "y")",
                            m, m);
    check_everywhere({text}, fmt::format("{} rows of large sums", m));
  }
}

TEST_CASE(
    "one row of bytes by constant weights: passes of eight steps, a rest, blocks of the depth, extremes") {
  struct {
    int64_t k, n;
    const char* extreme;  // an operation that makes all bytes 255
  } const cases[] = {{64, 37, ""}, {70, 21, ""}, {9, 3, ""}, {25000, 2, ""}, {132, 19, "max"}};
  for (const auto& c : cases) {
    const bool extreme = *c.extreme != 0;
    const std::string w = extreme
                              ? literal("i8", {c.k, c.n}, [](int64_t i) { return i % 3 == 0 ? 127 : -128; })
                              : weights({c.k, c.n});
    const std::string text = fmt::format(
        "  input %x: u8[1,{0}] as \"x\"\n  %h = constant u8[] {{255}}\n  %hb = broadcast(%h) "
        "<shape=[1,{0}]>\n"
        "  %a = {1}\n  %w = constant {2}\n  %s = dot(%a, %w) <accumulate=i32>\n  output %s as \"y\"",
        c.k, extreme ? "max(%x, %hb)" : "min(%x, %hb)", w);
    check_lowering_once({text}, fmt::format("depth {}, {} columns", c.k, c.n));
    CHECK(kernels_of(text, Level::kX86V3).find("a row of halves") != std::string::npos);
    CHECK(kernels_of(text, Level::kX86V4).find("a row of halves") == std::string::npos);
  }
}

TEST_CASE("products of bytes with more rows than a few tiles have") {
  for (const int64_t k : {12, 33, 100}) {
    for (const int64_t n : {16, 53}) {
      check_lowering_once({fmt::format(R"(
  input %x: u8[61,{}] as "x"
  %w = constant {}
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")",
                                       k, weights({k, n}))},
                          fmt::format("depth {}, columns {}", k, n));
    }
  }
  check_lowering_once({R"(
  input %x: u8[2,45,20] as "x"
  input %w: i8[2,20,19] as "w"
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")"},
                      "right operand computed");
}

TEST_CASE(
    "convolutions of bytes by Winograd's algorithm: odd sizes, vectors of channels that overlap, extremes") {
  const auto check_conv = [](const std::string& text, Level level, const std::string& how) {
    const bool dots = level == Level::kX86V4Vnni;
    const Target target =
        dots ? Target{Arch::kX86_64, {Level::kX86V4}, {level}} : Target{Arch::kX86_64, {level}};
    auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
    REQUIRE_MESSAGE(g.ok(), g.error().text());
    Diagnostics diagnostics;
    const auto program = lower(**g, target, {}, diagnostics);
    bool found = false;
    for (const Step& step : program->steps) {
      if (step.kind != Step::Kind::kDispatch) continue;
      for (const KernelVariant& v : step.dispatch->variants)
        found |= v.level == level && v.kernel->schedule.find("winograd " + how) != std::string::npos;
    }
    CHECK_MESSAGE(found, level_name(level), how, text.substr(0, 60));
    check_lowering_for({text}, target, std::string(level_name(level)));
  };
  check_conv(conv_text({{16, 124, 3, 3}, "1,124,29,27", "1,16,29,27", window(1, 1, 1, 1), 130}),
             Level::kX86V3, "4x4");
  check_conv(conv_text({{32, 128, 3, 3}, "2,128,16,14", "2,32,14,12", window(1, 0, 1, 1)}), Level::kX86V3,
             "4x4");
  check_conv(conv_text({{16, 196, 3, 3}, "1,196,20,21", "1,16,20,21", window(1, 1, 1, 1), 255}),
             Level::kX86V4, "4x4");
  check_conv(conv_text({{32, 64, 3, 3}, "1,64,38,39", "1,32,38,39", window(1, 1, 1, 1), 255}),
             Level::kX86V4Vnni, "4x4");
  // All extremes: multiples of the sums of 128 channels would not fit 32 bits in F(4 x 4).
  for (const int64_t channels : {64, 128}) {
    const std::string low = literal("i8", {16, channels, 3, 3}, [](int64_t) { return -128; });
    check_conv(fmt::format(R"(
  input %x: u8[1,{0},14,14] as "x"
  %w = constant {1}
  %s = conv(%x, %w) <{2}, accumulate=i32, pad_value=255>
  output %s as "y")",
                           channels, low, window(1, 1, 1, 1)),
               Level::kX86V3, channels == 64 ? "4x4" : "2x2");
  }
}

TEST_CASE(
    "convolutions of bytes by Winograd's algorithm: the largest sums that fit, at every pixel of a patch") {
  const auto weights = [](int64_t channels, int8_t value) {
    auto w = TensorData::make(DType::kI8, {1, channels, 3, 3});
    std::fill_n(w->mutable_as<int8_t>(), w->count(), value);
    return w;
  };
  CHECK(byte_winograd_fits(*weights(114, -128), 4));
  CHECK(!byte_winograd_fits(*weights(115, -128), 4));
  CHECK(byte_winograd_fits(*weights(1827, -128), 2));
  CHECK(!byte_winograd_fits(*weights(1828, -128), 2));
  const std::array<int64_t, 4> multiples = {24, 12, 6, 6};
  for (const int64_t sum : {int64_t{255} * 128 * 9 * 114, -int64_t{255} * 128 * 9 * 114, int64_t{1}}) {
    for (int y = 0; y < 4; ++y) {
      for (int x = 0; x < 4; ++x) {
        const int64_t multiple = sum * multiples[static_cast<size_t>(y)] * multiples[static_cast<size_t>(x)];
        const kernel::Expr wrapped =
            kernel::int_const(static_cast<int32_t>(static_cast<uint64_t>(multiple)), DType::kI32);
        const kernel::Expr value = byte_winograd_sum(4, y, x, wrapped);
        REQUIRE(value->kind == kernel::ExprKind::kConst);
        CHECK(value->i == sum);
      }
    }
  }
}

// Weights whose steps byte_chains.h adds by threes, on levels that have no dot products.
TEST_CASE("products of bytes that are added in 16 bits") {
  const auto small = [](const std::vector<int64_t>& shape) {
    return literal("i8", shape, [](int64_t i) { return i * 37 % 61 - 30; });
  };
  for (const std::string rows : {"61", "M"}) {
    for (const int64_t n : {16, 21, 40}) {
      check_lowering_once({fmt::format(R"(
  input %x: u8[{},70] as "x"
  %w = constant {}
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")",
                                       rows, small({70, n})),
                           {19}},
                          fmt::format("{} rows, {} columns", rows, n));
    }
  }
  for (const int64_t m : {24, 75}) {  // segments; whole tiles, and a rest
    check_lowering_once(
        {fmt::format(R"(
  input %x: u8[{},410] as "x"
  %w = constant {}
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")",
                     m, literal("i8", {410, 19}, [](int64_t i) { return i * 37 % 255 - 127; }))},
        fmt::format("{} rows, segments", m));
  }
  check_lowering_once({fmt::format(R"(
  input %x: u8[1,8,9,7] as "x"
  %w = constant {}
  %s = conv(%x, %w) <{}, accumulate=i32, pad_value=255>
  output %s as "y")",
                                   small({19, 8, 3, 3}), window(1, 1, 1, 1))},
                      "windows");
  check_lowering_once({fmt::format(R"(
  input %x: u8[2,50,64] as "x"
  %w = constant {}
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")",
                                   small({2, 64, 19}))},
                      "batches");
}

TEST_CASE("products of bytes whose right operand is computed") {
  for (const char* sizes : {"2,5,8;2,8,19", "2,5,10;2,10,32", "1,3,M;1,M,16"}) {
    const std::string text = sizes, left = text.substr(0, text.find(';')),
                      right = text.substr(text.find(';') + 1);
    check_everywhere({fmt::format(R"(
  input %x: u8[{}] as "x"
  input %w: i8[{}] as "w"
  %s = dot(%x, %w) <accumulate=i32>
  output %s as "y")",
                                  left, right),
                      {6}},
                     text);
  }
  for (const char* sizes : {"2,5,8;2,19,8", "1,3,M;1,16,M"}) {
    const std::string text = sizes, left = text.substr(0, text.find(';')),
                      right = text.substr(text.find(';') + 1);
    check_everywhere({fmt::format(R"(
  input %x: u8[{}] as "x"
  input %w: i8[{}] as "w"
  %t = transpose(%w) <perm=[0,2,1]>
  %s = dot(%x, %t) <accumulate=i32>
  output %s as "y")",
                                  left, right),
                      {6}},
                     text + " transposed");
  }
  // K of an attention: u8 of its quantisation, read as i8.
  check_everywhere({R"(
  input %x: u8[2,5,8] as "x"
  input %u: u8[2,19,8] as "w"
  %h = constant u8[] {128}
  %hb = broadcast(%h) <shape=[2,19,8]>
  %f = xor(%u, %hb)
  %w = bitcast(%f) <to=i8>
  %t = transpose(%w) <perm=[0,2,1]>
  %s = dot(%x, %t) <accumulate=i32>
  output %s as "y")"},
                   "read as the other kind");
}

TEST_CASE("tables: by themselves, behind a convolution, in front of a sum") {
  std::string numbers;
  for (int i = 0; i < 256; ++i) numbers += fmt::format("{}{}", i == 0 ? "" : ", ", (i * 7 + 3) % 256);
  const std::string table = fmt::format("<table=u8[256] {{{}}}>", numbers);
  check_lowering_once({fmt::format(R"(
  input %x: u8[3,N] as "x"
  %t = lookup(%x) {}
  output %t as "y")",
                                   table),
                       {77}},
                      "table");
  std::string behind = conv_text({{20, 8, 1, 1}, "1,8,6,7", "1,20,6,7", window(1, 0, 1, 1)});
  const size_t end = behind.find("  output");
  behind = behind.substr(0, end) + "  %t = lookup(%q) " + table + "\n  output %t as \"y\"";
  check_lowering_once({.text = behind, .dispatches = 3}, "behind a convolution");
  check_lowering_once({fmt::format(R"(
  input %x: u8[5,33] as "x"
  %t = lookup(%x) {}
  %f = cast(%t) <to=f32>
  %s = reduce(%f) <op=add, axes=[1]>
  output %s as "y")",
                                   table)},
                      "in front of a sum");
}

}  // namespace
}  // namespace tern::lower
