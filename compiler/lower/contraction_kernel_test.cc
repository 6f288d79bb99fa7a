#include "compiler/lower/contraction_kernel.h"

#include <doctest/doctest.h>

#include <tuple>

#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/text.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using kernel::Access;
using kernel::Expr;
using kernel::int_const;
using kernel::Scope;

// out[m, n] = sum_k a[m, k] * b[k, n] on small integers, where every order of summation is exact.
struct Case {
  int64_t m, n, k;
  ContractionSchedule schedule;
  bool symbolic = false, gather_a = false, gather_b = false, packed = false, long_finish = false, fma = true;
};

kernel::Kernel build(const Case& c) {
  kernel::ParamTable params;
  const kernel::Buffer a = kernel::make_buffer("a", {DType::kF32, 1}, Scope::kGlobal, Access::kRead);
  const kernel::Buffer b = kernel::make_buffer("b", {DType::kF32, 1}, Scope::kGlobal, Access::kRead);
  const kernel::Buffer out = kernel::make_buffer("out", {DType::kF32, 1}, Scope::kGlobal, Access::kWrite);
  const Dim m = c.symbolic ? Dim::symbol("M") : Dim(c.m), n = c.symbolic ? Dim::symbol("N") : Dim(c.n),
            k = c.symbolic ? Dim::symbol("K") : Dim(c.k);
  const Expr ke = params.expr(k), ne = params.expr(n);
  ContractionOperands o;
  const auto loop = [](const char* name, const Expr& extent,
                       const std::function<std::vector<kernel::Stmt>(Expr)>& body) {
    const kernel::Var v = kernel::make_var(name);
    return kernel::loop(v, int_const(0), extent, kernel::LoopKind::kSerial, body(kernel::var_expr(v)));
  };
  o.a_buffer = a;
  o.a_row = [&](const Expr& row) { return kernel::mul(row, ke); };
  if (c.gather_a) {
    o.gather_a = [&](const kernel::Buffer& block, const Expr& row0, const Expr& rows, const Expr& k0,
                     const Expr& depth, int64_t stride) {
      return std::vector<kernel::Stmt>{loop("i", rows, [&](Expr i) {
        return std::vector<kernel::Stmt>{loop("j", depth, [&](Expr j) {
          const Expr from = kernel::add(kernel::mul(kernel::add(row0, i), ke), kernel::add(k0, j));
          return std::vector<kernel::Stmt>{
              kernel::store(block, kernel::add(kernel::mul(i, int_const(stride)), j), kernel::load(a, from))};
        })};
      })};
    };
  }
  o.b_buffer = b;
  o.b_padded = c.packed;
  if (c.packed) {
    o.b_index = [&](const Expr& column, const Expr& kk) {
      const Expr panel = kernel::index_div(column, int_const(kPanelColumns)),
                 lane = kernel::index_rem(column, int_const(kPanelColumns));
      return kernel::add(kernel::mul(kernel::add(kernel::mul(panel, ke), kk), int_const(kPanelColumns)),
                         lane);
    };
  } else {
    o.b_index = [&](const Expr& column, const Expr& kk) { return kernel::add(kernel::mul(kk, ne), column); };
  }
  if (c.gather_b) {
    o.gather_b = [&](const kernel::Buffer& panel, const Expr& n0, int64_t columns, const Expr& k0,
                     const Expr& depth) {
      return std::vector<kernel::Stmt>{loop("i", depth, [&](Expr i) {
        return std::vector<kernel::Stmt>{loop("j", int_const(columns), [&](Expr j) {
          const Expr column = kernel::add(n0, j);
          const Expr at = kernel::add(kernel::mul(i, int_const(columns)), j);
          return std::vector<kernel::Stmt>{kernel::if_then(
              kernel::compare(kernel::ScalarOp::kLt, column, ne),
              {kernel::store(panel, at,
                             kernel::load(b, kernel::add(kernel::mul(kernel::add(k0, i), ne), column)))},
              {kernel::store(panel, at, kernel::float_const(0))})};
        })};
      })};
    };
  }
  o.finish_is_long = c.long_finish;
  o.finish_in_pairs = c.gather_a;
  o.finish = [&](const Expr& row, const Expr& column, const Expr& value, int lanes, const Expr& count) {
    const Expr biased = kernel::add(value, kernel::broadcast(kernel::float_const(1.0), lanes));
    return std::vector<kernel::Stmt>{
        kernel::store(out, kernel::add(kernel::mul(row, ne), column), biased, count)};
  };
  ContractionKernel body = build_contraction_kernel(m, n, k, {}, c.schedule, c.fma, o, params);
  kernel::Kernel kernel;
  kernel.name = "contraction";
  kernel.bindings = {a, b, out};
  kernel.params = params.params();
  kernel.grid = body.grid;
  kernel.body = body.body;
  kernel::assign_scratch(kernel);
  return kernel;
}

// The whole grid on these operands.
void run(const kernel::Kernel& kernel, const Case& c, const std::vector<std::vector<float>*>& operands) {
  std::vector<kernel::EvalBinding> bindings;
  for (std::vector<float>* v : operands)
    bindings.push_back({reinterpret_cast<uint8_t*>(v->data()), static_cast<int64_t>(v->size() * 4)});
  const auto env = [&](const std::string& name) -> std::optional<int64_t> {
    return name == "M" ? c.m : name == "N" ? c.n : c.k;
  };
  std::vector<int64_t> values;
  for (const kernel::Param& p : kernel.params) values.push_back(*p.value.evaluate(env));
  int64_t tiles = 1;
  for (const kernel::GridAxis& axis : kernel.grid) tiles *= *axis.extent.evaluate(env);
  const Result<int32_t> status = kernel::evaluate(kernel, bindings, values, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
}

void check(const Case& c) {
  CAPTURE(c.m);
  CAPTURE(c.n);
  CAPTURE(c.k);
  CAPTURE(c.schedule.text());
  const kernel::Kernel kernel = build(c);
  REQUIRE_MESSAGE(kernel::verify(kernel).empty(), kernel::verify(kernel));
  std::vector<float> a(static_cast<size_t>(c.m * c.k)), b(static_cast<size_t>(c.k * c.n)),
      out(static_cast<size_t>(c.m * c.n), -1);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(static_cast<int>(i * 7 % 11) - 5);
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(static_cast<int>(i * 5 % 13) - 6);
  std::vector<float> b_memory = b;
  if (c.packed) {
    const int64_t panels = (c.n + kPanelColumns - 1) / kPanelColumns;
    b_memory.assign(static_cast<size_t>(panels * c.k * kPanelColumns), 0.f);
    for (int64_t k = 0; k < c.k; ++k) {
      for (int64_t n = 0; n < c.n; ++n) {
        b_memory[static_cast<size_t>((n / kPanelColumns * c.k + k) * kPanelColumns + n % kPanelColumns)] =
            b[static_cast<size_t>(k * c.n + n)];
      }
    }
  }
  run(kernel, c, {&a, &b_memory, &out});
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n; ++n) {
      float want = 1;
      for (int64_t k = 0; k < c.k; ++k)
        want += a[static_cast<size_t>(m * c.k + k)] * b[static_cast<size_t>(k * c.n + n)];
      REQUIRE(out[static_cast<size_t>(m * c.n + n)] == want);
    }
  }
}

ContractionSchedule schedule(int lanes, int rows, int vectors, int64_t block_rows, int64_t block_columns,
                             int64_t block_depth) {
  return {lanes, rows, vectors, block_rows, block_columns, block_depth};
}

TEST_CASE("every edge of the blocked loops computes the product") {
  for (const bool symbolic : {false, true}) {
    for (const int64_t m : {1, 3, 8, 13}) {
      for (const int64_t n : {1, 7, 16, 21, 40}) {
        for (const int64_t k : {0, 1, 10}) {
          Case c{m, n, k, schedule(4, 3, 2, 6, 16, 4)};
          if (!symbolic && m <= 6) c.schedule.block_rows = m;
          c.symbolic = symbolic;
          check(c);
          c.packed = true;
          c.schedule.prefetch = true;
          check(c);
          c.gather_a = true;
          check(c);
          c.packed = false;
          c.gather_b = true;
          c.long_finish = true;
          c.fma = false;
          check(c);
        }
      }
    }
  }
}

TEST_CASE("one row of an unknown number of rows has more columns side by side") {
  for (const int64_t m : {1, 2, 7}) {
    for (const int64_t n : {7, 32, 45}) {
      Case c{m, n, 10, schedule(4, 3, 2, 6, 16, 4)};
      c.schedule.row_vectors = 4;
      c.symbolic = true;
      for (const bool packed : {false, true}) {
        c.packed = c.schedule.prefetch = packed;
        check(c);
        CHECK(kernel::print_kernel(build(c)).find("f32x4[4] register") != std::string::npos);
      }
      c.gather_a = true;  // a block of the depth at a time, as other rows are
      check(c);
      CHECK(kernel::print_kernel(build(c)).find("f32x4[4] register") == std::string::npos);
    }
  }
}

TEST_CASE("a last tile of few rows and the one before have as many rows each") {
  for (const int64_t m : {6, 14, 22}) {
    for (const int64_t block_rows : {8, 24}) {
      Case c{m, 40, 10, schedule(4, 4, 1, std::min(m, block_rows), 16, 4)};
      check(c);
      const std::string text = kernel::print_kernel(build(c));
      CHECK(text.find("f32x4[3] register") != std::string::npos);
      CHECK(text.find("f32x4[2] register") == std::string::npos);
    }
  }
}

TEST_CASE("a last tile takes rows again instead of a copy of the loop, where they are few and it has them") {
  const auto tiles = [](const Case& c) {
    check(c);
    const std::string text = kernel::print_kernel(build(c));
    int count = 0;
    for (size_t at = 0; (at = text.find("] register", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  for (const int64_t block_rows : {200, 406}) {
    Case c{406, 16, 10, schedule(4, 4, 2, block_rows, 16, 10)};
    CHECK(tiles(c) == 1);
    c.packed = c.schedule.prefetch = true;
    CHECK(tiles(c) == 1);
    c.gather_a = c.long_finish = true;
    CHECK(tiles(c) == 1);
    c.schedule.block_depth = 4;  // partial sums are added to
    CHECK(tiles(c) == 2);
  }
  CHECK(tiles({402, 16, 10, schedule(4, 4, 2, 200, 16, 10)}) == 2);  // a last block of two rows
  CHECK(tiles({26, 16, 10, schedule(4, 4, 2, 12, 16, 10)}) == 2);
}

TEST_CASE("the row tiles of a group ask once for each line that comes after it") {
  struct Shape {
    int64_t m, k;
    bool symbolic;
    int steps;  // of A at once: the lines of steps that are left over are not asked for
  };
  // Few tiles, uneven parts, more tiles than lines, symbolic sizes; then four steps at once, as aarch64 has
  // them.
  for (const Shape& shape : {Shape{20, 100, false, 1},
                             {45, 77, false, 1},
                             {130, 9, false, 1},
                             {402, 30, false, 1},  // the last tile overlaps
                             {80, 300, true, 1},
                             {5, 40, true, 1},
                             {20, 100, false, 4},
                             {45, 77, false, 4},
                             {130, 9, false, 4},
                             {14, 18, false, 4},
                             {80, 303, true, 4}}) {
    constexpr int64_t kColumns = 48;
    Case c{shape.m, kColumns, shape.k, schedule(8, 4, 2, round_up(shape.m, 4), 48, shape.k)};
    c.packed = c.schedule.prefetch = true;
    c.schedule.a_elements = shape.steps;
    c.symbolic = shape.symbolic;
    CAPTURE(c.m);
    CAPTURE(c.k);
    CAPTURE(shape.steps);
    kernel::Kernel kernel = build(c);
    const kernel::Buffer asked =
        kernel::make_buffer("asked", {DType::kF32, 1}, Scope::kGlobal, Access::kReadWrite);
    kernel.body = kernel::rewrite(kernel.body, nullptr, [&](const kernel::Stmt& stmt) {
      if (stmt->kind != kernel::StmtKind::kPrefetch) return std::vector<kernel::Stmt>{stmt};
      const Expr line = kernel::index_div(stmt->index, int_const(kPanelColumns));
      return std::vector<kernel::Stmt>{
          kernel::store(asked, line, kernel::add(kernel::load(asked, line), kernel::float_const(1)))};
    });
    kernel.bindings.push_back(asked);
    // One panel more than there is: the last group asks for what would come after it.
    const int64_t lines = (kColumns / kPanelColumns + 1) * c.k;
    std::vector<float> a(static_cast<size_t>(c.m * c.k)), b(static_cast<size_t>(lines * kPanelColumns)),
        out(static_cast<size_t>(c.m * c.n)), counts(static_cast<size_t>(lines));
    run(kernel, c, {&a, &b, &out, &counts});
    for (int64_t i = 0; i < lines; ++i) {
      CAPTURE(i);
      const bool next = i >= c.k && i % c.k < c.k / shape.steps * shape.steps;
      REQUIRE(counts[static_cast<size_t>(i)] == (next ? 1 : 0));
    }
  }
}

TEST_CASE("convolutions of few rows by weights beyond the caches take more rows at a time") {
  ContractionShape shape;
  shape.m = 49;
  shape.n = 512;
  shape.k = 4608;
  shape.packs_a = true;
  shape.depth_granule = 512;
  const MachineModel& avx2 = machine(Level::kX86V3);
  CHECK(default_contraction_schedule(shape, avx2).block_rows >= 24);
  shape.k = 576;  // these stay in the last cache
  shape.depth_granule = 64;
  CHECK(default_contraction_schedule(shape, avx2).block_rows < 24);
}

TEST_CASE("blocks of rows in place have two row tiles and more rather than many columns, up to AVX2") {
  struct Shape {
    int64_t m, n, k;
  };
  // Layers of perceptrons, of a MobileNet's last pixels, of a transformer.
  for (const Shape& shape : {Shape{32, 512, 512}, {256, 256, 512}, {49, 160, 960}, {49, 384, 1536}}) {
    ContractionShape c;
    c.m = shape.m;
    c.n = shape.n;
    c.k = shape.k;
    CAPTURE(c.m);
    CAPTURE(c.n);
    const ContractionSchedule s = default_contraction_schedule(c, machine(Level::kX86V3));
    CHECK(s.block_rows >= 2 * s.rows);
    CHECK(s.block_columns < c.n);
    CHECK(s.block_columns % (s.vectors * s.lanes) == 0);
    // What is gathered would be gathered for each block of columns.
    c.packs_a = true;
    CHECK(default_contraction_schedule(c, machine(Level::kX86V3)).block_columns >= 64);
    // As before, since it was not timed there.
    c.packs_a = false;
    CHECK(default_contraction_schedule(c, machine(Level::kX86V4)).block_rows < 3 * 12);
  }
}

TEST_CASE("what brings B into scratch does it once where all rows are a block") {
  ContractionShape shape;
  shape.m = 64;
  shape.n = 1024;
  shape.k = 128;
  shape.widens_b = true;
  const auto chosen = [&] { return default_contraction_schedule(shape, machine(Level::kX86V3)); };
  CHECK(chosen().block_rows == 64);
  CHECK(chosen().block_columns * 8 <= shape.n);
  shape.widens_b = false;
  shape.packs_b = true;
  CHECK(chosen().block_rows == 64);
  shape.n = 64;  // nothing would be left to share
  CHECK(chosen().block_rows < 64);
  shape.n = 1024;
  shape.m = 4096;  // more than L2 has
  CHECK(chosen().block_rows < 4096);
}

TEST_CASE("up to AVX2 a block takes 1,024 steps of a depth, where B is read as it lies") {
  ContractionShape shape;
  shape.m = shape.n = shape.k = 1024;
  const auto depth = [](const ContractionShape& of, Level level) {
    return default_contraction_schedule(of, machine(level)).block_depth;
  };
  CHECK(depth(shape, Level::kX86V2) == 1024);
  CHECK(depth(shape, Level::kX86V3) == 1024);
  CHECK(depth(shape, Level::kX86V4) < 1024);
  shape.k = 3072;
  CHECK(depth(shape, Level::kX86V3) == 1024);
  ContractionShape widened = shape, turned = shape;
  widened.widens_b = true;
  turned.packs_b = true;
  CHECK(depth(widened, Level::kX86V3) < 512);
  CHECK(depth(turned, Level::kX86V3) < 512);
}

TEST_CASE("unknown rows pass by weights in blocks of many, and by large ones column by column") {
  ContractionShape shape;
  shape.m = 64;  // a hint
  shape.n = 1024;
  shape.k = 256;
  shape.m_static = false;
  for (const Level level : {Level::kX86V2, Level::kX86V3, Level::kX86V4, Level::kAArch64}) {
    CAPTURE(static_cast<int>(level));
    const MachineModel& machine_model = machine(level);
    shape.k = 256;
    const ContractionSchedule s = default_contraction_schedule(shape, machine_model);
    CHECK(s.block_rows >= 4 * s.rows);
    CHECK(s.block_rows >= 48);
    shape.k = machine_model.l2_bytes / 4 / shape.n;
    CHECK(!default_contraction_schedule(shape, machine_model).columns_outside);
    ++shape.k;
    CHECK(default_contraction_schedule(shape, machine_model).columns_outside);
  }
}

TEST_CASE("small products of bytes make powers of two of blocks, as wide as each other") {
  const MachineModel& avx2 = machine(Level::kX86V3);
  ContractionShape shape;
  shape.bytes = shape.words = true;
  shape.n = 64;
  shape.k = 96;
  shape.m = 200;  // three blocks of 72 rows
  const int64_t rows = default_contraction_schedule(shape, avx2).block_rows;
  CAPTURE(rows);
  CHECK((shape.m + rows - 1) / rows == 4);
  // Chains: of 160 columns no block of 32 is left over.
  shape.words = false;
  shape.m = 49;
  shape.n = 160;
  shape.k = 960;
  const int64_t columns = chain_schedule(shape, avx2).block_columns;
  CAPTURE(columns);
  CHECK(columns >= 80);
  CHECK(columns < 128);
}

TEST_CASE("products of bytes that take some 15 us and more without dot products are two blocks") {
  const MachineModel& avx2 = machine(Level::kX86V3);
  ContractionShape shape;
  shape.bytes = true;
  for (const auto& [m, n, k] : {std::tuple{12544, 8, 4}, {3136, 16, 12}, {784, 48, 6}, {196, 112, 20}}) {
    CAPTURE(m);
    shape.words = true;
    shape.m = m;
    shape.n = n;
    shape.k = k;
    const ContractionSchedule s = default_contraction_schedule(shape, avx2);
    CHECK(s.block_rows <= round_up((m + 1) / 2, s.rows));
    CHECK(s.block_rows >= m / 4);
  }
  shape.words = false;  // chains
  shape.m = 49;
  shape.n = 128;
  shape.k = 144;
  CHECK(chain_schedule(shape, avx2).block_columns == 64);
  shape.k = 16;  // 3 us
  CHECK(chain_schedule(shape, avx2).block_columns == 128);
}

TEST_CASE("the default schedules are valid for every level") {
  for (const Level level : {Level::kX86V2, Level::kX86V3, Level::kX86V4, Level::kAArch64}) {
    const MachineModel& machine_model = machine(level);
    for (const int64_t m : {1, 4, 49, 197}) {
      for (const int64_t n : {10, 24, 64}) {
        for (const int64_t k : {3, 27, 700}) {
          ContractionShape shape;
          shape.m = m;
          shape.n = n;
          shape.k = k;
          const ContractionSchedule s = default_contraction_schedule(shape, machine_model);
          CHECK(s.rows * s.vectors + s.vectors + 1 <= machine_model.vector_registers);
          CHECK((s.block_rows % s.rows == 0 || s.block_rows >= m));
          CHECK(s.block_columns % (s.vectors * s.lanes) == 0);
          if (m * n * k > 100000) continue;  // the evaluator is slow
          Case c{m, n, k, s};
          c.packed = true;
          check(c);
        }
      }
    }
  }
}

TEST_CASE("rows of a register tile that share one set of L1 are no more than its ways") {
  ContractionShape shape;
  shape.m = 512;
  shape.n = 512;
  shape.k = 1024;
  const MachineModel& wide = machine(Level::kX86V4);
  CHECK(default_contraction_schedule(shape, wide).rows > 10);
  shape.a_row_bytes = 4096;
  CHECK(default_contraction_schedule(shape, wide).rows <= 10);
  shape.a_row_bytes = 4096 + 64;
  CHECK(default_contraction_schedule(shape, wide).rows > 10);
}

TEST_CASE("a row by weights from memory reads at most four panels side by side") {
  ContractionShape shape;
  shape.m = 1;
  shape.n = 768;
  shape.k = 3072;
  CHECK(default_contraction_schedule(shape, machine(Level::kX86V4)).vectors == 8);
  shape.b_lines = true;
  CHECK(default_contraction_schedule(shape, machine(Level::kX86V4)).vectors == 4);
  shape.k = 64;  // these stay in L2
  CHECK(default_contraction_schedule(shape, machine(Level::kX86V4)).vectors == 8);
}

TEST_CASE("a single row of many has tiles of its own, whole ones in a block") {
  ContractionShape shape;
  shape.m = 64;
  shape.n = 2048;
  shape.k = 5632;
  shape.m_static = false;
  shape.widens_b = true;
  shape.single_row = true;
  for (const Level level : {Level::kX86V3, Level::kX86V4, Level::kAArch64}) {
    const ContractionSchedule s = default_contraction_schedule(shape, machine(level));
    CHECK(s.row_vectors > s.vectors);
    CHECK(s.block_columns % (s.row_vectors * s.lanes) == 0);
    CHECK(s.block_columns % (s.vectors * s.lanes) == 0);
  }
}

TEST_CASE("blocks are whole tiles of many rows and of a single one, by integers too") {
  for (const Level level : {Level::kX86V2, Level::kX86V3, Level::kX86V4, Level::kX86V4Vnni}) {
    for (const int64_t m : {1, 6, 70, 512}) {
      for (const int64_t n : {20, 270, 384, 4096}) {
        for (const int64_t k : {64, 515, 4096}) {
          ContractionShape shape;
          shape.m = m;
          shape.n = n;
          shape.k = k;
          shape.m_static = false;
          shape.widens_b = shape.integers = shape.single_row = true;
          const ContractionSchedule s = default_contraction_schedule(shape, machine(level));
          CAPTURE(fmt::format("{} x {} x {}: {}, {} vectors of a row", m, k, n, s.text(), s.row_vectors));
          CHECK(s.block_columns % (s.row_vectors * s.lanes) == 0);
          CHECK(s.block_columns % (s.vectors * s.lanes) == 0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tern::lower
