// Matrix products: MatMul, Gemm, Einsum, Det.
#include <algorithm>
#include <cctype>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

Value* gemm(Op& op) {
  op.ignore({"broadcast"});
  Emit& b = op.b;
  Value *x = op.tensor(0), *y = op.tensor(1);
  if (x->type.rank() != 2 || y->type.rank() != 2)
    fail("The operands ({}, {}) are no matrices.", x->type.text(), y->type.text());
  if (op.i("transA", 0) != 0) x = b.transpose(x, {1, 0});
  if (op.i("transB", 0) != 0) y = b.transpose(y, {1, 0});
  double alpha = op.f("alpha", 1.0), beta = op.f("beta", 1.0);
  const DType type = x->type.dtype;
  // A product that is beyond its type may be inside when it is scaled.
  Value* result = alpha == 1.0 ? b.dot(x, y) : b.mul(b.dot(b.wide(x), b.wide(y)), alpha);
  if (op.has(2) && beta != 0.0) {
    Value* addend = b.cast(op.tensor(2), result->type.dtype);
    result = b.add(result, beta == 1.0 ? addend : b.mul(addend, beta));
  }
  return b.cast(result, type);
}

namespace {

void import_matmul(Op& op) {
  op.output(0, matmul(op.b, op.tensor(0), op.tensor(1)));
}

void import_gemm(Op& op) {
  op.output(0, gemm(op));
}

// One operand of an einsum: a value and a label for each axis.
struct Labelled {
  Value* value;
  std::string labels;
};

class Einsum {
 public:
  explicit Einsum(Op& op) : op_(op), b_(op.b) {}

  Value* run() {
    parse();
    const DType type = operands_[0].value->type.dtype;
    for (Labelled& operand : operands_) operand = diagonal(operand);
    for (Labelled& operand : operands_) drop_spread(operand);
    if (has_inner_sums())
      for (Labelled& operand : operands_) operand.value = b_.wide(operand.value);
    Labelled result = operands_[0];
    for (size_t i = 1; i < operands_.size(); ++i) result = contract(result, operands_[i], needed_after(i));
    result.value = b_.cast(finish(result), type);
    return result.value;
  }

 private:
  // An ellipsis becomes digits: axes aligned at the right.
  void parse() {
    std::string equation;
    for (char c : op_.s("equation", ""))
      if (!isspace(static_cast<unsigned char>(c))) equation += c;
    size_t arrow = equation.find("->");
    std::string left = equation.substr(0, arrow);
    std::vector<std::string> terms(1);
    for (char c : left) {
      if (c == ',') {
        terms.emplace_back();
      } else {
        terms.back() += c;
      }
    }
    if (static_cast<int>(terms.size()) != op_.input_count())
      fail("The equation '{}' has {} terms for {} operands.", equation, terms.size(), op_.input_count());
    for (size_t i = 0; i < terms.size(); ++i) add_operand(terms[i], static_cast<int>(i));
    if (arrow != std::string::npos) {
      output_ = expand(equation.substr(arrow + 2), ellipsis_);
    } else {
      output_ = expand(ellipsis_ > 0 ? "..." : "", ellipsis_);
      std::map<char, int> count;
      for (const Labelled& o : operands_)
        for (char c : o.labels) ++count[c];
      for (auto [label, times] : count)
        if (times == 1 && !isdigit(static_cast<unsigned char>(label))) output_ += label;
    }
  }

  void add_operand(const std::string& term, int i) {
    Value* value = op_.tensor(i);
    size_t letters = term.size();
    bool dots = term.find("...") != std::string::npos;
    if (dots) letters -= 3;
    auto rank = static_cast<size_t>(value->type.rank());
    if (letters > rank || (!dots && letters != rank))
      fail("The term '{}' does not fit {}.", term, value->type.text());
    if (rank - letters > 10) fail("The ellipsis of '{}' stands for more than 10 axes.", term);
    ellipsis_ = std::max(ellipsis_, rank - letters);
    operands_.push_back({value, expand(term, rank - letters)});
  }

  static std::string expand(const std::string& term, size_t count) {
    size_t at = term.find("...");
    if (at == std::string::npos) return term;
    std::string digits;
    for (size_t i = count; i-- > 0;) digits += static_cast<char>('0' + i);
    return term.substr(0, at) + digits + term.substr(at + 3);
  }

  // The diagonal of two axes of n: of both in one, every element that lies n + 1 behind another.
  Value* every_next(Value* v, size_t i, size_t j) {
    const Dim n = dimension(v, i);
    std::vector<int64_t> order;
    Shape joined;
    for (size_t d = 0; d < v->type.shape.size(); ++d) {
      if (d == j) continue;
      order.push_back(static_cast<int64_t>(d));
      if (d == i) order.push_back(static_cast<int64_t>(j));
      joined.push_back(d == i ? n * n : dimension(v, d));
    }
    v = b_.reshape(b_.transpose(v, order), joined);
    return b_.slice_axis(v, static_cast<int64_t>(i), Dim(0), n, n.value() + 1);
  }

  // Repeated labels in one operand: keep the diagonal.
  Labelled diagonal(Labelled x) {
    for (size_t i = 0; i < x.labels.size(); ++i) {
      for (size_t j = i + 1; j < x.labels.size(); ++j) {
        if (x.labels[i] != x.labels[j]) continue;
        const Shape& shape = x.value->type.shape;
        if (shape[i].is_const() && shape[i] == shape[j]) {
          x.value = every_next(x.value, i, j);
          x.labels.erase(j--, 1);
          continue;
        }
        Value* same = b_.compare(ScalarOp::kEq, b_.iota(shape, static_cast<int>(i), DType::kI64),
                                 b_.iota(shape, static_cast<int>(j), DType::kI64));
        Value* kept = b_.select(same, x.value, b_.like(x.value, 0));
        x.value = b_.reduce(ScalarOp::kAdd, kept, {static_cast<int64_t>(j)});
        x.labels.erase(j--, 1);
      }
    }
    return x;
  }

  // An axis of size 1 that another operand has more of is spread over that one's elements: it is none.
  void drop_spread(Labelled& x) const {
    for (size_t i = x.labels.size(); i-- > 0;) {
      const char label = x.labels[i];
      if (!dimension(x.value, i).is_const(1)) continue;
      const bool spread = std::any_of(operands_.begin(), operands_.end(), [&](const Labelled& other) {
        const size_t at = other.labels.find(label);
        return at != std::string::npos && !dimension(other.value, at).is_const(1);
      });
      if (!spread) continue;
      x.value = b_.squeeze(x.value, {static_cast<int64_t>(i)});
      x.labels.erase(i, 1);
    }
  }

  // Whether a sum is an operand of a product, which may be beyond the operands' type.
  bool has_inner_sums() const {
    const auto summed = [&](size_t i) {
      std::string others = output_;
      for (size_t k = 0; k < operands_.size(); ++k)
        if (k != i) others += operands_[k].labels;
      return operands_[i].labels.find_first_not_of(others) != std::string::npos;
    };
    if (operands_.size() != 2) return operands_.size() > 2;
    return summed(0) || summed(1);
  }

  std::string needed_after(size_t i) const {
    std::string needed = output_;
    for (size_t k = i + 1; k < operands_.size(); ++k) needed += operands_[k].labels;
    return needed;
  }

  static bool has(const std::string& labels, char label) { return labels.find(label) != std::string::npos; }

  // Sums over labels that nothing else needs.
  Labelled sum_out(Labelled x, const std::string& needed) {
    std::vector<int64_t> axes;
    std::string kept;
    for (size_t i = 0; i < x.labels.size(); ++i) {
      if (has(needed, x.labels[i])) {
        kept += x.labels[i];
      } else {
        axes.push_back(static_cast<int64_t>(i));
      }
    }
    return {b_.reduce(ScalarOp::kAdd, x.value, axes), kept};
  }

  Value* arrange(const Labelled& x, const std::string& order) {
    std::vector<int64_t> perm;
    for (char c : order) {
      size_t at = x.labels.find(c);
      if (at == std::string::npos) fail("The output's label '{}' is in no operand.", c);
      perm.push_back(static_cast<int64_t>(at));
    }
    return b_.transpose(x.value, perm);
  }

  Labelled contract(const Labelled& a_in, const Labelled& b_in, const std::string& needed) {
    Labelled a = sum_out(a_in, needed + b_in.labels), c = sum_out(b_in, needed + a_in.labels);
    std::string batch, inner, left, right;
    for (char label : a.labels) {
      if (!has(c.labels, label)) {
        left += label;
      } else {
        (has(needed, label) ? batch : inner) += label;
      }
    }
    for (char label : c.labels)
      if (!has(a.labels, label)) right += label;
    Value* x = arrange(a, batch + left + inner);
    Value* y = arrange(c, batch + inner + right);
    auto part = [](Value* v, size_t from, size_t count) {
      return dimensions(v, static_cast<int64_t>(from), static_cast<int64_t>(from + count));
    };
    auto matrix = [&](Value* v, size_t first, size_t second) {
      Shape shape = part(v, 0, batch.size());
      shape.push_back(product(part(v, batch.size(), first)));
      shape.push_back(product(part(v, batch.size() + first, second)));
      return b_.reshape(v, shape);
    };
    Value* product_value =
        b_.dot(matrix(x, left.size(), inner.size()), matrix(y, inner.size(), right.size()));
    Shape shape = part(product_value, 0, batch.size());
    Shape rows = part(x, batch.size(), left.size()),
          columns = part(y, batch.size() + inner.size(), right.size());
    shape.append(rows);
    shape.append(columns);
    return {b_.reshape(product_value, shape), batch + left + right};
  }

  Value* finish(const Labelled& x) {
    Labelled summed = sum_out(x, output_);
    if (summed.labels.size() != output_.size()) fail("The output '{}' repeats or invents a label.", output_);
    return arrange(summed, output_);
  }

  Op& op_;
  Emit& b_;
  std::vector<Labelled> operands_;
  std::string output_;
  size_t ellipsis_ = 0;
};

void import_einsum(Op& op) {
  op.output(0, Einsum(op).run());
}

// By cofactors, for the small matrices that occur.
Value* determinant(Emit& b, const std::vector<std::vector<Value*>>& m) {
  size_t n = m.size();
  if (n == 1) return m[0][0];
  if (n == 2) return b.sub(b.mul(m[0][0], m[1][1]), b.mul(m[0][1], m[1][0]));
  Value* sum = nullptr;
  for (size_t column = 0; column < n; ++column) {
    std::vector<std::vector<Value*>> minor;
    for (size_t r = 1; r < n; ++r) {
      minor.emplace_back();
      for (size_t c = 0; c < n; ++c)
        if (c != column) minor.back().push_back(m[r][c]);
    }
    Value* term = b.mul(m[0][column], determinant(b, minor));
    sum = !sum ? term : column % 2 ? b.sub(sum, term) : b.add(sum, term);
  }
  return sum;
}

// By elimination with the largest pivot of each column, a step a row.
Value* determinant_by_steps(Emit& b, Value* x, int64_t n) {
  const int64_t rank = x->type.rank();
  Value* number = row_numbers(b, rank, n);
  Value* result = nullptr;
  for (int64_t i = 0; i < n; ++i) {
    const Pivot step = take_pivot(b, x, number, i);
    x = step.matrices;
    Value* pivot = column_of(b, step.row, i);
    // Rows change places, which turns the sign.
    Value* moved = b.compare(ScalarOp::kNe, step.position, b.i64(i));
    Value* factor = b.select(moved, b.unary(ScalarOp::kNeg, pivot), pivot);
    result = result ? b.mul(result, factor) : factor;
    // A column of zeros: the product is 0 already.
    Value* safe = b.select(b.compare(ScalarOp::kEq, pivot, 0.0), b.like(pivot, 1), pivot);
    Value* below = b.compare(ScalarOp::kGt, number, b.i64(i));
    x = b.select(below, b.sub(x, b.mul(b.div(column_of(b, x, i), safe), step.row)), x);
  }
  return b.squeeze(result, {rank - 2, rank - 1});
}

void import_det(Op& op) {
  Value* x = op.tensor(0);
  const Shape& shape = x->type.shape;
  constexpr int64_t kSmall = 4, kMost = 64;
  if (shape.size() < 2 || shape[shape.size() - 1] != shape[shape.size() - 2] || !shape.back().is_const() ||
      shape.back().value() < 1 || shape.back().value() > kMost)
    fail("Determinants are supported for square matrices of at most {} rows; the operand is {}.", kMost,
         x->type.text());
  if (shape.back().value() > kSmall) {
    Value* steps = determinant_by_steps(op.b, op.b.wide(x), shape.back().value());
    return op.output(0, op.b.cast(steps, x->type.dtype));
  }
  int64_t n = shape.back().value(), rank = x->type.rank();
  std::vector<std::vector<Value*>> cells(static_cast<size_t>(n));
  for (int64_t r = 0; r < n; ++r) {
    Value* row = op.b.slice_axis(x, rank - 2, Dim(r), Dim(1));
    for (int64_t c = 0; c < n; ++c)
      cells[static_cast<size_t>(r)].push_back(
          op.b.wide(op.b.squeeze(op.b.slice_axis(row, rank - 1, Dim(c), Dim(1)), {rank - 2, rank - 1})));
  }
  op.output(0, op.b.cast(determinant(op.b, cells), x->type.dtype));
}

constexpr OpRow kRows[] = {
    {kOnnx, "MatMul", 1, kLatest, import_matmul},
    {kOnnx, "Gemm", 1, kLatest, import_gemm},
    {kOnnx, "Einsum", 12, kLatest, import_einsum},
    {kOnnx, "Det", 11, kLatest, import_det},
};

}  // namespace

std::span<const OpRow> matmul_rows() {
  return kRows;
}

}  // namespace tern::onnx
