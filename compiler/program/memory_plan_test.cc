// The memory plan against a brute-force run: every program is executed step by step on an arena whose cells
// remember which buffer wrote them last; a read must find what its buffer's last writer left.
#include "compiler/program/memory_plan.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

#include "compiler/lower/step_access.h"
#include "compiler/program/arena_packing.h"
#include "compiler/program/program_builder_for_tests.h"

namespace tern::program {
namespace {

using lower::Step;

class Machine {
 public:
  Machine(const lower::LoweredProgram& program, const MemoryPlan& plan,
          std::map<std::string, int64_t> symbols)
      : program_(program), plan_(plan), symbols_(std::move(symbols)), written_(program.buffers.size(), -1) {
    for (const auto& [name, dim] : plan.definitions) symbols_[name] = value(dim);
    cells_.resize(static_cast<size_t>(value(plan.arena_bytes) / 64));
  }
  void run(const std::vector<Step>& steps, std::mt19937& random) {
    for (const Step& step : steps) {
      if (is_command(step)) command(step);
      if (step.kind == Step::Kind::kIf)
        run(random() % 2 ? step.branch->then_steps : step.branch->else_steps, random);
      if (step.kind == Step::Kind::kLoop) {
        for (int i = 0; i < 3; ++i) run(step.loop->body, random);
      }
      if (step.kind == Step::Kind::kSwap) {
        const size_t a = static_cast<size_t>(step.swap->a), b = static_cast<size_t>(step.swap->b);
        std::swap(symbols_[plan_.offsets[a].symbol_name()], symbols_[plan_.offsets[b].symbol_name()]);
        std::swap(written_[a], written_[b]);
      }
    }
  }
  int reads = 0, wrong = 0;

 private:
  const lower::LoweredProgram& program_;
  const MemoryPlan& plan_;
  std::map<std::string, int64_t> symbols_;
  std::vector<int> cells_;    // by 64 bytes: number of the write
  std::vector<int> written_;  // by root: its last write
  int writes_ = 0;

  int64_t value(const Dim& dim) const {
    return *dim.evaluate(
        [&](const std::string& name) -> std::optional<int64_t> { return symbols_.at(name); });
  }
  void command(const Step& step) {
    for (bool write : {false, true}) {
      const int number = write ? ++writes_ : 0;
      for (const lower::Binding* binding : step_bindings(step)) {
        if ((binding->access == kWrite) != write) continue;
        const size_t root = static_cast<size_t>(plan_.resolved[static_cast<size_t>(binding->buffer)].root);
        if (program_.buffers[root].kind != lower::BufferKind::kTemporary) continue;
        REQUIRE(plan_.has_place[root]);
        const int64_t begin = value(plan_.offsets[root]);
        CHECK(begin % kArenaAlignment == 0);
        const int64_t end = begin + value(program_.buffers[root].bytes);
        REQUIRE(end <= static_cast<int64_t>(cells_.size()) * 64);
        if (!write) ++reads;
        if (!write && written_[root] < 0)
          continue;  // the generator reads only what was written on every path
        for (int64_t at = begin / 64; at < (end + 63) / 64; ++at) {
          int& cell = cells_[static_cast<size_t>(at)];
          if (write) cell = number;
          if (!write && cell != written_[root]) ++wrong;
        }
        if (write) written_[root] = number;
      }
    }
  }
};

class Generator {
 public:
  Generator(uint32_t seed, bool symbolic) : random(seed), symbolic_(symbolic) {
    if (symbolic) {
      test.symbol("N", 8);
      test.symbol("H", 5);
    }
    condition_ = test.temporary(1);
    test.program.steps.push_back(test.dispatch({{condition_, kWrite}}));
    block(test.program.steps, 3, {});
  }
  std::mt19937 random;
  TestProgram test;

 private:
  bool symbolic_;
  int condition_ = 0;

  Dim size() {
    const int64_t k = 1 + static_cast<int64_t>(random() % 40);
    if (!symbolic_ || random() % 4 == 0) return k * 64;
    switch (random() % 4) {
      case 0:
        return Dim::symbol("N") * (k * 4);
      case 1:
        return Dim::symbol("N") * Dim::symbol("H") * k;
      case 2:
        return ceildiv(Dim::symbol("H"), 2) * (k * 16);
      default:
        return max(Dim::symbol("N"), Dim::symbol("H")) * k + 4;
    }
  }
  // Reads some of `values`, writes a new one.
  int define(std::vector<Step>& out, const std::vector<int>& values) {
    std::vector<TestUse> uses;
    Dim bytes = size();
    for (int i = 0; i < 2 && !values.empty(); ++i) {
      const int value = values[values.size() - 1 - random() % std::min<size_t>(values.size(), 5)];
      uses.push_back({value});
      if (random() % 2) bytes = test.program.buffers[static_cast<size_t>(value)].bytes;
    }
    const int result = test.temporary(bytes);
    uses.push_back({result, kWrite, random() % 2 == 0});
    out.push_back(test.dispatch(uses));
    return result;
  }
  void block(std::vector<Step>& out, int depth, std::vector<int> values) {
    const int count = 2 + static_cast<int>(random() % 8);
    for (int i = 0; i < count; ++i) {
      const uint32_t what = random() % 12;
      if (depth > 0 && what == 0) {
        branch(out, depth, values);
      } else if (depth > 0 && what == 1) {
        loop(out, depth, values);
      } else {
        values.push_back(define(out, values));
      }
    }
    if (!values.empty()) out.push_back(test.dispatch({{values[random() % values.size()]}}));
  }
  void branch(std::vector<Step>& out, int depth, std::vector<int>& values) {
    const int result = test.temporary(size());
    std::vector<Step> arms[2];
    for (std::vector<Step>& arm : arms) {
      block(arm, depth - 1, values);
      arm.push_back(test.dispatch({{result, kWrite}}));
    }
    out.push_back(TestProgram::branch(condition_, std::move(arms[0]), std::move(arms[1])));
    values.push_back(result);
  }
  void loop(std::vector<Step>& out, int depth, std::vector<int>& values) {
    const Dim bytes = size();
    const int carried = test.temporary(bytes), next = test.temporary(bytes);
    out.push_back(test.dispatch({{carried, kWrite}}));
    std::vector<Step> body;
    std::vector<int> inside = values;
    inside.push_back(carried);
    block(body, depth - 1, inside);
    body.push_back(test.dispatch({{carried}, {next, kWrite}}));
    body.push_back(TestProgram::swap(carried, next));
    out.push_back(TestProgram::loop(3, std::move(body)));
    values.push_back(carried);
  }
};

void check_random_programs(bool symbolic) {
  int reads = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    Generator generated(seed, symbolic);
    Result<MemoryPlan> plan = plan_memory(generated.test.program);
    REQUIRE(plan.ok());
    CHECK(plan->bytes_at_hints >= plan->lower_bound);
    for (const auto& [n, h] : {std::pair<int64_t, int64_t>{8, 5}, {1, 100}, {100, 1}, {17, 17}}) {
      Machine machine(generated.test.program, *plan, {{"N", n}, {"H", h}});
      machine.run(generated.test.program.steps, generated.random);
      CHECK(machine.wrong == 0);
      reads += machine.reads;
    }
  }
  CHECK(reads > 10000);
}

TEST_CASE("random static programs read what they wrote") {
  check_random_programs(false);
}

TEST_CASE("random symbolic programs read what they wrote, whatever the sizes") {
  check_random_programs(true);
}

TEST_CASE("a chain of elementwise dispatches runs in one buffer") {
  TestProgram test;
  const int in = test.input("x", {16}), out = test.output("y", {16});
  const int a = test.temporary(64), b = test.temporary(64), c = test.temporary(64);
  test.program.steps = {test.dispatch({{in}, {a, kWrite}}), test.dispatch({{a}, {b, kWrite, true}}),
                        test.dispatch({{b}, {c, kWrite, true}}), test.dispatch({{c}, {out, kWrite}})};
  const MemoryPlan plan = plan_memory(test.program).value();
  CHECK(plan.bytes_at_hints == 64);
  CHECK(plan.live.in_place.size() == 2);
}

TEST_CASE("an input of which a view is read too is not overwritten") {
  TestProgram test;
  const int in = test.input("x", {16}), out = test.output("y", {16});
  const int a = test.temporary(64), b = test.temporary(64), view = test.view(a, 0, 32);
  test.program.steps = {test.dispatch({{in}, {a, kWrite}}), test.dispatch({{a}, {view}, {b, kWrite, true}}),
                        test.dispatch({{b}, {out, kWrite}})};
  const MemoryPlan plan = plan_memory(test.program).value();
  CHECK(plan.live.in_place.empty());
  CHECK(plan.bytes_at_hints == 128);
}

TEST_CASE("views live in their root") {
  TestProgram test;
  const int whole = test.temporary(256), left = test.view(whole, 0, 128), right = test.view(whole, 128, 128);
  const int out = test.output("y", {64});
  test.program.steps = {test.dispatch({{left, kWrite}}), test.dispatch({{right, kWrite}}),
                        test.dispatch({{whole}, {out, kWrite}})};
  const MemoryPlan plan = plan_memory(test.program).value();
  CHECK(plan.bytes_at_hints == 256);
  CHECK(plan.resolved[static_cast<size_t>(right)].root == whole);
  CHECK(plan.resolved[static_cast<size_t>(right)].offset == Dim(128));
}

TEST_CASE("what runs side by side has memory side by side, unless that costs too much") {
  TestProgram test;
  const int in = test.input("x", {16}), out = test.output("y", {16});
  const int a = test.temporary(64), b = test.temporary(64), c = test.temporary(64), d = test.temporary(64);
  const int big = test.temporary(1024);  // beside it, a buffer more does not count
  // Two independent chains: a → c and b → d.
  test.program.steps = {test.dispatch({{in}, {big, kWrite}, {a, kWrite}}), test.dispatch({{in}, {b, kWrite}}),
                        test.dispatch({{a}, {c, kWrite}}), test.dispatch({{b}, {d, kWrite}}),
                        test.dispatch({{c}, {d}, {big}, {out, kWrite}})};
  const MemoryPlan plan = plan_memory(test.program).value();
  CHECK(plan.live.ranges[static_cast<size_t>(a)].meets(plan.live.ranges[static_cast<size_t>(d)]));
}

TEST_CASE("a size that only the run knows is refused by name") {
  TestProgram test;
  const int a = test.temporary(Dim::symbol("u0") * 4);
  test.program.buffers.back().name = "boxes";
  test.program.steps = {test.dispatch({{a, kWrite}})};
  const Result<MemoryPlan> plan = plan_memory(test.program);
  REQUIRE_FALSE(plan.ok());
  CHECK(plan.error().message ==
        "The size (4*u0) of the intermediate value 'boxes' depends on 'u0', which is known only at run time, "
        "and no "
        "bound is known for it.");
}

TEST_CASE("the formula of a symbolic arena has the model's symbols only") {
  TestProgram test;
  test.symbol("N", 10);
  const Dim bytes = Dim::symbol("N") * 64;
  const int a = test.temporary(bytes), b = test.temporary(bytes * 2),
            out = test.output("y", {Dim::symbol("N")});
  test.program.steps = {test.dispatch({{a, kWrite}}), test.dispatch({{a}, {b, kWrite}}),
                        test.dispatch({{b}, {out, kWrite}})};
  const MemoryPlan plan = plan_memory(test.program).value();
  CHECK(plan.formula() == "192*N");
  CHECK(plan.bytes_at_hints == 1920);
}

}  // namespace
}  // namespace tern::program
