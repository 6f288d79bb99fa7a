// ai.onnx.ml: support vector machines.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/trees.h"

namespace tern::onnx {

namespace {

Value* kernel_values(Op& op, Value* x, Value* vectors) {
  Emit& b = op.b;
  std::string kind = op.s("kernel_type", "LINEAR");
  std::vector<double> p = op.floats("kernel_params", {0, 0, 0});
  if (p.size() != 3) fail("Attribute 'kernel_params' has {} elements instead of 3.", p.size());
  Value* product = b.dot(x, b.transpose(vectors, {1, 0}));
  if (kind == "LINEAR") return product;
  if (kind == "POLY") {
    Value* base = b.add(b.mul(product, p[0]), p[1]);
    return b.map(ScalarOp::kPow, {base, b.like(base, p[2])});
  }
  if (kind == "SIGMOID") return b.unary(ScalarOp::kTanh, b.add(b.mul(product, p[0]), p[1]));
  if (kind != "RBF") fail("Attribute 'kernel_type' ('{}') must be LINEAR, POLY, RBF or SIGMOID.", kind);
  // |x - v|^2 from its parts would cancel.
  Value* apart = b.sub(b.unsqueeze(x, {1}), b.unsqueeze(vectors, {0}));
  return b.unary(ScalarOp::kExp, b.mul(b.reduce(ScalarOp::kAdd, b.mul(apart, apart), {2}), -p[0]));
}

void import_svm_regressor(Op& op) {
  Emit& b = op.b;
  Value* x = b.cast(op.tensor(0), DType::kF32);
  if (x->type.rank() == 1) x = b.unsqueeze(x, {0});
  std::vector<double> coefficients = op.floats("coefficients"), vectors = op.floats("support_vectors"),
                      rho = op.floats("rho");
  int64_t count = op.i("n_supports", 0);
  auto have = static_cast<int64_t>(coefficients.size());
  if (x->type.rank() != 2 || coefficients.empty() || rho.size() != 1 || count < 0 ||
      (count > 0 && (have != count || static_cast<int64_t>(vectors.size()) % count != 0)))
    fail("{} coefficients and {} numbers of support vectors do not fit {} vectors.", have, vectors.size(),
         count);
  Value* y;
  if (count > 0) {
    int64_t width = static_cast<int64_t>(vectors.size()) / count;
    x = b.adapt(x, 1, Dim(width));
    y = b.dot(kernel_values(op, x, b.floats(DType::kF32, vectors, {count, width})),
              b.floats(DType::kF32, coefficients, {count, 1}));
  } else {
    x = b.adapt(x, 1, Dim(have));
    op.ignore({"kernel_type", "kernel_params"});
    y = b.dot(x, b.floats(DType::kF32, coefficients, {have, 1}));
  }
  y = b.add(y, rho[0]);
  if (op.i("one_class", 0) != 0) y = b.select(b.compare(ScalarOp::kGt, y, 0.0), b.like(y, 1), b.like(y, -1));
  check_transform(op.s("post_transform", "NONE"));  // one score is left as it is
  op.output(0, y);
}

// Support vectors in order of their classes: where each class's begin, and the end of the last.
std::vector<int64_t> class_starts(const std::vector<int64_t>& counts) {
  std::vector<int64_t> starts = {0};
  for (const int64_t n : counts) {
    if (n < 0 || n > (1 << 24)) fail("{} support vectors of a class are out of range.", n);
    starts.push_back(starts.back() + n);
  }
  return starts;
}

// What each pair of classes i < j adds up of the vectors' kernel values: [vectors, pairs].
Value* pair_weights(Emit& b, const std::vector<double>& coefficients, const std::vector<int64_t>& starts) {
  const auto classes = static_cast<int64_t>(starts.size()) - 1, vectors = starts.back();
  const int64_t pairs = classes * (classes - 1) / 2;
  std::vector<double> weights(static_cast<size_t>(vectors * pairs), 0);
  int64_t pair = 0;
  for (int64_t i = 0; i < classes; ++i) {
    for (int64_t j = i + 1; j < classes; ++j, ++pair) {
      const auto take = [&](int64_t owner, int64_t row) {
        for (int64_t v = starts[static_cast<size_t>(owner)]; v < starts[static_cast<size_t>(owner) + 1]; ++v)
          weights[static_cast<size_t>(v * pairs + pair)] =
              coefficients[static_cast<size_t>(row * vectors + v)];
      };
      take(i, j - 1);
      take(j, i);
    }
  }
  return b.floats(DType::kF32, weights, {vectors, pairs});
}

// The class that most pairs vote for, [N]: of pair i < j, i where the score is positive.
Value* voted_class(Emit& b, Value* scores, int64_t classes) {
  std::vector<double> first, second;
  for (int64_t i = 0; i < classes; ++i) {
    for (int64_t j = i + 1; j < classes; ++j) {
      for (int64_t c = 0; c < classes; ++c) {
        first.push_back(c == i);
        second.push_back(c == j);
      }
    }
  }
  const int64_t pairs = classes * (classes - 1) / 2;
  Value* wins = b.cast(b.compare(ScalarOp::kGt, scores, 0.0), DType::kF32);
  Value* votes = b.add(b.dot(wins, b.floats(DType::kF32, first, {pairs, classes})),
                       b.dot(b.sub(b.like(wins, 1), wins), b.floats(DType::kF32, second, {pairs, classes})));
  return best_class(b, votes);
}

// How sure each pair of classes is of its first one: r[i][j], [N, 1], of i against j.
using PairTable = std::vector<std::vector<Value*>>;

PairTable pair_probabilities(Op& op, Value* scores, int64_t classes) {
  Emit& b = op.b;
  const auto pairs = static_cast<int64_t>(classes * (classes - 1) / 2);
  const std::vector<double> a = op.floats("prob_a"), c = op.floats("prob_b");
  const auto first = [&](const std::vector<double>& v) {
    return b.floats(DType::kF32, {v.begin(), v.begin() + pairs});
  };
  Value* line = b.add(b.mul(scores, first(a)), first(c));
  Value* p = sigmoid(b, b.unary(ScalarOp::kNeg, line));
  p = b.min(b.max(p, b.like(p, 1e-7)), b.like(p, 1 - 1e-7));
  const auto size = static_cast<size_t>(classes);
  PairTable r(size, std::vector<Value*>(size, nullptr));
  int64_t pair = 0;
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = i + 1; j < size; ++j, ++pair) {
      r[i][j] = b.slice_axis(p, 1, Dim(pair), Dim(1));
      r[j][i] = b.sub(b.like(r[i][j], 1), r[i][j]);
    }
  }
  return r;
}

// One sweep over the classes of the iteration that couples pairs (Wu, Lin, Weng 2004): p, [N, 1] each, and
// how far it was from the solution before.
struct Sweep {
  std::vector<Value*> p;
  Value* error;
};

Sweep couple(Emit& b, const PairTable& q, std::vector<Value*> p) {
  const size_t n = p.size();
  const auto product = [&](size_t t) {
    Value* sum = nullptr;
    for (size_t j = 0; j < n; ++j) {
      Value* term = b.mul(q[t][j], p[j]);
      sum = sum ? b.add(sum, term) : term;
    }
    return sum;
  };
  std::vector<Value*> qp;
  Value *pqp = nullptr, *error = nullptr;
  for (size_t t = 0; t < n; ++t) {
    qp.push_back(product(t));
    Value* term = b.mul(p[t], qp[t]);
    pqp = pqp ? b.add(pqp, term) : term;
  }
  for (size_t t = 0; t < n; ++t) {
    Value* far = b.unary(ScalarOp::kAbs, b.sub(qp[t], pqp));
    error = error ? b.max(error, far) : far;
  }
  for (size_t t = 0; t < n; ++t) {
    Value* step = b.div(b.sub(pqp, qp[t]), q[t][t]);
    Value* whole = b.add(step, 1.0);
    p[t] = b.add(p[t], step);
    Value* gained = b.mul(step, b.add(b.mul(step, q[t][t]), b.mul(qp[t], 2)));
    pqp = b.div(b.div(b.add(pqp, gained), whole), whole);
    for (size_t j = 0; j < n; ++j) {
      qp[j] = b.div(b.add(qp[j], b.mul(step, q[t][j])), whole);
      p[j] = b.div(p[j], whole);
    }
  }
  return {p, error};
}

// Probabilities of classes from those of their pairs, as libsvm finds them: rows stop moving when they are
// near enough, all of them after 100 sweeps. Of two classes too, where the first sweep may already be near
// enough, and the pair's own probability would be some thousandths off.
Value* coupled_probabilities(Op& op, Value* scores, int64_t classes) {
  Emit& b = op.b;
  const PairTable r = pair_probabilities(op, scores, classes);
  const auto n = static_cast<size_t>(classes);
  PairTable q(n, std::vector<Value*>(n, nullptr));
  for (size_t t = 0; t < n; ++t) {
    for (size_t j = 0; j < n; ++j) {
      if (j == t) continue;
      Value* square = b.mul(r[j][t], r[j][t]);
      q[t][t] = q[t][t] ? b.add(q[t][t], square) : square;
      q[t][j] = b.unary(ScalarOp::kNeg, b.mul(r[j][t], r[t][j]));
    }
  }
  const Dim rows = dimension(scores, 0);
  Value* start = b.full({rows, Dim(classes)}, b.scalar(DType::kF32, 1.0 / static_cast<double>(classes)));
  const double near = 0.005 / static_cast<double>(classes);
  const auto body = [&](Importer::Region& region, Value*, Value*, const std::vector<Value*>& inside) {
    Emit& e = *region.emit;
    std::vector<Value*> p;
    for (int64_t t = 0; t < classes; ++t) p.push_back(e.slice_axis(inside[0], 1, Dim(t), Dim(1)));
    const Sweep s = couple(e, q, p);
    Value* moving = e.compare(ScalarOp::kGe, s.error, near);
    Value* next = e.select(moving, e.concat(s.p, 1), inside[0]);
    return LoopResult{e.reduce(ScalarOp::kOr, moving, {0, 1}), {next}, {}};
  };
  return build_loop(op, b.i64(std::max<int64_t>(100, classes)), b.integer(DType::kBool, 1), {start}, body)[0];
}

void svm_of_vectors(Op& op, Value* x, int64_t classes, const std::string& transform) {
  Emit& b = op.b;
  const std::vector<int64_t> starts = class_starts(op.ints("vectors_per_class"));
  const std::vector<double> coefficients = op.floats("coefficients"), vectors = op.floats("support_vectors"),
                            rho = op.floats("rho"), prob = op.floats("prob_a");
  const int64_t count = starts.back(), pairs = classes * (classes - 1) / 2;
  if (static_cast<int64_t>(starts.size()) != classes + 1 || static_cast<int64_t>(rho.size()) < pairs ||
      static_cast<int64_t>(coefficients.size()) < (classes - 1) * count ||
      static_cast<int64_t>(vectors.size()) % count != 0 || prob.size() != op.floats("prob_b").size())
    fail("{} coefficients, {} numbers of support vectors and {} offsets do not fit {} vectors of {} classes.",
         coefficients.size(), vectors.size(), rho.size(), count, classes);
  const int64_t width = static_cast<int64_t>(vectors.size()) / count;
  x = b.adapt(x, 1, Dim(width));
  Value* scores = b.dot(kernel_values(op, x, b.floats(DType::kF32, vectors, {count, width})),
                        pair_weights(b, coefficients, starts));
  scores = b.add(scores, b.floats(DType::kF32, {rho.begin(), rho.begin() + pairs}));
  op.output(0, labels_of(op, voted_class(b, scores, classes), "classlabels_ints", "classlabels_strings"));
  if (prob.empty()) {
    if (classes > 2) return op.output(1, post_transform(b, scores, transform));
    if (transform != "NONE" && transform != "LOGISTIC")
      fail("Attribute 'post_transform' ('{}') of two classes must be NONE or LOGISTIC.", transform);
    return op.output(1, two_scores(b, scores, SecondClass::kNegative, transform));
  }
  if (static_cast<int64_t>(prob.size()) < pairs)
    fail("Attribute 'prob_a' has {} elements for {} pairs of classes.", prob.size(), pairs);
  op.output(1, post_transform(b, coupled_probabilities(op, scores, classes), transform));
}

void import_svm_classifier(Op& op) {
  Emit& b = op.b;
  Value* x = b.cast(op.tensor(0), DType::kF32);
  if (x->type.rank() == 1) x = b.unsqueeze(x, {0});
  if (x->type.rank() != 2) fail("The operand ({}) does not have two dimensions.", x->type.text());
  const auto classes = static_cast<int64_t>(
      std::max(op.ints("classlabels_ints").size(), op.strings("classlabels_strings").size()));
  const std::string transform = op.s("post_transform", "NONE");
  check_transform(transform);
  const std::vector<int64_t> counts = op.ints("vectors_per_class");
  if (std::any_of(counts.begin(), counts.end(), [](int64_t n) { return n > 0; })) {
    if (classes < 2) fail("{} classes cannot be told apart.", classes);
    return svm_of_vectors(op, x, classes, transform);
  }
  op.ignore({"kernel_type", "kernel_params", "prob_a", "prob_b", "support_vectors"});
  const std::vector<double> coefficients = op.floats("coefficients"), rho = op.floats("rho");
  const auto have = static_cast<int64_t>(coefficients.size());
  if (classes < 3 || have % classes != 0 || rho.empty())
    fail("{} coefficients of {} classes without support vectors are not supported (three classes at least).",
         have, classes);
  x = b.adapt(x, 1, Dim(have / classes));
  Value* rows = b.floats(DType::kF32, coefficients, {classes, have / classes});
  Value* scores = b.add(b.dot(x, b.transpose(rows, {1, 0})), rho[0]);
  Value* best = best_class(b, scores);
  op.output(0, labels_of(op, best, "classlabels_ints", "classlabels_strings"));
  op.output(1, post_transform(b, scores, transform));
}

constexpr OpRow kRows[] = {
    {"ai.onnx.ml", "SVMClassifier", 1, kLatest, import_svm_classifier},
    {"ai.onnx.ml", "SVMRegressor", 1, kLatest, import_svm_regressor},
};

}  // namespace

std::span<const OpRow> svm_rows() {
  return kRows;
}

}  // namespace tern::onnx
