// The contraction on cooperative matrices against a plain sum, on the evaluator: races and divergence would
// be errors; and as a shader that Shaderc takes, where it knows them.
#include "compiler/lower/gpu/matrix_kernel.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/gpu/product_test_util.h"
#include "compiler/lower/packing.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {
namespace {

using kernel::Expr;
using kernel::int_const;

struct Case {
  int64_t m, n, k;
  MatrixSchedule schedule;
  bool element_wise = false, symbolic = false, b_in_memory = false;
  std::vector<ProductTest::Special> specials = {};
};

// What is on its way to a stage is not computed with before its turn: that would wait for it.
void check_waits(const std::vector<kernel::Stmt>& body) {
  int loads = 0;
  kernel::visit(body, [&](const kernel::Stmt& s) {
    if (s->kind != kernel::StmtKind::kStore || !s->buffer->name.ends_with("_next")) return;
    CHECK(s->value->kind == kernel::ExprKind::kBitcast);
    CHECK(s->value->args[0]->kind == kernel::ExprKind::kLoad);
    ++loads;
  });
  CHECK(loads > 0);
}

void check(const Case& c) {
  CAPTURE(c.schedule.text());
  const DType dtype = c.schedule.bf16x6 ? DType::kF32 : DType::kF16;
  ProductTest test{c.m, c.n, c.k, c.element_wise, c.symbolic, c.schedule.threads(), 1, {}, {}};
  test.dtype = dtype;
  test.unit = c.schedule.unit;
  if (c.schedule.bf16x6) {
    test.tolerance = 0x1p-23;
    test.specials = c.specials;
  }
  test.encode = [&](const TensorDataPtr& b) -> TensorDataPtr {
    if (!c.b_in_memory)
      return pack_panels(*b, {1, c.k, c.n, [&](int64_t, int64_t k, int64_t n) { return k * c.n + n; }},
                         dtype);
    auto plain = TensorData::make(dtype, {c.k, c.n});
    for (int64_t i = 0; i < plain->count(); ++i)
      plain->set_float(c.schedule.b_columns ? i % c.n * c.k + i / c.n : i, b->float_at(i));
    return plain;
  };
  test.build = [&](const Dim& m, const kernel::Var& thread, MmaOperands& o, kernel::ParamTable& params) {
    if (c.b_in_memory) {
      o.b_element = [&](const Expr& at, const Expr& n) {
        return c.schedule.b_columns ? kernel::add(kernel::mul(n, int_const(c.k)), at)
                                    : kernel::add(kernel::mul(at, int_const(c.n)), n);
      };
    }
    MmaKernel built = build_matrix_kernel(m, c.n, c.k, {}, c.schedule, thread, o, params);
    if (!c.element_wise && !c.schedule.own) check_waits(built.body);
    return built;
  };
  check_product(test);
}

TEST_CASE("matrix contraction: whole and ragged blocks, every arrangement of warps") {
  check({32, 32, 128, {32, 32, 128, 1, 1, 8, 1}});
  check({33, 40, 136, {32, 32, 128, 1, 1, 4, 1}});
  check({17, 20, 40, {32, 32, 256, 1, 1, 4, 1}});
  check({70, 64, 192, {64, 64, 64, 2, 2, 1, 2}});
  check({64, 48, 80, {64, 32, 128, 2, 1, 2, 1}});
  check({40, 96, 64, {32, 64, 128, 1, 2, 2, 1}});
  check({130, 120, 72, {128, 128, 32, 2, 4, 1, 2}});
  check({130, 120, 72, {128, 128, 32, 2, 2, 1, 2}});
  check({130, 120, 104, {128, 128, 32, 2, 4, 2, 2}});
  check({70, 72, 328, {64, 64, 64, 2, 2, 4, 2}});
  check({33, 40, 304, {32, 32, 128, 1, 1, 4, 2}});
  check({33, 40, 72, {32, 32, 64, 1, 1, 4, 1}});
  check({65, 64, 136, {128, 64, 64, 4, 2, 1, 1}});
}
TEST_CASE("matrix contraction: subgroups with stages of their own") {
  check({32, 32, 256, {32, 32, 32, 1, 1, 4, 1, false, true}});
  check({33, 40, 304, {32, 32, 32, 1, 1, 4, 1, false, true}});
  check({17, 20, 40, {16, 32, 32, 1, 1, 8, 1, false, true}});
  check({70, 64, 192, {32, 32, 64, 1, 1, 2, 1, false, true}});
  check({33, 40, 72, {32, 32, 32, 1, 1, 2, 1, false, true}, false, false, true});
  check({33, 40, 72, {32, 32, 32, 1, 1, 4, 1, true, true}, false, false, true});
  check({64, 64, 147, {32, 32, 32, 1, 1, 4, 1, false, true}, true});
  check({49, 48, 520, {16, 32, 64, 1, 1, 6, 1, false, true}});
  check({49, 48, 520, {16, 16, 64, 1, 1, 8, 1, false, true}});
  check({33, 48, 200, {32, 16, 64, 1, 1, 6, 1, false, true}});
  check({70, 64, 200, {64, 32, 32, 1, 1, 4, 1, false, true}});
}
TEST_CASE("matrix contraction: groups of subgroups that copy in turn") {
  check({70, 64, 384, {64, 64, 64, 2, 2, 2, 2, false, false, 2}});
  check({70, 72, 328, {64, 64, 64, 2, 2, 2, 2, false, false, 4}});
  check({33, 40, 72, {32, 32, 64, 1, 1, 4, 1, false, false, 4}});
  check({130, 64, 168, {128, 64, 32, 4, 2, 1, 2, false, false, 8}});
  check({64, 64, 147, {64, 64, 64, 2, 2, 1, 2, false, false, 4}, true});
  check({33, 40, 136, {32, 64, 32, 1, 2, 2, 2, true, false, 4}, false, false, true});
}
TEST_CASE("matrix contraction: several stages on their way in registers") {
  check({130, 120, 200, {128, 128, 32, 2, 4, 1, 2, false, false, 1, 2}});  // an odd number of stages
  check({65, 80, 320, {64, 80, 32, 4, 1, 1, 2, false, false, 1, 3}});
  check({64, 64, 64, {64, 64, 64, 2, 2, 1, 2, false, false, 1, 2}});  // fewer stages than sets
  check({70, 72, 328, {64, 64, 64, 1, 1, 4, 1, false, false, 1, 2}});
  check({64, 64, 147, {64, 64, 32, 2, 2, 2, 2, false, false, 1, 2}, true});
  check({70, 72, 200, {64, 64, 64, 2, 2, 1, 2, true, false, 1, 2}, false, false, true});
  check({45, 32, 136, {32, 32, 32, 1, 1, 2, 2, false, false, 1, 3}, false, true});
}
TEST_CASE("matrix contraction: a symbolic number of rows") {
  check({45, 32, 128, {32, 32, 128, 1, 1, 4, 1}, false, true});
}
TEST_CASE("matrix contraction: B in memory, by rows and by columns") {
  check({33, 40, 72, {32, 32, 128, 1, 1, 8, 1}, false, false, true});
  check({33, 40, 72, {32, 32, 128, 1, 1, 8, 1, true}, false, false, true});
  check({70, 64, 200, {64, 64, 64, 2, 2, 2, 2, true}, false, false, true});
  check({70, 72, 200, {64, 64, 64, 2, 2, 2, 2}, false, false, true});
}
TEST_CASE("matrix contraction: one stage that groups copy in turn") {
  check({70, 72, 256, {64, 64, 64, 2, 2, 2, 1, false, false, 2}});
  check({33, 40, 200, {64, 48, 64, 4, 1, 2, 1, false, false, 2}});
  check({64, 64, 147, {64, 64, 32, 2, 2, 2, 1, false, false, 4}, true});
}
TEST_CASE("matrix contraction: f32 by six products of bf16") {
  const auto precise = [](Case c) {
    c.schedule.bf16x6 = true;
    check(c);
  };
  precise({32, 32, 64, {32, 32, 64, 1, 1, 4, 1}});
  precise({33, 40, 68, {32, 32, 32, 1, 1, 2, 1}});
  precise({70, 64, 96, {64, 64, 32, 2, 2, 1, 1}});
  precise({70, 72, 100, {64, 32, 32, 2, 1, 2, 1, false, false, 2}});
  precise({33, 24, 27, {32, 32, 32, 1, 1, 2, 1}, true});
  precise({45, 40, 100, {64, 64, 32, 2, 2, 2, 1}, false, true});
  precise({33, 40, 72, {32, 32, 32, 1, 1, 2, 1}, false, false, true});
  precise({33, 36, 68, {32, 32, 32, 1, 1, 2, 1, true}, false, false, true});
  precise({33, 40, 72, {16, 32, 32, 1, 1, 2, 1, false, true}});
  precise({33, 40, 200, {32, 32, 16, 1, 1, 8, 1, false, true}});
  precise({33, 40, 72, {32, 16, 32, 1, 1, 4, 1, true, true}, false, false, true});
}
TEST_CASE("matrix contraction: what is no number, or close to the largest, by six products of bf16") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity(),
                   kNan = std::numeric_limits<double>::quiet_NaN(),
                   kLargest = std::numeric_limits<float>::max();
  Case c{33, 40, 68, {32, 32, 32, 1, 1, 2, 1}};
  c.schedule.bf16x6 = true;
  c.specials = {{true, 2, 5, kInfinity}, {true, 3, 66, -kInfinity}, {true, 4, 0, kNan},
                {true, 5, 7, kLargest},  {false, 6, 7, kInfinity},  {false, 21, 67, kNan}};
  check(c);
  c.element_wise = true;
  check(c);
  c.element_wise = false;
  c.b_in_memory = c.symbolic = true;
  check(c);
}
// u8 by i8, whose sums are whole.
void check_bytes(const Case& c) {
  CAPTURE(c.schedule.text());
  ProductTest test{c.m, c.n, c.k, c.element_wise, c.symbolic, c.schedule.threads(), 1, {}, {}};
  test.dtype = DType::kU8;
  test.unit = c.schedule.unit;
  test.weights = DType::kI8;
  test.result = DType::kI32;
  test.large = true;
  const kernel::Buffer sums = global_buffer("sums", DType::kI32, kernel::Access::kRead);
  if (c.schedule.int8) test.more = {{sums, TensorData::make(DType::kI32, {(c.n + 15) / 16 * 16})}};
  test.encode = [&](const TensorDataPtr& b) {
    auto bytes = TensorData::make(DType::kI8, {c.k, c.n});
    for (int64_t i = 0; i < bytes->count(); ++i) bytes->set_int(i, static_cast<int64_t>(b->float_at(i)));
    const PanelSource source{1, c.k, c.n, [&](int64_t, int64_t k, int64_t n) { return k * c.n + n; }};
    if (c.schedule.int8) test.more[0].second = pack_byte_sums(*bytes, source, MatrixSchedule::kSignedLess);
    return pack_byte_panels(*bytes, source);
  };
  test.build = [&](const Dim& m, const kernel::Var& thread, MmaOperands& o, kernel::ParamTable& params) {
    o.dtype = DType::kI8;
    o.a_piece = c.k % 16 == 0 ? 16 : c.k % 8 == 0 ? 8 : 4;
    MatrixSchedule s = c.schedule;
    s.b_columns = true;
    if (s.int8) o.b_sums = [&](const Expr& n, int lanes) { return kernel::load(sums, n, lanes); };
    return build_matrix_kernel(m, c.n, c.k, {}, s, thread, o, params);
  };
  check_product(test);
}
TEST_CASE("matrix contraction: bytes as they are") {
  const auto as_they_are = [](Case c) {
    c.schedule.int8 = true;
    c.schedule.unit = {{16, 16, 32}, 32};
    check_bytes(c);
  };
  as_they_are({32, 32, 128, {32, 32, 128, 1, 1, 4, 1}});
  as_they_are({33, 40, 72, {32, 32, 64, 1, 1, 2, 1}});
  as_they_are({70, 56, 100, {64, 32, 64, 4, 2, 1, 2}});
  as_they_are({70, 72, 656, {64, 64, 64, 2, 2, 2, 2, false, false, 2}});
  as_they_are({33, 24, 27, {32, 32, 64, 1, 1, 2, 1}, true});
  as_they_are({45, 40, 136, {16, 32, 32, 1, 1, 4, 1, false, true}, false, true});
  as_they_are({17, 24, 4112, {16, 32, 256, 1, 1, 2, 2}});
  as_they_are({130, 72, 96, {128, 96, 128, 4, 2, 1, 1, false, false, 2}});
}
TEST_CASE("matrix contraction: bytes") {
  check_bytes({32, 32, 64, {32, 32, 64, 1, 1, 4, 1}});
  check_bytes({33, 40, 72, {32, 32, 32, 1, 1, 2, 1}});
  check_bytes({70, 56, 100, {64, 32, 64, 4, 2, 1, 2}});
  check_bytes({70, 72, 328, {64, 64, 64, 2, 2, 2, 2, false, false, 2}});
  check_bytes({33, 24, 27, {32, 32, 32, 1, 1, 2, 1}, true});
  check_bytes({45, 40, 136, {16, 32, 32, 1, 1, 4, 1, false, true}, false, true});
}
TEST_CASE("matrix contraction: bytes whose sums f32 does not hold") {
  Case c{17, 24, 2064, {16, 32, 128, 1, 1, 2, 2}};
  c.schedule.bytes_planes = 2;
  check_bytes(c);
  c.schedule = {16, 16, 64, 1, 1, 2, 1, false, true};
  c.schedule.bytes_planes = 2;
  check_bytes(c);
}

// Weights in integers.
void check_integers(const Case& c, int bits, int64_t block, bool zeros, DType narrow = DType::kF16) {
  CAPTURE(c.schedule.text());
  CAPTURE(bits);
  const DType dtype = c.schedule.bf16x6 ? DType::kF32 : narrow;
  ProductTest test{c.m, c.n, c.k, c.element_wise, c.symbolic, c.schedule.threads(), 1, {}, {}};
  test.dtype = dtype;
  test.weights = DType::kU32;
  test.unit = c.schedule.unit;
  if (c.schedule.bf16x6) test.tolerance = 0x1p-23;
  // B's integers are q - 3 of q up to 6, or less: as the scale and the zero point of each block have it.
  QuantisedWeights w;
  w.bits = bits;
  w.block = block;
  const int64_t blocks = (c.k + block - 1) / block;
  w.scale = seeded(DType::kF32, {blocks, c.n}, 5, [](uint64_t random) { return random % 2 ? 0.5 : 1.0; });
  w.zero =
      seeded(DType::kF32, {blocks, c.n}, 6, [&](uint64_t random) { return 6.0 + (zeros ? random % 3 : 0); });
  auto q = TensorData::make(DType::kU8, {c.k, c.n});
  w.q = q;
  QuantisedPanels panels;
  const auto param = [&](const char* name, const TensorDataPtr& data) {
    const kernel::Buffer b = global_buffer(name, data->dtype(), kernel::Access::kRead);
    test.more.push_back({b, data});
    return b;
  };
  panels.bits = bits;
  panels.block = block;
  panels.blocks = blocks;
  panels.steps = (c.k + 32 / bits - 1) / (32 / bits);
  panels.scales = param("scales", pack_quantised_scales(w));
  panels.zero = 6;
  if (zeros) panels.zeros = param("zeros", pack_quantised_zeros(w));
  test.integers = [&](int64_t k, int64_t n, double value) {
    const int64_t at = k / block * c.n + n;
    const double scale = w.scale->float_at(at), zero = w.zero->float_at(at);
    const double step = std::clamp(std::nearbyint(value / scale) + zero, 0.0, 15.0);
    q->set_int(k * c.n + n, static_cast<int64_t>(step));
    return (step - zero) * scale;
  };
  test.encode = [&](const TensorDataPtr&) { return pack_quantised_words(w); };
  test.build = [&](const Dim& m, const kernel::Var& thread, MmaOperands& o, kernel::ParamTable& params) {
    panels.words = o.b_buffer;
    o.panels = &panels;
    MatrixSchedule s = c.schedule;
    s.b_columns = true;
    return build_matrix_kernel(m, c.n, c.k, {}, s, thread, o, params);
  };
  check_product(test);
}
TEST_CASE("matrix contraction: weights in integers") {
  check_integers({32, 32, 64, {32, 32, 64, 1, 1, 4, 1}}, 4, 32, false);
  check_integers({33, 40, 72, {32, 32, 32, 1, 1, 2, 1}}, 4, 16, true);
  check_integers({70, 56, 104, {64, 32, 64, 4, 2, 1, 2}}, 8, 32, true);
  check_integers({33, 24, 27, {32, 32, 32, 1, 1, 2, 1}, true}, 8, 32, false);
  check_integers({45, 40, 136, {16, 32, 32, 1, 1, 4, 1, false, true}, false, true}, 4, 32, true);
  check_integers({33, 40, 72, {32, 32, 32, 1, 1, 2, 1}}, 4, 16, true, DType::kBF16);
  check_integers({70, 56, 104, {64, 32, 64, 4, 2, 1, 2}}, 8, 32, true, DType::kBF16);
  Case c{33, 40, 72, {32, 32, 32, 1, 1, 2, 1}};
  c.schedule.bf16x6 = true;
  check_integers(c, 4, 32, true);
  c.schedule = {16, 32, 32, 1, 1, 2, 1, false, true};
  c.schedule.bf16x6 = true;
  check_integers(c, 8, 32, false);
}
TEST_CASE("matrix contraction: operands read element by element") {
  check({33, 24, 27, {32, 32, 128, 1, 1, 4, 1}, true});
  check({64, 64, 147, {64, 64, 64, 2, 2, 1, 2}, true});
}

// Every shape of matrix_shapes.def, in schedules that its blocks are whole tiles of.
struct Shape {
  DType element;
  kernel::TileUnit unit;
};
const Shape kShapes[] = {
#define TERN_MATRIX_SHAPE(capability, element, rows, columns, depth, subgroup) \
  {DType::k##element, {{rows, columns, depth}, subgroup}},
#include "schemas/abi/matrix_shapes.def"
#undef TERN_MATRIX_SHAPE
};

TEST_CASE("matrix contraction: other shapes of tiles, subgroups of other sizes") {
  const auto f16 = [](const Case& given, const kernel::TileUnit& unit) {
    for (const bool element_wise : {false, true}) {
      Case c = given;
      c.schedule.unit = unit;
      if (!c.schedule.suits_unit()) continue;
      c.element_wise = element_wise;
      check(c);
      c.schedule.b_columns = c.b_in_memory = !element_wise;
      if (c.b_in_memory && c.k % 8 == 0) check(c);
    }
  };
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.unit.shape.m);
    CAPTURE(shape.unit.shape.n);
    CAPTURE(shape.unit.shape.k);
    for (const Case& c :
         {Case{33, 40, 72, {32, 32, 64, 1, 1, 4, 1}}, Case{40, 56, 104, {64, 32, 64, 4, 2, 1, 2}},
          Case{45, 40, 136, {16, 32, 32, 1, 1, 4, 1, false, true}, false, true},
          Case{35, 48, 328, {64, 48, 64, 4, 1, 2, 2, false, false, 2}}}) {
      if (shape.element == DType::kF16) {
        f16(c, shape.unit);
        continue;
      }
      Case other = c;
      other.schedule.unit = shape.unit;
      other.schedule.int8 = shape.element == DType::kI8;
      other.schedule.bf16x6 = shape.element == DType::kBF16;
      if (!other.schedule.suits_unit()) continue;
      shape.element == DType::kI8 ? check_bytes(other) : check(other);
    }
    if (shape.element != DType::kF16) continue;
    Case c{17, 24, 2064, {16, 32, 64, 1, 1, 2, 2}};
    c.schedule.unit = shape.unit;
    c.schedule.bytes_planes = 2;
    check_bytes(c);
    c = {33, 40, 72, {32, 32, 32, 1, 1, 2, 1}};
    c.schedule.unit = shape.unit;
    check_integers(c, 4, 16, true);
  }
}

}  // namespace
}  // namespace tern::lower::gpu
