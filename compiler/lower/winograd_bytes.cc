#include "compiler/lower/winograd_bytes.h"

#include <algorithm>
#include <array>

#include "compiler/lower/byte_product.h"
#include "compiler/lower/winograd_transform.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::Stmt;
using Stmts = std::vector<Stmt>;

Expr named(const char* name, const Expr& value, Stmts& out) {
  const kernel::Var v = kernel::make_var(name, value->type);
  out.push_back(kernel::let(v, value));
  return kernel::var_expr(v);
}

// 2 G g: the points of three taps, with the signs that winograd_input asks for.
std::array<Expr, 4> weight_points(const std::array<Expr, 3>& g, Stmts& out) {
  const Expr outer = named("outer", kernel::add(g[0], g[2]), out);
  const Expr none = kernel::broadcast(kernel::int_const(0, DType::kI16), g[0]->type.lanes);
  return {named("g", kernel::sub(kernel::sub(none, g[0]), g[0]), out),
          named("g", kernel::add(outer, g[1]), out), named("g", kernel::sub(outer, g[1]), out),
          named("g", kernel::add(g[2], g[2]), out)};
}

// One part (even or odd bytes) of i8 x 4 * lanes as words.
Expr part_of(const Expr& bytes, int part) {
  const int words = bytes->type.lanes / 2;
  const Expr all = kernel::bitcast(bytes, {DType::kI16, words}),
             eight = kernel::broadcast(kernel::int_const(8, DType::kI16), words);
  const Expr high = part == 0 ? kernel::op(kernel::ScalarOp::kShl, {all, eight}) : all;
  return kernel::op(kernel::ScalarOp::kShr, {high, eight});
}

// Measured on Zen 5 held to AVX2, in cycles.
constexpr double kWordStep = 1.25;    // a vector and step of the products, four instructions
constexpr double kTransform = 40;     // a vector of words of a patch or of weights, one direction
constexpr double kRegisterTile = 30;  // besides its steps
constexpr double kGridTile = 2000;
constexpr double kLeastGain = 0.88;

double cycles_of(const WinogradShape& shape, const ContractionSchedule& p, int64_t patches) {
  const auto columns = static_cast<double>(ceil_div(shape.columns, p.lanes)),
             blocks = static_cast<double>(ceil_div(patches, p.block_rows)),
             column_blocks = static_cast<double>(ceil_div(shape.columns, p.block_columns)),
             all = static_cast<double>(patches), steps = static_cast<double>(shape.channels) / kByteGroup;
  const double input = all * 2 * static_cast<double>(ceil_div(shape.channels, 4 * p.lanes)) * kTransform;
  const double output = all * columns * kTransform;
  const double weights = blocks * steps * columns * 2 * kTransform;
  const double products = kByteWinogradPoints * all * columns * steps * kWordStep;
  const double tiles = kByteWinogradPoints * blocks * static_cast<double>(ceil_div(p.block_rows, p.rows)) *
                       static_cast<double>(ceil_div(shape.columns, int64_t{p.vectors} * p.lanes));
  return input * column_blocks + output + weights + products + tiles * kRegisterTile +
         blocks * column_blocks * kGridTile;
}

}  // namespace

std::optional<WinogradSchedule> winograd_bytes_schedule(const WinogradShape& shape, double direct_step,
                                                        const MachineModel& machine) {
  const int lanes = machine.vector_bits / 32;
  if (machine.byte_products != ByteProducts::kPairs || machine.arch != Arch::kX86_64 || shape.stride != 1 ||
      !shape.is_static || shape.channels % kByteGroup != 0 || shape.channels < 4 * lanes ||
      shape.channels > kByteWinogradChannels || shape.columns % kPanelColumns != 0)
    return std::nullopt;
  const int64_t patches = shape.images * ceil_div(shape.out_height, kByteWinogradOutputs) *
                          ceil_div(shape.out_width, kByteWinogradOutputs);
  const double direct = direct_step * static_cast<double>(shape.images * shape.out_height * shape.out_width) *
                        static_cast<double>(ceil_div(shape.columns, lanes)) *
                        static_cast<double>(9 * shape.channels / kByteGroup);
  std::optional<WinogradSchedule> best;
  for (int64_t blocks = 1; blocks <= patches; blocks += std::max<int64_t>(1, blocks / 8)) {
    ContractionShape product;
    product.m = ceil_div(patches, blocks);
    product.n = shape.columns;
    product.k = shape.channels / kByteGroup;
    product.bytes = product.words = true;
    WinogradSchedule s;
    s.outputs = kByteWinogradOutputs;
    ContractionSchedule& p = s.product;
    choose_register_tile(product, machine, p);
    p.rows = static_cast<int>(ceil_div(product.m, ceil_div(product.m, p.rows)));
    p.block_rows = blocks == 1 ? patches : round_up(product.m, p.rows);
    p.block_depth = product.k;
    const int64_t group = int64_t{p.vectors} * p.lanes, groups = ceil_div(shape.columns, group);
    const int64_t scratch = kByteWinogradPoints * (2 * p.block_rows * shape.channels +
                                                   4 * p.block_rows * group + 2 * shape.channels * group);
    if (scratch > machine.l2_bytes * 5 / 8) continue;
    // Some sixteen tiles of the grid, or as many as there are.
    for (int64_t column_blocks = std::min(groups, ceil_div(16, blocks)); column_blocks <= groups;
         column_blocks = groups + 1) {
      p.block_columns = ceil_div(groups, column_blocks) * group;
      s.cycles = cycles_of(shape, p, patches);
      if (s.cycles < kLeastGain * direct && (!best || s.cycles < best->cycles)) best = s;
    }
  }
  return best;
}

Stmts winograd_byte_weights(int64_t steps, int vectors, const std::function<WordPanel(int64_t point)>& panel,
                            const std::function<Expr(int64_t tap, const Expr& step, int vector)>& weight) {
  const kernel::Var sv = kernel::make_var("step");
  const Expr step = kernel::var_expr(sv);
  Stmts body;
  for (int vector = 0; vector < vectors; ++vector) {
    std::array<Expr, 9> taps;
    for (int64_t tap = 0; tap < 9; ++tap) taps[static_cast<size_t>(tap)] = weight(tap, step, vector);
    for (int part = 0; part < kPairParts; ++part) {
      std::array<std::array<Expr, 4>, 3> half;  // along y, for each x
      for (size_t x = 0; x < 3; ++x) {
        std::array<Expr, 3> g;
        for (size_t y = 0; y < 3; ++y) g[y] = named("w", part_of(taps[3 * y + x], part), body);
        half[x] = weight_points(g, body);
      }
      for (size_t y = 0; y < 4; ++y) {
        const std::array<Expr, 4> row = weight_points({half[0][y], half[1][y], half[2][y]}, body);
        for (size_t x = 0; x < 4; ++x) {
          const WordPanel to = panel(static_cast<int64_t>(4 * y + x));
          body.push_back(kernel::store(to.words, to.at(step, vector, part), row[x]));
        }
      }
    }
  }
  return {kernel::loop(sv, kernel::int_const(0), kernel::int_const(steps), kernel::LoopKind::kSerial,
                       std::move(body))};
}

}  // namespace tern::lower
