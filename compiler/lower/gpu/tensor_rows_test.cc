// Which values in memory are rows that boxes of a tensor can copy.
#include "compiler/lower/gpu/tensor_rows.h"

#include <doctest/doctest.h>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/lower.h"

namespace tern::lower::gpu {
namespace {

// Rows of a f16[4,6,64] that lies in memory as `order` says, numbered as a product does; nullopt: none.
std::optional<int64_t> rows_of(const std::vector<int>& order) {
  auto graph =
      graph::parse_graph("graph \"g\" {\n  input %x: f16[4,6,64] as \"x\"\n  output %x as \"y\"\n}\n");
  REQUIRE_MESSAGE(graph.ok(), graph.error().text());
  const graph::Value* x = (*graph)->body.args[0];
  const Target target{Arch::kCuda, {Level::kCudaSm90}};
  const LowerOptions options;
  LoweredProgram program;
  Diagnostics diagnostics;
  LoweringContext context(**graph, target, options, program, diagnostics);
  BufferDef def;
  def.kind = BufferKind::kInput;
  def.dtype = x->type.dtype;
  def.bytes = product(x->type.shape) * Dim(2);
  context.set_place(x, dense_place(context.add_buffer(std::move(def)), Layout{order}, x->type.shape));
  Region region;
  region.inputs = {const_cast<graph::Value*>(x)};
  DispatchBuilder dispatch(context, region);
  const RowIndex index = [](const kernel::Expr& row) {
    const kernel::Expr six = kernel::int_const(6);
    return Index{kernel::index_div(row, six), kernel::index_rem(row, six), kernel::int_const(0)};
  };
  const auto rows = rows_in_line(x, 2, index, dispatch);
  if (!rows) return std::nullopt;
  REQUIRE(rows->axes.size() == 2);
  CHECK(kernel::int_value(rows->axes[0].stride) == 64);
  return kernel::int_value(rows->axes[0].size);
}

TEST_CASE("tensor rows: in line only where neighbours in memory are neighbours of the product too") {
  CHECK(rows_of({0, 1, 2}) == 24);
  CHECK_FALSE(rows_of({1, 0, 2}));  // equally far apart, but in another order
  CHECK_FALSE(rows_of({0, 2, 1}));
}

}  // namespace
}  // namespace tern::lower::gpu
