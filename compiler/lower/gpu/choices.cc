#include "compiler/lower/gpu/choices.h"

#include <algorithm>

#include "compiler/lower/gpu/compact.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/gpu/nms.h"
#include "compiler/lower/gpu/sort_steps.h"
#include "compiler/lower/gpu/unique.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::Value;
using kernel::Access;
using kernel::Buffer;
using kernel::Expr;

}  // namespace

bool lower_top_k(Node& node, BlockLowering& block) {
  Value* in = node.operand();
  const DType dtype = in->type.dtype;
  if (dtype_bits(dtype) < 8 || is_complex(dtype)) return false;
  const auto axis = static_cast<size_t>(node.int_attr("axis"));
  const Shape& shape = in->type.shape;
  const Dim n = shape[axis], inner = range_product(shape, axis + 1, shape.size()),
            k = node.result(0)->type.shape[axis];
  place_dense(block, node.result(0));
  place_dense(block, node.result(1));
  SortSteps steps(block, node, {range_product(shape, 0, axis) * inner, n, k, order_key_type(dtype)});
  const Buffer input = global("input", dtype, Access::kRead);
  // Element `at` of a row of `length`.
  const auto place = [inner](kernel::ParamTable& params, const Expr& row, const Dim& length, const Expr& at) {
    if (inner.is_const(1)) return plus(kernel::mul(row, params.expr(length)), at);
    const Expr width = params.expr(inner);
    const Expr line = plus(kernel::mul(kernel::index_div(row, width), params.expr(length)), at);
    return plus(kernel::mul(line, width), kernel::index_rem(row, width));
  };
  const auto source = [&](kernel::ParamTable& params) {
    SortSource s;
    s.bindings = {input};
    s.element = [&, place](LoopWriter& w, const Expr& row, const Expr& p) -> SortSource::Element {
      return {order_key(w, w.load(input, place(params, row, n, p)), node.bool_attr("largest")), nullptr,
              nullptr};
    };
    return s;
  };
  const auto result = [&](kernel::ParamTable& params) {
    SortResult r;
    const Buffer values = global("values", dtype, Access::kWrite),
                 indices = global("indices", DType::kI64, Access::kWrite),
                 again = global("elements", dtype, Access::kRead);
    r.bindings = {again, values, indices};
    r.take = [=, &params](LoopWriter& w, const Expr& row, const Expr& rank, const Expr&, const Expr& p) {
      const Expr to = w.let("to", place(params, row, k, rank));
      w.store(indices, to, p);
      w.store(values, to, w.load(again, place(params, row, n, p)));
    };
    return r;
  };
  steps.run(
      "top_k", [&](SpecialDispatch& d) { d.bind_input(in); }, source,
      [&](SpecialDispatch& d) {
        d.bind_input(in);
        d.bind_output(node.result(0));
        d.bind_output(node.result(1));
      },
      result);
  return true;
}

bool lower_nms(Node& node, BlockLowering& block) {
  LoweringContext& context = block.context();
  const Shape& shape = node.operand(1)->type.shape;
  const Dim rows = shape[0] * shape[1], n = shape[2];
  const int thresholds = nms_thresholds(node, block);
  const bool has_least_score = node.operands.size() > 4;
  const int order = context.add_temporary("nms order", DType::kI32, rows * n),
            candidates = context.add_temporary("nms candidates", DType::kI32, rows),
            kept = context.add_temporary("nms kept", DType::kI32, rows * n),
            numbers = context.add_temporary("nms numbers", DType::kI32, rows);
  SortSteps steps(block, node, {rows, n, n, DType::kI32, true});
  const auto source = [&](kernel::ParamTable& params) {
    SortSource s;
    const Buffer scores = global("scores", DType::kF32, Access::kRead),
                 limits = global("thresholds", DType::kF32, Access::kRead);
    s.bindings = {scores, limits};
    s.element = [=, &params](LoopWriter& w, const Expr& row, const Expr& p) -> SortSource::Element {
      const Expr score = w.let("score", w.load(scores, plus(kernel::mul(row, params.expr(n)), p)));
      return {order_key(w, score, true), has_least_score ? w.lt(w.load(limits, w.i(1)), score) : nullptr,
              nullptr};
    };
    return s;
  };
  const auto result = [&](kernel::ParamTable& params) {
    SortResult r;
    const Buffer to = global("order", DType::kI32, Access::kWrite),
                 counts = global("candidates", DType::kI32, Access::kWrite);
    r.bindings = {to, counts};
    r.take = [=, &params](LoopWriter& w, const Expr& row, const Expr& rank, const Expr&, const Expr& p) {
      w.store(to, plus(kernel::mul(row, params.expr(n)), rank), kernel::cast(p, DType::kI32));
    };
    r.take_count = [=](LoopWriter& w, const Expr& row, const Expr& count) {
      w.store(counts, row, kernel::cast(count, DType::kI32));
    };
    return r;
  };
  steps.run(
      "nms",
      [&](SpecialDispatch& d) {
        d.bind_input(node.operand(1));
        d.bind(thresholds, Access::kRead);
      },
      source,
      [&](SpecialDispatch& d) {
        d.bind(order, Access::kWrite);
        d.bind(candidates, Access::kWrite);
      },
      result);
  {
    SpecialDispatch d(block, node);
    d.bind_input(node.operand(0));
    d.bind(order, Access::kRead);
    d.bind(candidates, Access::kRead);
    d.bind_input(node.operand(2));
    d.bind(thresholds, Access::kRead);
    d.bind(kept, Access::kReadWrite);
    d.bind(numbers, Access::kWrite);
    d.finish("nms_select", [&](const SpecialMachine& machine) {
      return nms_select_kernel(shape[0], shape[1], n, node.bool_attr("center_point_box"), machine,
                               d.params());
    });
  }
  if (!context.has_place(node.result(0)))
    context.set_place(node.result(0), bounded_place(block, node.result(0), product(shape) * 3));
  place_dense(block, node.result(1));
  SpecialDispatch d(block, node);
  d.bind(kept, Access::kRead);
  d.bind(numbers, Access::kRead);
  d.bind_output(node.result(0));
  d.bind_output(node.result(1));
  d.finish(
      "nms_list",
      [&](const SpecialMachine& machine) {
        return nms_list_kernel(shape[0], shape[1], n, machine, d.params());
      },
      true);
  return true;
}

namespace {

// The dispatches of a compaction; `total` is bound for the number of wanted elements.
class CompactSteps {
 public:
  using Bind = std::function<void(SpecialDispatch&)>;
  using Source = std::function<CompactSource(kernel::ParamTable&)>;
  CompactSteps(BlockLowering& block, const Node& node, Dim elements)
      : block_(block), node_(node), elements_(std::move(elements)) {
    const Dim room = max(compact_blocks(elements_), 1);
    counts_ = block.context().add_temporary("counts", DType::kI32, room);
    starts_ = block.context().add_temporary("starts", DType::kI32, room);
  }

  void count(const std::string& label, const Bind& bind_source, const Source& source,
             const Bind& bind_total) {
    {
      SpecialDispatch d(block_, node_);
      bind_source(d);
      d.bind(counts_, Access::kWrite);
      d.finish(
          label + "_counts",
          [&](const SpecialMachine& m) {
            return compact_counts_kernel(elements_, source(d.params()), m, d.params());
          },
          true);
    }
    SpecialDispatch d(block_, node_);
    d.bind(counts_, Access::kRead);
    d.bind(starts_, Access::kWrite);
    bind_total(d);
    d.finish(
        label + "_starts",
        [&](const SpecialMachine& m) { return starts_kernel(compact_blocks(elements_), m, d.params()); },
        true);
  }
  void place(const std::string& label, const Bind& bind_source, const Source& source, const Bind& bind_result,
             const std::function<CompactResult(kernel::ParamTable&)>& result) {
    SpecialDispatch d(block_, node_);
    bind_source(d);
    d.bind(starts_, Access::kRead);
    bind_result(d);
    d.finish(
        label,
        [&](const SpecialMachine& m) {
          return compact_kernel(elements_, source(d.params()), result(d.params()), m, d.params());
        },
        true);
  }

 private:
  BlockLowering& block_;
  const Node& node_;
  const Dim elements_;
  int counts_ = -1, starts_ = -1;
};

}  // namespace

bool lower_nonzero(Node& node, BlockLowering& block) {
  Value* in = node.operand();
  const DType dtype = in->type.dtype;
  if (dtype_bits(dtype) < 8 || is_complex(dtype)) return false;
  const Shape& shape = in->type.shape;
  CompactSteps steps(block, node, product(shape));
  const auto bind_source = [&](SpecialDispatch& d) { d.bind_input(in); };
  const auto source = [&](kernel::ParamTable&) { return nonzero_source(dtype); };
  place_dense(block, node.result(1));
  steps.count("nonzero", bind_source, source, [&](SpecialDispatch& d) { d.bind_output(node.result(1)); });
  read_count(node, 1, block);
  place_dense(block, node.result(0));
  const Dim count = node.result(0)->type.shape[1];
  steps.place(
      "nonzero", bind_source, source, [&](SpecialDispatch& d) { d.bind_output(node.result(0)); },
      [&](kernel::ParamTable& params) { return coordinates_result(shape, count, params); });
  return true;
}

// Groups of equal neighbours among the sorted elements, in the order of their values; then, if asked for, in
// the order of their first elements.
bool lower_unique(Node& node, BlockLowering& block) {
  Value* in = node.operand();
  const DType dtype = in->type.dtype;
  if (dtype_bits(dtype) < 8 || is_complex(dtype)) return false;
  LoweringContext& context = block.context();
  const Dim n = in->type.shape[0];
  const DType key_type = order_key_type(dtype);
  const bool sorted = node.bool_attr("sorted");
  for (int r = 0; r < 5; ++r) {
    const Value* v = node.result(r);
    if (!context.has_place(v)) context.set_place(v, bounded_place(block, v, r == 4 ? Dim(1) : n));
  }
  const auto temporary = [&](const char* name, DType type) { return context.add_temporary(name, type, n); };
  // Of each rank: key and position. Of each group: its first rank. Of each position: its group.
  const int keys = temporary("unique keys", key_type), places = temporary("unique order", DType::kI32),
            begins = temporary("unique begins", DType::kI32),
            groups = temporary("unique groups", DType::kI32);
  const auto i32 = [](const char* name, Access access) { return global(name, DType::kI32, access); };
  SortSteps(block, node, {Dim(1), n, n, key_type})
      .run(
          "unique", [&](SpecialDispatch& d) { d.bind_input(in); },
          [&](kernel::ParamTable&) {
            const Buffer input = global("input", dtype, Access::kRead);
            return SortSource{{input}, [=](LoopWriter& w, const Expr&, const Expr& p) -> SortSource::Element {
                                return {order_key(w, w.load(input, p), false), nullptr, nullptr};
                              }};
          },
          [&](SpecialDispatch& d) {
            d.bind(keys, Access::kWrite);
            d.bind(places, Access::kWrite);
          },
          [&](kernel::ParamTable&) {
            const Buffer to = global("keys", key_type, Access::kWrite), order = i32("order", Access::kWrite);
            SortResult r;
            r.bindings = {to, order};
            r.take = [=](LoopWriter& w, const Expr&, const Expr& rank, const Expr& key, const Expr& p) {
              w.store(to, rank, key);
              w.store(order, rank, to_i32(p));
            };
            return r;
          });
  const auto bind_keys = [&](SpecialDispatch& d) { d.bind(keys, Access::kRead); };
  const auto new_keys = [&](kernel::ParamTable&) {
    const Buffer from = global("keys", key_type, Access::kRead);
    return CompactSource{{from}, [=](LoopWriter& w, const Expr& at) {
                           const Expr before = w.load(from, kernel::max(kernel::sub(at, w.i(1)), w.i(0)));
                           return w.either(w.eq(at, w.i(0)), w.ne(w.load(from, at), before));
                         }};
  };
  const auto bind_number = [&](SpecialDispatch& d) { d.bind_output(node.result(4)); };
  CompactSteps by_value(block, node, n);
  by_value.count("unique", bind_keys, new_keys, bind_number);
  by_value.place(
      "unique_groups", bind_keys, new_keys,
      [&](SpecialDispatch& d) {
        d.bind(places, Access::kRead);
        d.bind(begins, Access::kWrite);
        d.bind(groups, Access::kWrite);
      },
      [&](kernel::ParamTable&) {
        const Buffer order = i32("order", Access::kRead), to = i32("begins", Access::kWrite),
                     group = i32("groups", Access::kWrite);
        return CompactResult{
            {order, to, group}, [=](LoopWriter& w, const Expr& at, const Expr& wanted, const Expr& rank) {
              const Expr own = w.let("own", kernel::select(wanted, rank, kernel::sub(rank, w.i(1))));
              w.when(wanted, [&] { w.store(to, own, to_i32(at)); });
              w.store(group, to_index(w.load(order, at)), to_i32(own));
            }};
      });
  // Numbers of groups in the result: their own, or by first elements.
  int numbers = -1;
  if (!sorted) {
    numbers = temporary("unique numbers", DType::kI32);
    const auto bind_firsts = [&](SpecialDispatch& d) {
      d.bind(groups, Access::kRead);
      d.bind(begins, Access::kRead);
      d.bind(places, Access::kRead);
    };
    const auto firsts = [&](kernel::ParamTable&) {
      const Buffer group = i32("groups", Access::kRead), begin = i32("begins", Access::kRead),
                   order = i32("order", Access::kRead);
      return CompactSource{{group, begin, order}, [=](LoopWriter& w, const Expr& at) {
                             const Expr own = to_index(w.load(group, at));
                             const Expr first = w.load(order, to_index(w.load(begin, own)));
                             return w.eq(first, to_i32(at));
                           }};
    };
    CompactSteps by_place(block, node, n);
    by_place.count("unique_firsts", bind_firsts, firsts, bind_number);
    by_place.place(
        "unique_numbers", bind_firsts, firsts,
        [&](SpecialDispatch& d) {
          d.bind(groups, Access::kRead);
          d.bind(numbers, Access::kWrite);
        },
        [&](kernel::ParamTable&) {
          const Buffer group = i32("own_groups", Access::kRead), to = i32("numbers", Access::kWrite);
          return CompactResult{
              {group, to}, [=](LoopWriter& w, const Expr& at, const Expr& wanted, const Expr& rank) {
                w.when(wanted, [&] { w.store(to, to_index(w.load(group, at)), to_i32(rank)); });
              }};
        });
  }
  SpecialDispatch d(block, node);
  d.bind_input(in);
  d.bind(places, Access::kRead);
  d.bind(begins, Access::kRead);
  d.bind(groups, Access::kRead);
  if (!sorted) d.bind(numbers, Access::kRead);
  for (int r = 0; r < 4; ++r) d.bind_output(node.result(r));
  d.bind(context.place(node.result(4)).buffer, Access::kRead, context.place(node.result(4)).offset * 8);
  d.finish("unique_results", [&](const SpecialMachine& machine) {
    return unique_results_kernel(dtype, n, sorted, machine, d.params());
  });
  return true;
}

}  // namespace tern::lower::gpu
