// What waits for products of groups hold: registers of products on their way, committed or not.
#include "compiler/render/group_waits.h"

#include <doctest/doctest.h>

namespace tern::render {
namespace {

using namespace kernel;

TEST_CASE("group waits: products that nobody committed yet are on their way too") {
  const auto sums = [](const char* name) {
    return make_buffer(name, {DType::kF32, 4}, Scope::kRegister, Access::kReadWrite, 8);
  };
  const Buffer first = sums("first"), second = sums("second"), third = sums("third");
  const Buffer stage = make_buffer("stage", {DType::kF16, 1}, Scope::kWorkgroup, Access::kReadWrite, 4096);
  const auto product = [&](const Buffer& into) {
    return group_mma(into, load(stage, int_const(0)), load(stage, int_const(1024)));
  };
  const Stmt start = group_mma_wait(0), middle = group_mma_wait(0), end = group_mma_wait(0);
  const std::vector<Stmt> body = {start,  product(first), group_mma_commit(), product(second),
                                  middle, product(third), group_mma_commit(), end};
  const RegistersOfWaits held = registers_of_waits(body, {first, second, third});
  CHECK(held.at(start.get()) == std::vector<Buffer>{first, second, third});  // nothing is known of before
  CHECK(held.at(middle.get()) == std::vector<Buffer>{first, second});
  CHECK(held.at(end.get()) == std::vector<Buffer>{second, third});
}

}  // namespace
}  // namespace tern::render
