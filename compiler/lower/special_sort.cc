#include "compiler/lower/special_sort.h"

#include "compiler/lower/nest_axes.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::ScalarOp;

constexpr int64_t kDigits = 4, kBuckets = 256;
constexpr int64_t kFewBest = 32;       // so many are kept in order as they come
constexpr int64_t kFewestBest = 4;     // so many in variables, without a branch
constexpr int64_t kShortRow = 32;      // of a row that is no longer, whose vectors are not compared first
constexpr int64_t kLeastHeld = 1024;   // of more, so many candidates are selected from at once
constexpr int64_t kFewEntries = 64;    // are sorted without selecting before
constexpr int64_t kManyEntries = 192;  // below, clearing and adding up buckets costs more than merging
constexpr int64_t kManyRanks = 176;    // and, by vectors, than comparing each with each

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
      from_least_(keys && dtype == DType::kI64),
      work_(std::move(work)),
      base_(std::move(base)),
      at_(std::move(at)) {}

// A key is a signed number of 32 bits in the order of the elements: floats below zero are turned around.
Expr PositionSort::entry(const Expr& position) {
  if (!keys_) return position;
  Expr key = at_(position);
  if (is_float(dtype_)) {
    const auto i32 = [](int64_t v) { return kernel::int_const(v, DType::kI32); };
    const Expr x = w_.let("x", kernel::cast(key, DType::kF32)), zero = kernel::float_const(0.0);
    const Expr bits = w_.let("bits", kernel::bitcast(x, {DType::kI32, 1}));
    const Expr below = kernel::op(ScalarOp::kShr, {bits, i32(31)});
    const Expr turned =
        kernel::op(ScalarOp::kXor, {bits, kernel::op(ScalarOp::kAnd, {below, i32(0x7fffffff)})});
    key = kernel::select(kernel::op(ScalarOp::kIsNan, {x}), i32(0x7fffffff),
                         kernel::select(w_.eq(x, zero), i32(0), turned));
    key = kernel::cast(key, DType::kI64);
  } else if (from_least_) {
    key = kernel::sub(key, w_.get(least_));
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

// Each entry to the place that as many precede it say: lanes are entries, which meet all of them in turn.
void PositionSort::by_ranks(const Expr& n, int lanes, const kernel::Var& from, const kernel::Var& to) {
  LoopWriter one;
  const kernel::Var e = kernel::make_var("e");
  const Expr own = one.let("own", one.load(work_, kernel::add(w_.get(from), kernel::var_expr(e))));
  const kernel::Var rank = one.declare("rank", one.i(0));
  one.loop("other", n, [&](Expr other) {
    const Expr before = one.lt(one.load(work_, kernel::add(w_.get(from), other)), own);
    one.set(rank, kernel::add(one.get(rank), kernel::select(before, one.i(1), one.i(0))));
  });
  one.store(work_, kernel::add(w_.get(to), one.get(rank)), own);
  for (kernel::Stmt& s :
       vector_loop(kernel::loop(e, w_.i(0), n, kernel::LoopKind::kSerial, one.take()), lanes))
    w_.emit(std::move(s));
  w_.set(from, w_.get(to));
}

Expr PositionSort::run(const Expr& count, int lanes) {
  const kernel::Var from = w_.declare("from", base_), to = w_.declare("to", kernel::add(base_, count));
  const bool known = count->kind == kernel::ExprKind::kConst, ranks = keys_ && lanes > 1;
  const int64_t many = ranks ? kManyRanks : kManyEntries;
  const auto few = [&] { ranks ? by_ranks(count, lanes, from, to) : merge(count, from, to); };
  if (!keys_ || (known && count->i < many)) {
    few();
  } else if (known) {
    by_digits(count, from, to);
  } else {
    w_.when(w_.lt(count, w_.i(many)), few, [&] { by_digits(count, from, to); });
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

// The same as put_all, by vectors where elements are loaded so.
void PositionSort::put_vectors(const Expr& count, const VectorAt& vector) {
  if (!vector.load) return put_all(count);
  LoopWriter one;
  PositionSort sort(one, dtype_, largest_, true, work_, base_, at_);
  const kernel::Var p = kernel::make_var("p");
  sort.put(kernel::var_expr(p), kernel::var_expr(p));
  for (kernel::Stmt& s :
       vector_loop(kernel::loop(p, w_.i(0), count, kernel::LoopKind::kSerial, one.take()), vector.lanes))
    w_.emit(std::move(s));
}

// Moves the first `most` of the entries that are held to the front, and perhaps some more: a key is searched
// for that so many entries do not exceed, by halving what keys there are. (The greatest key has none behind
// it: no position is as large as its last.)
void PositionSort::select_first(const Expr& most, const VectorAt& vector) {
  LoopWriter& w = w_;
  const Expr enough = w.let("enough", kernel::add(most, kernel::add(shift_right(most, 3), w.i(8))));
  w.when(w.lt(enough, w.get(held_)), [&] {
    const kernel::Var low = w.declare("low", w.i(int64_t{INT32_MIN} - 1)),
                      high = w.declare("high", w.i(INT32_MAX)), before = w.declare("before", w.get(held_));
    const auto last_with = [&](const Expr& key) {
      return kernel::add(kernel::op(ScalarOp::kShl, {key, w.i(32)}), w.i(UINT32_MAX));
    };
    w.while_loop(
        w.both(w.lt(enough, w.get(before)), w.lt(kernel::add(w.get(low), w.i(1)), w.get(high))), [&] {
          const Expr middle = w.let("middle", shift_right(kernel::add(w.get(low), w.get(high)), 1)),
                     bound = w.let("bound", last_with(middle));
          const kernel::Var found = w.declare("found", w.i(0)), e = kernel::make_var("e");
          const Expr entry = w.load(work_, kernel::add(base_, kernel::var_expr(e)));
          const kernel::Stmt count = kernel::assign(
              found,
              kernel::add(kernel::var_expr(found), kernel::select(w.lt(entry, bound), w.i(1), w.i(0))));
          for (kernel::Stmt& s :
               vector_loop(kernel::loop(e, w.i(0), w.get(held_), kernel::LoopKind::kSerial, {count}),
                           std::max(vector.lanes / 2, 1), 2))
            w.emit(std::move(s));
          w.when(
              w.le(most, w.get(found)),
              [&] {
                w.set(high, middle);
                w.set(before, w.get(found));
              },
              [&] { w.set(low, middle); });
        });
    const Expr bound = w.let("bound", last_with(w.get(high)));
    const kernel::Var kept = w.declare("kept", w.i(0));
    w.loop("e", w.get(held_), [&](Expr e) {
      const Expr own = w.let("own", w.load(work_, kernel::add(base_, e)));
      w.store(work_, kernel::add(base_, w.get(kept)), own);
      w.set(kept, kernel::add(w.get(kept), kernel::select(w.lt(own, bound), w.i(1), w.i(0))));
    });
    w.set(held_, w.get(kept));
  });
}

Expr PositionSort::run_first(const Expr& count, const Expr& most, const VectorAt& vector) {
  if (!from_least_) return run_first_by_keys(count, most, vector);
  LoopWriter& w = w_;
  least_ = w.declare("least", w.i(INT64_MAX));
  const kernel::Var greatest = w.declare("greatest", w.i(INT64_MIN)), sorted = w.declare("sorted_at", base_);
  w.loop("p", count, [&](Expr p) {
    const Expr own = w.let("own", at_(p));
    w.set(least_, kernel::min(w.get(least_), own));
    w.set(greatest, kernel::max(w.get(greatest), own));
  });
  const Expr range = w.let("range", kernel::sub(w.get(greatest), w.get(least_)));
  w.when(
      in_range(range, w.i(INT32_MAX)),
      [&] {
        keys_ = true;
        w.set(sorted, run_first_by_keys(count, most, vector));
      },
      [&] {
        keys_ = false;
        put_all(count);
        w.set(sorted, run(count));
      });
  keys_ = true;  // a position alone is an entry with a key of 0
  return w.get(sorted);
}

Expr PositionSort::run_first_by_keys(const Expr& count, const Expr& most, const VectorAt& vector) {
  LoopWriter& w = w_;
  const bool few = most->kind == kernel::ExprKind::kConst && most->i > 0 && most->i <= kFewBest;
  const bool known = count->kind == kernel::ExprKind::kConst;
  const bool all = known && most->kind == kernel::ExprKind::kConst && 2 * most->i > count->i;
  if (!keys_ || all || (known && !few && count->i <= kFewEntries)) {
    put_vectors(count, vector);
    return run(count, vector.lanes);
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
  if (known && count->i <= 2 * kLeastHeld) {
    put_vectors(count, vector);
    w.set(held_, count);
    select_first(most, vector);
    return run(w.let("selected", w.get(held_)), vector.lanes);
  }
  const Expr limit = w.let(
      "limit", kernel::add(kernel::max(kernel::mul(most, w.i(2)), w.i(kLeastHeld)), w.i(vector.width())));
  const auto room = [&] { return w.le(kernel::add(w.get(held_), w.i(vector.width())), limit); };
  const kernel::Var more = w.declare("more", w.le(w.i(0), w.i(0)));
  w.while_loop(w.get(more), [&] {
    scan(count, vector, room, [&](const Expr& entry) {
      w.store(work_, kernel::add(base_, w.get(held_)), entry);
      w.bump(held_);
    });
    select_first(most, vector);
    // Of many with one key there may be no room for others: the first of them by position.
    w.when(w.lt(kernel::sub(limit, w.i(vector.width())), w.get(held_)), [&] {
      const Expr from = w.let("from", run(w.let("found", w.get(held_))));
      w.loop("j", most,
             [&](Expr j) { w.store(work_, kernel::add(base_, j), w.load(work_, kernel::add(from, j))); });
      w.set(held_, most);
    });
    w.set(more, w.lt(w.get(next_), count));
    w.when(w.both(w.get(more), w.both(w.lt(w.i(0), most), w.le(most, w.get(held_)))), [&] {
      const kernel::Var last = w.declare("last", w.i(INT64_MIN));
      w.loop("e", w.get(held_),
             [&](Expr e) { w.set(last, kernel::max(w.get(last), w.load(work_, kernel::add(base_, e)))); });
      set_threshold(w.let("threshold", w.get(last)), vector);
    });
  });
  return run(w.let("selected", w.get(held_)), vector.lanes);
}

}  // namespace tern::lower
