// CPU kernels whose operands lie in memory beyond the caches.
#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/visit_dispatches.h"

namespace tern::lower {
namespace {

// Large by what is usual of its symbols, its rows stored whole pages apart; evaluated small.
TEST_CASE("transposes from memory: rows that wait until they are stored, columns that are no square") {
  check_lowering({R"(
  input %x: f32[A,B,1024,20] as "x"
  %t = transpose(%x) <perm=[0,1,3,2]>
  %n = neg(%t)
  output %n as "n")",
                  {1, 1}});
}

TEST_CASE("from memory: results are streamed, what loops read is read ahead") {
  struct Case {
    const char* text;
    bool streams, reads_ahead;
  };
  const Case cases[] = {
      {"%y = neg(%x)", true, true},
      {"%y = transpose(%x) <perm=[1,0]>", true, true},
      {"%y = reduce(%x) <op=add, axes=[0]>", false, true},
      {"%y = reduce(%x) <op=add, axes=[1]>", false, false},
      {"%y = reduce(%x) <op=max, axes=[1]>", false, true},
      {"%y = reduce_window(%x) <op=max, window=[1,2], strides=[1,2], low=[0,0], high=[0,0], dilations=[1,1]>",
       false, true},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const auto kernels = [&](int rows) {
      return kernels_of(
          fmt::format("  input %x: f32[{},1024] as \"x\"\n  {}\n  output %y as \"y\"", rows, c.text));
    };
    const std::string large = kernels(8192), small = kernels(64);
    CHECK((large.find(" streaming\n") != std::string::npos) == c.streams);
    CHECK((large.find("prefetch") != std::string::npos) == c.reads_ahead);
    CHECK(small.find(" streaming\n") == std::string::npos);
    CHECK(small.find("prefetch") == std::string::npos);
  }
}

TEST_CASE("from memory: in several places at once, where the level's processors want it") {
  struct {
    const char* text;
    bool streams, asks;
  } const cases[] = {
      {"%y = neg(%x)", true, false},
      {"%y = reduce(%x) <op=add, axes=[0]>", true, false},
      {"%y = reduce(%x) <op=add, axes=[1]>", true,
       false},  // six rows are too few to share out: others beside them
      {"%y = reduce(%x) <op=max, axes=[2]>", true, false},
      {"%y = reduce(%x) <op=add, axes=[0,1]>", true, false},
      {"%y = reduce(%x) <op=add, axes=[1,2]>", true, false},
  };
  for (const auto& c : cases) {
    CAPTURE(c.text);
    const auto with = [&](const char* shape) {
      return fmt::format("  input %x: f32[{}] as \"x\"\n  {}\n  output %y as \"y\"", shape, c.text);
    };
    const std::string kernels = kernels_of(with("8192,6,128"), Level::kX86V3);
    CHECK((kernels.find("streams") != std::string::npos) == c.streams);
    CHECK((kernels.find("prefetch") != std::string::npos) == c.asks);
    CHECK(kernels_of(with("8192,6,128"), Level::kX86V4).find("streams") == std::string::npos);
    check_lowering({"  symbol N: input 0 axis 0, hint 100000\n" + with("N,6,20"), {11}});
  }
}

TEST_CASE(
    "from memory: windows that lie side by side read all lines of a row's run, in several places at once") {
  const auto pool = [](const char* shape, const char* window, const char* strides) {
    return fmt::format(R"(
  input %x: f32[{}] as "x"
  %p = reduce_window(%x) <op=add, window=[1,1,{}], strides=[1,1,{}], low=[0,0,0,0], high=[0,0,0,0], dilations=[1,1,1,1]>
  output %p as "p")",
                       shape, window, strides);
  };
  struct {
    const char *window, *strides;
    bool streams;
  } const cases[] = {
      {"2,2", "2,2", true}, {"1,2", "1,2", true}, {"2,2", "1,2", false}, {"2,3", "2,2", false}};
  for (const auto& c : cases) {
    CAPTURE(c.window);
    const auto says = [&](const char* shape, Level level) {
      return kernels_of(pool(shape, c.window, c.strides), level).find("in 4 streams") != std::string::npos;
    };
    CHECK(says("1,64,914,914", Level::kX86V3) == c.streams);
    CHECK(!says("1,64,914,914", Level::kX86V4));
    CHECK(!says("1,64,912,1024", Level::kX86V3));  // whole pages apart
    check_lowering(
        {"  symbol N: input 0 axis 0, hint 100000\n" + pool("N,3,32,22", c.window, c.strides), {2}});
  }
}

TEST_CASE("from memory: rows by one that is read again are one stream of reads") {
  const auto with = [](const char* rows) {
    return fmt::format(
        "  input %x: f32[{0},768] as \"x\"\n  input %r: f32[768] as \"r\"\n"
        "  %b = broadcast(%r) <shape=[{0},768]>\n  %y = mul(%x, %b)\n  output %y as \"y\"",
        rows);
  };
  CHECK(kernels_of(with("40000"), Level::kX86V3).find("in 2 streams") != std::string::npos);
  CHECK(kernels_of(with("40000"), Level::kX86V4).find("streams") == std::string::npos);
  check_lowering({"  symbol N: input 0 axis 0, hint 100000\n" + with("N"), {11}});
}

TEST_CASE("from memory: a level's schedule says its own streams, not those of the level before") {
  const auto program = lowered(
      "  input %x: f32[2048,8192] as \"x\"\n  %y = reduce(%x) <op=add, axes=[0]>\n  output %y as \"y\"",
      Target{Arch::kX86_64, {Level::kX86V3, Level::kX86V4}});
  int narrow = 0;
  visit_dispatches(program->steps, [&](const DispatchStep& dispatch) {
    for (const auto& variant : dispatch.variants) {
      const bool says = kernel::print_kernel(*variant.kernel).find("streams") != std::string::npos;
      CHECK((variant.level != Level::kX86V4 || !says));
      narrow += says ? 1 : 0;
    }
  });
  CHECK(narrow == 1);
}

TEST_CASE("from memory: transposes store in runs where the level's processors need them") {
  for (const int columns : {64, 8192}) {
    const std::string body = fmt::format(
        "  input %x: f32[65536,{}] as \"x\"\n  %y = transpose(%x) <perm=[1,0]>\n  output %y as \"y\"",
        columns);
    CHECK(kernels_of(body, Level::kX86V3).find("waiting") != std::string::npos);
    CHECK(kernels_of(body, Level::kX86V4).find("waiting") == std::string::npos);
  }
}

// Each stream adds up a line of its half of the next block for each line that is stored.
TEST_CASE("from memory: a transpose of short rows loads the next block while one is stored") {
  const auto kernel = [](const char* type, int rows, int columns, Level level) {
    const std::string body =
        fmt::format("  input %x: {}[{},{}] as \"x\"\n  %y = transpose(%x) <perm=[1,0]>\n  output %y as \"y\"",
                    type, rows, columns);
    return kernels_of(body, level);
  };
  for (const int columns : {24, 64, 256}) {
    const std::string text = kernel("f32", 1 << 18, columns, Level::kX86V3);
    CAPTURE(text);
    CHECK(text.find("alloc touched: f32[2] scratch") != std::string::npos);
    CHECK(text.find("sum_1 = (sum_1 + b0[") != std::string::npos);
    CHECK(text.find("min(") != std::string::npos);  // behind the last row there is none
    CHECK(text.find("prefetch") == std::string::npos);
    CHECK(kernel("f32", 1 << 18, columns, Level::kX86V4).find("touched") == std::string::npos);
  }
  CHECK(kernel("f16", 1 << 19, 64, Level::kX86V3).find("alloc waiting: f16[9216]") != std::string::npos);
  CHECK(kernel("f32", 1 << 18, 1024, Level::kX86V3).find("touched") == std::string::npos);
  CHECK(kernel("f32", 250000, 64, Level::kX86V3).find("touched") == std::string::npos);
  check_lowering(
      {"  input %x: f32[2,2048,24] as \"x\"\n  %y = transpose(%x) <perm=[0,2,1]>\n  output %y as \"y\""});
}

TEST_CASE("rows of several loops are staggered where vectors are narrow") {
  const auto softmax = [](int rows, int columns) {
    return fmt::format(R"(
  input %x: f32[{0},{1}] as "x"
  %m = reduce(%x) <op=max, axes=[1]>
  %mr = reshape(%m) <shape=[{0},1]>
  %mb = broadcast(%mr) <shape=[{0},{1}]>
  %d = sub(%x, %mb)
  %e = exp(%d)
  %s = reduce(%e) <op=add, axes=[1]>
  %sr = reshape(%s) <shape=[{0},1]>
  %sb = broadcast(%sr) <shape=[{0},{1}]>
  %y = div(%e, %sb)
  output %y as "y")",
                       rows, columns);
  };
  const auto staggered = [&](int columns, Level level) {
    return kernels_of(softmax(1024, columns), level).find("staggered") != std::string::npos;
  };
  CHECK(staggered(512, Level::kX86V3));
  CHECK(staggered(500, Level::kX86V3));
  CHECK(!staggered(512, Level::kX86V4));
  CHECK(!staggered(64, Level::kX86V3));
  check_lowering({softmax(19, 300)});
}

TEST_CASE("from memory: values are read as they lie, rows with the short gaps between them") {
  const auto contains = [](const std::string& shape, const std::string& text, const char* line) {
    const std::string kernel =
        kernels_of(fmt::format("  input %x: f32[{}] as \"x\"\n  {}\n  output %y as \"y\"", shape, text));
    CAPTURE(kernel);
    CHECK(kernel.find(line) != std::string::npos);
  };
  const std::string heads = "%y = transpose(%x) <perm=[1,0,2]>";
  contains("16384,12,64", heads, "serial i1 = 0 .. +12");
  contains("64,12,64", heads, "serial i1 = 0 .. +64");
  const std::string part = "%y = slice(%x) <starts=[0,64], sizes=[32768,512], steps=[1,1]>";
  contains("32768,640", part, "\n    prefetch_near b0[((i0 * 640) + 2736)]");  // the last line of a gap
  contains("32768,2048", part, "serial line = 0 .. +32");                      // a row alone
}

}  // namespace
}  // namespace tern::lower
