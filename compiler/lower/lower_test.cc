#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

TEST_CASE("an output that needs a copy has it as soon as it is known") {
  const auto number = [](int64_t i) { return fmt::format("{}", i % 5 - 2); };
  const std::string w = literal("f32", {16, 16}, number);
  const std::string text = fmt::format(R"(
  input %x: f32[8,16] as "x"
  %w = constant {}
  %d = dot(%x, %w)
  %t = transpose(%d) <perm=[1,0]>
  %e = dot(%d, %w)
  %f = dot(%e, %w)
  output %f as "f"
  output %t as "t")",
                                       w);
  check_lowering_once({text}, "default");
  const auto program = lowered(text, {Arch::kX86_64, {Level::kX86V3}});
  REQUIRE(program->steps.size() == 4);
  CHECK(program->steps[1].dispatch->copy_for.has_value());
  CHECK(!program->steps.back().dispatch->copy_for.has_value());
}

TEST_CASE("outputs whose size a kernel finds out are copied when it has been read") {
  const std::string text = R"(
  symbol u0: element %n[0], upper 6
  input %x: f32[6] as "x"
  %y, %f, %v, %c, %n = unique(%x) <sorted=false> : f32[u0], i64[u0], i64[6], i64[u0], i64[]
  output %y as "y"
  output %f as "f"
  output %v as "v")";
  for (const Target& target :
       {Target{Arch::kX86_64, {Level::kX86V3}}, Target{Arch::kCuda, {Level::kCudaSm80}},
        Target{Arch::kVulkan, {Level::kVulkan11}}}) {
    const auto program = lowered(text, target);
    bool read = false;
    int copies = 0;
    for (const Step& s : program->steps) {
      read = read || s.kind == Step::Kind::kRead;
      if (s.kind != Step::Kind::kDispatch || !s.dispatch->copy_for) continue;
      ++copies;
      CHECK(read);
    }
    CHECK(copies >= 2);
  }
}

TEST_CASE("elementwise chains are one dispatch") {
  check_lowering({R"(
  input %x: f32[3,37] as "x"
  input %b: f32[37] as "b"
  %bb = broadcast(%b) <shape=[3,37]>
  %1 = add(%x, %bb)
  %2 = mul(%1, %x)
  %3 = abs(%2)
  output %3 as "y")",
                  {},
                  {},
                  {},
                  1});
}

TEST_CASE("symbolic sizes, casts and compares") {
  check_lowering({R"(
  input %x: f32[N,M] as "x"
  %z = constant f32[] {0.5}
  %zb = broadcast(%z) <shape=[N,M]>
  %c = lt(%x, %zb)
  %i = cast(%x) <to=i32>
  %n = neg(%i)
  %s = select(%c, %i, %n)
  output %s as "y")",
                  {3, 21},
                  {},
                  {},
                  1});
}

TEST_CASE("views cost nothing or one copy") {
  check_lowering({R"(
  input %x: f32[2,3,20] as "x"
  %t = transpose(%x) <perm=[0,2,1]>
  %s = slice(%t) <starts=[0,17,0], sizes=[2,6,3], steps=[1,-3,1]>
  %r = reshape(%s) <shape=[12,3]>
  %e = neg(%r)
  output %e as "y"
  output %t as "t")"});
  check_lowering({R"(
  input %x: f32[2,3,4,5] as "x"
  %t = transpose(%x) <perm=[2,0,3,1]>
  %r = reshape(%t) <shape=[40,3]>
  %q = reshape(%r) <shape=[4,30]>
  output %q as "q")"});
}

TEST_CASE("pad modes, concat, gather") {
  for (const char* mode : {"constant", "edge", "reflect", "wrap"}) {
    check_lowering({fmt::format(R"(
  input %x: f32[3,N] as "x"
  %z = constant f32[] {{7}}
  %p = pad(%x, %z) <low=[1,2], high=[2,1], mode="{}">
  %y = mul(%p, %p)
  output %y as "y")",
                                mode),
                    {19}});
  }
  check_lowering({R"(
  input %x: f32[2,5] as "x"
  %z = constant f32[] {0}
  %p = pad(%x, %z) <low=[0,-1], high=[1,-2], mode="constant">
  %c = concat(%p, %p) <axis=1>
  %n = neg(%x)
  %d = concat(%n, %x) <axis=0>
  output %c as "c"
  output %d as "d")"});
  check_lowering({R"(
  input %x: f32[N,4] as "x"
  %i = constant i64[2,2] {0, -1, 2, -3}
  %g = gather(%x, %i) <axis=0>
  %e = neg(%g)
  %j = constant i32[3] {3, 0, -2}
  %h = gather(%x, %j) <axis=1>
  output %e as "e"
  output %h as "h")",
                  {6}});
  check_lowering({R"(
  input %x: f32[3,4] as "x"
  %i = constant i64[2,4] {0, 1, 2, -1, 2, 2, 1, 0}
  %g = gather_elements(%x, %i) <axis=0>
  %k = constant i64[2,2] {0, 1, 2, -1}
  %n = gather_nd(%x, %k) <batch_dims=0>
  output %g as "g"
  output %n as "n")"});
}

TEST_CASE("complex numbers go one by one") {
  for (const char* type : {"c64", "c128"}) {
    auto g = graph::parse_graph(fmt::format(R"(graph "g" {{
  input %x: {}[8,64] as "x"
  %y = add(%x, %x)
  %s = reduce(%y) <op=add, axes=[1]>
  %m = reduce(%y) <op=mul, axes=[0]>
  output %s as "s"
  output %m as "m"
}})",
                                            type));
    REQUIRE(g.ok());
    Diagnostics diagnostics;
    auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V4}}, {}, diagnostics);
    REQUIRE(diagnostics.ok());
    for (const Step& step : program->steps) {
      REQUIRE(step.kind == Step::Kind::kDispatch);
      const std::string text = kernel::print_kernel(*step.dispatch->variants[0].kernel);
      CHECK(text.find(fmt::format("{}x", type)) == std::string::npos);
    }
  }
}

TEST_CASE("rows of a table that is computed: as few as are read") {
  const auto text = [](int64_t rows, const char* read) {
    return fmt::format(R"(
  input %i: i64[{}] as "i"
  input %t: i8[{},8] as "t"
  %f = cast(%t) <to=f32>
  %a = exp(%f)
  %b = add(%a, %f)
  %y = gather(%b, %i) <axis=0>
  output %y as "y")",
                       read, rows);
  };
  for (const auto& [rows, read, dispatches] :
       {std::tuple<int64_t, const char*, size_t>{100, "3", 1}, {9, "60", 2}, {100, "N", 1}}) {
    CAPTURE(rows);
    CAPTURE(read);
    check_lowering({text(rows, read), {5}});
    auto g = graph::parse_graph("graph \"g\" {" + text(rows, read) + "\n}");
    REQUIRE(g.ok());
    Diagnostics diagnostics;
    const auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V4}}, {}, diagnostics);
    REQUIRE(diagnostics.ok());
    CHECK(program->steps.size() == dispatches);
  }
}

TEST_CASE("an index out of range ends the run") {
  auto g = graph::parse_graph(R"(graph "g" {
  input %x: f32[3] as "x"
  input %i: i64[2] as "i"
  %g = gather(%x, %i) <axis=0>
  output %g as "g"
})");
  REQUIRE(g.ok());
  Diagnostics diagnostics;
  auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V4}}, {}, diagnostics);
  REQUIRE(diagnostics.ok());
  auto x = TensorData::make(DType::kF32, {3});
  auto i = TensorData::make(DType::kI64, {2});
  i->set_int(1, 3);
  auto out = evaluate_program(*program, {x, i});
  REQUIRE(!out.ok());
  CHECK(out.error().message.find("fails with code 1") != std::string::npos);
}

TEST_CASE("few channels to the end: rows interleaved from whole vectors, and what is left over") {
  for (const char* sizes : {"2,3,4,8;2,4,8,3", "1,3,7,9;1,7,9,3", "1,5,4,12;1,4,12,5", "1,2,H,W;1,H,W,2"}) {
    const std::string text = sizes, from = text.substr(0, text.find(';'));
    for (const char* type : {"f32", "u8", "f16"}) {
      check_lowering_once({fmt::format(R"(
  input %x: f32[{}] as "x"
  %a = abs(%x)
  %t = transpose(%a) <perm=[0,2,3,1]>
  %c = cast(%t) <to={}>
  output %c as "y")",
                                       from, type),
                           {5, 13}},
                          fmt::format("{} {}", from, type));
    }
  }
}

// A 1x1 convolution over pixels of symbolic number: every count of leftover rows, in every tile for them.
TEST_CASE("transposes: squares in registers, what is left over, and inputs that lie both ways") {
  for (const char* type : {"f32", "u8"}) {
    check_lowering({fmt::format(R"(
  input %x: {0}[83,70] as "x"
  input %s: {0}[83] as "s"
  %t = transpose(%x) <perm=[1,0]>
  %b = broadcast(%s) <shape=[70,83]>
  %y = add(%t, %b)
  output %y as "y")",
                                type)});
  }
  check_lowering({R"(
  input %x: f32[N,M] as "x"
  input %r: f32[M,N] as "r"
  %t = transpose(%x) <perm=[1,0]>
  %n = neg(%t)
  %y = add(%t, %r)
  output %n as "n"
  output %y as "y")",
                  {67, 21}});
}

TEST_CASE("softmax: NaN, infinities and what underflows, by rows and by columns") {
  for (const int axis : {0, 1}) {
    const std::string text = R"(
  %x = constant f32[4,5] {nan, 1.0, 2.0, -1.0, 0.5, inf, 1.0, -inf, 2.0, 3.0, -inf, -inf, -inf, -inf, -inf,
    88.0, -3e38, -20.0, 87.0, -inf}
  input %b: f32[4,5] as "b"
  %a = add(%x, %b))" + softmax_lines("a", "y", "4,5", axis) +
                             "output %y as \"y\"";
    check_lowering_for({text}, Target{Arch::kX86_64, {Level::kX86V2, Level::kX86V3, Level::kX86V4}}, text);
  }
  const std::string kernel = kernels_of("  input %a: f32[64,512] as \"a\"" +
                                        softmax_lines("a", "y", "64,512", 1) + "output %y as \"y\"");
  CAPTURE(kernel);
  CHECK(kernel.find("exp_below.f32x16(") != std::string::npos);
  CHECK(kernel.find("number.f32x16(") != std::string::npos);
}

TEST_CASE("matrices that a batch of products picks out of a table are read where they lie") {
  std::string table;
  for (int i = 0; i < 3 * 4 * 2; ++i) table += fmt::format("{}{}", i > 0 ? ", " : "", i * 5 % 13 - 6);
  const std::string body = fmt::format(R"(
  input %x: f32[5,1,4] as "x"
  input %s: f32[5,3] as "s"
  %t = constant f32[3,4,2] {{{}}}
  %i = arg_reduce(%s) <largest=true, axis=1, last=false, dtype=i64>
  %g = gather(%t, %i) <axis=0>
  %d = dot(%x, %g)
  %r = neg(%d)
  output %r as "y")",
                                       table);
  check_lowering({body});
  auto g = graph::parse_graph("graph \"g\" {" + body + "\n}");
  REQUIRE(g.ok());
  Diagnostics diagnostics;
  const auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V4}}, {}, diagnostics);
  REQUIRE(diagnostics.ok());
  CHECK(program->steps.size() == 2);
}

TEST_CASE("rows of symbolic number: no division in the kernel, any remainder") {
  std::string weights;
  for (int i = 0; i < 60; ++i) weights += fmt::format("{}{}", i > 0 ? ", " : "", i * 7 % 11 - 5);
  const std::string text = R"(
  input %x: f32[N,3,H,W] as "x"
  %w = constant f32[20,3,1,1] {)" +
                           weights + R"(}
  %c = conv(%x, %w) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %y = abs(%c)
  %z = conv(%y, %v) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  output %z as "z")";
  const std::string with_v =
      std::string(text).insert(text.find("  %c ="), "  %v = constant f32[3,20,1,1] {" + weights + "}\n");
  for (int64_t width = 1; width <= 17; ++width) check_lowering_once({with_v, {1, 1, width}}, "rows");
  check_lowering_once({with_v, {2, 3, 5}}, "pixels");
  auto g = graph::parse_graph("graph \"g\" {\n" + with_v + "\n}");
  REQUIRE(g.ok());
  Diagnostics diagnostics;
  auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V4}}, {}, diagnostics);
  REQUIRE(diagnostics.ok());
  for (const Step& step : program->steps) {
    if (step.kind != Step::Kind::kDispatch || step.dispatch->label.find("conv") == std::string::npos)
      continue;
    const std::string kernel = kernel::print_kernel(*step.dispatch->variants[0].kernel);
    for (const char* division : {"irem(row0", "irem((row0", "irem(((row0"})
      CHECK(kernel.find(division) == std::string::npos);
  }
}

TEST_CASE("CPU: a transposition of 16 bits turns squares of whole vectors") {
  for (const char* type : {"f16", "i16"}) {
    const std::string text = fmt::format(
        "  input %x: {}[3,40,50] as \"x\"\n  %y = transpose(%x) <perm=[0,2,1]>\n  output %y as "
        "\"y\"",
        type);
    CHECK(kernels_of(text, Level::kX86V3).find(type == std::string("i16") ? "i16x16" : "u16x16") !=
          std::string::npos);
    check_lowering_once({text}, type);
  }
}

TEST_CASE("reductions over any axes, with both sides fused") {
  for (const char* axes : {"[0]", "[1]", "[2]", "[0,2]", "[1,2]", "[0,1,2]"}) {
    check_lowering({fmt::format(R"(
  input %x: f32[3,N,21] as "x"
  %a = mul(%x, %x)
  %r = reduce(%a) <op=add, axes={}>
  %m = reduce(%x) <op=max, axes={}>
  %s = add(%r, %m)
  output %s as "y")",
                                axes, axes),
                    {7}});
  }
  check_lowering({R"(
  input %x: i8[4,33] as "x"
  %r = reduce(%x) <op=mul, axes=[1]>
  %m = reduce(%x) <op=min, axes=[0]>
  output %r as "r"
  output %m as "m")"});
}

TEST_CASE("softmax and layer norm are one dispatch each") {
  check_lowering({R"(
  input %x: f32[5,37] as "x"
  %m = reduce(%x) <op=max, axes=[1]>
  %mk = reshape(%m) <shape=[5,1]>
  %mb = broadcast(%mk) <shape=[5,37]>
  %d = sub(%x, %mb)
  %e = exp(%d)
  %s = reduce(%e) <op=add, axes=[1]>
  %sk = reshape(%s) <shape=[5,1]>
  %sb = broadcast(%sk) <shape=[5,37]>
  %y = div(%e, %sb)
  output %y as "y")",
                  {},
                  {},
                  {},
                  1});
  check_lowering({R"(
  input %x: f32[2,N,40] as "x"
  input %y: f32[2,N,40] as "y"
  input %g: f32[40] as "g"
  %x1 = add(%x, %y)
  %n = constant f32[] {40}
  %nb = broadcast(%n) <shape=[2,N]>
  %s = reduce(%x1) <op=add, axes=[2]>
  %mean = div(%s, %nb)
  %mk = reshape(%mean) <shape=[2,N,1]>
  %mb = broadcast(%mk) <shape=[2,N,40]>
  %d = sub(%x1, %mb)
  %d2 = mul(%d, %d)
  %v = reduce(%d2) <op=add, axes=[2]>
  %var = div(%v, %nb)
  %vs = sqrt(%var)
  %vk = reshape(%vs) <shape=[2,N,1]>
  %vb = broadcast(%vk) <shape=[2,N,40]>
  %q = div(%d, %vb)
  %gb = broadcast(%g) <shape=[2,N,40]>
  %r = mul(%q, %gb)
  output %r as "r")",
                  {3},
                  {},
                  {},
                  1});
}

TEST_CASE("parts of a concatenation and outputs are computed in place through transposes and reshapes") {
  LowerCase c{R"(
  input %x: f32[1,3,6,5] as "x"
  input %w: f32[8,3,1,1] as "w"
  input %v: f32[12,3,3,3] as "v"
  %a = conv(%x, %w) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %at = transpose(%a) <perm=[0,2,3,1]>
  %ar = reshape(%at) <shape=[1,60,4]>
  %b = conv(%x, %v) <strides=[2,2], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %e = exp(%b)
  %bt = transpose(%e) <perm=[0,2,3,1]>
  %br = reshape(%bt) <shape=[1,27,4]>
  %y = concat(%ar, %br) <axis=1>
  %z = conv(%x, %w) <strides=[2,2], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %zt = transpose(%z) <perm=[0,2,3,1]>
  output %y as "y"
  output %zt as "z")"};
  check_lowering(c);
  c.dispatches = 5;  // channels last: one copy of x, one of the larger filters
  check_lowering_for(c, {Arch::kX86_64, {Level::kX86V4}}, "CPU");
  check_lowering_for(c, {Arch::kVulkan, {Level::kVulkan11}}, "Vulkan");
}

TEST_CASE("what a convolution gives to groups of channels is turned by a copy, not stored across memory") {
  LowerCase c{R"(
  input %x: f32[1,4,6,10] as "x"
  input %w: f32[8,4,1,1] as "w"
  input %b: f32[8] as "b"
  %c = conv(%x, %w) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %b1 = reshape(%b) <shape=[1,8,1,1]>
  %b2 = broadcast(%b1) <shape=[1,8,6,10]>
  %y = add(%c, %b2)
  %g = reshape(%y) <shape=[1,2,240]>
  %s = reduce(%g) <op=add, axes=[2]>
  %s1 = reshape(%s) <shape=[1,2,1]>
  %s2 = broadcast(%s1) <shape=[1,2,240]>
  %n = sub(%g, %s2)
  output %n as "n")"};
  c.dispatches = 4;  // x channels last, the convolution, its copy, the groups
  check_lowering(c);
}

TEST_CASE("the norm of a single row of a product is one dispatch") {
  for (const char* const rows : {"1", "3"}) {
    LowerCase c{R"(
  input %x: f32[R,24] as "x"
  input %z: f32[1,R,40] as "z"
  input %w: f32[24,40] as "w"
  %p = dot(%x, %w)
  %pr = reshape(%p) <shape=[1,R,40]>
  %x1 = add(%pr, %z)
  %s = reduce(%x1) <op=add, axes=[2]>
  %mk = reshape(%s) <shape=[1,R,1]>
  %mb = broadcast(%mk) <shape=[1,R,40]>
  %d = sub(%x1, %mb)
  %d2 = mul(%d, %d)
  %v = reduce(%d2) <op=add, axes=[2]>
  %vk = reshape(%v) <shape=[1,R,1]>
  %vb = broadcast(%vk) <shape=[1,R,40]>
  %q = div(%d, %vb)
  output %q as "q")"};
    for (size_t at; (at = c.text.find('R')) != std::string::npos;) c.text.replace(at, 1, rows);
    c.dispatches = 2;
    check_lowering_for(c, {Arch::kX86_64, {Level::kX86V4}}, "CPU");
    check_lowering_for(c, {Arch::kCuda, {Level::kCudaSm80}}, "CUDA");
  }
}

TEST_CASE("windows") {
  check_lowering({R"(
  input %x: f32[2,19,7,6] as "x"
  %p = reduce_window(%x) <op=max, window=[1,1,3,3], strides=[1,1,2,2], low=[0,0,1,1], high=[0,0,1,1], dilations=[1,1,1,1]>
  %e = neg(%p)
  %a = arg_reduce_window(%x) <window=[1,1,2,3], strides=[1,1,2,1], low=[0,0,0,1], high=[0,0,1,0], dilations=[1,1,1,2]>
  output %e as "e"
  output %a as "a")"});
  check_lowering({R"(
  input %x: f16[1,3,N,5] as "x"
  %w = reduce_window(%x) <op=add, window=[1,1,2,3], strides=[1,1,2,1], low=[0,0,1,0], high=[0,0,0,1], dilations=[1,1,1,1], accumulate=f32>
  %m = mul(%w, %w)
  %y = cast(%m) <to=f16>
  output %y as "y")",
                  {7}});
}

TEST_CASE("sums down columns side by side; windows that never leave the operand") {
  check_lowering({R"(
  input %x: f32[9,600] as "x"
  %s = reduce(%x) <op=add, axes=[0]>
  output %s as "y")"});
  check_lowering({R"(
  input %x: f32[1,2,6,70] as "x"
  %w = reduce_window(%x) <op=add, window=[1,1,2,2], strides=[1,1,2,2], low=[0,0,0,0], high=[0,0,0,0], dilations=[1,1,1,1]>
  output %w as "y")"});
}

TEST_CASE("scans of long axes, which threads of a GPU share") {
  for (const char* length : {"65", "2100", "9000", "N"}) {
    check_lowering_once({fmt::format(R"(
  input %x: f32[2,{0}] as "x"
  input %c: i32[{0},3] as "c"
  %z = add(%x, %x)
  %a = scan(%z) <op=add, axis=1, exclusive=true, reverse=true>
  %b = scan(%x) <op=max, axis=1, exclusive=false, reverse=false>
  %d = scan(%c) <op=add, axis=0, exclusive=false, reverse=true>
  %e = neg(%d)
  output %a as "a"
  output %b as "b"
  output %e as "e")",
                                     length),
                         {2100}},
                        "default");
  }
}

TEST_CASE("scan, arg_reduce") {
  check_lowering({R"(
  input %x: f32[3,N,5] as "x"
  %a = scan(%x) <op=add, axis=1, exclusive=true, reverse=true>
  %b = scan(%x) <op=add, axis=2, exclusive=false, reverse=false>
  %c = arg_reduce(%x) <largest=true, axis=1, last=false, dtype=i64>
  %d = arg_reduce(%x) <largest=false, axis=2, last=true, dtype=i64>
  output %a as "a"
  output %b as "b"
  output %c as "c"
  output %d as "d")",
                  {7}});
}

TEST_CASE("arg_reduce of short lines") {
  for (const char* extent : {"7", "9", "20", "32"}) {
    check_lowering({std::string("  input %x: f32[13,") + extent + "] as \"x\"\n  input %z: i32[13," + extent +
                    R"(] as "z"
  %a = arg_reduce(%x) <largest=true, axis=1, last=false, dtype=i64>
  %b = arg_reduce(%z) <largest=false, axis=1, last=true, dtype=i64>
  output %a as "a"
  output %b as "b")"});
  }
}

TEST_CASE("rows by one column") {
  check_lowering({R"(
  input %x: f32[3,5,24] as "x"
  input %v: f32[1,24,1] as "v"
  input %w: f32[7,1,40] as "w"
  input %u: f32[7,40,1] as "u"
  input %a: f32[M,K] as "a"
  input %b: f32[K,1] as "b"
  %y = dot(%x, %v)
  %z = dot(%w, %u)
  %c = dot(%a, %b)
  output %y as "y"
  output %z as "z"
  output %c as "c")",
                  {9, 33}});
}

TEST_CASE("contractions with epilogue") {
  check_lowering({R"(
  input %x: f32[2,5,24] as "x"
  input %w: f32[1,24,19] as "w"
  input %r: f32[2,5,19] as "r"
  %d = dot(%x, %w)
  %s = add(%d, %r)
  %z = constant f32[] {0}
  %zb = broadcast(%z) <shape=[2,5,19]>
  %y = max(%s, %zb)
  output %y as "y")",
                  {},
                  {},
                  {},
                  1});
  check_lowering({R"(
  input %x: f32[1,3,9,8] as "x"
  input %w: f32[20,3,3,3] as "w"
  input %v: f32[20,1,3,3] as "v"
  input %b: f32[20] as "b"
  %c = conv(%x, %w) <strides=[2,1], low=[1,1], high=[1,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %bk = reshape(%b) <shape=[1,20,1,1]>
  %bb = broadcast(%bk) <shape=[1,20,5,7]>
  %cb = add(%c, %bb)
  %d = conv(%cb, %v) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=20>
  %e = neg(%d)
  output %e as "e")"});
  // Depthwise, taps all at once on GPUs: steps, dilation and padding of all kinds; a symbolic number of
  // images.
  check_lowering({R"(
  input %x: f32[N,8,7,6] as "x"
  input %w: f32[8,1,3,2] as "w"
  %d = conv(%x, %w) <strides=[2,1], low=[2,0], high=[1,3], dilations=[2,3], lhs_dilations=[1,1], groups=8>
  output %d as "d")",
                  {2}});
  check_lowering({R"(
  input %x: f32[1,4,5,5] as "x"
  input %w: f32[6,4,3,3] as "w"
  %c = conv(%x, %w) <strides=[1,1], low=[1,2], high=[2,2], dilations=[1,1], lhs_dilations=[2,2], groups=1>
  output %c as "c")"});
  // One channel: a window's row is read as a run of pixels.
  check_lowering({R"(
  input %x: f32[1,1,7,9] as "x"
  input %w: f32[18,1,3,4] as "w"
  %c = conv(%x, %w) <strides=[1,1], low=[0,1], high=[0,1], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  output %c as "c")"});
  // Volumes: whole windows of few channels, part by part of many, planes outside; groups; a symbolic depth.
  std::string taps;
  for (int i = 0; i < 216; ++i) taps += fmt::format("{}{}", i > 0 ? ", " : "", i * 5 % 13 - 6);
  check_lowering({R"(
  input %x: f32[2,3,D,5,6] as "x"
  %w = constant f32[4,3,3,3,2] {)" +
                      taps +
                      R"(}
  %c = conv(%x, %w) <strides=[2,1,2], low=[1,1,0], high=[1,1,1], dilations=[1,1,2], lhs_dilations=[1,1,1], groups=1>
  %e = neg(%c)
  output %e as "e")",
                  {5}});
  check_lowering({R"(
  input %x: f32[1,6,3,4,3] as "x"
  input %k: f32[20,36,1,1,1] as "k"
  %w = constant f32[36,2,3,1,1] {)" +
                  taps +
                  R"(}
  %c = conv(%x, %w) <strides=[1,1,1], low=[2,0,0], high=[1,0,0], dilations=[2,1,1], lhs_dilations=[1,1,1], groups=3>
  %d = conv(%c, %k) <strides=[1,1,1], low=[0,0,0], high=[0,0,0], dilations=[1,1,1], lhs_dilations=[1,1,1], groups=1>
  output %d as "d")"});
  std::string weights;
  for (int i = 0; i < 144; ++i) weights += fmt::format("{}{}", i > 0 ? ", " : "", i * 7 % 11 - 5);
  // Windows side by side: every output has one tap, one contraction makes them all.
  check_lowering({R"(
  input %x: f32[N,2,H,3] as "x"
  %w = constant f32[1,2,3,2] {1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6}
  %c = conv(%x, %w) <strides=[1,1], low=[2,1], high=[2,1], dilations=[1,1], lhs_dilations=[3,2], groups=1>
  %e = neg(%c)
  output %e as "e")",
                  {2, 3}});
  check_lowering({R"(
  input %x: f32[2,3,H] as "x"
  %w = constant f32[2,3,2] {1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6}
  %c = conv(%x, %w) <strides=[1], low=[1], high=[1], dilations=[1], lhs_dilations=[2], groups=1>
  output %c as "c")",
                  {4}});
  check_lowering({R"(
  input %x: f32[2,4,H,3] as "x"
  input %r: f32[2,6,3*H-1,5] as "r"
  %w = constant f32[6,2,4,3] {)" +
                      weights + R"(}
  %u = constant f32[6] {1, 2, 3, 4, 5, 6}
  %c = conv(%x, %w) <strides=[1,1], low=[2,1], high=[2,1], dilations=[1,1], lhs_dilations=[3,2], groups=2>
  %uk = reshape(%u) <shape=[1,6,1,1]>
  %ub = broadcast(%uk) <shape=[2,6,3*H-1,5]>
  %s = mul(%c, %ub)
  %z = constant f32[] {0.25}
  %zb = broadcast(%z) <shape=[2,6,3*H-1,5]>
  %q = add(%s, %zb)
  %y = add(%q, %r)
  output %y as "y")",
                  {4}});
  check_lowering({R"(
  input %x: i8[3,9] as "x"
  input %w: i8[9,5] as "w"
  %c = dot(%x, %w)
  output %c as "c")"});
}

TEST_CASE("flattened products keep their epilogue; merged heads are no copy") {
  check_lowering({R"(
  input %x: f32[2,S,24] as "x"
  input %r: f32[2,S,18] as "r"
  %w = constant f32[24,18] splat 0.5
  %b = constant f32[18] {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}
  %h = constant f32[] {0.5}
  %xf = reshape(%x) <shape=[2*S,24]>
  %d = dot(%xf, %w)
  %e = reshape(%d) <shape=[2,S,18]>
  %bb = broadcast(%b) <shape=[2,S,18]>
  %f = add(%e, %bb)
  %hb = broadcast(%h) <shape=[2,S,18]>
  %g = mul(%f, %hb)
  %k = mul(%g, %f)
  %y = add(%k, %r)
  output %y as "y")",
                  {5},
                  {},
                  {},
                  1});
  check_lowering({R"(
  input %p: f32[2,3,S,S] as "p"
  input %v: f32[2,3,S,8] as "v"
  %d = dot(%p, %v)
  %t = transpose(%d) <perm=[0,2,1,3]>
  %m = reshape(%t) <shape=[2,S,24]>
  %y = neg(%m)
  output %y as "y"
  output %m as "m")",
                  {5}});
}

TEST_CASE("special ops") {
  check_lowering({R"(
  input %x: f32[3,N] as "x"
  %v, %i = top_k(%x) <axis=1, k=[4], largest=true, sorted=true>
  output %v as "v"
  output %i as "i")",
                  {11}});
  check_lowering({R"(
  input %x: f32[4,3] as "x"
  input %u: f32[2,3] as "u"
  %i = constant i64[2,3] {0, 1, -1, 2, 1, 0}
  %s = scatter_elements(%x, %i, %u) <axis=0, reduction="add">
  %k = constant i64[2,1] {3, 0}
  %n = scatter_nd(%x, %k, %u) <reduction="none">
  output %s as "s"
  output %n as "n")"});
}

TEST_CASE("data-dependent sizes") {
  check_lowering({R"(
  symbol u0: element %count[0], upper 4*N
  input %x: f32[N,4] as "x"
  %idx, %count = nonzero(%x) : i64[2,u0], i64[]
  %t = transpose(%idx) <perm=[1,0]>
  %one = constant i64[] {1}
  %ob = broadcast(%one) <shape=[u0,2]>
  %y = add(%t, %ob)
  output %y as "y")",
                  {5}});
}

TEST_CASE("suppression without a least score keeps boxes of scores without bounds") {
  for (const char* least : {"", ", %least"}) {
    check_lowering({fmt::format(R"(
  symbol u0: element %count[0], upper 6
  input %unused: f32[6] as "x"
  %boxes = constant f32[1,6,4] {{0, 0, 1, 1, 0, 0.1, 1, 1.1, 0, 10, 1, 11, 0, 20, 1, 21, 0, 30, 1, 31, 0, 30, 1, 31}}
  %scores = constant f32[1,1,6] {{0.5, 0.75, -inf, -1e30, -inf, inf}}
  %most = constant i64[] {{6}}
  %overlap = constant f32[] {{0.5}}
  %least = constant f32[] {{-1e38}}
  %y, %count = nms(%boxes, %scores, %most, %overlap{}) <center_point_box=false> : i64[u0,3], i64[]
  output %y as "y")",
                                least)});
  }
}

TEST_CASE("NaN are one of the values of unique") {
  for (const char* sorted : {"true", "false"}) {
    check_lowering({fmt::format(R"(
  symbol u0: element %n[0], upper 7
  input %unused: f32[7] as "x"
  %x = constant f32[7] {{nan, 2, -0, nan, 0, inf, nan}}
  %y, %f, %v, %c, %n = unique(%x) <sorted={}> : f32[u0], i64[u0], i64[7], i64[u0], i64[]
  output %y as "y"
  output %f as "f"
  output %v as "v"
  output %c as "c")",
                                sorted)});
  }
}

TEST_CASE("many elements: vectors and several elements a thread on GPUs") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80}};
  check_lowering_for({R"(
  input %x: f32[9,7168] as "x"
  input %b: f32[7168] as "b"
  %bb = broadcast(%b) <shape=[9,7168]>
  %1 = add(%x, %bb)
  %2 = mul(%1, %x)
  output %2 as "y")"},
                     cuda, "elementwise");
  check_lowering_for({R"(
  input %x: f32[1,64,61,33] as "x"
  %p = reduce_window(%x) <op=max, window=[1,1,3,3], strides=[1,1,1,1], low=[0,0,1,1], high=[0,0,1,1], dilations=[1,1,1,1]>
  %t = transpose(%p) <perm=[0,2,3,1]>
  output %t as "y")"},
                     cuda, "window");
}

}  // namespace
}  // namespace tern::lower
