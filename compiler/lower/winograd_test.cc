#include <random>

#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/winograd_schedule.h"
#include "compiler/lower/winograd_transform.h"

namespace tern::lower {
namespace {

const std::vector<const MachineModel*> kMachines{&machine(Level::kX86V2), &machine(Level::kX86V3),
                                                 &machine(Level::kX86V4)};

WinogradShape shape(int64_t images, int64_t side, int64_t channels, int64_t columns) {
  return {images, side, side, channels, columns, true};
}

TEST_CASE("Winograd is chosen where less arithmetic outweighs transforms and larger weights") {
  CHECK(choose_winograd(shape(1, 56, 64, 64), kMachines) == 4);
  CHECK(choose_winograd(shape(1, 160, 16, 16), kMachines) == 4);
  CHECK(choose_winograd(shape(1, 14, 256, 256), kMachines) == 2);
  CHECK(choose_winograd(shape(1, 7, 512, 512), kMachines) == 0);
  CHECK(choose_winograd(shape(1, 2, 64, 64), kMachines) == 0);
  CHECK(choose_winograd(shape(1, 224, 3, 64), kMachines) == 0);
  CHECK(choose_winograd(shape(1, 112, 1, 1), kMachines) == 0);
  WinogradShape strided = shape(1, 40, 64, 128);
  strided.stride = 2;
  CHECK(choose_winograd(strided, kMachines) > 0);
  strided.channels = 3;
  CHECK(choose_winograd(strided, kMachines) == 0);
}

TEST_CASE("operations of the transforms") {
  for (const int stride : {1, 2}) {
    int64_t last = 0;
    for (const int outputs : winograd_sides(stride)) {
      const WinogradTransform& t = winograd_transform(outputs, stride);
      const WinogradOperations n = winograd_operations(t);
      CHECK(n.input > last);
      CHECK(n.output > t.outputs * t.outputs);
      // Of even and odd parts and no plain product with a matrix.
      CHECK(n.input < 2 * t.size() * t.size() * t.size() * 2);
      last = n.input;
    }
  }
}

TEST_CASE("blocks of Winograd's algorithm fit the L2 cache") {
  for (const MachineModel* m : kMachines) {
    for (const int64_t channels : {8, 64, 256, 512}) {
      for (const int outputs : {2, 4}) {
        const auto s = winograd_schedule(shape(4, 56, channels, 128), outputs, *m);
        if (!s) continue;
        const int64_t points = (outputs + 2) * (outputs + 2);
        CHECK(points * 4 * s->product.block_rows * channels <= m->l2_bytes);
        CHECK(s->product.block_rows % s->product.rows == 0);
      }
    }
  }
  CHECK(!winograd_schedule(shape(1, 56, 16384, 128), 4, machine(Level::kX86V3)));
}

// A convolution's graph: x [N, channels, H, W], constant weights and bias, residual, activation.
std::string conv_text(const std::string& batch, const std::string& side, int64_t channels, int64_t outputs,
                      int64_t down = 1, int64_t across = 1) {
  std::string weights, biases;
  for (int64_t i = 0; i < outputs * channels * 9; ++i)
    weights += fmt::format("{}{}", i > 0 ? ", " : "", static_cast<double>(i * 7 % 11 - 5) / 64);
  for (int64_t i = 0; i < outputs; ++i) biases += fmt::format("{}{}", i > 0 ? ", " : "", i % 5);
  return fmt::format(R"(
  input %x: f32[{0},{2},{1},13] as "x"
  input %r: f32[{0},{3},{1},14] as "r"
  %w = constant f32[{3},{2},3,3] {{{4}}}
  %u = constant f32[{3}] {{{5}}}
  %c = conv(%x, %w) <strides=[1,1], low=[{6},{8}], high=[{6},{7}], dilations=[{6},{7}], lhs_dilations=[1,1], groups=1>
  %uk = reshape(%u) <shape=[1,{3},1,1]>
  %ub = broadcast(%uk) <shape=[{0},{3},{1},14]>
  %b = add(%c, %ub)
  %q = add(%b, %r)
  %z = constant f32[] {{0}}
  %zb = broadcast(%z) <shape=[{0},{3},{1},14]>
  %y = max(%q, %zb)
  output %y as "y")",
                     batch, side, channels, outputs, weights, biases, down, across, across + 1);
}

// Which dispatches of the lowered graph run by Winograd's algorithm.
int winograd_dispatches(const std::string& text, DType precision = DType::kF32) {
  const auto program = lowered(text, {Arch::kX86_64, {Level::kX86V2, Level::kX86V4}}, {}, precision);
  int n = 0;
  for (const Step& s : program->steps) {
    if (s.kind == Step::Kind::kDispatch && s.dispatch->variants[0].kernel->schedule.starts_with("winograd"))
      ++n;
  }
  return n;
}

TEST_CASE("convolutions by Winograd's algorithm with bias, residual and activation, static and symbolic") {
  struct Case {
    std::string batch, side;
    int64_t channels, outputs;
    std::vector<int64_t> symbols;
  };
  for (const Case& c : {Case{"2", "21", 16, 24, {}}, Case{"N", "50", 32, 16, {2}},
                        Case{"N", "H", 17, 16, {1, 6}}, Case{"N", "H", 17, 16, {3, 2}}}) {
    const std::string text = conv_text(c.batch, c.side, c.channels, c.outputs);
    CAPTURE(c.batch + c.side);
    CHECK(winograd_dispatches(text) == 1);
    check_lowering_once({text, c.symbols}, "default");
  }
  // Dilated: as many convolutions of neighbouring pixels as there are phases, of lines and columns.
  CHECK(winograd_dispatches(conv_text("1", "21", 64, 24, 7, 1)) == 0);
  for (const auto& [side, down, across] : {std::tuple{"21", 2, 1}, {"40", 3, 2}, {"H", 4, 3}}) {
    const std::string text = conv_text("2", side, 24, 24, down, across);
    CAPTURE(down);
    CHECK(winograd_dispatches(text) == 1);
    const bool symbolic = side == std::string("H");
    for (const int64_t h : symbolic ? std::vector<int64_t>{1, 11} : std::vector<int64_t>{0})
      check_lowering_once({text, symbolic ? std::vector{h} : std::vector<int64_t>{}}, "dilated");
  }
  check_lowering_once({conv_text("1", "21", 16, 16), {}, {}, {"winograd"}}, "without winograd");
  LowerCase narrow{conv_text("2", "21", 16, 24)};
  narrow.precision = DType::kF16;
  CHECK(winograd_dispatches(narrow.text, DType::kF16) == 1);
  CHECK(winograd_dispatches(narrow.text, DType::kBF16) == 0);
  check_lowering_once(narrow, "stored as f16");
}

// y = A^T [(G g G^T) * (B^T d B)] A of one patch and one output channel, in f32, by the same functions as
// the kernels: their constants in the order that they are used.
class Patch {
 public:
  explicit Patch(const WinogradTransform& t) : t_(t), size_(static_cast<size_t>(t.size())) {}

  using Square = std::vector<std::vector<float>>;
  Square input(const Square& d) const { return both(d, winograd_input); }
  Square output(const Square& m) const { return both(m, winograd_output); }
  Square weights(const Square& g) const { return both(g, winograd_weights); }

 private:
  using Transform = decltype(&winograd_input);
  // The transform of constants folds to constants.
  std::vector<float> line(const std::vector<float>& in, Transform transform) const {
    std::vector<kernel::Expr> e;
    for (const float v : in) e.push_back(kernel::float_const(static_cast<double>(v)));
    std::vector<kernel::Stmt> lets;
    const auto out = transform(t_, true, e, lets);
    std::unordered_map<const kernel::VarNode*, kernel::Expr> values;
    for (const kernel::Stmt& s : lets) values[s->var.get()] = kernel::substitute(s->value, values);
    std::vector<float> result;
    for (const kernel::Expr& x : out) {
      const kernel::Expr v = kernel::substitute(x, values);
      REQUIRE(v->kind == kernel::ExprKind::kConst);
      result.push_back(static_cast<float>(v->f));
    }
    return result;
  }
  static Square turned(const Square& s) {
    Square out(s[0].size(), std::vector<float>(s.size()));
    for (size_t y = 0; y < s.size(); ++y) {
      for (size_t x = 0; x < s[0].size(); ++x) out[x][y] = s[y][x];
    }
    return out;
  }
  Square both(Square s, Transform transform) const {
    for (int pass = 0; pass < 2; ++pass) {
      for (std::vector<float>& row : s) row = line(row, transform);
      s = turned(s);
    }
    return s;
  }

  const WinogradTransform& t_;
  const size_t size_;
};

// docs/lowering.md states this bound: 1e-6 of the largest sum of absolute products in the patch.
TEST_CASE("rounding errors of Winograd's algorithm stay inside the stated bound") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const WinogradTransform& t : {winograd_transform(2, 1), winograd_transform(4, 1),
                                     winograd_transform(3, 2), winograd_transform(4, 2)}) {
    const auto size = static_cast<size_t>(t.size()), distinct = static_cast<size_t>(t.weights()),
               outputs = static_cast<size_t>(t.outputs), stride = static_cast<size_t>(t.stride);
    const Patch patch(t);
    for (const int64_t channels : {16, 256}) {
      auto weights = TensorData::make(DType::kF32, {1, channels, 3, 3});
      for (int64_t i = 0; i < channels * 9; ++i) weights->mutable_as<float>()[i] = normal(random);
      std::vector<Patch::Square> inputs;
      Patch::Square products(size, std::vector<float>(size, 0));
      for (int64_t c = 0; c < channels; ++c) {
        Patch::Square d(size, std::vector<float>(size));
        for (auto& row : d) {
          for (float& v : row) v = std::max(normal(random), 0.0F);
        }
        Patch::Square g(3, std::vector<float>(3));
        for (size_t tap = 0; tap < 9; ++tap)
          g[tap / 3][tap % 3] = weights->as<float>()[c * 9 + static_cast<int64_t>(tap)];
        const Patch::Square v = patch.input(d), u = patch.weights(g);
        for (size_t i = 0; i < size * size; ++i) {
          float& sum = products[i / size][i % size];
          const float by = u[std::min(i / size, distinct - 1)][std::min(i % size, distinct - 1)];
          sum = std::fma(v[i / size][i % size], by, sum);
        }
        inputs.push_back(std::move(d));
      }
      const Patch::Square y = patch.output(products);
      double worst = 0, most = 0;
      for (size_t oy = 0; oy < outputs; ++oy) {
        for (size_t ox = 0; ox < outputs; ++ox) {
          double want = 0, sum = 0;
          for (int64_t c = 0; c < channels; ++c) {
            for (size_t tap = 0; tap < 9; ++tap) {
              const double p =
                  static_cast<double>(
                      inputs[static_cast<size_t>(c)][oy * stride + tap / 3][ox * stride + tap % 3]) *
                  weights->float_at(c * 9 + static_cast<int64_t>(tap));
              want += p;
              sum += std::abs(p);
            }
          }
          worst = std::max(worst, std::abs(static_cast<double>(y[oy][ox]) - want));
          most = std::max(most, sum);
        }
      }
      CHECK(worst <= 1e-6 * most);
      CHECK(worst > 0);
    }
  }
}

}  // namespace
}  // namespace tern::lower
