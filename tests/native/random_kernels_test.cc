// Random expressions of several types, as vector code with masked tails, simplified: machine code against the
// evaluator.
#include <doctest/doctest.h>

#include "compiler/render/c_target.h"
#include "tests/native/cuda_on_host.h"
#include "tests/native/guarded_run.h"
#include "tests/native/native_kernel.h"
#include "tests/native/op_cases.h"

namespace tern::test {
namespace {

using namespace kernel;

const DType kTypes[] = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8,  DType::kU8,
                        DType::kI16, DType::kI32, DType::kU32, DType::kI64,  DType::kBool};

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed), i_(make_var("i")) {
    for (DType t : kTypes) inputs_.push_back(input_buffer(fmt::format("in_{}", dtype_name(t)), t));
  }
  const Var& index() const { return i_; }
  const std::vector<Buffer>& inputs() const { return inputs_; }
  std::mt19937& random() { return random_; }
  Expr value(DType t, int depth);

 private:
  const Buffer& input(DType t) {
    for (const Buffer& b : inputs_) {
      if (b->type.dtype == t) return b;
    }
    TERN_UNREACHABLE("no input");
  }
  Expr read(DType t);
  Expr condition(int depth);

  std::mt19937 random_;
  Var i_;
  std::vector<Buffer> inputs_;
};

// Consecutive, broadcast, reversed, gathered, or padded: never outside.
Expr Generator::read(DType t) {
  const Buffer& b = input(t);
  Expr i = var_expr(i_);
  Expr last = int_const(kCaseElements - 1);
  switch (random_() % 6) {
    case 0:
      return load(b, int_const(random_() % kCaseElements));
    case 1:
      return load(b, sub(last, i));
    case 2:
      return load(b, index_rem(mul(i, int_const(3)), int_const(kCaseElements)));
    case 3: {
      int64_t shift = static_cast<int64_t>(random_() % 9) - 4;
      Expr at = add(i, int_const(shift));
      Expr inside =
          op(ScalarOp::kAnd, {compare(ScalarOp::kGe, at, int_const(0)), compare(ScalarOp::kLe, at, last)});
      Expr other = is_float(t) ? float_const(1.5, t) : int_const(1, t);
      return select(inside, load(b, at), other);
    }
    default:
      return load(b, i);
  }
}

Expr Generator::condition(int depth) {
  DType t = kTypes[random_() % (std::size(kTypes) - 1)];
  const ScalarOp kCompare[] = {ScalarOp::kEq, ScalarOp::kNe, ScalarOp::kLt,
                               ScalarOp::kLe, ScalarOp::kGt, ScalarOp::kGe};
  return compare(kCompare[random_() % 6], value(t, depth), value(t, depth));
}

Expr Generator::value(DType t, int depth) {
  if (depth <= 0) {
    if (random_() % 4 != 0) return read(t);
    if (is_float(t)) return float_const(static_cast<int>(random_() % 17) / 4.0 - 2, t);
    return int_const(static_cast<int64_t>(random_() % 7), t);
  }
  switch (random_() % 6) {
    case 0: {
      DType from = kTypes[random_() % std::size(kTypes)];
      // Through f64 a 64-bit integer would be rounded twice on its way to a narrow float.
      bool twice = dtype_bits(from) == 64 && is_int(from) && is_float(t) && dtype_bits(t) == 16;
      return twice ? read(t) : cast(value(from, depth - 1), t);
    }
    case 1:
      return select(condition(depth - 1), value(t, depth - 1), value(t, depth - 1));
    default:
      break;
  }
  for (;;) {
    auto which = static_cast<ScalarOp>(random_() % static_cast<uint32_t>(ScalarOp::kCount));
    const auto& row = scalar::info(which);
    // Exact ops only: an error of one place in the middle could be anything at the end.
    bool exact = !row.expensive && which != ScalarOp::kSelect && which != ScalarOp::kFma;
    bool other_result = row.rule == scalar::TypeRule::kCompare || row.rule == scalar::TypeRule::kTest;
    std::vector<DType> operands(static_cast<size_t>(row.arity), t);
    if (!exact || (other_result && t != DType::kBool) || !scalar::result_type(which, operands).ok()) continue;
    std::vector<Expr> args;
    for (int a = 0; a < row.arity; ++a) args.push_back(value(t, depth - 1));
    return op(which, std::move(args));
  }
}

std::vector<Case> random_cases(int vector_bits) {
  std::vector<Case> cases;
  for (uint32_t seed = 0; seed < 80; ++seed) {
    Generator g(seed);
    DType t = kTypes[seed % std::size(kTypes)];
    Expr value = g.value(t, 1 + static_cast<int>(seed % 4));
    int lanes = vector_bits / (seed % 3 == 0 ? 32 : seed % 3 == 1 ? 64 : 16);
    cases.push_back(
        {elementwise_kernel(fmt::format("random_{}", seed), g.inputs(), t, g.index(), value, lanes),
         fmt::format("seed {}", seed), 0});
  }
  return cases;
}

TEST_CASE("cuda text on the host: random kernels agree with the evaluator") {
  check_cuda_on_host(random_cases(128), "random");
}

TEST_CASE("random kernels agree with the evaluator on every level") {
  for (const std::string& level : native_levels()) {
    const std::vector<Case> cases = random_cases(render::c_target(level)->vector_bits);
    std::vector<Kernel> kernels;
    for (const Case& c : cases) kernels.push_back(c.kernel);
    auto image = compile(kernels, level);
    REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
    LoadedImage loaded(*image);
    std::mt19937 random(5);
    for (size_t k = 0; k < cases.size(); ++k) {
      for (int round = 0; round < 4; ++round) {
        std::string problem = compare_runs(cases[k].kernel, loaded.function(k), random, 0);
        CHECK_MESSAGE(problem.empty(), level << " " << cases[k].what << ": " << problem << "\n"
                                             << print_kernel(cases[k].kernel));
        if (!problem.empty()) break;
      }
    }
  }
}

}  // namespace
}  // namespace tern::test
