#include "compiler/lower/gpu/depthwise_rows.h"

#include <algorithm>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/gpu/matrix_schedule.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;
using Stmts = std::vector<Stmt>;

// Of a piece: its channels, and its rows, which share the filters' elements.
constexpr int kLanes = kResidentLanes, kRowsTogether = kResidentRows;

}  // namespace

int64_t DepthwiseRows::taps() const {
  const Shape& filters = conv_.operand(1)->type.shape;
  return product(Shape(filters.begin() + 2, filters.end())).value();
}

void DepthwiseRows::bind(ElementEmitter& emitter) const {
  filters_.bind(emitter);
  emitter.bind(conv_.result(), [this, &emitter](const Index& index) {
    return kernel::cast(short_sum(emitter, conv_, index, nullptr), conv_.result()->type.dtype);
  });
}

// Names for the filter of channel c, which rows share; from now on the emitter reads those.
Stmts DepthwiseRows::filters_of(ElementEmitter& emitter, const Expr& c) const {
  ElementEmitter plain(emitter.dispatch());
  filters_.bind(plain);
  const Shape& shape = conv_.operand(1)->type.shape;
  std::vector<Expr> taps;
  Stmts lets;
  const int64_t count = this->taps();
  for (int64_t t = 0; t < count; ++t) {
    Index index(shape.size(), int_const(0));
    index[0] = c;
    int64_t rest = t;
    for (size_t d = shape.size(); d-- > 2; rest /= shape[d].value())
      index[d] = int_const(rest % shape[d].value());
    taps.push_back(named("filter", plain.element(conv_.operand(1), index), lets));
  }
  emitter.unbind(conv_.operand(1));
  emitter.bind(conv_.operand(1), [taps, shape](const Index& index) {
    int64_t tap = 0;
    for (size_t d = 2; d < index.size(); ++d) tap = tap * shape[d].value() + index[d]->i;
    return taps[static_cast<size_t>(tap)];
  });
  return lets;
}

Stmts DepthwiseRows::fill(ElementEmitter& emitter, const Node& product, const ContractionProblem& problem,
                          const Block& block) const {
  const Value* rows = product.operand(0);
  const int64_t k = problem.k.value(), quads = block.depth / kLanes;
  const int together = block.rows % kRowsTogether == 0 ? kRowsTogether : 1;
  const int64_t pieces = quads * (block.rows / together);
  LoopWriter w;
  const auto piece = [&](const Expr& q) {
    const Expr first =
        w.let("first_row", kernel::mul(kernel::index_div(q, int_const(quads)), int_const(together)));
    const Expr channel =
        w.let("first_channel", kernel::mul(kernel::index_rem(q, int_const(quads)), int_const(kLanes)));
    const kernel::Var lane = kernel::make_var("lane");
    const Expr c = kernel::add(channel, kernel::var_expr(lane));
    const kernel::Var r = kernel::make_var("r");
    const Expr row = kernel::add(first, kernel::var_expr(r));
    const Expr at = kernel::add(kernel::mul(row, int_const(block.pitch)), c);
    const auto lanes = [&](Stmts body) {
      const Stmt loop =
          kernel::loop(lane, int_const(0), int_const(kLanes), kernel::LoopKind::kVector, std::move(body));
      for (Stmt& s : kernel::vectorize(Stmts{loop})) w.emit(std::move(s));
    };
    const auto each_row = [&](Stmts body) {
      return kernel::loop(r, int_const(0), int_const(together), kernel::LoopKind::kSerial, std::move(body));
    };
    const auto sums = [&] {
      Stmts body = filters_of(emitter, c);
      // Past the last row the last one is computed again: nobody reads it.
      const Expr last = kernel::sub(emitter.dispatch().expr(problem.m), int_const(1));
      const Expr m = kernel::min(kernel::add(block.m0, row), last);
      Stmts of_row;
      emitter.unbind(conv_.result());
      emitter.bind(conv_.result(), [&](const Index& pixel) {
        Index at = pixel;
        for (size_t d = 2; d < at.size(); ++d) at[d] = named("at", at[d], of_row);
        return kernel::cast(short_sum(emitter, conv_, at, &of_row), conv_.result()->type.dtype);
      });
      const Expr value = emitter.element(rows, problem.a_index(block.batch, named("m", m, of_row), c));
      TERN_CHECK(emitter.take_checks().empty(), "a contraction inlines a gather");
      of_row.push_back(kernel::store(block.to, at, kernel::cast(value, block.to->type.dtype)));
      body.push_back(each_row(std::move(of_row)));
      return body;
    };
    const auto zeros = [&] {
      return Stmts{each_row({kernel::store(block.to, at, kernel::float_const(0.0, block.to->type.dtype))})};
    };
    if (k == block.depth) {
      lanes(sums());
    } else {
      w.when(
          kernel::compare(kernel::ScalarOp::kLt, channel, int_const(k)), [&] { lanes(sums()); },
          [&] { lanes(zeros()); });
    }
  };
  const int64_t rounds = ceil_div(pieces, block.threads);
  w.loop("piece", int_const(rounds), [&](Expr round) {
    const Expr q = w.let("q", kernel::add(kernel::mul(round, int_const(block.threads)), block.thread));
    if (pieces % block.threads == 0) return piece(q);
    w.when(kernel::compare(kernel::ScalarOp::kLt, q, int_const(pieces)), [&] { piece(q); });
  });
  return w.take();
}

}  // namespace tern::lower::gpu
