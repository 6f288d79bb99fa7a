#include "compiler/program/program.h"

#include <doctest/doctest.h>

#include "compiler/program/program_builder_for_tests.h"

namespace tern::program {
namespace {

using lower::Step;

std::string built_text(const TestProgram& test) {
  ModuleParts parts;
  add_constants(test.program, 0, parts.constants);
  parts.constants.layout();
  Result<BuiltProgram> built = build_program(test.program, lower::Target{}, 0, parts);
  REQUIRE_MESSAGE(built.ok(), built.error().text());
  return "\n" + print_program(*built->program);
}

TEST_CASE("a static program is one submit") {
  TestProgram test;
  const int in = test.input("x", {16}), out = test.output("y", {16}), middle = test.temporary(64);
  auto data = TensorData::make(DType::kF32, {16});
  const int weights = test.constant(data, "w");
  test.program.steps = {test.dispatch({{in}, {weights}, {middle, kWrite}}, {7}, 4),
                        test.dispatch({{middle}, {out, kWrite}}, {}, 1, "store")};
  CHECK(built_text(test) == R"(
slot s0: input 0
slot s1: output 0
slot s2: arena of 64 bytes
slot s3: constants 0
list 0:
  dispatch k(7) s0[0, 64] s3[0, 64] =s2[0, 64]: 4 tiles
  barrier
  dispatch store() s2[0, 64] =s1[0, 64]: 1 tiles
routine main:
     0 submit list 0
     1 return
)");
}

TEST_CASE("a symbolic program computes each dimension once and reserves its arena") {
  TestProgram test;
  test.symbol("N", 8);
  const Dim n = Dim::symbol("N");
  const int in = test.input("x", {n, 4}), out = test.output("y", {n, 4}), middle = test.temporary(n * 16);
  test.program.steps = {test.dispatch({{in}, {middle, kWrite}}, {n}, ceildiv(n, 8)),
                        test.dispatch({{middle}, {out, kWrite}}, {n}, ceildiv(n, 8), "store")};
  CHECK(built_text(test) == R"(
slot s0: input 0
slot s1: output 0
slot s2: arena of computed size
list 0:
  dispatch k($1) s0[0, $0] =s2[0, $0]: $2 tiles
  barrier
  dispatch store($1) s2[0, $0] =s1[0, $0]: $2 tiles
routine reserve:
     0 load_symbol i0, symbol 0
     1 mul_imm i5, i0, 16
     2 add_imm i4, i5, 63
     3 const_i i6, 64
     4 floor_div i3, i4, i6
     5 mul_imm i2, i3, 64
     6 move_i i1, i2
     7 arena_reserve i1
     8 return
routine main:
     0 load_symbol i0, symbol 0
     1 mul_imm i5, i0, 16
     2 add_imm i4, i5, 63
     3 const_i i6, 64
     4 floor_div i3, i4, i6
     5 mul_imm i2, i3, 64
     6 move_i i1, i2
     7 arena_reserve i1
     8 param_store i5, $0
     9 param_store i0, $1
    10 add_imm i8, i0, 7
    11 const_i i9, 8
    12 floor_div i7, i8, i9
    13 param_store i7, $2
    14 submit list 0
    15 return
)");
}

TEST_CASE("a loop computes what changes inside and the rest before") {
  TestProgram test;
  test.symbol("N", 8);
  const Dim n = Dim::symbol("N"), i = Dim::symbol("i");
  const int in = test.input("x", {n}), out = test.output("y", {n});
  test.program.steps = {TestProgram::loop(n, {test.dispatch({{in}, {out, kWrite}}, {i * 2, n * 3}, 1)}, "i")};
  CHECK(built_text(test) == R"(
slot s0: input 0
slot s1: output 0
list 0:
  dispatch k($1, $2) s0[0, $0] =s1[0, $0]: 1 tiles
routine main:
     0 load_symbol i0, symbol 0
     1 mul_imm i1, i0, 4
     2 param_store i1, $0
     3 mul_imm i2, i0, 3
     4 param_store i2, $2
     5 const_i i3, 0
     6 lt i4, i3, i0
     7 jump_unless i4, 14
     8 move_i i5, i3
     9 mul_imm i6, i5, 2
    10 param_store i6, $1
    11 submit list 0
    12 add_imm i3, i3, 1
    13 jump 6
    14 return
)");
}

TEST_CASE("carried buffers swap their offsets, a branch reads its condition") {
  TestProgram test;
  const int a = test.temporary(64), b = test.temporary(64), condition = test.temporary(1);
  const int out = test.output("y", {16});
  test.program.steps = {test.dispatch({{a, kWrite}, {condition, kWrite}}),
                        TestProgram::loop(3, {test.dispatch({{a}, {b, kWrite}}), TestProgram::swap(a, b)}),
                        TestProgram::branch(condition, {test.dispatch({{a}, {out, kWrite}})},
                                            {test.dispatch({{out, kWrite}})})};
  const std::string text = built_text(test);
  CHECK_MESSAGE(text.find("read_u8") != std::string::npos, text);
  // Inside the loop both offsets are stored anew before each submit.
  const size_t top = text.find("lt i"), again = text.find("jump 1", top);
  const std::string body = text.substr(top, again - top);
  CHECK_MESSAGE(body.find("param_store") != std::string::npos, text);
  CHECK_MESSAGE(body.rfind("move_i") > body.find("submit"), text);
}

TEST_CASE("data-dependent outputs are reserved when their size is known") {
  TestProgram test;
  const int in = test.input("x", {16}), count = test.temporary(8), values = test.temporary(64);
  const Dim u = Dim::symbol("u");
  const int out = test.output("y", {u});
  test.program.steps = {test.dispatch({{in}, {count, kWrite}, {values, kWrite}}),
                        TestProgram::read("u", count, 16), test.dispatch({{values}, {out, kWrite}}, {u})};
  const std::string text = built_text(test);
  const size_t read = text.find("read_i "), reserve = text.find("output_reserve 0"),
               dim = text.find("output_dim 0, 0");
  CHECK_MESSAGE(read < reserve, text);
  CHECK_MESSAGE(reserve < text.rfind("submit"), text);
  CHECK_MESSAGE(dim != std::string::npos, text);
  CHECK_MESSAGE(text.find("\"A size that the data gives (u = {0}) is more than 16.\"") != std::string::npos,
                text);
}

TEST_CASE("identical kernels and constants are stored once") {
  TestProgram test;
  const int in = test.input("x", {4}), out = test.output("y", {4}), middle = test.temporary(16);
  auto one = TensorData::make(DType::kF32, {4}), same = TensorData::make(DType::kF32, {2, 2});
  const int w1 = test.constant(one, "w1"), w2 = test.constant(same, "w2");
  test.program.steps = {test.dispatch({{in}, {w1}, {middle, kWrite}}, {3}),
                        test.dispatch({{middle}, {w2}, {out, kWrite}}, {5})};
  ModuleParts parts;
  add_constants(test.program, 0, parts.constants);
  parts.constants.layout();
  const BuiltProgram built = build_program(test.program, lower::Target{}, 0, parts).value();
  CHECK(parts.constants.entries().size() == 1);
  CHECK(parts.kernels.levels()[0].kernels.size() == 1);
  CHECK(built.program->kernels.size() == 1);
}

TEST_CASE("constants, and what init makes, lie in as many buffers as their limit wants") {
  TestProgram test;
  const int in = test.input("x", {16}), out = test.output("y", {16});
  std::vector<int> weights, derived;
  for (int i = 0; i < 3; ++i) {
    auto data = TensorData::make(DType::kF32, {20});
    data->set_float(0, i + 1);
    weights.push_back(test.constant(data, "w"));
    derived.push_back(test.buffer(lower::BufferKind::kDerived, 80));
    test.program.init_steps.push_back(test.dispatch({{weights[i]}, {derived[i], kWrite}}));
  }
  auto large = TensorData::make(DType::kF32, {128});  // longer than the limit: alone
  const int alone = test.constant(large, "large");
  test.program.steps = {test.dispatch({{in}, {derived[0]}, {derived[1]}, {derived[2]}, {out, kWrite}}),
                        test.dispatch({{alone}, {out, kWrite}})};
  for (const int w : weights) test.program.buffers[w].for_init = true;
  ModuleParts parts;
  add_constants(test.program, 0, parts.constants);
  parts.constants.layout(64, 256);
  CHECK(parts.constants.segment_bytes() == std::vector<int64_t>{256, 128, 512});
  const BuiltProgram built = build_program(test.program, lower::Target{}, 0, parts).value();
  std::vector<int64_t> persistent;
  int constants = 0;
  for (const module::Slot& slot : built.program->slots) {
    if (slot.kind() == module::SlotKind::Persistent) persistent.push_back(slot.bytes());
    constants += slot.kind() == module::SlotKind::Constants || slot.kind() == module::SlotKind::InitConstants;
  }
  CHECK(persistent == std::vector<int64_t>{256, 128});
  CHECK(constants == 3);
}

TEST_CASE("no barrier between dispatches that touch nothing in common") {
  TestProgram test;
  const int in = test.input("x", {64}), out = test.output("y", {64});
  const int whole = test.temporary(256), left = test.view(whole, 0, 128), right = test.view(whole, 128, 128);
  test.program.steps = {test.dispatch({{in}, {left, kWrite}}),
                        test.dispatch({{in}, {right, kWrite}}, {}, 1, "other"),
                        test.dispatch({{whole}, {out, kWrite}}, {}, 1, "join")};
  const std::string text = built_text(test);
  CHECK_MESSAGE(text.find("tiles\n  dispatch other") != std::string::npos, text);
  CHECK_MESSAGE(text.find("barrier\n  dispatch join") != std::string::npos, text);
}

TEST_CASE("GPU programs: a variant an image, sizes past 32-bit indices are refused") {
  const lower::Target cuda{lower::Arch::kCuda, {lower::Level::kCudaSm80}, {}, {"sm_80", "compute_80"}};
  const auto build = [&](const Dim& n) {
    TestProgram test;
    test.symbol("N", 8);
    const int in = test.input("x", {n}), out = test.output("y", {n});
    test.program.steps = {test.dispatch({{in}, {out, kWrite}}, {}, ceildiv(n, 256))};
    test.program.steps[0].dispatch->variants[0].level = lower::Level::kCudaSm80;
    ModuleParts parts;
    return build_program(test.program, cuda, 0, parts);
  };
  Result<BuiltProgram> built = build(Dim::symbol("N"));
  REQUIRE(built.ok());
  CHECK(built->program->target == module::TargetClass::Cuda);
  REQUIRE(built->program->kernels[0]->variants.size() == 2);
  CHECK(built->program->kernels[0]->variants[1].executable() == 1);
  CHECK(built->program->launches.size() == 2);
  REQUIRE(!built->program->messages.empty());
  CHECK(built->program->messages[0].find("GPU kernels index at most 2146435072 elements") !=
        std::string::npos);
  const Result<BuiltProgram> large = build(int64_t{1} << 31);
  REQUIRE(!large.ok());
  CHECK(large.error().message.find("'x' has 8589934592 bytes of type f32") == 0);
}

}  // namespace
}  // namespace tern::program
