// Scatters of rows, in memory of their own and in their data's.
#include "compiler/lower/donation.h"
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

const Target kCpu{Arch::kX86_64, {Level::kX86V3}};
const Target kCuda{Arch::kCuda, {Level::kCudaSm80}};

// A cache of B sequences, S new rows of each from its own position on; `result` reads it.
std::string cache(const std::string& queries, const std::string& result = "") {
  const std::string rows = "B,2," + queries + ",8";
  const std::string positions = fmt::format("B,1,{},1", queries);
  return fmt::format(R"(
  input %past: f32[B,2,16,8] as "past"
  input %new: f32[{0}] as "new"
  input %first: i64[B] as "first"
  %n = iota() <shape=[1,1,{1},1], axis=2, dtype=i64>
  %nb = broadcast(%n) <shape=[{2}]>
  %f = reshape(%first) <shape=[B,1,1,1]>
  %fb = broadcast(%f) <shape=[{2}]>
  %p = add(%nb, %fb)
  %i = broadcast(%p) <shape=[{0}]>
  %fresh = neg(%new)
  %s = scatter_elements(%past, %i, %fresh) <axis=2, reduction="none">
{3}
  output %s as "present")",
                     rows, queries, positions, result);
}

// As check_lowering, and in place the same.
void check_both(const std::string& text, const std::vector<int64_t>& symbols) {
  check_lowering({text, symbols});
  for (const Target& target : {kCpu, kCuda, Target{Arch::kVulkan, {Level::kVulkan11}}}) {
    const auto program = lowered(text, target);
    std::vector<std::pair<Dim, int64_t>> known;
    const auto size = [&](const Dim& d) {
      if (d.is_const()) return d.value();
      for (const auto& [symbol, value] : known)
        if (symbol == d) return value;
      known.emplace_back(d, symbols[known.size()]);
      return known.back().second;
    };
    std::vector<TensorDataPtr> inputs;
    for (size_t i = 0; i < program->inputs.size(); ++i) {
      const IoDef& io = program->inputs[i];
      inputs.push_back(test_input(graph::Type::tensor(io.dtype, io.shape), size, i + 1));
    }
    auto apart = evaluate_program(*program, inputs),
               together = evaluate_program_in_place(*program, inputs);
    REQUIRE_MESSAGE(apart.ok(), apart.error().text());
    REQUIRE_MESSAGE(together.ok(), together.error().text());
    for (size_t i = 0; i < apart->size(); ++i) {
      std::string where;
      CHECK_MESSAGE(close(*(*apart)[i], *(*together)[i], where), where);
    }
  }
}

int copies(const LoweredProgram& program) {
  int n = 0;
  for (const Step& step : program.steps) n += step.kind == Step::Kind::kDispatch && step.dispatch->copy_for;
  return n;
}

TEST_CASE("rows are put into a cache, apart and in place") {
  check_both(cache("3"), {2});
  check_both(cache("1"), {3});
  check_both(cache("S"), {2, 4});
  check_both(cache("S", R"(
  %sum = reduce(%s) <op=add, axes=[2]>
  output %sum as "sum")"),
             {2, 4});
}

TEST_CASE("a cache in place is not copied") {
  for (const Target& target : {kCpu, kCuda}) {
    const auto program = lowered(cache("1"), target);
    REQUIRE(donations(*program).size() == 1);
    int skipped = 0, kept = 0;
    for (const Step& step : program->steps) {
      if (step.kind != Step::Kind::kDispatch) continue;
      const auto tiles = step.dispatch->variants[0].tiles.substitute([](const std::string& name) {
        return name == "_in_place0" ? std::optional(Dim(1)) : std::nullopt;
      });
      ++(tiles.is_const(0) ? skipped : kept);
    }
    CHECK(skipped == 1);
    CHECK(kept >= 1);
  }
}

TEST_CASE("rows whose position the sizes tell are computed where they go") {
  const std::string text = R"(
  input %past: f32[1,2,16,8] as "past"
  input %new: f32[1,2,3,8] as "new"
  input %filled: f32[P] as "filled"
  %n = iota() <shape=[1,1,3,1], axis=2, dtype=i64>
  %f = from_dims() <dims=[P], shape=[1], dtype=i64>
  %fb = broadcast(%f) <shape=[1,1,3,1]>
  %p = add(%n, %fb)
  %i = broadcast(%p) <shape=[1,2,3,8]>
  %fresh = neg(%new)
  %s = scatter_elements(%past, %i, %fresh) <axis=2, reduction="none">
  output %s as "present"
)";
  check_both(text, {0});
  check_both(text, {13});
  CHECK(copies(*lowered(text, kCpu)) == 1);  // of the cache
}

TEST_CASE("in place a cache cannot become longer") {
  const auto program = lowered(R"(
  input %past: f32[1,M,4] as "past"
  input %new: f32[1,1,4] as "new"
  input %at: i64[1] as "at"
  input %size: f32[T] as "size"
  %zero = constant f32[] {0}
  %long = pad(%past, %zero) <low=[0,0,0], high=[0,max(M,T)-M,0], mode="constant">
  %p = reshape(%at) <shape=[1,1,1]>
  %i = broadcast(%p) <shape=[1,1,4]>
  %s = scatter_elements(%long, %i, %new) <axis=1, reduction="none">
  output %s as "present")",
                               kCpu);
  REQUIRE(donations(*program).size() == 1);
  const auto inputs = [](int64_t room, int64_t total, int64_t at) {
    const auto zeros = [](std::vector<int64_t> shape) {
      return TensorData::make(DType::kF32, std::move(shape));
    };
    auto position = TensorData::make(DType::kI64, {1});
    position->set_int(0, at);
    return std::vector<TensorDataPtr>{zeros({1, room, 4}), zeros({1, 1, 4}), position, zeros({total})};
  };
  CHECK(evaluate_program_in_place(*program, inputs(8, 5, 4)).ok());
  CHECK(evaluate_program(*program, inputs(8, 9, 8)).ok());
  auto refused = evaluate_program_in_place(*program, inputs(8, 9, 8));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().text() ==
        "Output 'present' lies in the memory of input 'past', which has no room for what it must hold.");
}

TEST_CASE("an input that somebody else reads is no donor") {
  const auto program = lowered(cache("1", R"(
  %again = abs(%past)
  output %again as "again")"),
                               kCpu);
  CHECK(donations(*program).empty());
}

TEST_CASE("positions that are no run are left to the kernels of any scatter") {
  const std::string text = R"(
  input %past: f32[2,16,8] as "past"
  input %new: f32[2,3,8] as "new"
  input %at: i64[2,3,1] as "at"
  %i = broadcast(%at) <shape=[2,3,8]>
  %s = scatter_elements(%past, %i, %new) <axis=1, reduction="none">
  output %s as "present")";
  check_lowering({text});
  CHECK(donations(*lowered(text, kCpu)).size() == 1);
}

}  // namespace
}  // namespace tern::lower
