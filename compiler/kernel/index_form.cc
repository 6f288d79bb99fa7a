#include "compiler/kernel/index_form.h"

#include <algorithm>
#include <numeric>

#include "compiler/support/rounding.h"

namespace tern::kernel {

namespace {

constexpr size_t kMaxTerms = 24, kMaxFactors = 16;

bool is_i64(const Expr& e) {
  return e->type == VType{DType::kI64, 1};
}

int64_t wrap_mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
int64_t wrap_add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

void add_term(Poly& p, const Monomial& m, int64_t coefficient) {
  if (coefficient == 0) return;
  auto [it, added] = p.terms.try_emplace(m, coefficient);
  if (added) return;
  it->second = wrap_add(it->second, coefficient);
  if (it->second == 0) p.terms.erase(it);
}

Poly combine(const Poly& a, const Poly& b, int64_t factor) {
  Poly out = a;
  for (const auto& [m, c] : b.terms) add_term(out, m, wrap_mul(c, factor));
  return out;
}

Poly product(const Poly& a, const Poly& b) {
  Poly out;
  for (const auto& [ma, ca] : a.terms) {
    for (const auto& [mb, cb] : b.terms) {
      Monomial m;
      std::merge(ma.begin(), ma.end(), mb.begin(), mb.end(), std::back_inserter(m));
      add_term(out, m, wrap_mul(ca, cb));
    }
  }
  return out;
}

std::optional<int64_t> constant(const Poly& p) {
  if (p.terms.empty()) return 0;
  if (p.terms.size() == 1 && p.terms.begin()->first.empty()) return p.terms.begin()->second;
  return std::nullopt;
}

// Saturating arithmetic on range ends: the extreme values mean unknown and stay so.
constexpr int64_t kLow = INT64_MIN, kHigh = INT64_MAX;
bool known(int64_t v) {
  return v != kLow && v != kHigh;
}

Range add_ranges(Range a, Range b) {
  Range out;
  if (known(a.low) && known(b.low) && __builtin_add_overflow(a.low, b.low, &out.low)) out.low = kLow;
  if (known(a.high) && known(b.high) && __builtin_add_overflow(a.high, b.high, &out.high)) out.high = kHigh;
  return out;
}

Range mul_ranges(Range a, Range b) {
  if (a.low >= 0 && b.low >= 0 && !(known(a.high) && known(b.high))) {
    Range out;
    if (!known(a.low) || !known(b.low) || __builtin_mul_overflow(a.low, b.low, &out.low)) out.low = 0;
    return out;
  }
  if (!known(a.low) || !known(a.high) || !known(b.low) || !known(b.high)) return {};
  Range out{kHigh, kLow};
  for (int64_t x : {a.low, a.high}) {
    for (int64_t y : {b.low, b.high}) {
      int64_t v = 0;
      if (__builtin_mul_overflow(x, y, &v)) return {};
      out.low = std::min(out.low, v);
      out.high = std::max(out.high, v);
    }
  }
  return out;
}

Range scale(Range a, int64_t c) {
  if (c == 1) return a;
  Range out;
  auto end = [&](int64_t v, int64_t unknown) {
    int64_t r = 0;
    return !known(v) || __builtin_mul_overflow(v, c, &r) ? unknown : r;
  };
  out.low = end(c >= 0 ? a.low : a.high, kLow);
  out.high = end(c >= 0 ? a.high : a.low, kHigh);
  return out;
}

}  // namespace

void IndexForms::define_loop_var(const Var& var, const Expr& begin, const Expr& extent) {
  Range b = range(begin), e = range(extent);
  Fact fact;
  fact.range.low = b.low;
  if (known(b.high) && known(e.high)) fact.range.high = add_ranges(b, Range{0, e.high - 1}).high;
  if (is_int(begin, 0)) fact.extent = extent;
  facts_[var.get()] = fact;
}

void IndexForms::define_range(const Var& var, Range r) {
  facts_[var.get()] = {r, nullptr};
}

void IndexForms::define_let(const Var& var, const Expr& value) {
  lets_[var.get()] = value;
  if (value->kind != ExprKind::kConst && value->kind != ExprKind::kVar) available_.try_emplace(value, var);
  scope_.emplace_back(var.get(), value);
}

void IndexForms::leave(size_t mark) {
  while (scope_.size() > mark) {
    auto& [var, value] = scope_.back();
    lets_.erase(var);
    auto it = available_.find(value);
    if (it != available_.end() && it->second.get() == var) available_.erase(it);
    scope_.pop_back();
  }
}

int IndexForms::atom(const Expr& e) {
  auto [it, added] = atom_ids_.try_emplace(e, static_cast<int>(atoms_.size()));
  if (added) atoms_.push_back(e);
  return it->second;
}

std::optional<Poly> IndexForms::poly(const Expr& e, bool through_lets) {
  Poly out;
  if (e->kind == ExprKind::kConst) {
    add_term(out, {}, e->i);
    return out;
  }
  if (e->kind == ExprKind::kVar && through_lets) {
    if (auto it = lets_.find(e->var.get()); it != lets_.end()) return poly(it->second, true);
  }
  bool linear = e->kind == ExprKind::kOp && (e->op == ScalarOp::kAdd || e->op == ScalarOp::kSub ||
                                             e->op == ScalarOp::kMul || e->op == ScalarOp::kNeg);
  if (!linear) {
    add_term(out, {atom(e)}, 1);
    return out;
  }
  auto a = poly(e->args[0], through_lets);
  if (!a) return std::nullopt;
  if (e->op == ScalarOp::kNeg) return combine(out, *a, -1);
  auto b = poly(e->args[1], through_lets);
  if (!b) return std::nullopt;
  if (e->op == ScalarOp::kMul && a->terms.size() * b->terms.size() > kMaxTerms) return std::nullopt;
  out = e->op == ScalarOp::kMul ? product(*a, *b) : combine(*a, *b, e->op == ScalarOp::kAdd ? 1 : -1);
  if (out.terms.size() > kMaxTerms) return std::nullopt;
  for (const auto& [m, c] : out.terms)
    if (m.size() > kMaxFactors) return std::nullopt;  // data: powers that no index has
  return out;
}

// d * idiv(x, d) + irem(x, d) is x.
void IndexForms::cancel_div_rem(Poly& p) {
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [m, c] : p.terms) {
      if (m.size() != 1) continue;
      Expr rem = atoms_[static_cast<size_t>(m[0])];
      if (rem->kind != ExprKind::kOp || rem->op != ScalarOp::kRem) continue;
      Expr quotient = rem->is_index ? index_div(rem->args[0], rem->args[1])
                                    : op(ScalarOp::kDiv, {rem->args[0], rem->args[1]});
      auto it = atom_ids_.find(quotient);
      if (it == atom_ids_.end()) continue;
      auto divisor = poly(rem->args[1]), whole = poly(rem->args[0]);
      if (!divisor || !whole || divisor->terms.size() != 1) continue;
      Poly q;
      add_term(q, {it->second}, 1);
      Poly dq = product(*divisor, q);
      auto found = p.terms.find(dq.terms.begin()->first);
      if (found == p.terms.end() || found->second != wrap_mul(dq.terms.begin()->second, c)) continue;
      Poly replaced = combine(p, dq, -c);
      Monomial rem_monomial = m;
      int64_t rem_coefficient = c;
      add_term(replaced, rem_monomial, -rem_coefficient);
      p = combine(replaced, *whole, rem_coefficient);
      changed = true;
      break;
    }
  }
}

Expr IndexForms::rebuild(const Poly& p) {
  Expr sum;
  int64_t constant_term = 0;
  // A sum that would begin with a negative term begins with its constant.
  auto constant_at = p.terms.find({});
  bool constant_first = constant_at != p.terms.end() && p.terms.size() > 1 &&
                        std::all_of(p.terms.begin(), p.terms.end(),
                                    [](const auto& t) { return t.first.empty() || t.second < 0; });
  if (constant_first) sum = int_const(constant_at->second);
  // Atoms were numbered as they were met, outer variables first: sums of outer parts can leave inner loops.
  for (const auto& [m, c] : p.terms) {
    if (m.empty()) {
      if (!constant_first) constant_term = c;
      continue;
    }
    Expr term;
    for (int id : m) {
      Expr a = atoms_[static_cast<size_t>(id)];
      if (auto it = available_.find(a); it != available_.end()) a = var_expr(it->second);
      term = term == nullptr ? a : mul(term, a);
    }
    bool subtract = c < 0 && sum != nullptr && c != INT64_MIN;
    int64_t factor = subtract ? -c : c;
    if (factor != 1) term = mul(term, int_const(factor));
    sum = sum == nullptr ? term : subtract ? sub(sum, term) : add(sum, term);
  }
  if (sum == nullptr) return int_const(constant_term);
  return add(sum, int_const(constant_term));
}

Range IndexForms::atom_range(int id) {
  Expr e = atoms_[static_cast<size_t>(id)];
  if (e->kind == ExprKind::kVar) {
    auto it = facts_.find(e->var.get());
    return it == facts_.end() ? Range{} : it->second.range;
  }
  if (e->kind == ExprKind::kCast) {
    DType from = e->args[0]->type.dtype;
    if (from == DType::kBool) return {0, 1};
    if (is_int(from) && dtype_bits(from) < 64) {
      int bits = dtype_bits(from);
      if (is_signed_int(from)) return {-(int64_t{1} << (bits - 1)), (int64_t{1} << (bits - 1)) - 1};
      return {0, (int64_t{1} << bits) - 1};
    }
    return {};
  }
  if (e->kind != ExprKind::kOp || e->args.size() < 2) return {};
  if (e->op == ScalarOp::kSelect) {
    Range a = range(e->args[1]), b = range(e->args[2]);
    return {std::min(a.low, b.low), std::max(a.high, b.high)};
  }
  if (!is_i64(e->args[0])) return {};
  Range a = range(e->args[0]), b = range(e->args[1]);
  switch (e->op) {
    case ScalarOp::kMin:
      return {std::min(a.low, b.low), std::min(a.high, b.high)};
    case ScalarOp::kMax:
      return {std::max(a.low, b.low), std::max(a.high, b.high)};
    case ScalarOp::kDiv:
      if (!e->is_index && !(a.low >= 0 && b.low > 0)) return {};
      return {std::max<int64_t>(a.low, 0) / (known(b.high) ? std::max<int64_t>(b.high, 1) : kHigh),
              known(a.high) ? a.high / std::max<int64_t>(b.low, 1) : kHigh};
    case ScalarOp::kRem:
      if (!e->is_index && !(a.low >= 0 && b.low > 0)) return {};
      return {0, std::min(a.high, known(b.high) ? b.high - 1 : kHigh)};
    default:
      return {};
  }
}

Range IndexForms::range(const Poly& p) {
  Range out{0, 0};
  for (const auto& [m, c] : p.terms) {
    Range r{1, 1};
    for (int id : m) r = mul_ranges(r, atom_range(id));
    out = add_ranges(out, scale(r, c));
    if (!known(out.low) && !known(out.high)) return {};
  }
  return out;
}

Range IndexForms::range(const Expr& e) {
  if (!is_i64(e)) return {};
  auto p = poly(e);
  return p ? range(*p) : Range{};
}

int64_t IndexForms::lower_bound(const Poly& p) {
  int64_t best = range(p).low;
  for (const auto& [m, c] : p.terms) {
    if (m.size() != 1 || c != -1) continue;
    const Expr& v = atoms_[static_cast<size_t>(m[0])];
    if (v->kind != ExprKind::kVar) continue;
    auto it = facts_.find(v->var.get());
    if (it == facts_.end() || it->second.extent == nullptr) continue;
    auto extent = poly(it->second.extent);
    if (!extent) continue;
    // p = (extent - v) + rest and extent - v >= 1.
    Poly rest = combine(p, *extent, -1);
    add_term(rest, m, 1);
    int64_t low = range(rest).low;
    if (known(low) && low < kHigh - 1) best = std::max(best, low + 1);
  }
  return best;
}

// rest is in [0, divisor).
bool IndexForms::in_divisor(const Poly& rest, const Poly& divisor) {
  if (range(rest).low < 0) return false;
  return lower_bound(combine(divisor, rest, -1)) >= 1;
}

// numerator == divisor * first + second; terms that divide go to first.
std::optional<std::pair<Poly, Poly>> IndexForms::split(const Poly& numerator, const Poly& divisor) {
  Poly quotient, rest;
  if (auto d = constant(divisor)) {
    if (*d <= 0) return std::nullopt;
    for (const auto& [m, c] : numerator.terms) {
      int64_t q = c % *d == 0 || m.empty() ? floor_div(c, *d) : 0;
      add_term(quotient, m, q);
      add_term(rest, m, c - q * *d);
    }
    return std::pair{quotient, rest};
  }
  if (divisor.terms.size() != 1) return std::nullopt;
  const auto& [dm, dc] = *divisor.terms.begin();
  for (const auto& [m, c] : numerator.terms) {
    if (c % dc == 0 && std::includes(m.begin(), m.end(), dm.begin(), dm.end())) {
      Monomial left;
      std::set_difference(m.begin(), m.end(), dm.begin(), dm.end(), std::back_inserter(left));
      add_term(quotient, left, c / dc);
    } else {
      add_term(rest, m, c);
    }
  }
  return std::pair{quotient, rest};
}

Expr IndexForms::divide(const Expr& e) {
  bool is_div = e->op == ScalarOp::kDiv;
  auto n = poly(e->args[0]), d = poly(e->args[1]);
  if (!n || !d) return nullptr;
  if (!e->is_index && !(range(*n).low >= 0 && range(*d).low > 0)) return nullptr;
  cancel_div_rem(*n);
  auto make = [&](const Poly& a, const Poly& b) {
    return is_div ? index_div(rebuild(a), rebuild(b)) : index_rem(rebuild(a), rebuild(b));
  };
  auto parts = split(*n, *d);
  if (!parts) return nullptr;
  auto& [quotient, rest] = *parts;
  if (in_divisor(rest, *d)) return rebuild(is_div ? quotient : rest);
  if (range(rest).low < 0) return nullptr;
  if (quotient.terms.empty()) {
    // idiv(idiv(x, a), b) is idiv(x, a * b)
    if (is_div && n->terms.size() == 1 && n->terms.begin()->second == 1 &&
        n->terms.begin()->first.size() == 1) {
      Expr inner = atoms_[static_cast<size_t>(n->terms.begin()->first[0])];
      if (inner->kind == ExprKind::kOp && inner->op == ScalarOp::kDiv && inner->is_index &&
          is_const(inner->args[1]) && constant(*d)) {
        return index_div(inner->args[0], mul(inner->args[1], rebuild(*d)));
      }
    }
    return e->is_index ? nullptr : make(*n, *d);
  }
  if (!is_div) return index_rem(rebuild(rest), rebuild(*d));
  return add(rebuild(quotient), index_div(rebuild(rest), rebuild(*d)));
}

Expr IndexForms::simplify_compare(const Expr& e) {
  auto a = poly(e->args[0]), b = poly(e->args[1]);
  if (!a || !b) return nullptr;
  // The difference must not wrap: both sides need finite ranges or the same symbolic terms, which the bounds
  // below establish by being known at all.
  Poly up = combine(*b, *a, -1), down = combine(*a, *b, -1);
  int64_t b_minus_a = lower_bound(up), a_minus_b = lower_bound(down);
  auto truth = [](bool v) { return int_const(v, DType::kBool); };
  switch (e->op) {
    case ScalarOp::kLt:
      if (b_minus_a >= 1) return truth(true);
      if (a_minus_b >= 0) return truth(false);
      return nullptr;
    case ScalarOp::kLe:
      if (b_minus_a >= 0) return truth(true);
      if (a_minus_b >= 1) return truth(false);
      return nullptr;
    case ScalarOp::kGt:
      if (a_minus_b >= 1) return truth(true);
      if (b_minus_a >= 0) return truth(false);
      return nullptr;
    case ScalarOp::kGe:
      if (a_minus_b >= 0) return truth(true);
      if (b_minus_a >= 1) return truth(false);
      return nullptr;
    case ScalarOp::kEq:
    case ScalarOp::kNe:
      if (up.terms.empty()) return truth(e->op == ScalarOp::kEq);
      if (b_minus_a >= 1 || a_minus_b >= 1) return truth(e->op == ScalarOp::kNe);
      return nullptr;
    case ScalarOp::kMin:
      if (b_minus_a >= 0) return rebuild(*a);
      if (a_minus_b >= 0) return rebuild(*b);
      return nullptr;
    case ScalarOp::kMax:
      if (b_minus_a >= 0) return rebuild(*b);
      if (a_minus_b >= 0) return rebuild(*a);
      return nullptr;
    default:
      return nullptr;
  }
}

Expr IndexForms::simplify(const Expr& e) {
  if (e->kind == ExprKind::kVar && is_i64(e)) {
    auto it = lets_.find(e->var.get());
    if (it == lets_.end()) return nullptr;
    auto p = poly(it->second, true);
    return p && constant(*p) ? int_const(*constant(*p)) : nullptr;
  }
  if (e->kind != ExprKind::kOp || e->args.size() > 2 || !is_i64(e->args[0])) return nullptr;
  switch (e->op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
    case ScalarOp::kNeg: {
      // Names of lets stay, unless seeing through them makes the sum shorter.
      auto plain = poly(e, false), full = poly(e, true);
      if (full) cancel_div_rem(*full);
      if (plain) cancel_div_rem(*plain);
      if (full && (!plain || full->terms.size() < plain->terms.size())) return rebuild(*full);
      return plain ? rebuild(*plain) : nullptr;
    }
    case ScalarOp::kDiv:
    case ScalarOp::kRem:
      return divide(e);
    case ScalarOp::kFloorMod: {
      const Range dividend = range(e->args[0]), divisor = range(e->args[1]);
      if (dividend.low < 0 || divisor.low <= 0) return nullptr;
      if (dividend.high < divisor.low) return e->args[0];
      const Expr rest = index_rem(e->args[0], e->args[1]);
      const Expr simple = rest->kind == ExprKind::kOp && rest->op == ScalarOp::kRem ? divide(rest) : nullptr;
      return simple ? simple : rest;
    }
    default:
      return e->args.size() == 2 ? simplify_compare(e) : nullptr;
  }
}

}  // namespace tern::kernel
