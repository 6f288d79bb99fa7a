#include "compiler/lower/split_rows.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

struct Fold {
  const char* shape;  // with a symbol N, which the schedule takes for large
  const char* axes;
  int64_t n;
  bool split;  // into parts
  const char* op = "add";
  const char* type = "f32";
};

std::string fold_text(const Fold& f) {
  return fmt::format(R"(
  symbol N: input 0 axis 0, hint 200000
  input %x: {0}[{1}] as "x"
  %a = {4}(%x, %x)
  %r = reduce(%a) <op={3}, axes=[{2}]>
  %n = neg(%r)
  output %n as "y")",
                     f.type, f.shape, f.axes, f.op, std::string_view(f.type) == "f32" ? "mul" : "max");
}

std::string schedules(const std::string& text) {
  const auto program = lowered(text, {Arch::kX86_64, {Level::kX86V3, Level::kX86V4}});
  std::string out;
  for (const Step& step : program->steps) {
    if (step.kind != Step::Kind::kDispatch) continue;
    for (const auto& v : step.dispatch->variants) out += v.kernel->schedule + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("split rows: sums of few results in parts, whole rows at a time, any size") {
  const Fold cases[] = {
      {"N", "0", 37, true},
      {"N", "0", 5000, true},
      {"N,70", "0", 29, true},
      {"N,128", "0", 33, true, "max"},
      {"N,6,33", "0,1", 9, true},
      {"N,3,21", "0,2", 11, true, "min"},
      {"N,5000", "0", 3, true},
      {"N,4,100", "1", 5, false},
      {"N,4,64", "1", 5, false, "add", "f16"},
      {"N,40", "0", 23, true, "add", "bf16"},
      {"N,40", "0", 23, true, "max", "i8"},
      {"N,17", "0", 0, true},
      {"N,0", "0", 4, false},
      {"N,3", "0", 50, true},
      {"N,100", "0", 19, true, "min"},
      {"N,6000", "0", 5, true},
  };
  for (const Fold& f : cases) {
    CAPTURE(std::string(f.shape));
    const std::string text = fold_text(f), how = schedules(text);
    CAPTURE(how);
    CHECK((how.find("parts") != std::string::npos) == f.split);
    check_lowering({text, {f.n}});
  }
}

TEST_CASE("split rows: NaN and infinities, columns of symbolic number") {
  check_lowering({R"(
  symbol N: input 0 axis 0, hint 4000
  symbol M: input 0 axis 1, hint 3000
  input %x: f32[N,M] as "x"
  %z = constant f32[] {0}
  %b = broadcast(%z) <shape=[N,M]>
  %q = div(%b, %x)
  %m = reduce(%q) <op=max, axes=[0]>
  output %m as "y")",
                  {7, 4500}});
}

TEST_CASE("split rows: rows of sums lie in L1 where values come from memory, short ones in registers") {
  const auto how = [](const char* shape) {
    return schedules(fmt::format(
        "  input %x: f32[{}] as \"x\"\n  %y = reduce(%x) <op=add, axes=[1]>\n  output %y as \"y\"", shape));
  };
  CHECK(how("3000,64,768").find("in L1") != std::string::npos);
  CHECK(how("30000,64,64").find("in registers") != std::string::npos);
  CHECK(how("3,64,768").find("sums") == std::string::npos);
}

}  // namespace tern::lower
