// A table that gathers and a product read is stored once, as the product's panels, and gathers read it there.
#include "compiler/lower/shared_tables.h"

#include <cstring>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

constexpr int64_t kWidth = 64, kWords = 1030;  // words: no whole number of panels

// Embeddings of five tokens, some of them counted from the end, and logits of x by the same table, turned.
std::string tied_text(const std::string& gather_of = "e", int64_t words = kWords) {
  const auto number = [](int64_t word, int64_t i) {
    return fmt::format("{}", static_cast<double>((word * 31 + i * 7) % 61 - 30) / 8);
  };
  const std::string table =
      literal("f32", {words, kWidth}, [&](int64_t i) { return number(i / kWidth, i % kWidth); });
  const std::string turned =
      literal("f32", {kWidth, words}, [&](int64_t i) { return number(i % words, i / words); });
  return fmt::format(R"(
  input %i: i64[5] as "i"
  input %x: f32[3,{0}] as "x"
  %e = constant {1}
  %w = constant {2}
  %g = gather(%{3}) <axis={4}>
  %n = neg(%g)
  %y = dot(%x, %w)
  output %n as "n"
  output %y as "y")",
                     kWidth, table, turned, gather_of == "e" ? "e, %i" : "w, %i", gather_of == "e" ? 0 : 1);
}

TensorDataPtr tokens(const std::vector<int64_t>& numbers) {
  auto out = TensorData::make(DType::kI64, {static_cast<int64_t>(numbers.size())});
  for (size_t i = 0; i < numbers.size(); ++i) out->mutable_as<int64_t>()[i] = numbers[i];
  return out;
}

// Constants of the program by content.
size_t distinct_bytes(const LoweredProgram& program) {
  std::vector<TensorDataPtr> seen;
  size_t bytes = 0;
  for (const BufferDef& b : program.buffers) {
    if (b.kind != BufferKind::kConstant) continue;
    const auto same = [&](const TensorDataPtr& t) {
      return t->bytes().size() == b.data->bytes().size() &&
             std::memcmp(t->bytes().data(), b.data->bytes().data(), t->bytes().size()) == 0;
    };
    if (std::any_of(seen.begin(), seen.end(), same)) continue;
    seen.push_back(b.data);
    bytes += b.data->bytes().size();
  }
  return bytes;
}

const Target kCpu{Arch::kX86_64, {Level::kX86V2, Level::kX86V4}};

TEST_CASE("a table that a gather and a product read is stored once") {
  const size_t panels = (kWords + 15) / 16 * 16 * kWidth * 4;
  CHECK(distinct_bytes(*lowered(tied_text(), kCpu)) == panels);
  CHECK(distinct_bytes(*lowered(tied_text(), kCpu, {}, DType::kF16)) == panels / 2);
  // Pairs of bf16 are no rows' elements.
  Target pairs = kCpu;
  pairs.product_levels = {Level::kX86V4Bf16};
  CHECK(distinct_bytes(*lowered(tied_text(), pairs, {}, DType::kBF16)) > panels / 2);
  // A small table is not worth slower rows.
  CHECK(distinct_bytes(*lowered(tied_text("e", 48), kCpu)) == 2 * 48 * kWidth * 4);
}

TEST_CASE("rows out of a product's panels are the table's, whichever way it is written") {
  for (const std::string of : {"e", "w"}) {
    LowerCase c{tied_text(of)};
    c.inputs = {tokens({0, 17, -1, 1029, -1030})};
    check_lowering_for(c, kCpu, of);
  }
  LowerCase narrow{tied_text()};
  narrow.inputs = {tokens({5, 16, -1, 1029, -1030})};
  narrow.precision = DType::kF16;
  check_lowering_for(narrow, kCpu, "stored as f16");
}

TEST_CASE("tokens outside of a shared table are refused") {
  const auto program = lowered(tied_text(), kCpu);
  auto x = TensorData::make(DType::kF32, {3, kWidth});
  for (const int64_t token : {int64_t{1030}, int64_t{1031}, int64_t{-1031}})
    CHECK_FALSE(evaluate_program(*program, {tokens({0, 0, token, 0, 0}), x}, 1).ok());
}

}  // namespace
}  // namespace tern::lower
