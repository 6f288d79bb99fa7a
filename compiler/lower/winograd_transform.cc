#include "compiler/lower/winograd_transform.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "compiler/kernel/expr_util.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::ScalarOp;
using kernel::Stmt;

// Coefficients of the product of (X - p_j^2) over all pairs j but `skip`, lowest power first; X stands for
// the square of the variable.
std::vector<double> pair_product(const WinogradTransform& t, size_t skip) {
  std::vector<double> c{1};
  for (size_t j = 0; j < t.pairs.size(); ++j) {
    if (j == skip) continue;
    std::vector<double> next(c.size() + 1, 0);
    for (size_t k = 0; k < c.size(); ++k) {
      next[k + 1] += c[k];
      next[k] -= c[k] * t.pairs[j] * t.pairs[j];
    }
    c = std::move(next);
  }
  // What is a whole number or a half mathematically should not carry the rounding of p.
  for (double& v : c) {
    const double halves = std::round(v * 2) / 2;
    if (std::abs(v - halves) < 1e-12) v = halves;
  }
  return c;
}

double value_at(const std::vector<double>& coefficients, double x) {
  double v = 0;
  for (size_t k = coefficients.size(); k-- > 0;) v = v * x + coefficients[k];
  return v;
}

class Writer {
 public:
  Writer(bool has_fma, std::vector<Stmt>& out) : has_fma_(has_fma), out_(out) {}

  Expr named(const char* name, Expr value) {
    const kernel::Var v = kernel::make_var(name, value->type);
    out_.push_back(kernel::let(v, std::move(value)));
    return kernel::var_expr(v);
  }

  // c * x + y; y may be null.
  Expr multiply_add(double c, const Expr& x, const Expr& y) const {
    if (!y) return c == 1 ? x : kernel::mul(x, constant(c, x));
    if (c == 1) return kernel::add(y, x);
    if (c == -1) return kernel::sub(y, x);
    if (has_fma_) return kernel::op(ScalarOp::kFma, {x, constant(c, x), y});
    return kernel::add(kernel::mul(x, constant(c, x)), y);
  }

  struct Term {
    double c;
    Expr x;
  };
  // Terms without a multiplication come first, so that every other one is a fused step.
  Expr sum(const std::vector<Term>& terms) const {
    Expr v;
    for (const bool plain : {true, false}) {
      for (const Term& t : terms) {
        if ((t.c == 1) == plain) v = multiply_add(t.c, t.x, v);
      }
    }
    return v;
  }

 private:
  static Expr constant(double c, const Expr& like) {
    const Expr one = kernel::float_const(c);
    return like->type.lanes == 1 ? one : kernel::broadcast(one, like->type.lanes);
  }

  bool has_fma_;
  std::vector<Stmt>& out_;
};

// G: a row a point, over the three taps.
std::vector<std::array<double, 3>> weight_rows(const WinogradTransform& t) {
  std::vector<std::array<double, 3>> g;
  const auto at_point = [&](double x, double scale) {
    if (t.stride == 1) g.push_back({scale, scale * x, scale * x * x});
    if (t.stride == 2) g.push_back({scale, 0, scale * x});
  };
  if (t.has_zero) at_point(0, 1 / value_at(pair_product(t, t.pairs.size()), 0));
  for (size_t i = 0; i < t.pairs.size(); ++i) {
    const double p = t.pairs[i], others = value_at(pair_product(t, i), p * p);
    const double scale = 1 / (2 * p * others);
    at_point(p, t.has_zero ? scale / p : scale);
    at_point(-p, t.has_zero ? scale / p : -scale);
  }
  g.push_back({0, 0, 1});
  if (t.stride == 2) g.push_back({0, 1, 0});
  return g;
}

}  // namespace

std::vector<int> winograd_sides(int stride) {
  if (stride == 1) return {2, 4};
  if (stride == 2) return {3, 4};
  return {};
}

const WinogradTransform& winograd_transform(int outputs, int stride) {
  static const double less = std::sqrt(0.5), more = std::sqrt(2.0);
  static const std::vector<WinogradTransform> all{
      {2, 1, true, {1.0}}, {4, 1, true, {less, more}}, {3, 2, true, {1.0}}, {4, 2, false, {less, more}}};
  for (const WinogradTransform& t : all) {
    if (t.outputs == outputs && t.stride == stride) return t;
  }
  TERN_CHECK(false, "there is no Winograd transform of {} outputs and stride {}", outputs, stride);
}

std::vector<Expr> winograd_input(const WinogradTransform& t, bool has_fma, const std::vector<Expr>& inputs,
                                 std::vector<Stmt>& out) {
  Writer w(has_fma, out);
  std::vector<Expr> d, passed;  // interpolated, passed on
  for (size_t i = 0; i < inputs.size(); ++i) (t.stride == 2 && i % 2 == 1 ? passed : d).push_back(inputs[i]);
  const auto combine = [&](const std::vector<double>& c, size_t first) {
    std::vector<Writer::Term> terms;
    for (size_t k = 0; k < c.size(); ++k) terms.push_back({c[k], d[first + 2 * k]});
    return w.sum(terms);
  };
  const size_t pairs = t.pairs.size(), shift = t.has_zero ? 1 : 0;
  const std::vector<double> all = pair_product(t, pairs);
  std::vector<Expr> result;
  if (t.has_zero) result.push_back(w.named("v", combine(all, 0)));
  for (size_t i = 0; i < pairs; ++i) {
    const std::vector<double> others = pair_product(t, i);
    const Expr even = w.named("even", combine(others, 1 + shift)),
               odd = w.named("odd", combine(others, shift));
    result.push_back(w.named("v", w.multiply_add(t.pairs[i], odd, even)));
    result.push_back(w.named("v", w.multiply_add(-t.pairs[i], odd, even)));
  }
  result.push_back(w.named("v", combine(all, shift)));
  result.insert(result.end(), passed.begin(), passed.end());
  return result;
}

std::vector<Expr> winograd_output(const WinogradTransform& t, bool has_fma, const std::vector<Expr>& m,
                                  std::vector<Stmt>& out) {
  Writer w(has_fma, out);
  const size_t first = t.has_zero ? 1 : 0, infinity = first + 2 * t.pairs.size();
  std::vector<Expr> sums, differences;
  for (size_t i = first; i < infinity; i += 2) {
    sums.push_back(w.named("sum", kernel::add(m[i], m[i + 1])));
    differences.push_back(w.named("difference", kernel::sub(m[i], m[i + 1])));
  }
  std::vector<Expr> result;
  for (int k = 0; k < t.outputs; ++k) {
    std::vector<Writer::Term> terms;
    if (k == 0 && t.has_zero) terms.push_back({1, m[0]});
    if (k == t.outputs - 1) terms.push_back({1, m[infinity]});
    if (t.stride == 2) terms.push_back({1, m[infinity + 1 + static_cast<size_t>(k)]});
    for (size_t i = 0; i < t.pairs.size(); ++i)
      terms.push_back({std::pow(t.pairs[i], k), k % 2 == 0 ? sums[i] : differences[i]});
    result.push_back(w.named("y", w.sum(terms)));
  }
  return result;
}

std::vector<Expr> winograd_weights(const WinogradTransform& t, bool has_fma, const std::vector<Expr>& g,
                                   std::vector<Stmt>& out) {
  Writer w(has_fma, out);
  std::vector<Expr> result;
  std::vector<std::pair<std::array<double, 2>, Expr>> evens;  // what the rows of a pair share
  for (const std::array<double, 3>& row : weight_rows(t)) {
    const std::array<double, 2> outer{row[0], row[2]};
    auto even = std::find_if(evens.begin(), evens.end(), [&](const auto& e) { return e.first == outer; });
    if (even == evens.end()) {
      std::vector<Writer::Term> terms;
      if (row[0] != 0) terms.push_back({row[0], g[0]});
      if (row[2] != 0) terms.push_back({row[2], g[2]});
      evens.push_back({outer, terms.empty() ? nullptr : w.named("even", w.sum(terms))});
      even = evens.end() - 1;
    }
    result.push_back(row[1] == 0 ? even->second : w.named("u", w.multiply_add(row[1], g[1], even->second)));
  }
  return result;
}

WinogradOperations winograd_operations(const WinogradTransform& transform) {
  using Transform = decltype(&winograd_input);
  const auto in_one_dimension = [&](Transform of, int inputs) {
    std::vector<Expr> values;
    for (int i = 0; i < inputs; ++i)
      values.push_back(kernel::var_expr(kernel::make_var("d", {DType::kF32, 1})));
    std::vector<kernel::Stmt> lets;
    const std::vector<Expr> results = of(transform, true, values, lets);
    int64_t count = 0;
    const auto add = [&](const Expr& root) {
      kernel::visit(root, [&](const Expr& e) {
        if (e->kind == kernel::ExprKind::kOp) count += e->op == scalar::ScalarOp::kFma ? 2 : 1;
      });
    };
    for (const kernel::Stmt& s : lets) add(s->value);
    for (const Expr& e : results) add(e);
    return count;
  };
  return {2 * transform.size() * in_one_dimension(winograd_input, transform.size()),
          (transform.size() + transform.outputs) * in_one_dimension(winograd_output, transform.size()),
          (3 + transform.weights()) * in_one_dimension(winograd_weights, 3)};
}

}  // namespace tern::lower
