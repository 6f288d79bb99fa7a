// Differential tests of lowering: a graph's text is lowered, its steps run on the kernel evaluator at every
// level of a CPU and of the GPUs, and compared with the graph evaluator. Inputs are small integers scaled so
// that float sums are exact in any order, unless a graph has functions that round.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "compiler/lower/lower.h"
#include "compiler/lower/program_key.h"
#include "compiler/lower/step_eval.h"

namespace tern::lower {

inline TensorDataPtr test_input(const graph::Type& type, const std::function<int64_t(const Dim&)>& size,
                                uint64_t seed) {
  std::vector<int64_t> shape;
  for (const Dim& d : type.shape) shape.push_back(size(d));
  auto data = TensorData::make(type.dtype, shape);
  uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 12345;
  for (int64_t i = 0; i < data->count(); ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto v = static_cast<int64_t>((state >> 40) % 9);
    if (is_float(type.dtype)) {
      data->set_float(i, static_cast<double>(v - 4) / 2);
    } else if (type.dtype == DType::kBool) {
      data->set_int(i, v % 2);
    } else {
      data->set_int(i, v);
    }
  }
  return data;
}

// What storing values in 16 bits, or multiplying them in TF32, may change: each stored value and constant, or
// operand, is rounded once, by half a unit in its last place at most, and what is computed from it is not
// much larger than the largest result.
inline double rounding_bound(const PrecisionReport& report, const TensorData& want) {
  if (report.storage == DType::kF32 && !report.tf32) return 0;
  double largest = 1;
  for (int64_t i = 0; i < want.count(); ++i) {
    const double v = std::abs(want.float_at(i));
    if (std::isfinite(v)) largest = std::max(largest, v);
  }
  const double unit = report.storage == DType::kBF16 ? 0x1p-8 : 0x1p-11;
  return 2 * unit * largest * (report.narrow_values + report.narrow_constants + 2 * report.tf32_products);
}

// `slack`: an absolute difference that is allowed in f32 results.
inline bool close(const TensorData& want, const TensorData& got, std::string& where, double slack = 0) {
  if (want.shape() != got.shape() || want.dtype() != got.dtype()) {
    where = "shape or type differs";
    return false;
  }
  for (int64_t i = 0; i < want.count(); ++i) {
    bool good;
    if (is_float(want.dtype())) {
      const double a = want.float_at(i), b = got.float_at(i);
      const double tolerance = dtype_bits(want.dtype()) == 16 ? 2e-2 : 1e-5;
      good = (std::isnan(a) && std::isnan(b)) || a == b ||
             std::abs(a - b) <= tolerance * (1 + std::abs(a)) + slack;
      if (!good) where = fmt::format("element {}: want {}, got {}", i, a, b);
    } else {
      good = want.int_at(i) == got.int_at(i);
      if (!good) where = fmt::format("element {}: want {}, got {}", i, want.int_at(i), got.int_at(i));
    }
    if (!good) return false;
  }
  return true;
}

// Lines that make `to` the softmax of `from` (f32 of this shape, "N,K") along an axis.
inline std::string softmax_lines(std::string_view from, std::string_view to, const std::string& shape,
                                 int axis) {
  size_t begin = 0;
  for (int a = 0; a < axis; ++a) begin = shape.find(',', begin) + 1;
  const std::string one =
      shape.substr(0, begin) + "1" + shape.substr(std::min(shape.find(',', begin), shape.size()));
  return fmt::format(R"(
  %{1}_m = reduce(%{0}) <op=max, axes=[{2}]>
  %{1}_mr = reshape(%{1}_m) <shape=[{3}]>
  %{1}_mb = broadcast(%{1}_mr) <shape=[{4}]>
  %{1}_d = sub(%{0}, %{1}_mb)
  %{1}_e = exp(%{1}_d)
  %{1}_s = reduce(%{1}_e) <op=add, axes=[{2}]>
  %{1}_sr = reshape(%{1}_s) <shape=[{3}]>
  %{1}_sb = broadcast(%{1}_sr) <shape=[{4}]>
  %{1} = div(%{1}_e, %{1}_sb)
)",
                     from, to, axis, one, shape);
}

// "i8[2,3] {…}": a tensor of text form whose element i is number(i).
template <typename Number>
std::string literal(std::string_view dtype, const std::vector<int64_t>& shape, const Number& number) {
  std::string dims, numbers;
  int64_t count = 1;
  for (const int64_t n : shape) {
    dims += fmt::format("{}{}", dims.empty() ? "" : ",", n);
    count *= n;
  }
  for (int64_t i = 0; i < count; ++i) numbers += fmt::format("{}{}", i == 0 ? "" : ", ", number(i));
  return fmt::format("{}[{}] {{{}}}", dtype, dims, numbers);
}

struct LowerCase {
  std::string text;
  std::vector<int64_t> symbols = {};  // a value for each symbolic input dimension, in order of appearance
  std::vector<TensorDataPtr> inputs = {};  // instead of the generated ones
  std::vector<std::string> disabled = {};
  int dispatches = -1;  // expected number, when given
  DType precision = DType::kF32;
  bool tf32 = false;
  // False: the graph has steps (floor_mod of sums), which make of a rounding any difference. Stored in 16
  // bits, it is only compared between levels.
  bool continuous = true;
  Fusion fusion = Fusion::kPredicted;
};

inline int count_dispatches(const std::vector<Step>& steps) {
  int n = 0;
  for (const Step& s : steps) {
    if (s.kind == Step::Kind::kDispatch) ++n;
    if (s.kind == Step::Kind::kIf)
      n += count_dispatches(s.branch->then_steps) + count_dispatches(s.branch->else_steps);
    if (s.kind == Step::Kind::kLoop) n += count_dispatches(s.loop->body);
  }
  return n;
}

inline int most_variants(const std::vector<Step>& steps) {
  size_t most = 0;
  for (const Step& s : steps)
    if (s.kind == Step::Kind::kDispatch) most = std::max(most, s.dispatch->variants.size());
  return static_cast<int>(most);
}

// What programs gave, by their keys: the ways to lower a graph differ in few of its programs, and evaluating
// one is what takes the time. For one graph and its inputs.
using Evaluated = std::map<std::string, Result<std::vector<TensorDataPtr>>>;

inline Result<std::vector<TensorDataPtr>>& evaluated(Evaluated& seen, const LoweredProgram& program,
                                                     const std::vector<TensorDataPtr>& inputs, int level) {
  const auto [at, added] = seen.try_emplace(program_key(program, level), std::vector<TensorDataPtr>());
  if (added) at->second = evaluate_program(program, inputs, level);
  return at->second;
}

// Lowers for one target and compares at every level; `what` names the options in failures.
inline void check_lowering_for(const LowerCase& c, const Target& target, const std::string& what,
                               Evaluated& seen) {
  CAPTURE(what);
  CAPTURE(c.text);
  CAPTURE(std::string(arch_name(target.arch)));
  auto g = graph::parse_graph("graph \"g\" {\n" + c.text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  REQUIRE(graph::verify(**g) == "");
  std::vector<TensorDataPtr> inputs = c.inputs;
  std::vector<std::pair<Dim, int64_t>> sizes;
  const auto size = [&](const Dim& d) -> int64_t {
    if (d.is_const()) return d.value();
    for (const auto& [known, value] : sizes) {
      if (known == d) return value;
    }
    const auto known = d.evaluate([&](const std::string& name) -> std::optional<int64_t> {
      for (const auto& [symbol, value] : sizes) {
        if (symbol == Dim::symbol(name)) return value;
      }
      return std::nullopt;
    });
    if (known) return *known;
    const int64_t value = sizes.size() < c.symbols.size() ? c.symbols[sizes.size()] : 5;
    sizes.emplace_back(d, value);
    return value;
  };
  for (size_t i = inputs.size(); i < (*g)->body.args.size(); ++i)
    inputs.push_back(test_input((*g)->body.args[i]->type, size, i + 1));
  std::vector<graph::EvalValue> eval_inputs;
  for (const TensorDataPtr& t : inputs) eval_inputs.push_back({t, nullptr});
  auto want = graph::evaluate(**g, eval_inputs);
  REQUIRE_MESSAGE(want.ok(), want.error().text());

  LowerOptions options;
  options.disabled = c.disabled;
  options.fusion = c.fusion;
  options.precision = c.precision;
  options.tf32 = c.tf32;
  Diagnostics diagnostics;
  auto program = lower(**g, target, options, diagnostics);
  REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
  const bool levels_only = !c.continuous && (c.precision != DType::kF32 || c.tf32);
  if (c.dispatches >= 0) CHECK(count_dispatches(program->steps) == c.dispatches);
  const int levels = std::max(static_cast<int>(target.levels.size()), most_variants(program->steps));
  for (int level = 0; level < levels; ++level) {
    auto& got = evaluated(seen, *program, inputs, level);
    REQUIRE_MESSAGE(got.ok(), got.error().text());
    REQUIRE(got->size() == want->size());
    if (levels_only && level == 0) {
      for (size_t i = 0; i < got->size(); ++i) (*want)[i].tensor = (*got)[i];
    }
    for (size_t i = 0; i < got->size(); ++i) {
      std::string where;
      const TensorData& expected = *(*want)[i].tensor;
      const double slack = is_float(expected.dtype()) ? rounding_bound(program->precision, expected) : 0;
      CHECK_MESSAGE(close(expected, *(*got)[i], where, slack), "level ", level, ", output ", i, ": ", where);
    }
  }
}

inline void check_lowering_for(const LowerCase& c, const Target& target, const std::string& what) {
  Evaluated seen;
  check_lowering_for(c, target, what, seen);
}

// The program of a graph's statements.
inline std::unique_ptr<LoweredProgram> lowered(const std::string& text, const Target& target,
                                               std::vector<std::string> disabled = {},
                                               DType precision = DType::kF32) {
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  LowerOptions options;
  options.disabled = std::move(disabled);
  options.precision = precision;
  Diagnostics diagnostics;
  auto program = lower(**g, target, options, diagnostics);
  REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
  return program;
}

// Vulkan's kernels are CUDA's without shuffles, with fewer threads, but for those on cooperative matrices:
// twice a graph is enough.
inline void check_lowering_once(const LowerCase& c, const std::string& what, Evaluated& seen) {
  check_lowering_for(
      c, {Arch::kX86_64, {Level::kX86V2, Level::kX86V4}, {Level::kX86V4Vnni, Level::kX86V4Bf16}}, what, seen);
  check_lowering_for(c, {Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}}, what, seen);
  if (what == "default")
    check_lowering_for(c, {Arch::kVulkan, {Level::kVulkan11, Level::kVulkanSubgroup}}, what, seen);
  if (what == "stored as f16")
    check_lowering_for(c, {Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix}}, what, seen);
}

inline void check_lowering_once(const LowerCase& c, const std::string& what) {
  Evaluated seen;
  check_lowering_once(c, what, seen);
}

// With every optional fusion, with each one disabled, with values stored in 16 bits, and in TF32.
inline void check_lowering(LowerCase c) {
  Evaluated seen;
  check_lowering_once(c, "default", seen);
  c.dispatches = -1;
  for (const std::string_view step : kOptionalSteps) {
    c.disabled = {std::string(step)};
    check_lowering_once(c, fmt::format("without {}", step), seen);
  }
  c.disabled = {};
  for (const Fusion fusion : {Fusion::kTogether, Fusion::kApart}) {
    c.fusion = fusion;
    check_lowering_for(c, {Arch::kX86_64, {Level::kX86V2, Level::kX86V4}},
                       fusion == Fusion::kTogether ? "together" : "apart", seen);
  }
  c.fusion = Fusion::kPredicted;
  c.tf32 = true;
  check_lowering_for(c, {Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}}, "in TF32", seen);
  c.tf32 = false;
  for (const DType precision : {DType::kF16, DType::kBF16}) {
    c.precision = precision;
    c.disabled = {};
    check_lowering_once(c, fmt::format("stored as {}", dtype_name(precision)), seen);
    c.disabled = {"fuse_epilogue", "fuse_producers", "fuse_rows"};
    check_lowering_once(c, fmt::format("unfused, stored as {}", dtype_name(precision)), seen);
  }
}

// The kernels of a graph for one level, one after the other.
inline std::string kernels_of(const std::string& body, Level level = Level::kX86V4) {
  auto g = graph::parse_graph("graph \"g\" {\n" + body + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  Diagnostics diagnostics;
  auto program = lower(**g, Target{Arch::kX86_64, {level}}, {}, diagnostics);
  REQUIRE(diagnostics.ok());
  std::string out;
  for (const Step& step : program->steps) {
    if (step.kind == Step::Kind::kDispatch) out += kernel::print_kernel(*step.dispatch->variants[0].kernel);
  }
  return out;
}

}  // namespace tern::lower
