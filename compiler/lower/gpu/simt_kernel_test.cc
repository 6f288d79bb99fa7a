#include "compiler/lower/gpu/simt_kernel.h"

#include <doctest/doctest.h>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/unroll.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using Order = TileOperands::Order;

// out[m, n] = 1 + sum_k a[m, k] * b[k, n] on small integers, where every order of summation is exact.
struct Case {
  int64_t m, n, k;
  SimtSchedule schedule;
  bool symbolic = false;
  Order a_order = Order::kSteps, b_order = Order::kPanels;
};

int64_t panels(int64_t n) {
  return (n + kPanelColumns - 1) / kPanelColumns;
}

kernel::Kernel finished(const TileOperands& operands, const SimtSchedule& schedule,
                        kernel::ParamTable& params, std::vector<Buffer> bindings) {
  TileKernel made = schedule.gemv ? build_gemv_kernel(operands, schedule, params)
                                  : build_simt_kernel(operands, schedule, params);
  kernel::Kernel k;
  k.name = "contraction";
  k.bindings = std::move(bindings);
  k.params = params.params();
  k.grid = made.grid;
  k.body = made.body;
  k.threads = made.threads;
  k.thread = made.thread;
  k.subgroup = made.subgroup;
  kernel::unroll(k);
  kernel::simplify(k);
  kernel::assign_workgroup(k);
  return k;
}

kernel::Kernel build(const Case& c) {
  kernel::ParamTable params;
  const Buffer a = global("a", DType::kF32, Access::kRead), b = global("b", DType::kF32, Access::kRead),
               out = global("out", DType::kF32, Access::kWrite);
  TileOperands o;
  o.m = c.symbolic ? Dim::symbol("M") : Dim(c.m);
  o.n = c.symbolic ? Dim::symbol("N") : Dim(c.n);
  o.k = c.symbolic ? Dim::symbol("K") : Dim(c.k);
  const Expr ne = params.expr(o.n), ke = params.expr(o.k);
  o.a_order = c.a_order;
  o.b_order = c.b_order;
  o.a = [&](const Expr& m, const Expr& k) { return kernel::load(a, kernel::add(kernel::mul(m, ke), k)); };
  o.b_vector = [&](const Expr& k, const Expr& n, int lanes) {
    const Expr panel = kernel::index_div(n, int_const(kPanelColumns)),
               inside = kernel::index_rem(n, int_const(kPanelColumns));
    const Expr row = kernel::add(kernel::mul(panel, ke), k);
    return kernel::load(b, kernel::add(kernel::mul(row, int_const(kPanelColumns)), inside), lanes);
  };
  o.b = [&](const Expr& k, const Expr& n) {
    return c.b_order == Order::kPanels ? o.b_vector(k, n, 1)
                                       : kernel::load(b, kernel::add(kernel::mul(k, ne), n));
  };
  o.finish = [&](const Expr& row, const Expr& column, const Expr& value, int lanes, const Expr& count) {
    const Expr biased = kernel::add(value, kernel::broadcast(kernel::float_const(1.0), lanes));
    return std::vector<kernel::Stmt>{
        kernel::store(out, kernel::add(kernel::mul(row, ne), column), biased, count)};
  };
  return finished(o, c.schedule, params, {a, b, out});
}

void check(const Case& c) {
  CAPTURE(c.schedule.text());
  CAPTURE(c.m);
  CAPTURE(c.n);
  CAPTURE(c.k);
  CAPTURE(c.symbolic);
  const kernel::Kernel k = build(c);
  REQUIRE(kernel::verify(k) == "");
  CHECK(k.workgroup_bytes <= c.schedule.workgroup_bytes() + 512);
  std::vector<float> a(static_cast<size_t>(c.m * c.k)), out(static_cast<size_t>(c.m * c.n), -1);
  const bool packed = c.b_order == Order::kPanels;
  std::vector<float> b(static_cast<size_t>(packed ? panels(c.n) * kPanelColumns * c.k : c.n * c.k), 0);
  const auto a_value = [](int64_t m, int64_t kk) { return static_cast<float>((m * 7 + kk * 3) % 5 - 2); };
  const auto b_value = [](int64_t kk, int64_t n) { return static_cast<float>((n * 5 + kk * 11) % 7 - 3); };
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t kk = 0; kk < c.k; ++kk) a[static_cast<size_t>(m * c.k + kk)] = a_value(m, kk);
  }
  for (int64_t kk = 0; kk < c.k; ++kk) {
    for (int64_t n = 0; n < c.n; ++n) {
      const int64_t at =
          packed ? (n / kPanelColumns * c.k + kk) * kPanelColumns + n % kPanelColumns : kk * c.n + n;
      b[static_cast<size_t>(at)] = b_value(kk, n);
    }
  }
  const auto lookup = [&](const std::string& name) -> std::optional<int64_t> {
    return name == "M" ? c.m : name == "N" ? c.n : c.k;
  };
  std::vector<int64_t> params;
  for (const kernel::Param& p : k.params) params.push_back(*p.value.evaluate(lookup));
  int64_t tiles = 1;
  for (const kernel::GridAxis& axis : k.grid) tiles *= *axis.extent.evaluate(lookup);
  const auto binding = [](std::vector<float>& v) {
    return kernel::EvalBinding{reinterpret_cast<uint8_t*>(v.data()), static_cast<int64_t>(v.size() * 4)};
  };
  const auto status = kernel::evaluate(k, {binding(a), binding(b), binding(out)}, params, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
  int64_t wrong = 0;
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n; ++n) {
      float want = 1;
      for (int64_t kk = 0; kk < c.k; ++kk) want += a_value(m, kk) * b_value(kk, n);
      wrong += want != out[static_cast<size_t>(m * c.n + n)];
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("register tiles: whole tiles, tails, slices of k") {
  const SimtSchedule schedules[] = {
      {false, 128, 128, 8, 8, 8, 1}, {false, 64, 128, 8, 8, 8, 1}, {false, 64, 64, 16, 4, 4, 1},
      {false, 32, 32, 16, 4, 4, 4},  {false, 16, 32, 16, 2, 4, 8}, {false, 8, 64, 16, 2, 4, 2},
  };
  for (const int buffers : {1, 2}) {
    for (SimtSchedule s : schedules) {
      s.buffers = buffers;
      const int64_t stage = int64_t{s.depth} * s.slices;
      check({s.rows, s.columns, 2 * stage, s});
      check({s.rows + 3, s.columns + 6, stage + 3, s});
      check({s.rows + 3, s.columns, stage + 4, s});
    }
    const SimtSchedule small{false, 32, 32, 16, 4, 4, 2, buffers};
    check({37, 39, 21, small, true});
    check({37, 40, 50, small, true, Order::kOthers, Order::kOthers});
    check({33, 36, 40, small, false, Order::kSteps, Order::kSteps});
  }
}

TEST_CASE("gemv: rows in registers, slices folded") {
  check({1, 40, 70, {true, 1, 16, 1, 1, 4, 64}});
  check({3, 33, 19, {true, 3, 16, 1, 3, 4, 8}});
  check({8, 16, 128, {true, 8, 16, 1, 8, 4, 16}});
}

// out[m, n] = sum_k a[m, k] * b[k, n] of bytes by dot products of four: rows of u8 or i8, panels of i8 words.
struct DotCase {
  int64_t m, n, words;
  SimtSchedule schedule;
  DType a = DType::kU8;  // as the network has it
  kernel::Intrinsic product = kernel::Intrinsic::kDot4U8I8;
};

void check(const DotCase& c) {
  CAPTURE(c.schedule.text());
  CAPTURE(c.m);
  CAPTURE(c.n);
  CAPTURE(c.words);
  CAPTURE(dtype_name(c.a));
  constexpr int64_t kFour = 4;
  const int64_t steps = kFour * c.words;
  kernel::ParamTable params;
  const Buffer a = global("a", c.a, Access::kRead), b = global("b", DType::kI8, Access::kRead),
               out = global("out", DType::kI32, Access::kWrite);
  const bool is_signed = c.product == kernel::Intrinsic::kDot4I8I8, fits = (c.a == DType::kI8) == is_signed;
  TileOperands o;
  o.m = Dim(c.m);
  o.n = Dim(c.n);
  o.k = Dim(c.words);
  o.dots = {c.product, fits ? 0 : is_signed ? 128 : -128};
  o.a = [&](const Expr& m, const Expr& k) {
    const Expr at = kernel::mul(kernel::add(kernel::mul(m, int_const(c.words)), k), int_const(kFour));
    const Expr word = kernel::bitcast(kernel::load(a, at, kFour), {DType::kU32, 1});
    return fits ? word : kernel::op(kernel::ScalarOp::kXor, {word, int_const(0x80808080, DType::kU32)});
  };
  o.b_order = Order::kPanels;
  o.b_vector = [&](const Expr& k, const Expr& n, int lanes) {
    const Expr row = kernel::add(kernel::mul(div(n, kPanelColumns), int_const(c.words)), k);
    const Expr at = kernel::add(kernel::mul(row, int_const(kPanelColumns)), rem(n, kPanelColumns));
    return kernel::bitcast(kernel::load(b, kernel::mul(at, int_const(kFour)), kFour * lanes),
                           {DType::kU32, lanes});
  };
  o.b = [&](const Expr& k, const Expr& n) { return o.b_vector(k, n, 1); };
  o.finish = [&](const Expr& row, const Expr& column, const Expr& value, int, const Expr& count) {
    const Expr at = kernel::add(kernel::mul(row, int_const(c.n)), column);
    return std::vector<kernel::Stmt>{kernel::store(out, at, value, count)};
  };
  const kernel::Kernel k = finished(o, c.schedule, params, {a, b, out});
  REQUIRE(kernel::verify(k) == "");
  std::vector<uint8_t> left(static_cast<size_t>(c.m * steps)),
      right(static_cast<size_t>(panels(c.n) * kPanelColumns * steps), 0);
  std::vector<int32_t> got(static_cast<size_t>(c.m * c.n), -1);
  const auto a_byte = [](int64_t m, int64_t kk) {
    return static_cast<uint8_t>(255 - (m * 7 + kk * 3) % 256);
  };
  const auto b_byte = [](int64_t kk, int64_t n) {
    return static_cast<uint8_t>(128 + (n * 5 + kk * 11) % 256);
  };
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t kk = 0; kk < steps; ++kk) left[static_cast<size_t>(m * steps + kk)] = a_byte(m, kk);
  }
  for (int64_t kk = 0; kk < steps; ++kk) {
    for (int64_t n = 0; n < c.n; ++n) {
      const int64_t row = n / kPanelColumns * c.words + kk / kFour,
                    word = row * kPanelColumns + n % kPanelColumns;
      right[static_cast<size_t>(word * kFour + kk % kFour)] = b_byte(kk, n);
    }
  }
  int64_t tiles = 1;
  for (const kernel::GridAxis& axis : k.grid) tiles *= axis.extent.value();
  const auto binding = [](auto& v) {
    return kernel::EvalBinding{reinterpret_cast<uint8_t*>(v.data()),
                               static_cast<int64_t>(v.size() * sizeof(v[0]))};
  };
  const auto status = kernel::evaluate(k, {binding(left), binding(right), binding(got)}, {}, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
  const auto number = [](DType dtype, uint8_t byte) {
    return dtype == DType::kU8 ? int32_t{byte} : int32_t{static_cast<int8_t>(byte)};
  };
  int64_t wrong = 0;
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n; ++n) {
      int32_t want = 0;
      for (int64_t kk = 0; kk < steps; ++kk)
        want += number(c.a, a_byte(m, kk)) * number(DType::kI8, b_byte(kk, n));
      wrong += want != got[static_cast<size_t>(m * c.n + n)];
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("dot products of bytes: tiles and gemv, with both instructions on both kinds of bytes") {
  for (const DType a : {DType::kU8, DType::kI8}) {
    for (const auto product : {kernel::Intrinsic::kDot4U8I8, kernel::Intrinsic::kDot4I8I8}) {
      check({64, 64, 32, {false, 64, 64, 16, 4, 4, 1}, a, product});
      check({35, 38, 19, {false, 32, 32, 16, 4, 4, 2}, a, product});
      check({19, 40, 21, {false, 16, 32, 16, 2, 4, 1, 2}, a, product});
      check({3, 33, 19, {true, 3, 16, 1, 3, 4, 8}, a, product});
    }
  }
}

TEST_CASE("the cost model: schedules fit the machine, big tiles where there is work for them") {
  for (const Level level : {Level::kCudaSm80, Level::kVulkan11}) {
    const GpuModel& model = gpu_model(level);
    for (const int64_t m : {1, 7, 49, 196, 3136, 8192}) {
      for (const int64_t n : {1, 24, 512, 4096}) {
        for (const int64_t k : {3, 64, 4608}) {
          const SimtSchedule s = default_simt_schedule({1, m, n, k, true, true, false}, model);
          CAPTURE(s.text());
          CHECK(s.threads() <= model.max_threads);
          CHECK(s.threads() % 32 == 0);
          CHECK(s.workgroup_bytes() <= model.workgroup_memory);
        }
      }
    }
  }
  const GpuModel& cuda = gpu_model(Level::kCudaSm80);
  const SimtSchedule large = default_simt_schedule({1, 4096, 4096, 4096, true, true, false}, cuda);
  CHECK(large.rows == 128);
  CHECK(large.buffers == 2);
  CHECK(large.workgroup_bytes() <= 48 * 1024);
  CHECK(default_simt_schedule({1, 4096, 4096, 4096, true, true, false, true}, cuda).buffers == 1);
  CHECK(default_simt_schedule({1, 384, 3072, 768, true, true, false}, cuda).buffers == 1);
  CHECK(default_simt_schedule({1, 1, 1000, 512, true, true, false}, gpu_model(Level::kCudaSm80)).gemv);
}

}  // namespace
}  // namespace tern::lower::gpu
