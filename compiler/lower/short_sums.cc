#include "compiler/lower/short_sums.h"

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nests.h"

namespace tern::lower {
namespace {

using graph::Node;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

constexpr int64_t kMostTaps = 64;  // 7 x 7, whose loads wait in registers

class ShortSum {
 public:
  ShortSum(ElementEmitter& emitter, const Node& conv, std::vector<kernel::Stmt>* lets)
      : emitter_(emitter), conv_(conv), sum_(accumulator_type(conv.result()->type.dtype)), lets_(lets) {}

  Expr at(const Index& index) {
    std::vector<Point> points{{index, Index(index.size(), int_const(0)), nullptr}};
    points[0].tap[0] = index[1];
    for (size_t d = 2; d < index.size(); ++d) points = along(d, index, points);
    std::vector<Expr> products;
    for (const Point& p : points) {
      const Expr x = kernel::cast(emitter_.element(conv_.operand(0), p.at), sum_);
      const Expr w = kernel::cast(emitter_.element(conv_.operand(1), p.tap), sum_);
      TERN_CHECK(emitter_.take_checks().empty(), "a contraction inlines a gather");
      products.push_back(let("product", kernel::mul(x, w)));
    }
    const Expr zero = kernel::scalar_const(kernel::reduction_identity(ScalarOp::kAdd, sum_));
    Expr total;
    for (size_t i = 0; i < points.size(); ++i) {
      const Expr value = points[i].inside ? kernel::select(points[i].inside, products[i], zero) : products[i];
      total = let("sum", total ? kernel::add(total, value) : value);
    }
    return total;
  }

 private:
  struct Point {
    Index at, tap;
    Expr inside;
  };
  struct Tap {
    Expr nearest, inside;
  };

  Expr let(const char* name, const Expr& value) {
    if (!lets_) return value;
    const kernel::Var v = kernel::make_var(name, value->type);
    lets_->push_back(kernel::let(v, value));
    return kernel::var_expr(v);
  }

  // Every point with every tap of dimension d.
  std::vector<Point> along(size_t d, const Index& index, const std::vector<Point>& points) {
    const int64_t stride = conv_.ints("strides")[d - 2], low = conv_.ints("low")[d - 2],
                  step = conv_.ints("dilations")[d - 2], window = conv_.operand(1)->type.shape[d].value();
    const Expr extent = emitter_.dispatch().expr(conv_.operand(0)->type.shape[d]);
    const Expr start = let("start", kernel::sub(kernel::mul(index[d], int_const(stride)), int_const(low)));
    std::vector<Tap> taps;
    for (int64_t k = 0; k < window; ++k) {
      const Expr at = let("at", kernel::add(start, int_const(k * step)));
      const Expr last = kernel::sub(extent, int_const(1));
      taps.push_back({let("nearest", kernel::max(kernel::min(at, last), int_const(0))),
                      let("inside", in_range(at, extent))});
    }
    std::vector<Point> wider;
    for (const Point& p : points) {
      for (int64_t k = 0; k < window; ++k) {
        Point& q = wider.emplace_back(p);
        q.at[d] = taps[static_cast<size_t>(k)].nearest;
        q.tap[d] = int_const(k);
        q.inside = both(p.inside, taps[static_cast<size_t>(k)].inside);
      }
    }
    return wider;
  }

  ElementEmitter& emitter_;
  const Node& conv_;
  const DType sum_;
  std::vector<kernel::Stmt>* lets_;
};

}  // namespace

bool has_short_sums(const Node& conv) {
  if (conv.kind != graph::OpKind::kConv || !is_depthwise(conv) || conv.find("pad_value")) return false;
  const Shape &pixels = conv.operand(0)->type.shape, &filters = conv.operand(1)->type.shape;
  for (size_t d = 2; d < pixels.size(); ++d) {
    if (!pixels[d].is_const() || pixels[d].value() < 1 || conv.ints("lhs_dilations")[d - 2] != 1)
      return false;
  }
  const Dim taps = product(Shape(filters.begin() + 2, filters.end()));
  return taps.is_const() && taps.value() <= kMostTaps;
}

PackedFilters::PackedFilters(const Node& conv, LoweringContext& context) : conv_(conv) {
  const graph::Value* filters = conv.operand(1);
  for (size_t d = 2; d < filters->type.shape.size(); ++d) order_.push_back(static_cast<int>(d));
  order_.push_back(1);
  order_.push_back(0);
  const DType stored = context.precision().storage(filters);
  context.note_stored(filters, stored);
  buffer_ = context.add_constant(
      filters->name,
      converted(LoweringContext::permuted(LoweringContext::constant_data(filters), order_), stored));
}

void PackedFilters::bind(ElementEmitter& emitter) const {
  emitter.bind(conv_.operand(1), [this, &emitter](const Index& index) {
    Expr at = int_const(0);
    for (const int d : order_) {
      const Dim& n = conv_.operand(1)->type.shape[static_cast<size_t>(d)];
      at = kernel::add(kernel::mul(at, emitter.dispatch().expr(n)), index[static_cast<size_t>(d)]);
    }
    return kernel::cast(kernel::load(emitter.dispatch().bind(buffer_), at), conv_.operand(1)->type.dtype);
  });
}

Expr short_sum(ElementEmitter& emitter, const Node& conv, const Index& index,
               std::vector<kernel::Stmt>* lets) {
  return ShortSum(emitter, conv, lets).at(index);
}

}  // namespace tern::lower
