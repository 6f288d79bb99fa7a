// scan (running folds) and arg_reduce: serial along one axis, vector lanes along the innermost other axis.
#include <algorithm>
#include <optional>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/arg_reduce.h"
#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/gpu/scan.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/nests.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

// What is carried along the serial axis, each as (name, first value), and what a step makes of it.
struct Serial {
  std::vector<std::pair<std::string, Expr>> carried;
  struct Made {
    std::vector<Stmt> statements;
    std::vector<Expr> next;
    Expr condition = nullptr;  // null: always; else what is carried stays where it does not hold
  };
  std::function<Made(ElementEmitter&, const Index&, const Expr& step, const std::vector<Expr>& carried)> step;
  std::function<std::vector<Stmt>(ElementEmitter&, const Index&, const std::vector<Expr>& carried)> finish;
  int bits = 0;  // of what a lane carries; 0: the widest type of the region
  // Instead, where lanes cannot be other lines, one line, if it is no shorter than this.
  int64_t least_line = 0;
  std::function<std::vector<Stmt>(ElementEmitter&, const Index&, int lanes)> line;
};

// Vectors of lines side by side: each step is one operation behind the one before.
constexpr int kVectorsAtOnce = 8;
// More lines go step by step, as they lie in memory, with what they carry in L1.
constexpr int64_t kLinesAtOnce = 512;

class SerialNest {
 public:
  SerialNest(const Region& region, LoweringContext& context, const Value* space, size_t axis,
             const std::vector<int>& order, const std::vector<AccessStrides>& accesses,
             const std::vector<bool>& pinned, Serial serial)
      : region_(region),
        context_(context),
        shape_(space->type.shape),
        axis_(axis),
        serial_(std::move(serial)) {
    std::vector<int> others;
    for (const int d : order) {
      if (d != static_cast<int>(axis)) others.push_back(d);
    }
    axes_ = merge_axes(shape_, others, accesses, pinned);
    // Lanes across lines that are far apart gather; only a contiguous axis gains from them.
    contiguous_ = order.back() != static_cast<int>(axis) && !axes_.empty();
  }

  void run(std::string_view what) {
    DispatchBuilder dispatch(context_, region_);
    dispatch.set_flops(product(shape_));
    if (!shape_[axis_].is_const()) dispatch.check_loops();
    const int64_t cost = 4 * context_.hint(shape_[axis_]);
    for (const Level level : variant_levels(context_.target())) {
      ElementEmitter emitter(dispatch);
      if (is_gpu(level_arch(level))) {
        gpu::add_flat_variant(
            dispatch, level, axes_, cost,
            [&](const std::vector<Expr>& coordinates) { return line(emitter, index_of(coordinates)); },
            std::string(what));
        continue;
      }
      const int lanes = serial_.bits > 0 ? std::max(machine(level).vector_bits / serial_.bits, 1)
                                         : nest_lanes(region_, level);
      const bool by_steps = contiguous_ && goes_by_steps(lanes);
      Tiling tiling = choose_tiling(context_, axes_, cost);
      if (by_steps && static_cast<size_t>(tiling.tiled) + 1 == axes_.size())
        tiling.chunk = std::max(tiling.chunk, even_lines(axes_.back().extent));
      const size_t body_axes = axes_.empty() ? 0 : axes_.size() - 1;
      NestParts parts = build_nest(
          dispatch, axes_, tiling, body_axes,
          [&](std::vector<Expr> coordinates, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
            if (axes_.empty()) return one_line(emitter, coordinates, lanes);
            if (by_steps) return steps(emitter, std::move(coordinates), ranges.back(), lanes);
            const kernel::Var v = kernel::make_var("i");
            coordinates.back() = kernel::var_expr(v);
            const Stmt loop = kernel::loop(
                v, ranges.back().begin, ranges.back().extent, kernel::LoopKind::kSerial,
                contiguous_ ? line(emitter, index_of(coordinates)) : one_line(emitter, coordinates, lanes));
            return contiguous_ ? vector_loop(loop, lanes * vectors_at_once(lanes)) : std::vector<Stmt>{loop};
          });
      dispatch.add_variant(level, std::move(parts.grid), std::move(parts.body), std::string(what));
    }
    dispatch.finish();
  }

 private:
  Index index_of(const std::vector<Expr>& coordinates) const {
    return axis_index(axes_, shape_.size(), coordinates);
  }
  int most_vectors() const { return kVectorsAtOnce / static_cast<int>(serial_.carried.size()); }

  bool goes_by_steps(int lanes) const {
    const Dim& lines = axes_.back().extent;
    return lanes > 1 && (!lines.is_const() || lines.value() > int64_t{most_vectors()} * lanes);
  }
  // So many that the last ones are about as many as the others, whole cache lines.
  static int64_t even_lines(const Dim& lines) {
    constexpr int64_t kLine = 16;
    if (!lines.is_const() || lines.value() < 1) return kLinesAtOnce;
    const int64_t parts = (lines.value() + kLinesAtOnce - 1) / kLinesAtOnce;
    return std::min(((lines.value() + parts - 1) / parts + kLine - 1) / kLine * kLine, lines.value());
  }
  int vectors_at_once(int lanes) const {
    const Dim& lines = axes_.back().extent;
    for (int vectors = most_vectors(); vectors > 1; vectors /= 2) {
      if (lines.is_const() && lines.value() % (int64_t{vectors} * lanes) == 0) return vectors;
    }
    return 1;
  }

  std::vector<Stmt> one_line(ElementEmitter& emitter, const std::vector<Expr>& coordinates, int lanes) {
    const bool is_long = context_.hint(shape_[axis_]) >= serial_.least_line * lanes;
    return serial_.line && lanes > 1 && is_long ? serial_.line(emitter, index_of(coordinates), lanes)
                                                : line(emitter, index_of(coordinates));
  }

  // One line, what it carries in variables.
  std::vector<Stmt> line(ElementEmitter& emitter, const Index& index) {
    std::vector<Stmt> out;
    std::vector<kernel::Var> vars;
    std::vector<Expr> values;
    for (const auto& [name, first] : serial_.carried) {
      vars.push_back(kernel::make_var(name, first->type));
      out.push_back(kernel::declare(vars.back(), first));
      values.push_back(kernel::var_expr(vars.back()));
    }
    const kernel::Var step = kernel::make_var("step");
    Serial::Made made = serial_.step(emitter, index, kernel::var_expr(step), values);
    std::vector<Stmt> body = std::move(made.statements), assigned;
    for (size_t i = 0; i < vars.size(); ++i) assigned.push_back(kernel::assign(vars[i], made.next[i]));
    if (made.condition) assigned = {kernel::if_then(made.condition, std::move(assigned))};
    append(body, std::move(assigned));
    out.push_back(kernel::loop(step, int_const(0), emitter.dispatch().expr(shape_[axis_]),
                               kernel::LoopKind::kSerial, std::move(body)));
    if (serial_.finish) append(out, serial_.finish(emitter, index, values));
    return out;
  }

  // Neighbouring lines, step by step, what they carry in scratch.
  std::vector<Stmt> steps(ElementEmitter& emitter, std::vector<Expr> coordinates, const AxisRange& range,
                          int lanes) {
    std::vector<Stmt> out;
    std::vector<kernel::Buffer> carried;
    for (const auto& [name, first] : serial_.carried) {
      carried.push_back(kernel::make_buffer(name, first->type, kernel::Scope::kScratch,
                                            kernel::Access::kReadWrite, kLinesAtOnce));
      out.push_back(kernel::alloc(carried.back()));
    }
    const kernel::Var part = kernel::make_var("part"), step = kernel::make_var("step");
    const std::optional<int64_t> lines = kernel::int_value(range.extent);
    const bool whole = lines && *lines <= kLinesAtOnce;
    std::vector<Stmt> body;
    Expr done = int_const(0), count = range.extent;
    if (!whole) {
      done = named("done", kernel::mul(kernel::var_expr(part), int_const(kLinesAtOnce)), body);
      count = named("count", kernel::min(int_const(kLinesAtOnce), kernel::sub(range.extent, done)), body);
    }
    const auto each = [&](const std::function<std::vector<Stmt>(const Index&, const Expr& line)>& what) {
      const kernel::Var v = kernel::make_var("i");
      coordinates.back() = kernel::add(kernel::add(range.begin, done), kernel::var_expr(v));
      return vector_loop(kernel::loop(v, int_const(0), count, kernel::LoopKind::kSerial,
                                      what(index_of(coordinates), kernel::var_expr(v))),
                         lanes);
    };
    append(body, each([&](const Index&, const Expr& at) {
             std::vector<Stmt> first;
             for (size_t i = 0; i < carried.size(); ++i)
               first.push_back(kernel::store(carried[i], at, serial_.carried[i].second));
             return first;
           }));
    const auto values = [&](const Expr& at, std::vector<Stmt>& one) {
      std::vector<Expr> loads;
      for (const kernel::Buffer& b : carried) loads.push_back(named(b->name, kernel::load(b, at), one));
      return loads;
    };
    body.push_back(kernel::loop(
        step, int_const(0), emitter.dispatch().expr(shape_[axis_]), kernel::LoopKind::kSerial,
        each([&](const Index& index, const Expr& at) {
          std::vector<Stmt> one;
          const std::vector<Expr> before = values(at, one);
          Serial::Made made = serial_.step(emitter, index, kernel::var_expr(step), before);
          append(one, std::move(made.statements));
          for (size_t i = 0; i < carried.size(); ++i)
            one.push_back(kernel::store(
                carried[i], at,
                made.condition ? kernel::select(made.condition, made.next[i], before[i]) : made.next[i]));
          return one;
        })));
    if (serial_.finish)
      append(body, each([&](const Index& index, const Expr& at) {
               std::vector<Stmt> last;
               const std::vector<Expr> found = values(at, last);
               append(last, serial_.finish(emitter, index, found));
               return last;
             }));
    if (whole) {
      append(out, std::move(body));
      return out;
    }
    const Expr parts =
        kernel::index_div(kernel::add(range.extent, int_const(kLinesAtOnce - 1)), int_const(kLinesAtOnce));
    out.push_back(kernel::loop(part, int_const(0), parts, kernel::LoopKind::kSerial, std::move(body)));
    return out;
  }

  const Region& region_;
  LoweringContext& context_;
  const Shape& shape_;
  const size_t axis_;
  const Serial serial_;
  std::vector<NestAxis> axes_;
  bool contiguous_ = false;
};

void arg_reduce_on_gpu(const Region& region, LoweringContext& context, const std::vector<int>& order,
                       const std::vector<AccessStrides>& accesses, const std::vector<bool>& pinned) {
  const Node& root = *region.root;
  const Value* in = root.operand();
  const Shape& shape = in->type.shape;
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  std::vector<int> others;
  for (const int d : order) {
    if (d != static_cast<int>(axis)) others.push_back(d);
  }
  const std::vector<NestAxis> axes = merge_axes(shape, others, accesses, pinned);
  DispatchBuilder dispatch(context, region);
  dispatch.set_flops(product(shape));
  std::optional<ElementEmitter> emitter;
  gpu::ArgReduce what;
  what.dtype = in->type.dtype;
  what.length = shape[axis];
  what.largest = root.bool_attr("largest");
  what.last = root.bool_attr("last");
  what.columns = order.back() != static_cast<int>(axis) && !axes.empty();
  what.element = [&](const std::vector<Expr>& row, const Expr& position, std::vector<Stmt>& checks) {
    Index index = axis_index(axes, shape.size(), row);
    index[axis] = position;
    const Expr value = emitter->element(in, index);
    for (Stmt& s : emitter->take_checks()) checks.push_back(std::move(s));
    return value;
  };
  what.finish = [&](const std::vector<Expr>& row, const Expr& position) {
    Index index = axis_index(axes, shape.size(), row);
    index.erase(index.begin() + static_cast<std::ptrdiff_t>(axis));
    emitter->bind(root.result(), kernel::cast(position, root.result()->type.dtype));
    std::vector<Stmt> stores = store_outputs(*emitter, index);
    emitter->unbind(root.result());
    return stores;
  };
  for (const Level level : variant_levels(context.target())) {
    emitter.emplace(dispatch);
    gpu::add_arg_reduce_variant(dispatch, level, axes, what);
  }
  dispatch.finish();
}

// Whether threads share the rows of a scan on a GPU; lowers it then.
bool scan_together(const Region& region, LoweringContext& context, const std::vector<int>& order,
                   const std::vector<AccessStrides>& accesses, const std::vector<bool>& pinned) {
  const Node& root = *region.root;
  const Value* in = root.operand();
  const Shape& shape = in->type.shape;
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  const DType dtype = root.result()->type.dtype, wide = accumulator_type(dtype);
  std::vector<int> others;
  for (const int d : order) {
    if (d != static_cast<int>(axis)) others.push_back(d);
  }
  const std::vector<NestAxis> axes = merge_axes(shape, others, accesses, pinned);
  if (!gpu::folds_together(context.hint(gpu::point_count(axes)), context.hint(shape[axis]), wide))
    return false;
  for (const Value* v : region.outputs)
    if (dtype_bits(v->type.dtype) < 8) return false;
  gpu::lower_running_fold(region, context, axes, wide, shape[axis], [&](DispatchBuilder& dispatch) {
    const auto emitter = std::make_shared<ElementEmitter>(dispatch);
    gpu::RunningFold what;
    what.op = root.scalar_op();
    what.type = wide;
    what.length = shape[axis];
    what.exclusive = root.bool_attr("exclusive");
    const auto index_at = [&, last = kernel::sub(dispatch.expr(shape[axis]), int_const(1))](
                              const std::vector<Expr>& row, const Expr& position) {
      Index index = axis_index(axes, shape.size(), row);
      index[axis] = root.bool_attr("reverse") ? kernel::sub(last, position) : position;
      return index;
    };
    what.element = [=](const std::vector<Expr>& row, const Expr& position, std::vector<Stmt>& checks) {
      const Expr value = kernel::cast(emitter->element(in, index_at(row, position)), wide);
      for (Stmt& s : emitter->take_checks()) checks.push_back(std::move(s));
      return value;
    };
    what.finish = [=, &root](const std::vector<Expr>& row, const Expr& position, const Expr& value) {
      emitter->bind(root.result(), kernel::cast(value, dtype));
      std::vector<Stmt> stores = store_outputs(*emitter, index_at(row, position));
      emitter->unbind(root.result());
      return stores;
    };
    return what;
  });
  return true;
}

}  // namespace

void lower_scan(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const Value* out = region.outputs[0];
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  const bool exclusive = root.bool_attr("exclusive"), reverse = root.bool_attr("reverse");
  const ScalarOp op = root.scalar_op();
  const DType dtype = root.result()->type.dtype, wide = accumulator_type(dtype);
  RegionAccesses in = collect_accesses(region, context, root.operand());
  const RegionAccesses epilogue = collect_accesses(region, context, out, {root.result()});
  std::vector<AccessStrides> accesses = in.loads;
  accesses.insert(accesses.end(), epilogue.loads.begin(), epilogue.loads.end());
  for (const Value* v : region.outputs) accesses.push_back({v, context.place(v).strides, true});
  std::vector<bool> pinned = in.pinned;
  for (size_t d = 0; d < pinned.size(); ++d) pinned[d] = pinned[d] || epilogue.pinned[d];
  Serial serial;
  serial.carried = {{"acc", kernel::scalar_const(kernel::reduction_identity(op, wide))}};
  serial.step = [&](ElementEmitter& emitter, Index index, const Expr& step,
                    const std::vector<Expr>& carried) {
    const Expr n = emitter.dispatch().expr(root.operand()->type.shape[axis]);
    index[axis] = reverse ? kernel::sub(kernel::sub(n, int_const(1)), step) : step;
    const Expr x = kernel::cast(emitter.element(root.operand(), index), wide);
    Serial::Made out{emitter.take_checks(), {}};
    out.next = {named("next", kernel::op(op, {carried[0], x}), out.statements)};
    emitter.bind(root.result(), kernel::cast(exclusive ? carried[0] : out.next[0], dtype));
    append(out.statements, store_outputs(emitter, index));
    emitter.unbind(root.result());
    return out;
  };
  const std::vector<int>& order = context.place(out).layout.order;
  if (is_gpu(context.target().arch) && scan_together(region, context, order, accesses, pinned)) return;
  SerialNest(region, context, out, axis, order, accesses, pinned, std::move(serial)).run("scan");
}

void lower_arg_reduce(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const Value* in = root.operand();
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  const bool largest = root.bool_attr("largest"), last = root.bool_attr("last");
  RegionAccesses reads = collect_accesses(region, context, in);
  std::vector<AccessStrides> accesses = reads.loads;
  for (const Value* v : region.outputs) {
    AccessStrides a{v, context.place(v).strides, false};
    a.strides.insert(a.strides.begin() + static_cast<std::ptrdiff_t>(axis), Dim(0));
    accesses.push_back(std::move(a));
  }
  std::vector<int> order = Layout::dense(in->type.rank()).order;
  for (const AccessStrides& a : reads.loads) {
    if (!a.identity) continue;
    order = context.place(a.value).layout.order;
    break;
  }
  if (is_gpu(context.target().arch)) return arg_reduce_on_gpu(region, context, order, accesses, reads.pinned);
  const DType dtype = in->type.dtype;
  // A position counts as i32: two vectors of a line's state, not three.
  const auto finish = [&root, axis](ElementEmitter& emitter, Index index, const Expr& where) {
    index.erase(index.begin() + static_cast<std::ptrdiff_t>(axis));
    emitter.bind(root.result(), kernel::cast(where, root.result()->type.dtype));
    std::vector<Stmt> out = store_outputs(emitter, index);
    emitter.unbind(root.result());
    return out;
  };
  const auto is_nan = [](const Expr& x) { return kernel::op(ScalarOp::kIsNan, {x}); };
  const Expr worst = kernel::scalar_const(largest ? scalar::lowest(dtype) : scalar::highest(dtype));
  Serial serial;
  serial.carried = {{"best", worst}, {"where", int_const(0, DType::kI32)}};
  serial.bits = std::max(dtype_bits(dtype), 32);
  serial.least_line = 1;
  serial.step = [&](ElementEmitter& emitter, Index index, const Expr& step,
                    const std::vector<Expr>& carried) {
    index[axis] = step;
    const Expr value = emitter.element(in, index);
    Serial::Made out{emitter.take_checks(), {}};
    const Expr x = named("x", value, out.statements);
    const ScalarOp test =
        largest ? (last ? ScalarOp::kGe : ScalarOp::kGt) : (last ? ScalarOp::kLe : ScalarOp::kLt);
    const auto either = [](const Expr& a, const Expr& b) { return kernel::op(ScalarOp::kOr, {a, b}); };
    Expr better = kernel::compare(test, x, carried[0]);
    if (is_float(dtype))  // nothing is better than the first NaN
      better = both(either(better, is_nan(x)), kernel::op(ScalarOp::kNot, {is_nan(carried[0])}));
    out.condition = either(better, kernel::compare(ScalarOp::kEq, step, int_const(0)));
    out.next = {x, kernel::cast(step, DType::kI32)};
    return out;
  };
  serial.finish = [&](ElementEmitter& emitter, const Index& index, const std::vector<Expr>& carried) {
    return finish(emitter, index, carried[1]);
  };
  // The best of a line first, then where it is: both are folds by vectors.
  if (dtype != DType::kBool && !is_complex(dtype)) {
    serial.line = [&](ElementEmitter& emitter, Index index, int lanes) -> std::vector<Stmt> {
      constexpr int kSums = 4;
      const DType wide =
          is_float(dtype) && dtype_bits(dtype) < 32 ? DType::kF32 : dtype;  // lanes are folded in
      const kernel::Var best = kernel::make_var("best", {wide, 1}),
                        where = kernel::make_var("where", {DType::kI32, 1});
      const Expr n = emitter.dispatch().expr(in->type.shape[axis]);
      const auto pass = [&](const std::function<Stmt(const Expr& x, const Expr& at)>& fold) {
        const kernel::Var v = kernel::make_var("i");
        index[axis] = kernel::var_expr(v);
        const Expr value = emitter.element(in, index);
        std::vector<Stmt> body = emitter.take_checks();
        const Expr x = named("x", kernel::cast(value, wide), body);
        body.push_back(fold(x, kernel::var_expr(v)));
        return vector_loop(kernel::loop(v, int_const(0), n, kernel::LoopKind::kSerial, std::move(body)),
                           lanes, kSums);
      };
      std::vector<Stmt> out{kernel::declare(best, kernel::cast(worst, wide))};
      append(out, pass([&](const Expr& x, const Expr&) {
               return kernel::assign(
                   best, kernel::op(largest ? ScalarOp::kMax : ScalarOp::kMin, {x, kernel::var_expr(best)}));
             }));
      // Of the places where `is_here` holds the last one or the first one.
      const auto find = [&](bool latest, const std::function<Expr(const Expr& x)>& is_here) {
        const Expr none = int_const(latest ? -1 : INT32_MAX, DType::kI32);
        std::vector<Stmt> found{kernel::assign(where, none)};
        append(found, pass([&](const Expr& x, const Expr& at) {
                 const Expr here = kernel::select(is_here(x), kernel::cast(at, DType::kI32), none);
                 return kernel::assign(where, kernel::op(latest ? ScalarOp::kMax : ScalarOp::kMin,
                                                         {kernel::var_expr(where), here}));
               }));
        return found;
      };
      out.push_back(kernel::declare(where, int_const(0, DType::kI32)));
      append(out, find(last, [&](const Expr& x) {
               return kernel::compare(ScalarOp::kEq, x, kernel::var_expr(best));
             }));
      if (is_float(dtype))
        out.push_back(kernel::if_then(is_nan(kernel::var_expr(best)), find(false, is_nan)));
      append(out, finish(emitter, index, kernel::var_expr(where)));
      return out;
    };
  }
  SerialNest(region, context, in, axis, order, accesses, reads.pinned, std::move(serial)).run("arg_reduce");
}

}  // namespace tern::lower
