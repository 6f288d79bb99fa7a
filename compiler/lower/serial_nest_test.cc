// Scans and positions of extremes on CPUs: lines as lanes, step by step, and one line by vectors.
#include <limits>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

TEST_CASE("CPU: scans and arg_reduce over an outer axis, of few lines, many and unknown many") {
  for (const char* lines : {"3", "64", "100", "1100", "L"}) {
    CAPTURE(lines);
    check_lowering_once({fmt::format(R"(
  input %x: f32[2,9,{0}] as "x"
  input %i: i64[2,9,{0}] as "i"
  %z = add(%x, %x)
  %a = scan(%z) <op=add, axis=1, exclusive=true, reverse=true>
  %b = scan(%x) <op=max, axis=1, exclusive=false, reverse=false>
  %e = scan(%i) <op=add, axis=1, exclusive=false, reverse=true>
  %c = arg_reduce(%x) <largest=true, axis=1, last=false, dtype=i64>
  %d = arg_reduce(%i) <largest=false, axis=1, last=true, dtype=i64>
  %n = neg(%b)
  output %a as "a"
  output %n as "n"
  output %e as "e"
  output %c as "c"
  output %d as "d")",
                                     lines),
                         {70}},
                        "default");
  }
}

TEST_CASE("CPU: the position of a line's extreme is found by vectors, the first or the last one") {
  for (const char* type : {"f32", "f64", "i32", "u8", "f16", "i64"}) {
    for (const char* which : {"largest=true, axis=1, last=false", "largest=true, axis=1, last=true",
                              "largest=false, axis=1, last=false", "largest=false, axis=1, last=true"}) {
      CAPTURE(type);
      check_lowering_once({fmt::format(R"(
  input %x: {}[3,77] as "x"
  %c = arg_reduce(%x) <{}, dtype=i64>
  output %c as "c")",
                                       type, which)},
                          which);
    }
  }
}

TEST_CASE("the first NaN is the extreme") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  struct {
    int64_t rows, length;
    int axis;
  } const cases[] = {{6, 70, 1}, {6, 7, 1}, {6, 30, 0}, {6, 200, 0}};
  for (const auto& c : cases) {
    for (const bool largest : {true, false}) {
      auto x =
          TensorData::make(DType::kF32, {c.axis == 1 ? c.rows : c.length, c.axis == 1 ? c.length : c.rows});
      const auto set = [&](int64_t row, int64_t i, double value) {
        x->set_float(c.axis == 1 ? row * c.length + i : i * c.rows + row, value);
      };
      for (int64_t i = 0; i < c.length; ++i) {
        for (const int64_t row : {0, 1, 2}) set(row, i, static_cast<double>((row + i) * 37 % 23));
        set(3, i, nan);
        set(4, i, i == 0 ? (largest ? -inf : inf) : nan);
        set(5, i, i % 2 == 0 ? 0.0 : -0.0);
      }
      set(0, 0, nan);
      set(1, c.length / 2, nan);
      set(1, c.length / 2 + 1, nan);
      set(2, c.length - 1, nan);
      CAPTURE(c.axis);
      CAPTURE(c.length);
      const LowerCase made{fmt::format(R"(
  input %x: f32[{0},{1}] as "x"
  %c = arg_reduce(%x) <largest={2}, axis={3}, last=false, dtype=i64>
  %d = arg_reduce(%x) <largest={2}, axis={3}, last=true, dtype=i64>
  output %c as "c"
  output %d as "d")",
                                       x->shape()[0], x->shape()[1], largest, c.axis),
                           {},
                           {x}};
      for (const Target& target : {Target{Arch::kX86_64, {Level::kX86V2, Level::kX86V3, Level::kX86V4}},
                                   Target{Arch::kCuda, {Level::kCudaSm80}},
                                   Target{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanSubgroup}}})
        check_lowering_for(made, target, "NaN");
    }
  }
}

TEST_CASE("CPU: the logarithm of a softmax has a softmax's exponentials, and its NaN") {
  auto x = TensorData::make(DType::kF32, {3, 40});
  for (int64_t i = 0; i < x->count(); ++i) x->set_float(i, static_cast<double>(i * 37 % 23) - 11);
  x->set_float(50, std::numeric_limits<double>::quiet_NaN());
  x->set_float(90, -std::numeric_limits<double>::infinity());
  const std::string text = R"(
  input %x: f32[3,40] as "x"
  %m = reduce(%x) <op=max, axes=[1]>
  %mr = reshape(%m) <shape=[3,1]>
  %mb = broadcast(%mr) <shape=[3,40]>
  %d = sub(%x, %mb)
  %e = exp(%d)
  %s = reduce(%e) <op=add, axes=[1]>
  %l = log(%s)
  %lr = reshape(%l) <shape=[3,1]>
  %lb = broadcast(%lr) <shape=[3,40]>
  %y = sub(%d, %lb)
  output %y as "y")";
  CHECK(kernels_of(text, Level::kX86V3).find("exp_below") != std::string::npos);
  check_lowering_once({text, {}, {x}}, "log softmax");
}

}  // namespace
}  // namespace tern::lower
