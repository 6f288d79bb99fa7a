#include "compiler/lower/special_sort.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::ScalarOp;

constexpr int64_t kDigits = 4, kBuckets = 256;
constexpr int64_t kFewBest = 32;       // so many are kept in order as they come
constexpr int64_t kFewestBest = 4;     // so many in variables, without a branch
constexpr int64_t kShortRow = 32;      // of a row that is no longer, whose vectors are not compared first
constexpr int64_t kLeastHeld = 256;    // of more, so many candidates are sorted at once
constexpr int64_t kManyEntries = 192;  // below, clearing and adding up buckets costs more than merging

Expr bits_and(const Expr& a, int64_t mask) {
  return kernel::op(ScalarOp::kAnd, {a, kernel::int_const(mask)});
}
Expr shift_right(const Expr& a, int64_t by) {
  return kernel::op(ScalarOp::kShr, {a, kernel::int_const(by)});
}

}  // namespace

PositionSort::PositionSort(LoopWriter& w, DType dtype, bool largest, bool keys, kernel::Buffer work,
                           Expr base, std::function<Expr(Expr)> at)
    : w_(w),
      dtype_(dtype),
      largest_(largest),
      keys_(keys && dtype_bits(dtype) <= 32 && dtype != DType::kBool),
      work_(std::move(work)),
      base_(std::move(base)),
      at_(std::move(at)) {}

// A key is a signed number of 32 bits in the order of the elements: floats below zero are turned around.
Expr PositionSort::entry(const Expr& position) {
  if (!keys_) return position;
  Expr key = at_(position);
  if (is_float(dtype_)) {
    const Expr x = w_.let("x", kernel::cast(key, DType::kF32)), zero = kernel::float_const(0.0);
    const Expr bits = w_.let("bits", kernel::cast(kernel::bitcast(x, {DType::kI32, 1}), DType::kI64));
    const Expr turned = kernel::op(ScalarOp::kXor, {bits, bits_and(shift_right(bits, 31), 0x7fffffff)});
    key = kernel::select(kernel::op(ScalarOp::kIsNan, {x}), w_.i(0x7fffffff),
                         kernel::select(w_.eq(x, zero), w_.i(0), turned));
  } else {
    key = kernel::cast(key, DType::kI64);
    if (dtype_ == DType::kU32) key = kernel::sub(key, w_.i(int64_t{1} << 31));
  }
  if (largest_) key = kernel::op(ScalarOp::kNot, {key});
  return kernel::op(ScalarOp::kOr, {kernel::op(ScalarOp::kShl, {key, w_.i(32)}), position});
}

void PositionSort::put(const Expr& i, const Expr& position) {
  w_.store(work_, kernel::add(base_, i), entry(position));
}

void PositionSort::put_all(const Expr& count) {
  w_.loop("p", count, [&](Expr p) { put(p, p); });
}

Expr PositionSort::position(const Expr& sorted, const Expr& rank) {
  return position_of(w_.load(work_, kernel::add(sorted, rank)));
}

// Whether the entry `right`, which stands behind `left`, belongs before it.
Expr PositionSort::precedes(const Expr& right, const Expr& left) {
  if (keys_) return w_.lt(right, left);
  Expr a = w_.let("r", at_(right)), b = w_.let("l", at_(left));
  if (largest_) std::swap(a, b);
  Expr less = w_.lt(a, b);
  if (is_float(dtype_)) {
    const Expr a_nan = kernel::op(ScalarOp::kIsNan, {a}), b_nan = kernel::op(ScalarOp::kIsNan, {b});
    less = w_.either(less, w_.both(b_nan, kernel::op(ScalarOp::kNot, {a_nan})));
  }
  return less;
}

// Bottom-up, between the two halves of `work`.
void PositionSort::merge(const Expr& n, const kernel::Var& from, const kernel::Var& to) {
  LoopWriter& w = w_;
  const kernel::Var width = w.declare("width", w.i(1));
  w.while_loop(w.lt(w.get(width), n), [&] {
    const kernel::Var low = w.declare("low", w.i(0));
    w.while_loop(w.lt(w.get(low), n), [&] {
      const Expr middle = w.let("middle", kernel::min(kernel::add(w.get(low), w.get(width)), n));
      const Expr high = w.let("high", kernel::min(kernel::add(middle, w.get(width)), n));
      const kernel::Var left = w.declare("left", w.get(low)), right = w.declare("right", middle);
      const auto entry_at = [&](const kernel::Var& at) {
        return w.load(work_, kernel::add(w.get(from), w.get(at)));
      };
      w.loop_from("o", w.get(low), kernel::sub(high, w.get(low)), [&](Expr o) {
        const kernel::Var take_right = w.declare("take_right", w.le(middle, w.get(left)));
        w.when(w.both(w.lt(w.get(left), middle), w.lt(w.get(right), high)),
               [&] { w.set(take_right, precedes(entry_at(right), entry_at(left))); });
        const auto take = [&](const kernel::Var& side) {
          w.store(work_, kernel::add(w.get(to), o), entry_at(side));
          w.bump(side);
        };
        w.when(w.get(take_right), [&] { take(right); }, [&] { take(left); });
      });
      w.set(low, high);
    });
    const Expr sorted = w.let("sorted", w.get(to));
    w.set(to, w.get(from));
    w.set(from, sorted);
    w.set(width, kernel::mul(w.get(width), w.i(2)));
  });
}

// Least significant digit of the key first; a digit that all entries share moves nothing.
void PositionSort::by_digits(const Expr& n, const kernel::Var& from, const kernel::Var& to) {
  LoopWriter& w = w_;
  const kernel::Buffer ends = kernel::make_buffer("ends", {DType::kI64, 1}, kernel::Scope::kScratch,
                                                  kernel::Access::kReadWrite, kDigits * kBuckets);
  w.emit(kernel::alloc(ends));
  const auto bucket = [&](const Expr& entry, int64_t digit) {
    Expr bits = shift_right(entry, 32 + 8 * digit);
    if (digit == kDigits - 1) bits = kernel::add(bits, w.i(kBuckets / 2));  // the sign
    return kernel::add(bits_and(bits, kBuckets - 1), w.i(digit * kBuckets));
  };
  const auto count = [&](const Expr& at) { w.store(ends, at, kernel::add(w.load(ends, at), w.i(1))); };
  w.loop("b", w.i(kDigits * kBuckets), [&](Expr b) { w.store(ends, b, w.i(0)); });
  w.loop("e", n, [&](Expr e) {
    const Expr entry = w.let("entry", w.load(work_, kernel::add(base_, e)));
    for (int64_t d = 0; d < kDigits; ++d) count(w.let("bucket", bucket(entry, d)));
  });
  for (int64_t d = 0; d < kDigits; ++d) {
    const Expr any = bucket(w.load(work_, w.get(from)), d);
    w.when(w.lt(w.load(ends, w.let("first", any)), n), [&] {
      const kernel::Var sum = w.declare("sum", w.get(to));
      w.loop("b", w.i(kBuckets), [&](Expr b) {
        const Expr here = w.let("here", kernel::add(b, w.i(d * kBuckets)));
        const Expr size = w.let("size", w.load(ends, here));
        w.store(ends, here, w.get(sum));
        w.set(sum, kernel::add(w.get(sum), size));
      });
      w.loop("e", n, [&](Expr e) {
        const Expr entry = w.let("entry", w.load(work_, kernel::add(w.get(from), e)));
        const Expr here = w.let("bucket", bucket(entry, d));
        w.store(work_, w.let("place", w.load(ends, here)), entry);
        count(here);
      });
      const Expr sorted = w.let("sorted", w.get(to));
      w.set(to, w.get(from));
      w.set(from, sorted);
    });
  }
}

Expr PositionSort::run(const Expr& count) {
  const kernel::Var from = w_.declare("from", base_), to = w_.declare("to", kernel::add(base_, count));
  const bool known = count->kind == kernel::ExprKind::kConst;
  if (!keys_ || (known && count->i < kManyEntries)) {
    merge(count, from, to);
  } else if (known) {
    by_digits(count, from, to);
  } else {
    w_.when(
        w_.lt(count, w_.i(kManyEntries)), [&] { merge(count, from, to); },
        [&] { by_digits(count, from, to); });
  }
  return w_.get(from);
}

// Calls `take` with the entry of each position from next_ on that precedes the threshold, while `room` holds
// (null: to the end).
void PositionSort::scan(const Expr& count, const VectorAt& vector, const std::function<Expr()>& room,
                        const std::function<void(Expr entry)>& take) {
  LoopWriter& w = w_;
  w.while_loop(lower::both(w.lt(w.get(next_), count), room ? room() : nullptr), [&] {
    const Expr begin = w.let("begin", w.get(next_)),
               end = w.let("end", kernel::min(kernel::add(begin, w.i(vector.width())), count));
    const auto candidates = [&] {
      w.loop_from("p", begin, kernel::sub(end, begin), [&](Expr p) {
        const Expr own = w.let("entry", entry(p));
        w.when(w.lt(own, w.get(threshold_)), [&] { take(own); });
      });
    };
    if (vector.load) {
      const kernel::Var some = w.declare("some", w.le(begin, end));
      w.when(w.both(w.get(known_), w.eq(kernel::sub(end, begin), w.i(vector.width()))), [&] {
        // A NaN is neither: looked at one by one.
        const ScalarOp worse = largest_ ? ScalarOp::kLe : ScalarOp::kGe;
        Expr any;
        for (int v = 0; v < VectorAt::kVectors; ++v) {
          const Expr x = vector.load(kernel::add(begin, w.i(int64_t{v} * vector.lanes)));
          const Expr better = kernel::op(
              ScalarOp::kNot, {kernel::compare(worse, x, kernel::broadcast(w.get(bound_), vector.lanes))});
          any = any ? kernel::op(ScalarOp::kOr, {any, better}) : better;
        }
        w.set(some, kernel::reduce_lanes(ScalarOp::kOr, any));
      });
      w.when(w.get(some), candidates);
    } else {
      candidates();
    }
    w.set(next_, end);
  });
}

void PositionSort::set_threshold(const Expr& entry, const VectorAt& vector) {
  w_.set(threshold_, entry);
  if (vector.load) w_.set(bound_, at_(bits_and(entry, 0x7fffffff)));
  w_.set(known_, w_.le(w_.i(0), w_.i(0)));
}

// The best so far in order, behind an entry that precedes all.
Expr PositionSort::insert_first(const Expr& count, int64_t most, const VectorAt& vector) {
  LoopWriter& w = w_;
  const auto slot = [&](const Expr& number) { return kernel::add(base_, number); };
  w.store(work_, base_, w.i(INT64_MIN));
  scan(count, vector, nullptr, [&](const Expr& entry) {
    w.when(w.lt(w.get(held_), w.i(most)), [&] { w.bump(held_); });
    const kernel::Var hole = w.declare("hole", w.get(held_));
    const auto before = [&] { return w.load(work_, slot(kernel::sub(w.get(hole), w.i(1)))); };
    w.while_loop(w.lt(entry, before()), [&] {
      w.store(work_, slot(w.get(hole)), before());
      w.set(hole, kernel::sub(w.get(hole), w.i(1)));
    });
    w.store(work_, slot(w.get(hole)), entry);
    w.when(w.eq(w.get(held_), w.i(most)),
           [&] { set_threshold(w.let("last", w.load(work_, slot(w.i(most)))), vector); });
  });
  return kernel::add(base_, w.i(1));
}

// The best in variables: each candidate goes down their order and the worse of two goes on.
std::vector<Expr> PositionSort::pass_through(const Expr& count, int64_t most) {
  LoopWriter& w = w_;
  std::vector<kernel::Var> best;
  for (int64_t j = 0; j < most; ++j) best.push_back(w.declare("best", w.i(INT64_MAX)));
  w.loop("p", count, [&](Expr p) {
    Expr own = w.let("entry", entry(p));
    for (const kernel::Var& held : best) {
      const Expr worse = w.let("worse", kernel::max(own, w.get(held)));
      w.set(held, kernel::min(own, w.get(held)));
      own = worse;
    }
  });
  std::vector<Expr> out;
  for (const kernel::Var& held : best) out.push_back(w.get(held));
  return out;
}

Expr PositionSort::position_of(const Expr& entry) const {
  return keys_ ? bits_and(entry, 0x7fffffff) : entry;
}

Expr PositionSort::run_first(const Expr& count, const Expr& most, const VectorAt& vector) {
  LoopWriter& w = w_;
  const bool few = most->kind == kernel::ExprKind::kConst && most->i > 0 && most->i <= kFewBest;
  const bool known = count->kind == kernel::ExprKind::kConst;
  if (!keys_ || (known && !few && count->i <= kLeastHeld)) {
    put_all(count);
    return run(count);
  }
  if (few && most->i <= kFewestBest && known && count->i <= kShortRow && count->i >= most->i) {
    const std::vector<Expr> best = pass_through(count, most->i);
    for (int64_t j = 0; j < most->i; ++j)
      w.store(work_, kernel::add(base_, w.i(j)), best[static_cast<size_t>(j)]);
    return base_;
  }
  next_ = w.declare("next", w.i(0));
  held_ = w.declare("held", w.i(0));
  threshold_ = w.declare("threshold", w.i(INT64_MAX));
  known_ = w.declare("known", w.lt(w.i(0), w.i(0)));
  if (vector.load) bound_ = w.declare("bound", kernel::float_const(0.0));
  if (few) return insert_first(count, most->i, vector);
  const Expr limit = w.let(
      "limit", kernel::add(kernel::max(kernel::mul(most, w.i(2)), w.i(kLeastHeld)), w.i(vector.width())));
  const auto room = [&] { return w.le(kernel::add(w.get(held_), w.i(vector.width())), limit); };
  const kernel::Var sorted = w.declare("sorted_at", base_), more = w.declare("more", w.le(w.i(0), w.i(0)));
  w.while_loop(w.get(more), [&] {
    scan(count, vector, room, [&](const Expr& entry) {
      w.store(work_, kernel::add(base_, w.get(held_)), entry);
      w.bump(held_);
    });
    const Expr found = w.let("found", w.get(held_)), from = w.let("from", run(found));
    w.set(sorted, from);
    w.set(held_, kernel::min(found, most));
    w.set(more, w.lt(w.get(next_), count));
    w.when(w.get(more), [&] {
      w.loop("j", w.get(held_),
             [&](Expr j) { w.store(work_, kernel::add(base_, j), w.load(work_, kernel::add(from, j))); });
      w.when(w.both(w.lt(w.i(0), most), w.le(most, found)), [&] {
        set_threshold(w.let("last", w.load(work_, kernel::add(base_, kernel::sub(most, w.i(1))))), vector);
      });
    });
  });
  return w.get(sorted);
}

}  // namespace tern::lower
