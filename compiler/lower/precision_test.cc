#include "compiler/lower/precision.h"

#include <doctest/doctest.h>

#include <cmath>

#include "compiler/lower/lower.h"

namespace tern::lower {
namespace {

struct Planned {
  std::unique_ptr<graph::Graph> graph;
  PrecisionPlan plan;

  // The result of node number `i`.
  const graph::Value* value(size_t i) const { return graph->body.nodes[i]->result(); }
  bool narrow(size_t i) const { return plan.storage(value(i)) == plan.narrow_type(); }
  std::string_view why(size_t i) const {
    const Keep* keep = plan.kept(value(i));
    return keep ? keep_reason(*keep) : "";
  }
};

Planned planned(const std::string& text, DType storage = DType::kF16) {
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  REQUIRE(graph::verify(**g) == "");
  Planned out{std::move(g).value(), {}};
  out.plan = PrecisionPlan(*out.graph, storage, {});
  return out;
}

TEST_CASE("values are stored narrow; inputs, outputs and other types as they are") {
  const Planned p = planned(R"(
  input %v0: f32[8,8] as "x"
  input %v1: i64[8,8] as "i"
  %0 = neg(%v0)
  %1 = transpose(%0) <perm=[1,0]>
  %2 = neg(%v1)
  %3 = dot(%v0, %1)
  %4 = abs(%3)
  output %4 as "y"
  output %2 as "z")");
  CHECK(p.narrow(0));
  CHECK(p.plan.storage(p.value(1)) == DType::kF16);  // a view
  CHECK(p.plan.storage(p.value(2)) == DType::kI64);
  CHECK(p.narrow(3));
  CHECK(!p.narrow(4));
  CHECK(p.why(4) == keep_reason(Keep::kBoundary));
  CHECK(p.plan.storage(p.graph->body.args[0]) == DType::kF32);
}

TEST_CASE("an output that is a view keeps what it looks at") {
  const Planned p = planned(R"(
  input %v0: f32[8,8] as "x"
  %0 = neg(%v0)
  %1 = transpose(%0) <perm=[1,0]>
  output %1 as "y")");
  CHECK(!p.narrow(0));
}

TEST_CASE("an output that is a part of what products read is a copy: the whole is narrow") {
  const auto whole = [](const char* operand, const char* output) {
    return planned(fmt::format(R"(
  input %v0: f32[8,16] as "x"
  %0 = neg(%v0)
  %1 = slice(%0) <starts=[0,8], sizes=[8,8], steps=[1,1]>
  %2 = transpose(%1) <perm=[1,0]>
  %3 = dot({}, %2)
  output {} as "y"
  output %3 as "z")",
                               operand, output));
  };
  CHECK(whole("%1", "%2").narrow(0));
  CHECK(!whole("%1", "%0").narrow(0));
  const Planned unread = planned(R"(
  input %v0: f32[8,16] as "x"
  %0 = neg(%v0)
  %1 = slice(%0) <starts=[0,8], sizes=[8,8], steps=[1,1]>
  output %1 as "y")");
  CHECK(!unread.narrow(0));
}

TEST_CASE("what decides an index stays f32, back to the contraction that it comes from") {
  const Planned p = planned(R"(
  input %v0: f32[8,8] as "x"
  %0 = neg(%v0)
  %1 = dot(%0, %0)
  %2 = floor(%1)
  %3 = cast(%2) <to=i64>
  %4 = gather(%v0, %3) <axis=0>
  %5 = cast(%0) <to=i8>
  output %4 as "y"
  output %5 as "z")");
  CHECK(p.narrow(0));  // quantised: coarser than f16
  CHECK(p.why(1) == keep_reason(Keep::kDecides));
  CHECK(p.why(2) == keep_reason(Keep::kDecides));
}

TEST_CASE("arguments of periodic functions and positions stay f32") {
  const Planned p = planned(R"(
  input %v0: f32[4,8] as "x"
  %0 = iota() <shape=[4,8], axis=1, dtype=f32>
  %1 = abs(%0)
  %2 = mul(%v0, %1)
  %3 = sin(%2)
  %4 = neg(%3)
  output %4 as "y")");
  CHECK(p.why(1) == keep_reason(Keep::kPeriodic));
  CHECK(p.why(2) == keep_reason(Keep::kPeriodic));
  CHECK(p.narrow(3));
  const Planned q = planned(R"(
  input %v0: f32[4,8] as "x"
  %0 = iota() <shape=[4,8], axis=1, dtype=f32>
  %1 = abs(%0)
  %2 = mul(%v0, %1)
  %3 = neg(%2)
  output %3 as "y")");
  CHECK(q.why(1) == keep_reason(Keep::kPosition));
  CHECK(q.narrow(2));
}

TEST_CASE("sums and what is made of them alone stay f32; a maximum does not") {
  const Planned p = planned(R"(
  input %v0: f32[4,8] as "x"
  %0 = reduce(%v0) <op=add, axes=[1]>
  %1 = constant f32[4] splat 0.125
  %2 = mul(%0, %1)
  %3 = sqrt(%2)
  %4 = reduce(%v0) <op=max, axes=[1]>
  %5 = mul(%3, %4)
  %6 = neg(%5)
  output %6 as "y")");
  CHECK(p.why(0) == keep_reason(Keep::kSum));
  CHECK(p.why(3) == keep_reason(Keep::kSum));
  CHECK(p.narrow(4));
  CHECK(p.narrow(5));
}

TEST_CASE("range: squares and masks stay f32 for f16; bf16 stores the squares") {
  const std::string text = R"(
  input %v0: f32[4,8] as "x"
  input %v1: bool[4,8] as "m"
  %0 = mul(%v0, %v0)
  %1 = exp(%v0)
  %2 = constant f32[4,8] splat -3.4028234663852886e+38
  %3 = select(%v1, %v0, %2)
  %4 = add(%3, %0)
  %5 = max(%v0, %2)
  %6 = add(%4, %5)
  %7 = tanh(%6)
  %8 = add(%7, %1)
  %9 = neg(%8)
  output %9 as "y")";
  const Planned p = planned(text), q = planned(text, DType::kBF16);
  CHECK(p.why(0) == keep_reason(Keep::kGrowth));
  CHECK(p.why(1) == keep_reason(Keep::kGrowth));
  CHECK(q.narrow(0));
  CHECK(q.narrow(1));
  for (const Planned* both : {&p, &q}) {
    CHECK(both->why(3) == keep_reason(Keep::kRange));
    CHECK(both->why(4) == keep_reason(Keep::kRange));
    CHECK(both->narrow(5));  // max(x, lowest) is x
    CHECK(both->why(6) == keep_reason(Keep::kRange));
    CHECK(both->narrow(7));
  }
}

TEST_CASE("range: masks that are scattered, or come out of a branch") {
  const Planned scattered = planned(R"(
  input %v0: f32[4,8] as "x"
  input %v1: i64[2,8] as "at"
  %0 = constant f32[4,8] splat 0
  %1 = constant f32[2,8] splat -3.4028234663852886e+38
  %2 = scatter_elements(%0, %v1, %1) <axis=0, reduction="none">
  %3 = add(%v0, %2)
  %4 = neg(%3)
  %5 = tanh(%4)
  %6 = neg(%5)
  output %6 as "y")");
  CHECK(scattered.why(3) == keep_reason(Keep::kRange));
  CHECK(scattered.why(4) == keep_reason(Keep::kRange));
  CHECK(scattered.narrow(5));
  const Planned chosen = planned(R"(
  input %v0: f32[4] as "x"
  input %v1: bool[] as "c"
  %0 = if(%v1) {
    region ()
      %t = constant f32[4] splat -3.4028234663852886e+38
      %tn = neg(%t)
      yield %tn
    region ()
      %e = constant f32[4] splat 0
      yield %e
  }
  %1 = add(%v0, %0)
  %2 = neg(%1)
  %3 = tanh(%2)
  %4 = neg(%3)
  output %4 as "y")");
  CHECK(chosen.why(1) == keep_reason(Keep::kRange));
  CHECK(chosen.why(2) == keep_reason(Keep::kRange));
  CHECK(chosen.narrow(3));
}

TEST_CASE(
    "masks that are inputs: what a softmax's maximum is taken over stays f32, what else they meet does not") {
  const std::string text = R"(
  input %v0: f32[4,8] as "x"
  input %v1: f32[1,8] as "mask"
  %0 = transpose(%v0) <perm=[1,0]>
  %1 = dot(%v0, %0)
  %2 = neg(%v1)
  %3 = slice(%2) <starts=[0,0], sizes=[1,4], steps=[1,1]>
  %4 = broadcast(%3) <shape=[4,4]>
  %5 = add(%1, %4)
  %6 = reduce(%5) <op=max, axes=[1]>
  %7 = broadcast(%6) <shape=[4,4]>
  %8 = sub(%5, %7)
  %9 = tanh(%8)
  %10 = add(%v0, %v0)
  %11 = dot(%9, %10)
  %12 = neg(%11)
  output %12 as "y")";
  for (const DType storage : {DType::kF16, DType::kBF16}) {
    const Planned p = planned(text, storage);
    CHECK(p.why(2) == keep_reason(Keep::kMask));
    CHECK(p.why(5) == keep_reason(Keep::kMask));
    for (const size_t i : {size_t{1}, size_t{8}, size_t{9}, size_t{10}, size_t{11}}) CHECK(p.narrow(i));
  }
}

TEST_CASE("constants: weights are narrow whatever their size, biases and wide ones are not") {
  const Planned p = planned(R"(
  input %v0: f32[8,8] as "x"
  %0 = constant f32[8,8] splat 0.5
  %1 = constant f32[8,8] splat 100000
  %2 = constant f32[8,8] splat 1e-6
  %3 = constant f32[8,8] splat 0.25
  %4 = dot(%v0, %0)
  %5 = dot(%4, %1)
  %6 = dot(%5, %2)
  %7 = add(%6, %3)
  %8 = neg(%7)
  output %8 as "y")");
  CHECK(p.narrow(0));
  CHECK(p.why(1) == keep_reason(Keep::kRange));
  CHECK(p.why(2) == keep_reason(Keep::kRange));
  CHECK(p.why(3) == keep_reason(Keep::kSmall));
  CHECK(p.narrow(5));  // the weights are wide, the product need not be
}

int count_bytes(const LoweredProgram& program, BufferKind kind) {
  int64_t bytes = 0;
  for (const BufferDef& b : program.buffers) {
    if (b.kind == kind) bytes += b.bytes.value();
  }
  return static_cast<int>(bytes);
}

TEST_CASE("the program's temporaries and constants have half the bytes, its inputs and outputs do not") {
  const std::string text = R"(graph "g" {
  input %v0: f32[8,16] as "x"
  %0 = constant f32[16,16] splat 0.5
  %1 = dot(%v0, %0)
  %2 = constant f32[16,32] splat 0.5
  %3 = dot(%1, %2)
  output %3 as "y"
})";
  std::vector<int> constants, temporaries, outputs;
  for (const DType precision : {DType::kF32, DType::kBF16}) {
    auto g = graph::parse_graph(text);
    REQUIRE(g.ok());
    LowerOptions options;
    options.precision = precision;
    Diagnostics diagnostics;
    const auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V4}}, options, diagnostics);
    REQUIRE(program);
    constants.push_back(count_bytes(*program, BufferKind::kConstant));
    temporaries.push_back(count_bytes(*program, BufferKind::kTemporary));
    outputs.push_back(count_bytes(*program, BufferKind::kOutput));
    CHECK(program->precision.narrow_values == (precision == DType::kF32 ? 0 : 1));
    CHECK(program->precision.narrow_constants == (precision == DType::kF32 ? 0 : 2));
  }
  CHECK(constants[0] == 2 * constants[1]);
  CHECK(temporaries[0] == 2 * temporaries[1]);
  CHECK(outputs[0] == outputs[1]);
}

TEST_CASE("TF32: products by constants on CUDA, but those of --keep-f32; the others are f32") {
  std::string weights;
  for (int i = 0; i < 256; ++i) weights += (i == 0 ? "" : ", ") + std::to_string(i % 5 - 2);
  const std::string text =
      "graph \"g\" {\n  input %x: f32[32,16] as \"x\"\n  %w = constant f32[16,16] {" + weights +
      "}\n  %0 = dot(%x, %w) from \"MatMul\" \"first\"\n  %1 = dot(%0, %w) from \"MatMul\" \"second\"\n" +
      "  output %1 as \"y\"\n}";
  const auto products = [&](const Target& target, const std::vector<std::string>& keep) {
    auto g = graph::parse_graph(text);
    REQUIRE_MESSAGE(g.ok(), g.error().text());
    LowerOptions options;
    options.tf32 = true;
    options.keep_f32 = keep;
    Diagnostics diagnostics;
    const auto program = lower(**g, target, options, diagnostics);
    REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
    CHECK(program->precision.kept.size() == (is_gpu(target.arch) ? keep.size() : 0));
    return program->precision.tf32_products;
  };
  const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}};
  CHECK(products(cuda, {}) == 2);
  CHECK(products({Arch::kX86_64, {Level::kX86V3}}, {}) == 0);
  CHECK(products({Arch::kVulkan, {Level::kVulkan11, Level::kVulkanMatrix}}, {}) == 0);
  CHECK(products(cuda, {"second"}) == 1);
}

TEST_CASE("converted: rounds to nearest even, overflows to infinity") {
  auto data = TensorData::make(DType::kF32, {4});
  const float values[] = {1.0F + 0x1p-11F, 1.0F + 3 * 0x1p-11F, 65520.0F, -0x1p-25F};
  std::copy(std::begin(values), std::end(values), data->mutable_as<float>());
  const TensorDataPtr f16 = converted(data, DType::kF16);
  CHECK(f16->float_at(0) == 1.0);
  CHECK(f16->float_at(1) == 1.0 + 0x1p-9);
  CHECK(std::isinf(f16->float_at(2)));
  CHECK(f16->float_at(3) == 0.0);
  CHECK(converted(data, DType::kBF16)->float_at(2) == 65536.0);
  CHECK(converted(data, DType::kF32) == data);
}

}  // namespace
}  // namespace tern::lower
