#include "compiler/support/dim.h"

#include <algorithm>
#include <cctype>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "compiler/support/dim_overflow.h"
#include "compiler/support/dim_sum.h"
#include "compiler/support/rounding.h"

namespace tern {

struct Dim::Node {
  Op op = Op::kConst;
  int64_t value = 0;
  std::string symbol;
  std::vector<Dim> args;
  std::string text;
};

// Interning: one node a canonical expression, found by its text. Nodes live for ever.
struct DimInterner {
  static const Dim::Node* get(Dim::Node node) {
    static std::mutex mutex;
    static std::unordered_map<std::string, const Dim::Node*>* table =
        new std::unordered_map<std::string, const Dim::Node*>();
    node.text = make_text(node);
    const std::lock_guard<std::mutex> lock(mutex);
    auto it = table->find(node.text);
    if (it != table->end()) return it->second;
    const Dim::Node* stored = new Dim::Node(std::move(node));
    table->emplace(stored->text, stored);
    return stored;
  }
  static Dim dim(Dim::Node node) { return Dim(get(std::move(node))); }
  static const Dim::Node* node(const Dim& d) { return d.node_; }

  static std::string make_text(const Dim::Node& n) {
    switch (n.op) {
      case Dim::Op::kConst:
        return fmt::format("{}", n.value);
      case Dim::Op::kSymbol:
        return n.symbol;
      case Dim::Op::kAdd: {
        std::string out;
        for (const Dim& a : n.args) {
          const std::string t = a.text();
          if (!out.empty() && t[0] != '-') out += '+';
          out += t;
        }
        return out;
      }
      case Dim::Op::kMul: {
        // The constant factor comes last in args and first in text: 2*N.
        std::string out;
        size_t n_factors = n.args.size();
        if (n.args.back().is_const()) {
          --n_factors;
          out = n.args.back().value() == -1 ? "-" : n.args.back().text() + "*";
        }
        for (size_t i = 0; i < n_factors; ++i) {
          const bool group = n.args[i].op() == Dim::Op::kAdd;
          out += (i ? "*" : "") + (group ? "(" + n.args[i].text() + ")" : n.args[i].text());
        }
        return out;
      }
      default: {
        const char* name = n.op == Dim::Op::kFloorDiv  ? "floordiv"
                           : n.op == Dim::Op::kCeilDiv ? "ceildiv"
                           : n.op == Dim::Op::kMod     ? "mod"
                           : n.op == Dim::Op::kMin     ? "min"
                                                       : "max";
        return fmt::format("{}({},{})", name, n.args[0].text(), n.args[1].text());
      }
    }
  }
};

namespace {

int64_t ceil_div_value(int64_t a, int64_t b) {
  return -floor_div(-a, b);
}

int64_t checked_add(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r))
    throw DimOverflow{error("A dimension ({} + {}) does not fit into 64 bits.", a, b)};
  return r;
}
int64_t checked_mul(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r))
    throw DimOverflow{error("A dimension ({} * {}) does not fit into 64 bits.", a, b)};
  return r;
}

// A monomial's atoms, sorted by text, repeated for powers. A polynomial: monomials with coefficients, without
// zeros.
using Atoms = std::vector<Dim>;
struct AtomsLess {
  bool operator()(const Atoms& a, const Atoms& b) const {
    if (a.size() != b.size()) return a.size() > b.size();  // higher degree first, the constant last
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i] != b[i]) return DimInterner::node(a[i])->text < DimInterner::node(b[i])->text;
    }
    return false;
  }
};
using Polynomial = std::map<Atoms, int64_t, AtomsLess>;

void add_term(Polynomial& p, const Atoms& atoms, int64_t coefficient) {
  if (coefficient == 0) return;
  auto [it, inserted] = p.emplace(atoms, coefficient);
  if (!inserted) {
    it->second = checked_add(it->second, coefficient);
    if (it->second == 0) p.erase(it);
  }
}

void add_monomial(Polynomial& p, const Dim& d, int64_t scale) {
  if (d.is_const()) return add_term(p, {}, checked_mul(d.value(), scale));
  if (d.op() != Dim::Op::kMul) return add_term(p, {d}, scale);
  Atoms atoms;
  for (const Dim& a : d.args()) {
    if (a.is_const()) {
      scale = checked_mul(scale, a.value());
    } else {
      atoms.push_back(a);
    }
  }
  add_term(p, atoms, scale);
}

void add(Polynomial& p, const Dim& d, int64_t scale = 1) {
  if (d.op() == Dim::Op::kAdd) {
    for (const Dim& a : d.args()) add_monomial(p, a, scale);
  } else {
    add_monomial(p, d, scale);
  }
}

Polynomial polynomial(const Dim& d) {
  Polynomial p;
  add(p, d);
  return p;
}

Dim make(Dim::Op op, std::vector<Dim> args) {
  Dim::Node n;
  n.op = op;
  n.args = std::move(args);
  return DimInterner::dim(std::move(n));
}

Dim from_polynomial(const Polynomial& p) {
  std::vector<Dim> terms;
  for (const auto& [atoms, coefficient] : p) {
    if (atoms.empty()) {
      terms.push_back(Dim(coefficient));
    } else if (atoms.size() == 1 && coefficient == 1) {
      terms.push_back(atoms[0]);
    } else {
      std::vector<Dim> factors = atoms;
      if (coefficient != 1) factors.push_back(Dim(coefficient));
      terms.push_back(make(Dim::Op::kMul, std::move(factors)));
    }
  }
  if (terms.empty()) return Dim(0);
  if (terms.size() == 1) return terms[0];
  return make(Dim::Op::kAdd, std::move(terms));
}

// p = quotient * divisor + remainder, taking out every term that the constant or single-atom product
// `divisor` divides.
bool divide_term(const Atoms& atoms, int64_t coefficient, const Dim& divisor, Atoms& quotient,
                 int64_t& factor) {
  int64_t constant = 1;
  Atoms needed;
  if (divisor.is_const()) {
    constant = divisor.value();
  } else if (divisor.op() == Dim::Op::kMul) {
    for (const Dim& a : divisor.args()) {
      if (a.is_const()) {
        constant = a.value();
      } else {
        needed.push_back(a);
      }
    }
  } else if (divisor.op() == Dim::Op::kAdd) {
    return false;
  } else {
    needed.push_back(divisor);
  }
  if (constant == 0 || coefficient % constant != 0) return false;
  quotient = atoms;
  for (const Dim& a : needed) {
    auto it = std::find(quotient.begin(), quotient.end(), a);
    if (it == quotient.end()) return false;
    quotient.erase(it);
  }
  factor = coefficient / constant;
  return true;
}

void split_division(const Dim& a, const Dim& b, Polynomial& quotient, Polynomial& rest) {
  for (const auto& [atoms, coefficient] : polynomial(a)) {
    Atoms q;
    int64_t f;
    if (divide_term(atoms, coefficient, b, q, f)) {
      add_term(quotient, q, f);
    } else if (atoms.empty() && b.is_const() && b.value() > 0) {
      add_term(quotient, {}, floor_div(coefficient, b.value()));
      add_term(rest, {}, coefficient - floor_div(coefficient, b.value()) * b.value());
    } else {
      add_term(rest, atoms, coefficient);
    }
  }
}

// floor((floor(a / c) + d) / b) == floor((a + c*d) / (c*b)) for positive c and b: strided layers after each
// other.
std::optional<Dim> merge_floors(const Polynomial& rest, int64_t b) {
  const Dim* inner = nullptr;
  int64_t constant = 0;
  for (const auto& [atoms, coefficient] : rest) {
    if (atoms.empty()) {
      constant = coefficient;
    } else if (!inner && atoms.size() == 1 && coefficient == 1 && atoms[0].op() == Dim::Op::kFloorDiv &&
               atoms[0].args()[1].is_const() && atoms[0].args()[1].value() > 0) {
      inner = &atoms[0];
    } else {
      return std::nullopt;
    }
  }
  if (!inner) return std::nullopt;
  const int64_t c = inner->args()[1].value();
  int64_t shift, divisor;
  if (__builtin_mul_overflow(c, constant, &shift) || __builtin_mul_overflow(c, b, &divisor))
    return std::nullopt;
  return floordiv(inner->args()[0] + Dim(shift), Dim(divisor));
}

}  // namespace

Dim::Dim(int64_t value) {
  // Small constants are common: no text, no lock.
  static const std::vector<const Node*>* small = [] {
    auto* v = new std::vector<const Node*>();
    for (int64_t i = 0; i < 256; ++i) {
      Node n;
      n.value = i;
      v->push_back(DimInterner::get(std::move(n)));
    }
    return v;
  }();
  if (value >= 0 && value < 256) {
    node_ = (*small)[static_cast<size_t>(value)];
    return;
  }
  Node n;
  n.value = value;
  node_ = DimInterner::get(std::move(n));
}

Dim Dim::symbol(std::string_view name) {
  TERN_CHECK(!name.empty());
  Node n;
  n.op = Op::kSymbol;
  n.symbol = std::string(name);
  return DimInterner::dim(std::move(n));
}

bool Dim::is_const() const {
  return node_->op == Op::kConst;
}
int64_t Dim::value() const {
  TERN_CHECK(is_const(), "{} is not a constant", text());
  return node_->value;
}
std::optional<int64_t> Dim::maybe_value() const {
  if (is_const()) return node_->value;
  return std::nullopt;
}
Dim::Op Dim::op() const {
  return node_->op;
}
const std::string& Dim::symbol_name() const {
  return node_->symbol;
}
const std::vector<Dim>& Dim::args() const {
  return node_->args;
}
std::string Dim::text() const {
  return node_->text;
}

void Dim::collect_symbols(std::vector<std::string>& out) const {
  const auto given = static_cast<std::ptrdiff_t>(out.size());  // names that other expressions left there
  std::unordered_set<const Node*> seen;
  const auto visit = [&](const auto& self, const Dim& dim) -> void {
    if (dim.is_const()) return;
    if (dim != *this && !seen.insert(dim.node_).second) return;
    if (dim.op() == Op::kSymbol &&
        std::find(out.begin(), out.begin() + given, dim.symbol_name()) == out.begin() + given)
      out.push_back(dim.symbol_name());
    for (const Dim& a : dim.args()) self(self, a);
  };
  visit(visit, *this);
}

static Dim rebuild(Dim::Op op, const std::vector<Dim>& args) {
  if (op == Dim::Op::kAdd) return sum(args);
  Dim out = args[0];
  for (size_t i = 1; i < args.size(); ++i) {
    switch (op) {
      case Dim::Op::kMul:
        out = out * args[i];
        break;
      case Dim::Op::kFloorDiv:
        out = floordiv(out, args[i]);
        break;
      case Dim::Op::kCeilDiv:
        out = ceildiv(out, args[i]);
        break;
      case Dim::Op::kMod:
        out = mod(out, args[i]);
        break;
      case Dim::Op::kMin:
        out = min(out, args[i]);
        break;
      case Dim::Op::kMax:
        out = max(out, args[i]);
        break;
      default:
        TERN_UNREACHABLE();
    }
  }
  return out;
}

Dim Dim::substitute(const std::function<std::optional<Dim>(const std::string&)>& f) const {
  if (is_const()) return *this;
  if (op() == Op::kSymbol) return f(symbol_name()).value_or(*this);
  std::vector<Dim> replaced;
  for (const Dim& a : args()) replaced.push_back(a.substitute(f));
  return rebuild(op(), replaced);
}

std::optional<int64_t> Dim::evaluate(
    const std::function<std::optional<int64_t>(const std::string&)>& f) const {
  if (is_const()) return node_->value;
  if (op() == Op::kSymbol) return f(symbol_name());
  std::optional<int64_t> out;
  for (const Dim& arg : args()) {
    const std::optional<int64_t> v = arg.evaluate(f);
    if (!v) return std::nullopt;
    if (!out) {
      out = v;
      continue;
    }
    int64_t r = 0;
    switch (op()) {
      case Op::kAdd:
        if (__builtin_add_overflow(*out, *v, &r)) return std::nullopt;
        break;
      case Op::kMul:
        if (__builtin_mul_overflow(*out, *v, &r)) return std::nullopt;
        break;
      case Op::kFloorDiv:
      case Op::kCeilDiv:
      case Op::kMod:
        if (*v == 0 || (*v == -1 && *out == INT64_MIN)) return std::nullopt;
        r = op() == Op::kFloorDiv  ? floor_div(*out, *v)
            : op() == Op::kCeilDiv ? ceil_div_value(*out, *v)
                                   : *out - floor_div(*out, *v) * *v;
        break;
      case Op::kMin:
        r = std::min(*out, *v);
        break;
      case Op::kMax:
        r = std::max(*out, *v);
        break;
      default:
        return std::nullopt;
    }
    out = r;
  }
  return out;
}

// c * mod(y, b) where p has -c * y, too: together they are -c * b * floordiv(y, b), what is left of a size
// cut to a multiple, or padded to one (x + mod(-x, b)). Constants of y may be off by multiples of b.
static std::optional<Dim> whole_multiples(const Polynomial& p) {
  for (const auto& [atoms, c] : p) {
    if (atoms.size() != 1 || atoms[0].op() != Dim::Op::kMod) continue;
    const Dim y = atoms[0].args()[0], b = atoms[0].args()[1];
    if (!b.is_const() || b.value() <= 0) continue;
    const Polynomial terms = polynomial(y);
    int64_t constant = 0, least = 0;
    bool has_all = true;
    for (const auto& [t, coefficient] : terms) {
      if (t.empty()) {
        constant = coefficient;
        continue;
      }
      least = std::min(least, coefficient);
      const auto found = p.find(t);
      has_all = has_all && found != p.end() && found->second == checked_mul(coefficient, -c);
    }
    if (!has_all) continue;
    Polynomial others = p;
    others.erase(atoms);
    for (const auto& [t, coefficient] : terms)
      if (!t.empty()) others.erase(t);
    add_term(others, {}, checked_mul(c, constant));
    const Dim multiple = least < 0 ? ceildiv(y * Dim(-1), b) : floordiv(y, b) * Dim(-1);
    return from_polynomial(others) + multiple * b * Dim(c);
  }
  return std::nullopt;
}

static Dim sum_of(const Polynomial& p) {
  if (std::optional<Dim> shorter = whole_multiples(p)) return *shorter;
  return from_polynomial(p);
}

Dim operator+(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return Dim(checked_add(a.value(), b.value()));
  if (a.is_const(0)) return b;
  if (b.is_const(0)) return a;
  Polynomial p = polynomial(a);
  add(p, b);
  return sum_of(p);
}

Dim sum(std::span<const Dim> terms) {
  Polynomial p;
  for (const Dim& term : terms) add(p, term);
  return sum_of(p);
}

Dim operator-(Dim a, Dim b) {
  return a + b * Dim(-1);
}

Dim operator*(Dim a, Dim b) {
  if (a.is_const() && b.is_const()) return Dim(checked_mul(a.value(), b.value()));
  if (a.is_const(1)) return b;
  if (b.is_const(1)) return a;
  // Each sum that is multiplied multiplies the terms: a few dozen of unknown sizes would take for ever.
  constexpr size_t kMostTerms = 4096;
  const Polynomial left = polynomial(a), right = polynomial(b);
  if (left.size() * right.size() > kMostTerms)
    throw DimOverflow{
        error("A dimension is a product of sums of unknown sizes with more than {} terms.", kMostTerms)};
  Polynomial p;
  for (const auto& [x, c] : left) {
    for (const auto& [y, d] : right) {
      Atoms atoms = x;
      atoms.insert(atoms.end(), y.begin(), y.end());
      std::sort(atoms.begin(), atoms.end(), [](const Dim& l, const Dim& r) {
        return DimInterner::node(l)->text < DimInterner::node(r)->text;
      });
      add_term(p, atoms, checked_mul(c, d));
    }
  }
  return from_polynomial(p);
}

Dim floordiv(Dim a, Dim b) {
  if (b.is_const(1)) return a;
  if (a.is_const() && b.is_const() && b.value() != 0) return Dim(floor_div(a.value(), b.value()));
  if (a == b) return Dim(1);
  Polynomial quotient, rest;
  split_division(a, b, quotient, rest);
  const Dim r = from_polynomial(rest);
  if (r.is_const(0)) return from_polynomial(quotient);
  if (b.is_const() && b.value() > 0) {
    // floor((b*q + r) / b) == q + floor(r / b), for every integer r.
    if (r.is_const()) return from_polynomial(quotient);  // 0 <= r < b after the split
    if (std::optional<Dim> merged = merge_floors(rest, b.value())) return from_polynomial(quotient) + *merged;
    return from_polynomial(quotient) + make(Dim::Op::kFloorDiv, {r, b});
  }
  return make(Dim::Op::kFloorDiv, {a, b});
}

Dim ceildiv(Dim a, Dim b) {
  if (b.is_const(1)) return a;
  if (a.is_const() && b.is_const() && b.value() != 0) return Dim(ceil_div_value(a.value(), b.value()));
  if (b.is_const() && b.value() > 0) return floordiv(a + (b - Dim(1)), b);
  if (a == b) return Dim(1);
  Polynomial quotient, rest;
  split_division(a, b, quotient, rest);
  if (rest.empty()) return from_polynomial(quotient);
  return make(Dim::Op::kCeilDiv, {a, b});
}

// Where only the remainder by b counts, mod(x, b) is x: mod(b - mod(x, b), b) is mod(-x, b).
static std::optional<Dim> without_inner_mods(const Polynomial& p, const Dim& b) {
  Polynomial plain;
  bool changed = false;
  for (const auto& [atoms, c] : p) {
    Dim term(c);
    for (const Dim& atom : atoms) {
      const bool inner = atom.op() == Dim::Op::kMod && atom.args()[1] == b;
      term = term * (inner ? atom.args()[0] : atom);
      changed = changed || inner;
    }
    add(plain, term);
  }
  return changed ? std::optional<Dim>(sum_of(plain)) : std::nullopt;
}

Dim mod(Dim a, Dim b) {
  if (b.is_const(1)) return Dim(0);
  if (a.is_const() && b.is_const() && b.value() != 0)
    return Dim(a.value() - floor_div(a.value(), b.value()) * b.value());
  Polynomial quotient, rest;
  split_division(a, b, quotient, rest);
  const Dim r = from_polynomial(rest);
  if (r.is_const(0)) return Dim(0);
  if (b.is_const() && b.value() > 0) {
    if (r.is_const()) return r;
    if (std::optional<Dim> plain = without_inner_mods(rest, b)) return mod(*plain, b);
    return make(Dim::Op::kMod, {r, b});
  }
  return make(Dim::Op::kMod, {a, b});
}

// min and max compare by constant difference; otherwise arguments stand in text order.
static Dim extremum(Dim::Op op, Dim a, Dim b) {
  const Dim difference = a - b;
  if (difference.is_const()) return ((difference.value() <= 0) == (op == Dim::Op::kMin)) ? a : b;
  if (DimInterner::node(b)->text < DimInterner::node(a)->text) std::swap(a, b);
  return make(op, {a, b});
}
Dim min(Dim a, Dim b) {
  return extremum(Dim::Op::kMin, a, b);
}
Dim max(Dim a, Dim b) {
  return extremum(Dim::Op::kMax, a, b);
}

namespace {

// expression := ['-'] term {('+'|'-') term};  term := factor {'*' factor};
// factor := integer | name | name '(' expression ',' expression ')' | '(' expression ')'
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}
  Result<Dim> parse() {
    Result<Dim> d = expression();
    if (d.ok() && at_ != text_.size()) return fail();
    return d;
  }

 private:
  Error fail() const {
    return error("The dimension expression '{}' is malformed at position {}.", text_, at_);
  }
  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool eat(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Result<Dim> expression() {
    Polynomial p;
    int64_t sign = eat('-') ? -1 : 1;
    do {
      TERN_ASSIGN(Dim t, term());
      add(p, t, sign);
      sign = eat('+') ? 1 : eat('-') ? -1 : 0;
    } while (sign);
    return sum_of(p);
  }
  Result<Dim> term() {
    TERN_ASSIGN(Dim out, factor());
    while (eat('*')) {
      TERN_ASSIGN(Dim f, factor());
      out = out * f;
    }
    return out;
  }
  Result<Dim> factor() {
    if (++depth_ > 200) return fail();
    Result<Dim> out = factor_inner();
    --depth_;
    return out;
  }
  Result<Dim> factor_inner() {
    if (eat('(')) {
      TERN_ASSIGN(Dim d, expression());
      if (!eat(')')) return fail();
      return d;
    }
    skip();
    const size_t start = at_;
    if (at_ < text_.size() && (std::isdigit(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-')) {
      const bool negative = text_[at_] == '-';
      if (negative) ++at_;
      int64_t v = 0;
      const size_t digits = at_;
      for (; at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])); ++at_) {
        if (__builtin_mul_overflow(v, int64_t{10}, &v) ||
            __builtin_add_overflow(v, int64_t{text_[at_] - '0'}, &v))
          return fail();
      }
      if (at_ == digits) return fail();
      return Dim(negative ? -v : v);
    }
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_'))
      ++at_;
    if (at_ == start) return fail();
    const std::string name(text_.substr(start, at_ - start));
    if (!eat('(')) return Dim::symbol(name);
    TERN_ASSIGN(Dim a, expression());
    if (!eat(',')) return fail();
    TERN_ASSIGN(Dim b, expression());
    if (!eat(')')) return fail();
    if (name == "min") return min(a, b);
    if (name == "max") return max(a, b);
    if (b.is_const(0)) return fail();
    if (name == "floordiv") return floordiv(a, b);
    if (name == "ceildiv") return ceildiv(a, b);
    if (name == "mod") return mod(a, b);
    return fail();
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Result<Dim> Dim::parse(std::string_view text) {
  return Parser(text).parse();
}

Dim product(const Shape& shape) {
  Dim out(1);
  for (const Dim& d : shape) out = out * d;
  return out;
}

bool is_static(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& d) { return d.is_const(); });
}

std::vector<int64_t> static_dims(const Shape& shape) {
  std::vector<int64_t> out;
  for (const Dim& d : shape) out.push_back(d.value());
  return out;
}

std::string shape_text(const Shape& shape) {
  std::string out;
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? "x" : "") + shape[i].text();
  return out;
}

}  // namespace tern
