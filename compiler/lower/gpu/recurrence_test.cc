// Loops that are recurrences, as one kernel, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/gpu/recurrence.h"

#include "compiler/lower/gpu/recurrent_schedule.h"
#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/visit_dispatches.h"

namespace tern::lower {
namespace {

// Weights in quarters, so that they are exact in 16 bits.
std::string weights(int64_t depth, int64_t columns) {
  return literal("f32", {depth, columns}, [](int64_t i) {
    return fmt::format("{}", static_cast<double>((i * 7 + i / 5) % 5 - 2) / 16);
  });
}

// An LSTM over x [T, B, 4 W] that is projected already; `place` computes which step is read.
std::string lstm(int64_t width, const std::string& rows, const std::string& steps, const std::string& trips,
                 const std::string& place = "%p = gather(%x, %i) <axis=0>") {
  const std::string state = fmt::format("f32[{},{}]", rows, width);
  const auto gate = [&](const char* name, int64_t at) {
    return fmt::format("      %{} = slice(%g) <starts=[0,{}], sizes=[{},{}], steps=[1,1]>\n", name,
                       at * width, rows, width);
  };
  return fmt::format(
             "  input %x: f32[{},{},{}] as \"x\"\n  input %h0: {} as \"h0\"\n  input %c0: {} as \"c0\"\n",
             steps, rows, 4 * width, state, state) +
         fmt::format("  %w = constant {}\n{}  %t = constant bool[] {{true}}\n", weights(width, 4 * width),
                     trips) +
         "  %h, %c, %all = loop(%n, %t, %h0, %c0) <scans=1> {\n" +
         fmt::format("    region (%i: i64[], %go: bool[], %hh: {0}, %cc: {0})\n      {1}\n", state, place) +
         "      %d = dot(%hh, %w)\n      %g = add(%p, %d)\n" + gate("g0", 0) + gate("g1", 1) + gate("g2", 2) +
         gate("g3", 3) + R"(
      %a = tanh(%g0)
      %b = tanh(%g1)
      %f = tanh(%g2)
      %k = tanh(%g3)
      %m = mul(%f, %cc)
      %q = mul(%a, %k)
      %c1 = add(%m, %q)
      %e = tanh(%c1)
      %h1 = mul(%b, %e)
      yield %t, %h1, %c1, %h1
  }
  output %h as "h"
  output %c as "c"
  output %all as "all")";
}

// A GRU whose candidate is multiplied behind the reset: two stages a step.
std::string gru(int64_t width, int64_t rows, int64_t steps) {
  const std::string state = fmt::format("f32[{},{}]", rows, width);
  const auto slice = [&](const char* to, const char* from, int64_t at, int64_t size) {
    return fmt::format("      %{} = slice(%{}) <starts=[0,{}], sizes=[{},{}], steps=[1,1]>\n", to, from, at,
                       rows, size);
  };
  return fmt::format("  input %x: f32[{},{},{}] as \"x\"\n  input %len: i64[{}] as \"len\"\n", steps, rows,
                     3 * width, rows) +
         fmt::format("  %w = constant {}\n  %v = constant {}\n", weights(width, 2 * width),
                     weights(width, width)) +
         fmt::format("  %n = constant i64[] {{{}}}\n  %t = constant bool[] {{true}}\n", steps) +
         fmt::format("  %zero = constant f32[] {{0}}\n  %h0 = broadcast(%zero) <shape=[{},{}]>\n", rows,
                     width) +
         "  %h, %all = loop(%n, %t, %h0) <scans=1> {\n" +
         fmt::format("    region (%i: i64[], %go: bool[], %hh: {})\n", state) +
         "      %p = gather(%x, %i) <axis=0>\n      %d = dot(%hh, %w)\n" + slice("p0", "p", 0, 2 * width) +
         "      %s = add(%p0, %d)\n" + slice("z0", "s", 0, width) + slice("r0", "s", width, width) +
         slice("p1", "p", 2 * width, width) +
         fmt::format(R"(
      %z = tanh(%z0)
      %r = tanh(%r0)
      %rh = mul(%r, %hh)
      %e = dot(%rh, %v)
      %u = add(%p1, %e)
      %k = tanh(%u)
      %one = constant f32[] {{1}}
      %ones = broadcast(%one) <shape=[{0},{1}]>
      %keep = sub(%ones, %z)
      %a = mul(%keep, %k)
      %b = mul(%z, %hh)
      %new = add(%a, %b)
      %ib = broadcast(%i) <shape=[{0}]>
      %on = lt(%ib, %len)
      %onr = reshape(%on) <shape=[{0},1]>
      %onb = broadcast(%onr) <shape=[{0},{1}]>
      %h1 = select(%onb, %new, %hh)
      yield %t, %h1, %h1
  }}
  output %h as "h"
  output %all as "all")",
                     rows, width);
}

std::string constant_trips(int64_t n) {
  return fmt::format("  %n = constant i64[] {{{}}}\n", n);
}

const Target kCuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}};
const Target kVulkan{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanSubgroup}};

bool has_loop(const LoweredProgram& program) {
  return std::any_of(program.steps.begin(), program.steps.end(),
                     [](const Step& s) { return s.kind == Step::Kind::kLoop; });
}

// Right, and without a loop, on both kinds of GPUs.
void check_one_dispatch(const LowerCase& c) {
  for (const Target& target : {kCuda, kVulkan}) {
    check_lowering_for(c, target, "one dispatch");
    CHECK_FALSE(has_loop(*lowered(c.text, target)));
  }
}

TEST_CASE("a recurrence is one dispatch on GPUs") {
  LowerCase c{lstm(12, "3", "5", constant_trips(5))};
  check_lowering(c);
  check_one_dispatch(c);
  // Its results are computed where the caller wants them.
  CHECK(count_dispatches(lowered(c.text, kCuda)->steps) == 1);
  LowerCase two{gru(16, 2, 4)};
  check_lowering(two);
  check_one_dispatch(two);
}

TEST_CASE("a recurrence over rows and steps of any number, backwards") {
  const std::string trips = "  %n = from_dims() <dims=[T], shape=[], dtype=i64>\n";
  const std::string backwards =
      "%l = from_dims() <dims=[T-1], shape=[], dtype=i64>\n      %j = sub(%l, %i)\n      %p = gather(%x, %j) "
      "<axis=0>";
  for (const int64_t rows : {1, 2, 7}) check_one_dispatch({lstm(10, "B", "T", trips, backwards), {4, rows}});
  check_lowering_for({lstm(10, "B", "T", trips, backwards), {0, 3}}, kCuda, "no step");
}

TEST_CASE("a cluster shares the units of a wide recurrence") {
  LowerCase c{lstm(200, "1", "3", constant_trips(3))};
  for (const DType precision : {DType::kF32, DType::kF16}) {
    c.precision = precision;
    check_lowering_for(c, kCuda, "wide");
    int clusters = 0;
    const auto program = lowered(c.text, kCuda, {}, precision);
    visit_dispatches(program->steps, [&](const DispatchStep& dispatch) {
      for (const auto& variant : dispatch.variants) clusters += variant.kernel->cluster > 1;
    });
    CHECK(clusters == 1);
  }
}

TEST_CASE("what is no recurrence stays a loop") {
  // A unit that reads its neighbour's.
  std::string text = lstm(12, "3", "5", constant_trips(5));
  const std::string from = "%m = mul(%f, %cc)";
  text.replace(text.find(from), from.size(),
               "%rest = slice(%cc) <starts=[0,1], sizes=[3,11], steps=[1,1]>\n"
               "      %first = slice(%cc) <starts=[0,0], sizes=[3,1], steps=[1,1]>\n"
               "      %turned = concat(%rest, %first) <axis=1>\n      %m = mul(%f, %turned)");
  LowerCase c{text};
  check_lowering_for(c, kCuda, "turned");
  CHECK(has_loop(*lowered(text, kCuda)));
}

TEST_CASE("schedules of recurrences: weights where they fit") {
  gpu::RecurrentShape shape{256, 1, 100, {{4, 1}}, 12, 16};
  const auto hopper = gpu::default_recurrent_schedule(shape, gpu_model(Level::kCudaSm90));
  REQUIRE(hopper);
  CHECK(hopper->cluster == 8);
  CHECK(hopper->homes[0].registers == hopper->homes[0].rounds());
  shape.width = 32;
  const auto narrow = gpu::default_recurrent_schedule(shape, gpu_model(Level::kCudaSm90));
  REQUIRE(narrow);
  CHECK(narrow->cluster == 1);
  shape.width = 1 << 14;
  CHECK_FALSE(gpu::default_recurrent_schedule(shape, gpu_model(Level::kCudaSm90)));
}

}  // namespace
}  // namespace tern::lower
