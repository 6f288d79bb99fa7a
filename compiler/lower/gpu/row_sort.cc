#include "compiler/lower/gpu/row_sort.h"

#include <algorithm>
#include <bit>

#include "compiler/lower/gpu/block_scan.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

constexpr int kMostWays = 8;
constexpr int kMergeThreads = 128;
constexpr int64_t kMostTiles = int64_t{1} << 18;  // so that positions of the longest lists fit 31 bits

Buffer shared(LoopWriter& w, const char* name, DType dtype, int64_t size) {
  const Buffer b = kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kWorkgroup, Access::kReadWrite, size);
  w.emit(kernel::alloc(b));
  return b;
}
Expr greatest_key(DType key) {
  return kernel::int_const(key == DType::kI32 ? INT32_MAX : INT64_MAX, key);
}

int64_t power_of_two_from(int64_t n) {
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

}  // namespace

DType order_key_type(DType dtype) {
  return dtype_bits(dtype) > 32 ? DType::kI64 : DType::kI32;
}

Expr order_key(LoopWriter& w, const Expr& element, bool largest) {
  const DType dtype = element->type.dtype, type = order_key_type(dtype);
  const int bits = type == DType::kI32 ? 32 : 64;
  const auto whole = [&](int64_t v) { return kernel::int_const(v, type); };
  Expr key;
  if (is_float(dtype)) {
    const DType wide = bits == 32 ? DType::kF32 : DType::kF64;
    const Expr x = w.let("x", kernel::cast(element, wide));
    const Expr raw = w.let("bits", kernel::bitcast(x, {type, 1}));
    const Expr turned = kernel::op(ScalarOp::kXor, {raw, greatest_key(type)});
    key = kernel::select(w.lt(raw, whole(0)), turned, raw);
    key = kernel::select(kernel::op(ScalarOp::kIsNan, {x}), greatest_key(type),
                         kernel::select(w.eq(x, kernel::float_const(0.0, wide)), whole(0), key));
  } else if (dtype == DType::kU32 || dtype == DType::kU64) {
    const int64_t sign = bits == 32 ? int64_t{INT32_MIN} : INT64_MIN;
    key = kernel::op(ScalarOp::kXor, {kernel::bitcast(element, {type, 1}), whole(sign)});
  } else {
    key = kernel::cast(element, type);
  }
  if (largest) key = kernel::op(ScalarOp::kNot, {key});
  return w.let("key", key);
}

RowSort::RowSort(SortProblem problem, int64_t most_n, int64_t tile)
    : p_(std::move(problem)), tile_(std::min(tile, power_of_two_from(most_n))) {
  const int64_t tiles = std::min((most_n + tile_ - 1) / tile_, kMostTiles);
  checks_length_ = (most_n + tile_ - 1) / tile_ > kMostTiles;
  for (int64_t reach = 1; reach < tiles; reach *= kMostWays) ++rounds_;
  const auto together = [&](int ways) {
    int64_t reach = 1;
    for (int r = 0; r < rounds_; ++r) reach *= ways;
    return reach;
  };
  while (rounds_ > 0 && together(ways_) < tiles) ++ways_;
}

int64_t RowSort::capacity(int round) const {
  int64_t c = tile_;
  for (int r = 0; r < round; ++r) c *= ways_;
  return c;
}

Dim RowSort::lists(int round) const {
  return ceildiv(p_.n, capacity(round));
}

// Entries of the lists that `round` reads.
SortResult RowSort::to_memory(int round, kernel::ParamTable& params) const {
  const Buffer keys = global("keys_out", p_.key, Access::kWrite),
               positions = global("positions_out", DType::kI32, Access::kWrite),
               counts = global("counts_out", DType::kI32, Access::kWrite);
  SortResult out;
  out.bindings = {keys, positions};
  if (p_.filtered) out.bindings.push_back(counts);
  const Expr n = params.expr(p_.n), many = params.expr(lists(round));
  out.take = [=](LoopWriter& w, const Expr& row, const Expr& at, const Expr& key, const Expr& position) {
    const Expr to = w.let("to", plus(kernel::mul(row, n), at));
    w.store(keys, to, key);
    w.store(positions, to, to_i32(position));
  };
  out.take_count = [=](LoopWriter& w, const Expr& list, const Expr& count) {
    w.store(counts, list, to_i32(count));
  };
  return out;
}

namespace {

// A tile in workgroup memory.
class TileWriter {
 public:
  TileWriter(const SortProblem& p, const SortSource& source, int64_t tile, const BlockThreads& block,
             LoopWriter& w)
      : p_(p), source_(source), tile_(tile), block_(block), w_(w) {
    keys_ = shared(w, "keys", p.key, tile);
    places_ = shared(w, "places", DType::kI32, tile);
    wrong_ = w.declare("wrong", kernel::int_const(0, DType::kBool));
  }

  // The number of entries, which lie at the tile's beginning then.
  Expr fill(const Expr& row, const Expr& first, const Expr& n) {
    const int each = each_thread(tile_);
    std::vector<kernel::Var> keys, wanted;
    for (int e = 0; e < each; ++e) {
      const Expr p = w_.let("p", plus(first, slot(e)));
      const kernel::Var key = w_.declare("k", greatest_key(p_.key));
      const kernel::Var want = w_.declare("want", kernel::int_const(0, DType::kI32));
      w_.when(inside(slot(e), p, n), [&] {
        const SortSource::Element element = source_.element(w_, row, p);
        w_.set(key, element.key);
        const Expr one = kernel::int_const(1, DType::kI32), none = kernel::int_const(0, DType::kI32);
        w_.set(want, element.wanted ? kernel::select(element.wanted, one, none) : one);
        if (element.wrong) w_.set(wrong_, w_.either(w_.get(wrong_), element.wrong));
      });
      keys.push_back(key), wanted.push_back(want);
    }
    Expr count = w_.let("live", kernel::min(w_.i(tile_), kernel::sub(n, first)));
    const kernel::Var next = w_.declare("next", w_.i(0));
    if (p_.filtered) {
      Expr mine = kernel::int_const(0, DType::kI32);
      for (const kernel::Var& want : wanted) mine = kernel::add(mine, w_.get(want));
      const BlockScan scan = block_scan(w_, block_, ScalarOp::kAdd, w_.let("mine", mine));
      count = w_.let("found", to_index(scan.total));
      w_.set(next, to_index(scan.before));
    }
    for (size_t e = 0; e < keys.size(); ++e) {
      const Expr own = slot(static_cast<int>(e));
      w_.when(w_.lt(kernel::int_const(0, DType::kI32), w_.get(wanted[e])), [&] {
        const Expr at = p_.filtered ? w_.get(next) : own;
        w_.store(keys_, at, w_.get(keys[e]));
        w_.store(places_, at, to_i32(plus(first, own)));
        if (p_.filtered) w_.bump(next);
      });
    }
    return count;
  }

  // A bitonic network whose exchanges all go one way, so that places past the end take no part.
  void sort(const Expr& count) {
    const auto number = [](int64_t v) { return kernel::int_const(v, DType::kI32); };
    const Expr live = w_.let("entries", to_i32(count));
    const kernel::Var size = w_.declare("half", number(1));
    w_.emit(kernel::barrier());
    w_.while_loop(w_.lt(w_.get(size), live), [&] {
      const kernel::Var half = w_.declare("distance", w_.get(size));
      w_.while_loop(w_.lt(number(0), w_.get(half)), [&] {
        for (int e = 0; e < std::max(each_thread(tile_ / 2), 1); ++e) {
          const Expr pair = w_.let("pair", to_i32(slot(e)));
          const Expr mask = kernel::sub(w_.get(half), number(1));
          const Expr inside = w_.let("in_half", kernel::op(ScalarOp::kAnd, {pair, mask}));
          const Expr begin = w_.let("begin", kernel::mul(kernel::sub(pair, inside), number(2)));
          const Expr low = w_.let("low", kernel::add(begin, inside));
          const Expr mirrored = kernel::sub(
              kernel::add(begin, kernel::sub(kernel::mul(w_.get(half), number(2)), number(1))), inside);
          const Expr high = w_.let("high", kernel::select(w_.eq(w_.get(half), w_.get(size)), mirrored,
                                                          kernel::add(low, w_.get(half))));
          w_.when(w_.lt(high, live), [&] { exchange(to_index(low), to_index(high)); });
        }
        w_.emit(kernel::barrier());
        w_.set(half, kernel::op(ScalarOp::kShr, {w_.get(half), number(1)}));
      });
      w_.set(size, kernel::mul(w_.get(size), number(2)));
    });
  }

  void take(const Expr& count,
            const std::function<void(const Expr& rank, const Expr& key, const Expr& place)>& f) {
    for (int e = 0; e < each_thread(tile_); ++e) {
      const Expr rank = w_.let("rank", slot(e));
      w_.when(w_.lt(rank, count), [&] { f(rank, w_.load(keys_, rank), to_index(w_.load(places_, rank))); });
    }
  }

  void fail_if_wrong() {
    w_.when(w_.get(wrong_), [&] { w_.fail(TERN_KERNEL_INDEX_OUT_OF_RANGE); });
  }

 private:
  int each_thread(int64_t items) const {
    return static_cast<int>((items + block_.threads - 1) / block_.threads);
  }
  Expr slot(int e) const { return plus(block_.thread, w_.i(int64_t{e} * block_.threads)); }
  Expr inside(const Expr& own, const Expr& p, const Expr& n) const {
    const Expr exists = w_.lt(p, n);
    return tile_ < block_.threads ? w_.both(w_.lt(own, w_.i(tile_)), exists) : exists;
  }

  void exchange(const Expr& low, const Expr& high) {
    const Expr a = w_.let("a", w_.load(keys_, low)), b = w_.let("b", w_.load(keys_, high));
    const Expr a_at = w_.let("a_at", w_.load(places_, low)), b_at = w_.let("b_at", w_.load(places_, high));
    w_.when(w_.either(w_.lt(b, a), w_.both(w_.eq(a, b), w_.lt(b_at, a_at))), [&] {
      w_.store(keys_, low, b);
      w_.store(keys_, high, a);
      w_.store(places_, low, b_at);
      w_.store(places_, high, a_at);
    });
  }

  const SortProblem& p_;
  const SortSource& source_;
  const int64_t tile_;
  const BlockThreads block_;
  LoopWriter& w_;
  Buffer keys_, places_;
  kernel::Var wrong_;
};

}  // namespace

SpecialKernel RowSort::tiles(const SpecialMachine& machine, const SortSource& source,
                             const SortResult* result, kernel::ParamTable& params) const {
  SpecialKernel out;
  out.bindings = source.bindings;
  const SortResult memory = to_memory(0, params), &to = result ? *result : memory;
  out.bindings.insert(out.bindings.end(), to.bindings.begin(), to.bindings.end());
  out.threads = static_cast<int>(std::clamp<int64_t>(tile_ / 2, 32, machine.threads));
  out.thread = kernel::make_var("t");
  out.subgroup = p_.filtered ? machine.subgroup : 0;
  out.schedule = fmt::format("tiles of {} by {} threads", tile_, out.threads);
  const kernel::Var row = kernel::make_var("row"), tile = kernel::make_var("tile");
  const Dim many = lists(0);
  out.grid = {{row, p_.rows, params.expr(p_.rows)}, {tile, many, params.expr(many)}};
  LoopWriter w;
  const BlockThreads block{out.threads, machine.subgroup, kernel::var_expr(out.thread)};
  TileWriter writer(p_, source, tile_, block, w);
  const Expr first = w.let("first", times(w.get(tile), tile_)), n = params.expr(p_.n);
  if (checks_length_) w.when(w.lt(w.i(capacity(rounds_)), n), [&] { w.fail(TERN_KERNEL_ROW_TOO_LONG); });
  const Expr count = writer.fill(w.get(row), first, n);
  writer.sort(count);
  const Expr most = params.expr(p_.most);
  writer.take(w.let("kept", kernel::min(count, most)),
              [&](const Expr& rank, const Expr& key, const Expr& place) {
                to.take(w, w.get(row), result ? rank : plus(first, rank), key, place);
              });
  if (p_.filtered) {
    const Expr list = result ? w.get(row) : plus(kernel::mul(w.get(row), params.expr(many)), w.get(tile));
    w.when(w.eq(block.thread, w.i(0)), [&] { to.take_count(w, list, count); });
  }
  writer.fail_if_wrong();
  out.body = w.take();
  return out;
}

SpecialKernel RowSort::merge(const SpecialMachine&, int round, const SortResult* result,
                             kernel::ParamTable& params) const {
  SpecialKernel out;
  const Buffer keys = global("keys", p_.key, Access::kRead),
               positions = global("positions", DType::kI32, Access::kRead),
               counts = global("counts", DType::kI32, Access::kRead);
  out.bindings = {keys, positions};
  if (p_.filtered) out.bindings.push_back(counts);
  const SortResult memory = to_memory(round + 1, params), &to = result ? *result : memory;
  out.bindings.insert(out.bindings.end(), to.bindings.begin(), to.bindings.end());
  out.threads = kMergeThreads;
  out.thread = kernel::make_var("t");
  out.schedule = fmt::format("merges of {} lists of {}", ways_, capacity(round));
  const int64_t room = capacity(round);
  const Dim many = lists(round), held = min(p_.most, room), groups = lists(round + 1),
            chunks = ceildiv(held, kMergeThreads);
  const kernel::Var row_var = kernel::make_var("row"), list_var = kernel::make_var("list"),
                    chunk = kernel::make_var("chunk");
  out.grid = {{row_var, p_.rows, params.expr(p_.rows)},
              {list_var, many, params.expr(many)},
              {chunk, chunks, params.expr(chunks)}};
  LoopWriter w;
  const Expr row = w.get(row_var), list = w.get(list_var), n = params.expr(p_.n),
             lists_here = params.expr(many);
  const Expr i = w.let("i", plus(times(w.get(chunk), kMergeThreads), kernel::var_expr(out.thread)));
  const Expr group = w.let("group", div(list, ways_)), own = w.let("own", rem(list, ways_));
  const Expr base = w.let("base", plus(kernel::mul(row, n), times(group, ways_ * room)));
  const Expr most = params.expr(p_.most);
  const auto length = [&](const Expr& other) {
    const Expr all = p_.filtered ? to_index(w.load(counts, plus(kernel::mul(row, lists_here), other)))
                                 : kernel::min(kernel::sub(n, times(other, room)), w.i(room));
    return all;
  };
  std::vector<kernel::Var> low, high;
  std::vector<Expr> lengths;
  for (int j = 0; j < ways_; ++j) {
    const Expr other = plus(times(group, ways_), w.i(j));
    lengths.push_back(w.let("length", kernel::select(w.lt(other, lists_here), length(other), w.i(0))));
  }
  const Expr mine = w.let("mine", kernel::min(length(list), most));
  w.when(w.lt(i, mine), [&] {
    const Expr at = w.let("at", plus(plus(base, kernel::mul(own, w.i(room))), i));
    const Expr key = w.let("key", w.load(keys, at));
    for (int j = 0; j < ways_; ++j) {
      low.push_back(w.declare("low", w.i(0)));
      const Expr others = kernel::min(lengths[static_cast<size_t>(j)], most);
      high.push_back(w.declare("high", kernel::select(w.eq(own, w.i(j)), w.i(0), others)));
    }
    const int64_t longest = p_.most.is_const() ? std::min(p_.most.value(), room) : room;
    w.loop("step", w.i(std::bit_width(static_cast<uint64_t>(longest))), [&](Expr) {
      for (int j = 0; j < ways_; ++j) {
        const size_t k = static_cast<size_t>(j);
        const Expr open = w.let("open", w.lt(w.get(low[k]), w.get(high[k])));
        const Expr middle = w.let("middle", div(plus(w.get(low[k]), w.get(high[k])), 2));
        const Expr theirs =
            w.let("theirs", kernel::select(open, w.load(keys, plus(plus(base, w.i(j * room)), middle)), key));
        const Expr before = w.either(w.lt(theirs, key), w.both(w.eq(theirs, key), w.lt(w.i(j), own)));
        const Expr step = w.let("before", before);
        w.when(open, [&] {
          w.when(step, [&] { w.set(low[k], plus(middle, w.i(1))); }, [&] { w.set(high[k], middle); });
        });
      }
    });
    Expr rank = i;
    for (const kernel::Var& found : low) rank = plus(rank, w.get(found));
    rank = w.let("rank", rank);
    w.when(w.lt(rank, most), [&] {
      const Expr place = result ? rank : plus(times(group, ways_ * room), rank);
      to.take(w, row, place, key, to_index(w.load(positions, at)));
    });
  });
  if (p_.filtered) {
    w.when(w.both(w.eq(i, w.i(0)), w.eq(own, w.i(0))), [&] {
      Expr sum = w.i(0);
      for (const Expr& l : lengths) sum = plus(sum, l);
      to.take_count(w, result ? row : plus(kernel::mul(row, params.expr(groups)), group), w.let("sum", sum));
    });
  }
  out.body = w.take();
  return out;
}

}  // namespace tern::lower::gpu
