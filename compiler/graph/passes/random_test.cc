// Random graphs evaluate the same before and after the pipeline. Values are small integers in f32, so that
// every order of summation is exact, and the comparison is bit for bit except for the sign of zero.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "compiler/graph/passes.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed), builder_(graph_, graph_.body) {}

  std::unique_ptr<Graph> run() {
    for (int i = 0; i < 2; ++i) {
      Value* v = graph_.new_value(Type::tensor(DType::kF32, shape(true)));
      v->block = &graph_.body;
      v->index = i;
      graph_.body.args.push_back(v);
      values_.push_back(v);
    }
    values_.push_back(constant(shape()));
    for (int i = 0; i < 14; ++i) values_.push_back(step());
    for (int i = 0; i < 4; ++i) graph_.body.results.push_back(values_[values_.size() - 1 - pick(8)]);
    return std::make_unique<Graph>(std::move(graph_));
  }

 private:
  size_t pick(size_t n) { return random_() % n; }
  // Mostly something recent, so that operations form chains.
  Value* any() {
    const size_t n = values_.size();
    return values_[pick(3) ? n - 1 - pick(std::min<size_t>(n, 2)) : pick(n)];
  }
  // Sizes 1 to 4, where the symbols N and M stand for 2 and 3 in inputs.
  Shape shape(bool symbols = false) {
    Shape s;
    for (size_t i = 0, rank = 1 + pick(3); i < rank; ++i) {
      const auto n = static_cast<int64_t>(1 + pick(4));
      s.push_back(!symbols || n == 1 || n == 4 || pick(2) ? Dim(n) : Dim::symbol(n == 2 ? "N" : "M"));
    }
    return s;
  }
  static int64_t size(const Dim& d) {
    return *d.evaluate([](const std::string& s) { return std::optional<int64_t>(s == "N" ? 2 : 3); });
  }
  static int64_t count(const Value* v) { return size(product(v->type.shape)); }
  Value* constant(const Shape& s) {
    if (!is_static(s)) return builder_.broadcast(constant(Shape(1, Dim(1))), s);
    auto t = TensorData::make(DType::kF32, static_dims(s));
    const bool splat = pick(3) == 0;
    for (int64_t i = 0; i < t->count(); ++i)
      t->mutable_as<float>()[i] =
          splat ? static_cast<float>(t->count() % 2) : static_cast<float>(pick(5)) - 2;
    return builder_.constant(std::move(t));
  }
  // Something that broadcasts to x's shape.
  Value* partner(Value* x) {
    for (int tries = 0; tries < 4; ++tries) {
      Value* y = any();
      const Result<Shape> common = broadcast_shapes(x->type.shape, y->type.shape);
      if (common.ok() && size(product(common.value())) < 300) return y;
    }
    Shape s = x->type.shape;
    for (Dim& d : s)
      if (pick(2)) d = Dim(1);
    return constant(s);
  }
  std::vector<int64_t> permutation(size_t n) {
    std::vector<int64_t> p;
    for (size_t i = 0; i < n; ++i)
      p.insert(p.begin() + static_cast<std::ptrdiff_t>(pick(i + 1)), static_cast<int64_t>(i));
    return p;
  }

  Value* slice(Value* x) {
    std::vector<Dim> starts, sizes;
    std::vector<int64_t> steps;
    for (const Dim& d : x->type.shape) {
      if (!d.is_const()) {  // everything, perhaps backwards, or all but the last
        const size_t which = pick(3);
        starts.push_back(which == 1 ? d - Dim(1) : Dim(0));
        sizes.push_back(which == 2 ? d - Dim(1) : d);
        steps.push_back(which == 1 ? -1 : 1);
        if (size(sizes.back()) == 0) sizes.back() = d;
        continue;
      }
      const auto n = static_cast<size_t>(d.value());
      const auto taken = static_cast<int64_t>(1 + pick(n));
      const bool back = pick(3) == 0;
      const auto slack = static_cast<int64_t>(pick(n - static_cast<size_t>(taken) + 1));
      starts.push_back(Dim(back ? slack + taken - 1 : slack));
      sizes.push_back(Dim(taken));
      steps.push_back(back ? -1 : 1);
    }
    return builder_.slice(x, starts, sizes, steps);
  }
  Value* pad(Value* x) {
    std::vector<Dim> low, high;
    for (size_t i = 0; i < x->type.shape.size(); ++i) {
      low.push_back(Dim(static_cast<int64_t>(pick(2))));
      high.push_back(Dim(static_cast<int64_t>(pick(2))));
    }
    return builder_.pad(x, low, high, builder_.scalar_constant(DType::kF32, pick(2) ? 0 : 1));
  }
  Value* dot(Value* x) {
    if (x->type.rank() < 2) return x;
    Shape s(x->type.shape.size(), Dim(1));
    s[s.size() - 2] = x->type.shape.back();
    s.back() = Dim(static_cast<int64_t>(1 + pick(3)));
    if (pick(3) == 0 && s.size() > 2) s[0] = x->type.shape[0];
    return builder_.dot(x, constant(s));
  }
  Value* conv(Value* x) {
    if (x->type.rank() != 3 || !x->type.shape[1].is_const()) return x;
    using Ints = std::vector<int64_t>;
    const int64_t window = static_cast<int64_t>(1 + pick(2));
    return builder_
        .node(OpKind::kConv, {x, constant({Dim(2), x->type.shape[1], Dim(window)})},
              {{"strides", Ints{1}},
               {"low", Ints{1}},
               {"high", Ints{static_cast<int64_t>(pick(2))}},
               {"dilations", Ints{1}},
               {"lhs_dilations", Ints{static_cast<int64_t>(1 + pick(2))}},
               {"groups", int64_t{1}}})
        ->result();
  }
  // x less the sums of groups of its second axis, as exporters write group norms.
  Value* without_group_sums(Value* x) {
    const Shape& s = x->type.shape;
    if (s.size() < 2 || !s[1].is_const() || s[1].value() % 2 != 0 || s[1].value() == 0) return x;
    Dim rest(s[1].value() / 2);
    for (size_t i = 2; i < s.size(); ++i) rest = rest * s[i];
    Value* groups = builder_.reshape(x, {s[0], Dim(2), rest});
    Value* sums = builder_.reduce(ScalarOp::kAdd, groups, {2}, true);
    Value* part = builder_.reshape(builder_.sub(groups, sums), s);
    return pick(2) ? builder_.mul(part, partner(part)) : part;
  }
  // Keeps values small enough for exact sums.
  Value* clamp(Value* x) {
    return builder_.map(ScalarOp::kMax,
                        {builder_.map(ScalarOp::kMin, {x, builder_.like(x, 8)}), builder_.like(x, -8)});
  }

  Value* step() {
    Value* x = any();
    const std::vector<int64_t> last = {x->type.rank() - 1};
    switch (pick(15)) {
      case 0:
        return clamp(builder_.add(x, partner(x)));
      case 1:
        return clamp(builder_.mul(x, partner(x)));
      case 2:
        return clamp(builder_.sub(partner(x), x));
      case 3:
        return builder_.transpose(x, permutation(x->type.shape.size()));
      case 4:
        return builder_.reshape(x, {product(x->type.shape)});
      case 5:
        return x->type.rank() < 3 ? builder_.unsqueeze(x, {static_cast<int64_t>(pick(2))}) : slice(x);
      case 6:
        return slice(x);
      case 7:
        return count(x) < 100 ? pad(x) : slice(x);
      case 8:
        return count(x) < 100 ? builder_.concat({x, x}, 0) : slice(x);
      case 9:
        return x->type.rank() > 1 ? clamp(builder_.reduce(ScalarOp::kAdd, x, last, pick(2))) : x;
      case 10:
        return clamp(dot(x));
      case 11:
        return clamp(conv(x));
      case 12:
        return clamp(without_group_sums(x));
      case 13:
        return builder_.map(pick(2) ? ScalarOp::kNeg : ScalarOp::kAbs, {x});
      default:
        return builder_.select(builder_.map(ScalarOp::kLt, {x, builder_.like(x, 1)}), x,
                               builder_.broadcast(builder_.like(x, 2), x->type.shape));
    }
  }

  std::mt19937 random_;
  Graph graph_;
  Builder builder_;
  std::vector<Value*> values_;
};

std::string values_text(const std::vector<EvalValue>& values) {
  std::string text;
  for (const EvalValue& v : values) {
    auto t = TensorData::make(v.tensor->dtype(), v.tensor->shape());
    for (int64_t i = 0; i < t->count(); ++i) t->mutable_as<float>()[i] = v.tensor->as<float>()[i] + 0.0f;
    text += print_tensor(*t, 1000) + "\n";
  }
  return text;
}

TEST_CASE("random graphs keep their meaning through every pass") {
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    // The graph is built in text and parsed twice: passes change it in place.
    const std::string text = print_graph(*Generator(seed).run(), 1000);
    auto before = parse_graph(text), after = parse_graph(text);
    REQUIRE_MESSAGE(before.ok(), before.error().text());
    std::vector<EvalValue> inputs;
    std::mt19937 random(seed);
    for (const Value* v : before.value()->body.args) {
      std::vector<int64_t> shape;
      for (const Dim& d : v->type.shape)
        shape.push_back(
            *d.evaluate([](const std::string& s) { return std::optional<int64_t>(s == "N" ? 2 : 3); }));
      auto t = TensorData::make(DType::kF32, shape);
      for (int64_t i = 0; i < t->count(); ++i)
        t->mutable_as<float>()[i] = static_cast<float>(random() % 7) - 3;
      inputs.push_back({t, nullptr});
    }
    PassOptions options;
    options.verify_each = true;
    std::string changes;
    options.on_pass = [&](std::string_view pass, double, bool changed) {
      if (changed) changes += std::string(pass) + " ";
    };
    REQUIRE(optimize(*after.value(), options).ok());
    const auto want = evaluate(*before.value(), inputs), got = evaluate(*after.value(), inputs);
    REQUIRE_MESSAGE(want.ok(), want.error().text());
    REQUIRE_MESSAGE(got.ok(), got.error().text());
    REQUIRE_MESSAGE(values_text(want.value()) == values_text(got.value()), "seed ", seed, " after ", changes,
                    "\n", text, "\n", print_graph(*after.value(), 1000));
  }
}

}  // namespace
}  // namespace tern::graph
