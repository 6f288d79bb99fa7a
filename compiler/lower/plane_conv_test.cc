// Convolutions of groups of few channels by planes, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/plane_conv.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

struct Case {
  std::string what, input, filters;
  int groups = 1;
  std::string strides = "1,1", low = "0,0", high = "0,0", dilations = "1,1", dtype = "f32";
  bool planes = true;
  std::string up = {};  // empty: ones
};

std::string ones(size_t rank) {
  return rank == 1 ? "1" : rank == 2 ? "1,1" : "1,1,1";
}

std::vector<int64_t> shape_of(const std::string& text) {
  std::vector<int64_t> out;
  for (size_t at = 0; at < text.size();) {
    size_t used = 0;
    out.push_back(std::stoll(text.substr(at), &used));
    at += used + 1;
  }
  return out;
}

std::string text_of(const Case& c, const std::string& after = "  output %y as \"y\"") {
  const size_t rank = static_cast<size_t>(std::count(c.input.begin(), c.input.end(), ',')) - 1;
  return fmt::format(
      "  input %x: {}[{}] as \"x\"\n  %w = constant {}\n  %y = conv(%x, %w) <strides=[{}], low=[{}], "
      "high=[{}], dilations=[{}], "
      "lhs_dilations=[{}], groups={}>\n{}",
      c.dtype, c.input, literal(c.dtype, shape_of(c.filters), [](int64_t i) { return i * 7 % 9 - 4; }),
      c.strides, c.low, c.high, c.dilations, c.up.empty() ? ones(rank) : c.up, c.groups, after);
}

TEST_CASE("CPU: convolutions of few channels take planes as they lie") {
  const Case cases[] = {
      {"depthwise", "1,12,19,21", "12,1,3,3", 12, "1,1", "1,1", "1,1"},
      {"images", "2,5,9,33", "5,1,3,3", 5, "1,1", "1,1", "1,1"},
      {"stride 2", "1,3,17,64", "12,1,3,3", 3, "2,2", "1,1", "1,1"},
      {"stride 3 along lines, dilated", "1,2,9,96", "16,1,2,3", 2, "1,3", "0,2", "1,2", "1,2"},
      {"dilated", "1,4,20,24", "4,1,3,3", 4, "1,1", "3,3", "3,3", "3,3"},
      {"uneven padding", "1,4,11,32", "4,1,4,2", 4, "1,1", "0,1", "2,0"},
      {"two of a group to four", "1,8,12,32", "16,2,3,3", 4, "1,1", "1,1", "1,1"},
      {"points of groups", "1,12,7,40", "24,4,1,1", 3},
      {"one group", "1,5,12,32", "8,5,1,1", 1},
      {"bands", "1,2,70,130", "2,1,3,3", 2, "1,1", "1,1", "1,1"},
      {"bands, a row left", "1,2,81,100", "2,1,5,5", 2, "1,1", "2,2", "2,2"},
      {"bands, stride 2", "1,1,97,128", "4,1,3,3", 1, "2,2", "1,1", "1,1"},
      {"a line", "2,6,50", "6,1,5", 6, "1", "2", "2", "1"},
      {"channels in a loop", "1,20,12,12", "10,20,5,5", 1, "1,1", "4,4", "4,4"},
      {"to one channel", "2,10,24,24", "1,10,5,5", 1, "1,1", "4,4", "4,4"},
      {"shares of bands", "1,8,64,64", "8,8,5,5", 1, "1,1", "2,2", "2,2"},
      {"uneven shares, stride 2", "1,3,99,101", "12,3,7,7", 1, "2,2", "3,3", "3,3"},
      {"f64", "1,4,10,24", "4,1,3,3", 4, "1,1", "1,1", "1,1", "1,1", "f64"},
      {"f16", "1,4,10,24", "4,1,3,3", 4, "1,1", "1,1", "1,1", "1,1", "f16"},
      {"many channels", "1,40,10,24", "40,40,3,3", 1, "1,1", "1,1", "1,1", "1,1", "f32", false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string text = text_of(c);
    check_lowering_once({text}, c.what);
    CHECK((kernels_of(text, Level::kX86V3).find("planes of groups") != std::string::npos) == c.planes);
  }
}

// Phases of each axis, and what pads or crops the dilated inputs.
Case spread(std::string what, std::string input, std::string filters, std::string up, std::string low,
            std::string high, int groups = 1, std::string dtype = "f32") {
  const std::string one = ones(static_cast<size_t>(std::count(up.begin(), up.end(), ',')) + 1);
  return {std::move(what),
          std::move(input),
          std::move(filters),
          groups,
          one,
          std::move(low),
          std::move(high),
          one,
          std::move(dtype),
          true,
          std::move(up)};
}

TEST_CASE("CPU: transposed convolutions of few channels take planes as they lie") {
  const Case cases[] = {
      spread("side by side", "1,8,10,24", "1,8,2,2", "2,2", "1,1", "1,1"),
      spread("to more channels, a rest of places", "2,6,9,37", "3,6,2,2", "2,2", "1,1", "1,1"),
      spread("overlapping", "1,6,9,21", "3,6,4,4", "2,2", "2,2", "2,2"),
      spread("one more output", "1,5,8,19", "2,5,3,3", "2,2", "1,1", "2,2"),
      spread("cut off", "1,5,8,19", "1,5,2,2", "2,2", "-1,0", "0,-1"),
      spread("outputs without a tap", "1,5,7,20", "2,5,2,1", "3,2", "1,0", "1,1"),
      spread("five and three", "1,4,7,26", "1,4,5,7", "5,3", "4,4", "4,5"),
      spread("lines alone", "1,4,9,17", "2,4,3,3", "1,2", "1,1", "1,2"),
      spread("columns alone", "1,4,9,27", "2,4,3,3", "2,1", "1,1", "2,1"),
      spread("sound", "2,2,145", "1,2,16", "8", "11", "11"),
      spread("ten", "1,6,31", "1,6,20", "10", "19", "19"),
      spread("depthwise", "2,6,7,19", "6,1,4,4", "2,2", "2,2", "2,2", 6),
      spread("groups", "1,12,7,19", "6,4,3,3", "2,2", "1,1", "2,2", 3),
      spread("bands and strips", "1,10,31,90", "2,10,4,4", "2,2", "2,2", "2,2"),
      spread("volumes side by side", "1,4,3,5,12", "1,4,2,2,2", "2,2,2", "1,1,1", "1,1,1"),
      spread("volumes", "1,2,4,5,16", "2,2,4,3,4", "2,2,2", "2,1,2", "2,2,2"),
      spread("an odd depth", "1,3,3,5,9", "2,3,3,3,3", "2,2,2", "1,1,1", "1,1,1"),
      spread("f64", "1,4,6,11", "1,4,4,4", "2,2", "2,2", "2,2", 1, "f64"),
      spread("f16", "1,4,6,19", "2,4,4,4", "2,2", "2,2", "2,2", 1, "f16"),
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string text = text_of(c);
    check_lowering_once({text}, c.what);
    CHECK(kernels_of(text, Level::kX86V3).find("phases") != std::string::npos);
  }
}

TEST_CASE("CPU: volumes of few channels take planes as they lie") {
  const Case cases[] = {
      {"five lines, columns and planes", "1,1,7,9,20", "4,1,5,5,5", 1, "1,1,1", "2,2,2", "2,2,2", "1,1,1"},
      {"uneven", "2,2,6,7,17", "3,2,3,2,4", 1, "2,1,1", "1,0,2", "0,1,1", "1,2,1"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string text = text_of(c);
    check_lowering_once({text}, c.what);
    CHECK(kernels_of(text, Level::kX86V3).find("planes of groups") != std::string::npos);
  }
}

TEST_CASE("CPU: planes meet what follows and what comes before") {
  const Case c{"", "1,6,13,22", "6,1,3,3", 6, "1,1", "1,1", "1,1"};
  const auto by_planes = [&](const std::string& text) {
    check_lowering_once({text}, "neighbours");
    return kernels_of(text, Level::kX86V3).find("planes of groups") != std::string::npos;
  };
  CHECK(by_planes(text_of(c, "  %r = max(%y, %x)\n  output %r as \"r\"")));
  // What follows wants its channels innermost.
  const std::string points = fmt::format(
      "  %v = constant {}\n  %z = conv(%y, %v) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], "
      "lhs_dilations=[1,1], groups=1>\n  output %z as \"z\"",
      literal("f32", {16, 6, 1, 1}, [](int64_t i) { return i * 5 % 7 - 3; }));
  CHECK_FALSE(by_planes(text_of(c, points)));
  // Unless that is worth turning the planes.
  const auto filters = [](std::vector<int64_t> shape) {
    return literal("f32", shape, [](int64_t i) { return i * 5 % 7 - 3; });
  };
  const std::string chain = fmt::format(
      "  input %x: f32[1,1,48,48] as \"x\"\n  %w = constant {}\n  %v = constant {}\n"
      "  %y = conv(%x, %w) <strides=[1,1], low=[3,3], high=[3,3], dilations=[1,1], lhs_dilations=[1,1], "
      "groups=1>\n"
      "  %r = abs(%y)\n"
      "  %z = conv(%r, %v) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], "
      "groups=1>\n  output %z as \"z\"",
      filters({4, 1, 7, 7}), filters({32, 4, 3, 3}));
  CHECK(by_planes(chain));
}

}  // namespace
}  // namespace tern::lower
