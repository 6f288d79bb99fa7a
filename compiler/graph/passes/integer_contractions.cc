#include "compiler/graph/passes/integer_contractions.h"

#include <algorithm>
#include <cmath>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/quantised.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

constexpr int64_t kWeightBytes = int64_t{1} << 31;

bool all_are(const std::vector<int64_t>& values, int64_t v) {
  return std::all_of(values.begin(), values.end(), [v](int64_t x) { return x == v; });
}

// Constant weights as i8, with what is left of their zero points and their sums for each output channel.
struct Weights {
  TensorDataPtr data;
  std::vector<double> zero;  // 0 for all channels, or what did not fit i8
  std::vector<double> sums;
  int64_t depth = 0;  // products of one output element
};

class Contractor {
 public:
  // `computed`: of products whose operands are both computed, else of those with constant weights.
  Contractor(Node& n, Builder& b, bool computed)
      : n_(n), b_(b), conv_(n.kind == OpKind::kConv), computed_(computed) {}

  Value* run() {
    const DType type = n_.result()->type.dtype;
    if (type != DType::kF32 && type != DType::kI32) return nullptr;
    if (n_.find("pad_value") || is_final()) return nullptr;
    if (conv_ && !all_are(n_.ints("lhs_dilations"), 1)) return nullptr;
    std::optional<Quantised> x = quantised(n_.operand(0), b_), w = quantised(n_.operand(1), b_);
    if (!x || !w || known_tensor(x->q, 0)) return nullptr;
    if (!x->zero.is_scalar() || !x->scale.is_scalar()) return nullptr;
    channel_axis_ = conv_ ? 0 : n_.operand(1)->type.rank() - 1;
    if (!is_channel(w->zero) || !is_channel(w->scale)) return nullptr;
    const TensorDataPtr constant = known_tensor(w->q, kWeightBytes);
    if ((constant == nullptr) != computed_) return nullptr;
    to_u8(*x);
    Value* sums = constant ? with_constant(*x, *w, constant) : with_dynamic(*x, *w);
    if (!sums || type == DType::kI32) return sums;
    return scale(b_.cast(sums, DType::kF32), *x, *w);
  }

 private:
  // u8 with i8 already: nothing to gain.
  bool is_final() const {
    return n_.operand(0)->type.dtype == DType::kU8 && n_.operand(1)->type.dtype == DType::kI8;
  }
  bool is_channel(const QuantParameter& p) const { return p.axis < 0 || p.axis == channel_axis_; }

  void to_u8(Quantised& x) {
    if (x.q->type.dtype == DType::kU8) return;
    x.q = as_u8(x.q, b_);
    shift(x.zero, 128);
  }
  void shift(QuantParameter& zero, int64_t by) {
    if (zero.dynamic) {
      zero.dynamic = b_.add(zero.dynamic, b_.int_constant(DType::kI32, by));
    } else if (zero.known.empty()) {
      zero.known = {static_cast<double>(by)};
    } else {
      for (double& z : zero.known) z += static_cast<double>(by);
    }
  }

  std::vector<std::pair<std::string, Attr>> attributes() const {
    auto attrs = n_.attrs;
    if (!n_.find("accumulate")) attrs.emplace_back("accumulate", DType::kI32);
    return attrs;
  }
  int result_axis() const { return conv_ ? 1 : n_.result()->type.rank() - 1; }

  // A zero point as an i32 value of rank 0.
  Value* zero_value(const QuantParameter& zero) {
    return zero.dynamic ? zero.dynamic : b_.int_constant(DType::kI32, static_cast<int64_t>(zero.at(0, 0)));
  }
  Value* channels(const std::vector<double>& entries, DType type) {
    return along_axis(entries, type, n_.result()->type.rank(), result_axis(), b_);
  }

  Weights weights(const Quantised& w, const TensorData& data) const {
    const std::vector<int64_t>& shape = data.shape();
    const auto axis = static_cast<size_t>(channel_axis_);
    int64_t inner = 1;
    for (size_t d = axis + 1; d < shape.size(); ++d) inner *= shape[d];
    const int64_t count = shape[axis];
    // Zero points join the weights while they fit: first what each channel's smallest and largest are.
    const auto* bytes_in = data.bytes().data();
    const bool is_signed = data.dtype() == DType::kI8;
    const auto element = [&](int64_t i) {
      return is_signed ? int{static_cast<int8_t>(bytes_in[i])} : int{bytes_in[i]};
    };
    const auto each = [&](const auto& f) {
      int64_t i = 0;
      for (const int64_t end = data.count(); i < end;) {
        for (int64_t c = 0; c < count; ++c)
          for (int64_t k = 0; k < inner; ++k, ++i) f(static_cast<size_t>(c), i);
      }
    };
    std::vector<int> zeros(static_cast<size_t>(count));
    for (size_t c = 0; c < zeros.size(); ++c) zeros[c] = static_cast<int>(w.zero.at(c, 0));
    bool fits = true;
    each([&](size_t c, int64_t i) {
      const int value = element(i) - zeros[c];
      fits = fits && value >= -128 && value <= 127;
    });
    const int flip = is_signed ? 0 : 128;
    Weights out;
    auto bytes = TensorData::make(DType::kI8, shape);
    out.sums.assign(static_cast<size_t>(count), 0);
    out.zero.assign(static_cast<size_t>(count), 0);
    out.depth = count == 0 ? 0 : data.count() / count;
    auto* to = bytes->mutable_as<int8_t>();
    std::vector<int64_t> sums(zeros.size());
    if (!fits) {
      for (size_t c = 0; c < zeros.size(); ++c) out.zero[c] = zeros[c] - flip;
      zeros.assign(zeros.size(), flip);
    }
    each([&](size_t c, int64_t i) {
      const int value = element(i) - zeros[c];
      to[i] = static_cast<int8_t>(value);
      sums[c] += value;
    });
    out.sums.assign(sums.begin(), sums.end());
    out.data = std::move(bytes);
    return out;
  }

  Value* with_constant(const Quantised& x, const Quantised& w, const TensorDataPtr& data) {
    // A batch of weights has other sums for each batch.
    if (!conv_ && product(Shape(w.q->type.shape.begin(), w.q->type.shape.end() - 2)) != Dim(1))
      return nullptr;
    if (w.zero.dynamic) return nullptr;
    const Weights made = weights(w, *data);
    const bool rows = std::any_of(made.zero.begin(), made.zero.end(), [](double z) { return z != 0; });
    const int64_t groups = conv_ ? n_.int_attr("groups") : 1;
    if (rows && groups != 1 && groups != static_cast<int64_t>(made.zero.size())) return nullptr;
    Value* constant = b_.constant(made.data);
    constant->name = n_.operand(1)->name;
    Value* q = x.q;
    auto attrs = attributes();
    pad_with_zero(x, q, attrs);
    Value* sums = b_.node(n_.kind, {q, constant}, attrs)->result();
    sums = minus_left_zero(sums, x, made);
    if (!rows) return sums;
    // The weights' zero points times the sum of (x - zero) under each window.
    Value* under = windows_sum(q, made, attrs);
    std::vector<double> fixed(made.zero.size());
    for (size_t c = 0; c < fixed.size(); ++c) fixed[c] = static_cast<double>(made.depth);
    under = b_.sub(under, b_.mul(channels(fixed, DType::kI32), zero_value(x.zero)));
    return b_.sub(sums, b_.mul(under, channels(made.zero, DType::kI32)));
  }

  Value* minus_left_zero(Value* sums, const Quantised& x, const Weights& w) {
    if (x.zero.dynamic) return b_.sub(sums, b_.mul(channels(w.sums, DType::kI32), x.zero.dynamic));
    const double zero = x.zero.at(0, 0);
    if (zero == 0) return sums;
    std::vector<double> fixed(w.sums.size());
    for (size_t c = 0; c < fixed.size(); ++c) fixed[c] = -zero * w.sums[c];
    return b_.add(sums, channels(fixed, DType::kI32));
  }

  // The padding of a convolution stands for 0, which is the zero point.
  void pad_with_zero(const Quantised& x, Value*& q, std::vector<std::pair<std::string, Attr>>& attrs) {
    if (!conv_ || (all_are(n_.ints("low"), 0) && all_are(n_.ints("high"), 0))) return;
    if (!x.zero.dynamic) {
      const auto zero = static_cast<int64_t>(x.zero.at(0, 0));
      if (zero != 0) attrs.emplace_back("pad_value", zero);
      return;
    }
    std::vector<Dim> low(2, Dim(0)), high(2, Dim(0));
    for (const int64_t p : n_.ints("low")) low.emplace_back(p);
    for (const int64_t p : n_.ints("high")) high.emplace_back(p);
    q = b_.pad(q, low, high, b_.cast(x.zero.dynamic, DType::kU8));
    const std::vector<int64_t> none(n_.ints("low").size(), 0);
    for (auto& [key, value] : attrs)
      if (key == "low" || key == "high") value = none;
  }

  Value* windows_sum(Value* q, const Weights& w, const std::vector<std::pair<std::string, Attr>>& attrs) {
    if (!conv_) return b_.reduce(ScalarOp::kAdd, b_.cast(q, DType::kI32), {q->type.rank() - 1}, true);
    std::vector<int64_t> shape = w.data->shape();
    shape[0] = n_.int_attr("groups");
    auto ones = TensorData::make(DType::kI8, shape);
    for (uint8_t& byte : ones->mutable_bytes()) byte = 1;
    return b_.node(OpKind::kConv, {q, b_.constant(std::move(ones))}, attrs)->result();
  }

  // Both operands are known at run time: sum ab - zb sum a - za sum b + k za zb.
  Value* with_dynamic(const Quantised& x, Quantised w) {
    if (conv_ || !w.zero.is_scalar() || !w.scale.is_scalar()) return nullptr;
    if (w.q->type.dtype == DType::kU8) {
      w.q = as_i8(w.q, b_);
      shift(w.zero, -128);
    }
    const auto rank = static_cast<int64_t>(w.q->type.rank());
    Value* sums = b_.node(OpKind::kDot, {x.q, w.q}, attributes())->result();
    const bool left = x.zero.dynamic || x.zero.at(0, 0) != 0, right = w.zero.dynamic || w.zero.at(0, 0) != 0;
    Value *za = zero_value(x.zero), *zb = zero_value(w.zero);
    if (right) {
      Value* rows = b_.reduce(ScalarOp::kAdd, b_.cast(x.q, DType::kI32), {rank - 1}, true);
      if (left) {
        Value* depth = b_.reshape(b_.from_dims({x.q->type.shape.back()}, {Dim(1)}, DType::kI32), {});
        rows = b_.sub(rows, b_.mul(depth, za));
      }
      sums = b_.sub(sums, b_.mul(rows, zb));
    }
    if (left) {
      Value* columns = b_.reduce(ScalarOp::kAdd, b_.cast(w.q, DType::kI32), {rank - 2}, true);
      sums = b_.sub(sums, b_.mul(columns, za));
    }
    return sums;
  }

  Value* scale(Value* sums, const Quantised& x, const Quantised& w) {
    if (x.scale.dynamic || w.scale.dynamic) {
      for (const QuantParameter* p : {&x.scale, &w.scale}) {
        if (p->dynamic) {
          sums = b_.mul(sums, p->dynamic);
        } else if (!p->absent()) {
          sums = b_.mul(sums, along_axis(p->known, DType::kF32, n_.result()->type.rank(),
                                         p->is_scalar() ? -1 : result_axis(), b_));
        }
      }
      return sums;
    }
    std::vector<double> both(w.scale.known.empty() ? 1 : w.scale.known.size());
    for (size_t i = 0; i < both.size(); ++i) both[i] = x.scale.at(0, 1) * w.scale.at(i, 1);
    return b_.mul(sums, along_axis(both, DType::kF32, n_.result()->type.rank(),
                                   both.size() == 1 ? -1 : result_axis(), b_));
  }

  Node& n_;
  Builder& b_;
  const bool conv_, computed_;
  int channel_axis_ = 0;  // of operand 1
};

// max pooling of (q - zero) * scale: the same of q, when every window holds an element.
Value* pool_quantised(const Node& n, Builder& b) {
  if (n.scalar_op() != ScalarOp::kMax || n.result()->type.dtype != DType::kF32) return nullptr;
  const auto &window = n.ints("window"), &low = n.ints("low"), &high = n.ints("high");
  for (size_t d = 0; d < window.size(); ++d) {
    const bool padded = low[d] != 0 || high[d] != 0;
    if (padded && (n.ints("dilations")[d] != 1 || low[d] >= window[d] || high[d] >= window[d]))
      return nullptr;
    if (low[d] < 0 || high[d] < 0) return nullptr;
  }
  std::optional<Quantised> x = quantised(n.operand(), b);
  if (!x || !x->zero.is_scalar() || !x->scale.is_scalar() || x->zero.dynamic || x->scale.dynamic ||
      x->scale.at(0, 1) <= 0)
    return nullptr;
  double zero = x->zero.at(0, 0);
  Value* q = x->q;
  if (q->type.dtype == DType::kI8) {
    q = as_u8(q, b);
    zero += 128;
  }
  Value* largest = b.node(OpKind::kReduceWindow, {q}, n.attrs)->result();
  Value* centred = b.cast(largest, DType::kI32);
  if (zero != 0) centred = b.sub(centred, b.int_constant(DType::kI32, static_cast<int64_t>(zero)));
  return b.mul(b.cast(centred, DType::kF32), along_axis({x->scale.at(0, 1)}, DType::kF32, 0, -1, b));
}

// cast.i8(max(min(x, 127), -128)), in either order, of whole numbers in f32: the same + 128 as u8, read as
// i8.
Value* quantise_as_u8(const Node& n, Builder& b) {
  if (n.result()->type.dtype != DType::kI8 || n.operand()->type.dtype != DType::kF32) return nullptr;
  const Node* outer = def_of(n.operand(), OpKind::kMap);
  const Node* inner =
      outer && outer->operands.size() == 2 ? def_of(outer->operand(0), OpKind::kMap) : nullptr;
  if (!inner || inner->operands.size() != 2) return nullptr;
  const auto a = splat_of(outer->operand(1)), c = splat_of(inner->operand(1));
  const bool clamps = a && c &&
                      ((outer->scalar_op() == ScalarOp::kMax && inner->scalar_op() == ScalarOp::kMin &&
                        a->f == -128 && c->f == 127) ||
                       (outer->scalar_op() == ScalarOp::kMin && inner->scalar_op() == ScalarOp::kMax &&
                        a->f == 127 && c->f == -128));
  if (!clamps) return nullptr;
  Value* x = inner->operand(0);
  const Node* sum = def_of(x, OpKind::kMap);
  const auto zero = sum && sum->scalar_op() == ScalarOp::kAdd ? splat_of(sum->operand(1)) : std::nullopt;
  const Node* whole = zero ? def_of(sum->operand(0), OpKind::kMap) : sum;
  if (!whole || whole->scalar_op() != ScalarOp::kRoundEven || (zero && zero->f != std::nearbyint(zero->f)))
    return nullptr;
  x = zero ? b.add(sum->operand(0), b.like(x, zero->f + 128)) : b.add(x, b.like(x, 128));
  Value* bytes =
      b.cast(b.map(ScalarOp::kMax, {b.map(ScalarOp::kMin, {x, b.like(x, 255)}), b.like(x, 0)}), DType::kU8);
  return b.bitcast(b.map(ScalarOp::kXor, {bytes, b.int_constant(DType::kU8, 128)}), DType::kI8);
}

// A number made of bitcast(xor(u, 128)): u - 128.
Value* widen_flipped(const Node& n, Builder& b) {
  Value* u = u8_behind(n.operand());
  const DType to = n.result()->type.dtype;
  if (!u || (to != DType::kI32 && to != DType::kF32)) return nullptr;
  Value* wide = b.sub(b.cast(u, DType::kI32), b.int_constant(DType::kI32, 128));
  return b.cast(wide, to);
}

// (x - a) - b of integers.
Value* merge_offsets(const Node& n, Builder& b) {
  if (n.scalar_op() != ScalarOp::kSub || n.result()->type.dtype != DType::kI32) return nullptr;
  const Node* inner = def_of(n.operand(0), OpKind::kMap);
  if (!inner || inner->scalar_op() != ScalarOp::kSub) return nullptr;
  const auto x = splat_of(n.operand(1)), y = splat_of(inner->operand(1));
  if (!x || !y) return nullptr;
  return b.sub(inner->operand(0), b.int_constant(DType::kI32, x->i + y->i));
}

}  // namespace

bool integer_contractions(Graph& graph) {
  return Rewriter(graph,
                  [](Node& n, Builder& b) {
                    switch (n.kind) {
                      case OpKind::kDot:
                      case OpKind::kConv:
                        return replace_with(Contractor(n, b, false).run());
                      case OpKind::kReduceWindow:
                        return replace_with(pool_quantised(n, b));
                      case OpKind::kCast:
                        if (Value* v = quantise_as_u8(n, b)) return replace_with(v);
                        return replace_with(widen_flipped(n, b));
                      case OpKind::kMap:
                        return replace_with(merge_offsets(n, b));
                      default:
                        return std::optional<std::vector<Value*>>();
                    }
                  })
      .run();
}

bool integer_products(Graph& graph) {
  return Rewriter(graph,
                  [](Node& n, Builder& b) {
                    return n.kind == OpKind::kDot ? replace_with(Contractor(n, b, true).run())
                                                  : std::optional<std::vector<Value*>>();
                  })
      .run();
}

}  // namespace tern::graph
