// Random small graphs through every combination of region formation: what no hand-written case thinks of.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 1) {}
  int64_t below(int64_t n) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<int64_t>((state_ >> 33) % static_cast<uint64_t>(n));
  }

 private:
  uint64_t state_;
};

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  std::string make() {
    const int64_t inputs = 1 + random_.below(2);
    for (int64_t i = 0; i < inputs; ++i) {
      std::vector<int64_t> shape;
      const int64_t rank = 2 + random_.below(3);
      for (int64_t d = 0; d < rank; ++d) shape.push_back(1 + random_.below(d + 1 == rank ? 20 : 5));
      define(shape, fmt::format("  input %{{}}: f32[{}] as \"x{}\"\n", list(shape), i), true);
    }
    const int64_t nodes = 3 + random_.below(10);
    for (int64_t i = 0; i < nodes; ++i) node();
    const int64_t outputs = 1 + random_.below(2);
    for (int64_t i = 0; i < outputs; ++i) {
      const size_t v = i == 0 ? values_.size() - 1 : static_cast<size_t>(random_.below(size()));
      text_ += fmt::format("  output %{} as \"y{}\"\n", v, i);
    }
    return text_;
  }

 private:
  using Shape64 = std::vector<int64_t>;
  int64_t size() const { return static_cast<int64_t>(values_.size()); }
  static std::string list(const Shape64& v) { return fmt::format("{}", fmt::join(v, ",")); }

  size_t define(const Shape64& shape, const std::string& line, bool named = false) {
    const size_t id = values_.size();
    text_ += named ? fmt::format(fmt::runtime(line), fmt::format("v{}", id)) : line;
    if (named) text_ += fmt::format("  %{} = neg(%v{})\n", id, id);
    values_.push_back(shape);
    return id;
  }
  size_t emit(const Shape64& shape, const std::string& call) {
    return define(shape, fmt::format("  %{} = {}\n", values_.size(), call));
  }

  size_t broadcast(size_t v, const Shape64& shape) {
    if (values_[v] == shape) return v;
    return emit(shape, fmt::format("broadcast(%{}) <shape=[{}]>", v, list(shape)));
  }

  // A value of v's shape, or one that broadcasts to it.
  size_t partner(size_t v) {
    const Shape64 shape = values_[v];
    std::vector<size_t> fits;
    for (size_t i = 0; i < values_.size(); ++i) {
      const Shape64& s = values_[i];
      if (s.size() > shape.size()) continue;
      bool good = true;
      for (size_t d = 0; d < s.size(); ++d) {
        const int64_t to = shape[d + shape.size() - s.size()];
        good &= s[d] == 1 || s[d] == to;
      }
      if (good) fits.push_back(i);
    }
    return broadcast(fits[static_cast<size_t>(random_.below(static_cast<int64_t>(fits.size())))], shape);
  }

  void reduce(size_t v) {
    Shape64 shape = values_[v], axes, kept, unit = shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      const bool fold = d + 1 == shape.size() ? random_.below(3) > 0 : random_.below(3) == 0;
      if (fold) {
        axes.push_back(static_cast<int64_t>(d));
        unit[d] = 1;
      } else {
        kept.push_back(shape[d]);
      }
    }
    if (axes.empty()) return;
    size_t r = emit(
        kept, fmt::format("reduce(%{}) <op={}, axes=[{}]>", v, random_.below(2) ? "add" : "max", list(axes)));
    r = tame(r);
    if (random_.below(3) == 0) return;
    const size_t k = emit(unit, fmt::format("reshape(%{}) <shape=[{}]>", r, list(unit)));
    const size_t b = broadcast(k, shape);
    emit(shape, fmt::format("{}(%{}, %{})", random_.below(2) ? "sub" : "add", v, b));
  }

  void reshape(size_t v) {
    Shape64 shape = values_[v];
    if (shape.size() < 2) return;
    const auto d = static_cast<size_t>(random_.below(static_cast<int64_t>(shape.size()) - 1));
    switch (random_.below(3)) {
      case 0:  // merge two
        shape[d] *= shape[d + 1];
        shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(d) + 1);
        break;
      case 1:
        if (shape.size() < 5) shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(d), 1);
        break;
      default:  // swap the sizes of two: the elements flow
        std::swap(shape[d], shape[d + 1]);
    }
    emit(shape, fmt::format("reshape(%{}) <shape=[{}]>", v, list(shape)));
  }

  void transpose(size_t v) {
    const Shape64 shape = values_[v];
    Shape64 perm, out;
    for (size_t d = 0; d < shape.size(); ++d) perm.push_back(static_cast<int64_t>(d));
    for (size_t d = perm.size(); d > 1; --d)
      std::swap(perm[d - 1], perm[static_cast<size_t>(random_.below(static_cast<int64_t>(d)))]);
    for (const int64_t p : perm) out.push_back(shape[static_cast<size_t>(p)]);
    emit(out, fmt::format("transpose(%{}) <perm=[{}]>", v, list(perm)));
  }

  void slice(size_t v) {
    Shape64 shape = values_[v], starts, steps;
    for (int64_t& n : shape) {
      const int64_t step = random_.below(3) == 0 ? -1 : 1, first = random_.below(n);
      starts.push_back(first);
      steps.push_back(step);
      n = 1 + random_.below(step > 0 ? n - first : first + 1);
    }
    emit(shape, fmt::format("slice(%{}) <starts=[{}], sizes=[{}], steps=[{}]>", v, list(starts), list(shape),
                            list(steps)));
  }

  void concat(size_t v) {
    Shape64 shape = values_[v];
    if (shape.empty()) return;
    const auto axis = static_cast<size_t>(random_.below(static_cast<int64_t>(shape.size())));
    const size_t w = partner(v);
    shape[axis] *= 2;
    if (shape[axis] > 64) return;
    emit(shape, fmt::format("concat(%{}, %{}) <axis={}>", v, w, axis));
  }

  void dot(size_t v) {
    const Shape64 shape = values_[v];
    if (shape.size() < 2) return;
    Shape64 perm, turned = shape, out = shape;
    for (size_t d = 0; d < shape.size(); ++d) perm.push_back(static_cast<int64_t>(d));
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    std::swap(turned[shape.size() - 1], turned[shape.size() - 2]);
    out.back() = shape[shape.size() - 2];
    const size_t t = emit(turned, fmt::format("transpose(%{}) <perm=[{}]>", v, list(perm)));
    emit(out, fmt::format("dot(%{}, %{})", v, t));
  }

  // Keeps values small whole or half numbers, so that every order of summation is exact.
  size_t tame(size_t v) {
    const Shape64 shape = values_[v];
    const size_t id = emit({}, "constant f32[] {3}");
    const size_t b = broadcast(id, shape);
    return emit(shape, fmt::format("floor_mod(%{}, %{})", v, b));
  }

  void node() {
    const size_t v = random_.below(2) ? values_.size() - 1 : static_cast<size_t>(random_.below(size()));
    switch (random_.below(11)) {
      case 0:
      case 1:
        emit(values_[v], fmt::format("{}(%{})", random_.below(2) ? "abs" : "neg", v));
        break;
      case 2:
      case 3: {
        const Shape64 shape = values_[v];
        const size_t w = partner(v);
        static constexpr const char* kOps[] = {"add", "sub", "max", "min"};
        emit(shape, fmt::format("{}(%{}, %{})", kOps[random_.below(4)], v, w));
        break;
      }
      case 4:
        return reduce(v);
      case 5:
        return reshape(v);
      case 6:
        return transpose(v);
      case 7:
        return slice(v);
      case 8:
        return concat(v);
      case 9:
        dot(v);
        tame(values_.size() - 1);
        return;
      default:
        tame(v);
    }
  }

  Random random_;
  std::string text_;
  std::vector<Shape64> values_;
};

TEST_CASE("random graphs") {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    CAPTURE(seed);
    LowerCase c{Maker(seed).make()};
    c.continuous = false;
    check_lowering(c);
  }
}

}  // namespace
}  // namespace tern::lower
