// Tiles of a contraction of bytes along the lists of byte_chains.h: some vectors of rows, all columns of the
// block. The rows' bytes are turned in worker scratch, so that a step of eight rows is a vector; sums are
// finished from there as well, turned back.
#include <numeric>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/byte_product.h"
#include "compiler/lower/contraction_builder.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/turned_squares.h"

namespace tern::lower::contraction {
namespace {

// One tile: rows first..first+rows-1 of the block in so many vectors.
struct Tile {
  Expr first, rows;
  int vectors = 1, lanes = 8;
  bool whole = false;  // all lanes are rows
  int64_t side() const { return int64_t{vectors} * lanes; }
};

Expr times(const Expr& a, int64_t b) {
  return kernel::mul(a, int_const(b));
}

// Where a list's codes begin, and its numbers of chains.
struct List {
  Expr code, threes, twos, ones;
};

Expr place_of(const Expr& value) {
  return kernel::cast(value, DType::kI64);
}

}  // namespace

// What the tiles of a block share.
class ChainTiles {
 public:
  ChainTiles(Builder& builder, const Expr& columns)
      : b_(builder),
        chains_(*builder.o_.chains),
        columns_(columns),
        steps_(builder.k_dim_.value()),
        segments_(chain_segments(steps_)),
        segment_(chain_segment_steps(steps_)),
        list_columns_(chain_columns(steps_)),
        sorted_columns_(chain_sorted_columns(steps_)),
        lanes_(builder.s_.lanes) {
    const int64_t rows = int64_t{b_.s_.chain_vectors} * lanes_;
    turned_ = Builder::scratch("turned_rows", segment_ * rows, DType::kU32);
    sums_ = Builder::scratch("sums", rows * b_.s_.block_columns, DType::kI32);
  }

  Stmts allocs() const { return {kernel::alloc(turned_), kernel::alloc(sums_)}; }

  Stmts tile(const Tile& t) {
    LoopWriter w;
    if (segments_ == 1) {
      segment(w, t, int_const(0), int_const(steps_));
    } else {
      w.loop("segment", int_const(segments_), [&](const Expr& s) {
        segment_number_ = s;
        const Expr first = w.let("first_step", times(s, segment_));
        segment(w, t, first,
                w.let("depth", kernel::min(int_const(segment_), kernel::sub(int_const(steps_), first))));
      });
    }
    finish(w, t);
    return w.take();
  }

 private:
  void segment(LoopWriter& w, const Tile& t, const Expr& first, const Expr& depth) {
    turn_rows(w, t, first, depth);
    const Expr first_list = w.let("first_list", kernel::index_div(b_.n0_, int_const(list_columns_)));
    w.loop("list",
           kernel::index_div(kernel::add(columns_, int_const(list_columns_ - 1)), int_const(list_columns_)),
           [&](const Expr& l) { list(w, t, w.let("place", kernel::add(first_list, l)), first, depth); });
  }

  // turned_rows[step * rows + row]: four bytes of that row. Rows that the block does not have repeat its
  // last.
  void turn_rows(LoopWriter& w, const Tile& t, const Expr& first, const Expr& depth) {
    w.loop("v", int_const(t.vectors), [&](const Expr& v) {
      std::vector<Expr> bases;
      for (int i = 0; i < lanes_; ++i) {
        Expr row = kernel::add(t.first, kernel::add(times(v, lanes_), int_const(i)));
        if (!t.whole) row = kernel::min(row, kernel::sub(b_.rows_, int_const(1)));
        bases.push_back(w.let("row", b_.row_base(row)));
      }
      const auto square = [&](const Expr& step) {
        std::vector<Expr> rows;
        for (const Expr& base : bases)
          rows.push_back(w.let("bytes", kernel::bitcast(b_.a_bytes(base, kernel::add(first, step), lanes_),
                                                        {DType::kU32, lanes_})));
        rows = turned(w, std::move(rows));
        for (int j = 0; j < lanes_; ++j) {
          const Expr at = times(kernel::add(step, int_const(j)), t.side());
          w.store(turned_, kernel::add(at, times(v, lanes_)), rows[static_cast<size_t>(j)]);
        }
      };
      w.loop("square", kernel::index_div(depth, int_const(lanes_)),
             [&](const Expr& s) { square(w.let("step", times(s, lanes_))); });
      // The last one ends with the last step: where it overlaps the one before, both write the same.
      const auto left = kernel::int_value(kernel::index_rem(depth, int_const(lanes_)));
      const auto last = [&] { square(w.let("step", kernel::sub(depth, int_const(lanes_)))); };
      if (!left) {
        w.when(w.ne(kernel::index_rem(depth, int_const(lanes_)), int_const(0)), last);
      } else if (*left != 0) {
        last();
      }
    });
  }

  Expr sum_at(const Tile& t, const Expr& column, const Expr& row) const {
    return kernel::add(times(column, t.side()), row);
  }

  // The columns of the list that comes at `place` of its batch's.
  void list(LoopWriter& w, const Tile& t, const Expr& place, const Expr& first, const Expr& depth) {
    prefetch_next(w, times(place, list_columns_), first);
    const int64_t together = sorted_columns_ / list_columns_;
    const auto entry = [&](const char* name, const Expr& at, int64_t i) {
      return w.let(name, place_of(kernel::load(chains_.entries, kernel::add(at, int_const(i)))));
    };
    Expr at = kernel::add(times(segment_number_ ? segment_number_ : int_const(0), chains_.lists), place);
    if (!kernel::is_int(chains_.first_list, 0)) at = kernel::add(at, times(chains_.first_list, segments_));
    at = w.let("entry", times(at, ByteChains::kEntry));
    List l;
    l.code = kernel::add(times(chains_.first_list, steps_), kernel::mul(place, depth));
    l.code = w.let("codes", kernel::add(l.code, times(first, chains_.lists)));
    const Expr number = entry("number", at, 0);
    l.threes = entry("threes", at, 1);
    l.twos = entry("twos", at, 2);
    l.ones = w.let("ones", kernel::sub(kernel::sub(depth, times(l.threes, 3)), times(l.twos, 2)));
    const Expr group = times(kernel::index_div(place, int_const(together)), together);
    const Expr n = w.let("n", times(kernel::add(group, number), list_columns_));
    if (list_columns_ == 1) return column(w, t, n, first, l);
    const Expr left = kernel::min(int_const(list_columns_), kernel::sub(b_.n_, n));
    w.loop("column", left, [&](const Expr& c) { column(w, t, w.let("n", kernel::add(n, c)), first, l); });
  }

  void column(LoopWriter& w, const Tile& t, const Expr& n, const Expr& first, const List& l) {
    const Expr c = w.let("c", kernel::sub(n, b_.n0_));
    acc_ = kernel::make_buffer("acc", {DType::kI32, lanes_}, Scope::kRegister, kernel::Access::kReadWrite,
                               t.vectors);
    w.emit(kernel::alloc(acc_));
    const auto each = [&](const std::function<Expr(int)>& value) {
      for (int v = 0; v < t.vectors; ++v) w.store(acc_, int_const(v), value(v));
    };
    const auto begin = [&] {
      const Expr one = b_.o_.begin ? b_.o_.begin(n, 1, nullptr) : int_const(0, DType::kI32);
      const Expr sum = w.let("begin", kernel::broadcast(one, lanes_));
      each([&](int) { return sum; });
    };
    const auto reload = [&] {
      each([&](int v) { return kernel::load(sums_, sum_at(t, c, int_const(v * lanes_)), lanes_); });
    };
    if (segments_ == 1) {
      begin();
    } else {
      w.when(w.eq(segment_number_, int_const(0)), begin, reload);
    }
    const Expr twos = kernel::add(l.code, times(l.threes, 3)), ones = kernel::add(twos, times(l.twos, 2));
    const auto chains = [&](const Expr& begin, const Expr& count, int length) {
      const Expr code = w.let("code", begin);
      w.loop("chain", count,
             [&](const Expr& i) { chain(w, t, n, first, kernel::add(code, times(i, length)), length); });
    };
    chains(l.code, l.threes, 3);
    chains(twos, l.twos, 2);
    chains(ones, l.ones, 1);
    for (int v = 0; v < t.vectors; ++v)
      w.store(sums_, sum_at(t, c, int_const(v * lanes_)), kernel::load(acc_, int_const(v)));
  }

  void chain(LoopWriter& w, const Tile& t, const Expr& n, const Expr& first, const Expr& code, int length) {
    std::vector<Expr> rows, weights;
    for (int i = 0; i < length; ++i) {
      const Expr step = w.let("step", place_of(kernel::load(chains_.codes, kernel::add(code, int_const(i)))));
      rows.push_back(w.let("rows", times(step, t.side())));
      const Expr at = times(b_.o_.b_index(n, kernel::add(first, step)), kByteGroup);
      const Expr word =
          w.let("word", kernel::bitcast(kernel::load(b_.o_.b_buffer, at, kByteGroup), {DType::kI32, 1}));
      weights.push_back(w.let(
          "weights", kernel::bitcast(kernel::broadcast(word, lanes_), {DType::kI8, lanes_ * kByteGroup})));
    }
    const auto bytes = [&](int i, int v) {
      const Expr at = kernel::add(rows[static_cast<size_t>(i)], int_const(v * lanes_));
      return kernel::bitcast(kernel::load(turned_, at, lanes_), {DType::kU8, lanes_ * kByteGroup});
    };
    if (length == 1) return widened(w, t, weights[0], [&](int v) { return bytes(0, v); });
    const Expr ones = kernel::broadcast(int_const(1, DType::kI16), 2 * lanes_);
    for (int v = 0; v < t.vectors; ++v) {
      Expr sum;
      for (int i = 0; i < length; ++i) {
        const Expr pairs =
            kernel::intrinsic(kernel::Intrinsic::kPairsU8I8, {bytes(i, v), weights[static_cast<size_t>(i)]},
                              {DType::kI16, 2 * lanes_});
        sum = sum ? kernel::add(sum, pairs) : pairs;
      }
      w.store(acc_, int_const(v),
              kernel::intrinsic(kernel::Intrinsic::kDot2I16, {kernel::load(acc_, int_const(v)), sum, ones},
                                {DType::kI32, lanes_}));
    }
  }

  void widened(LoopWriter& w, const Tile& t, const Expr& weights, const std::function<Expr(int)>& bytes) {
    const ByteProduct product(ByteProducts::kPairs, lanes_);
    Stmts some;
    const ByteProduct::Operand right = product.right(weights, some);
    for (int v = 0; v < t.vectors; ++v) {
      const ByteProduct::Operand left = product.left_lanes(bytes(v), some);
      some.push_back(
          kernel::store(acc_, int_const(v), product.add(kernel::load(acc_, int_const(v)), left, right)));
    }
    for (Stmt& s : some) w.emit(std::move(s));
  }

  // The weights that come after those of the columns that are sorted together, a share of them with each
  // list: this segment's of the next columns; after the block's last ones the next segment's of its first
  // ones, after the last segment the first one's of the next block.
  void prefetch_next(LoopWriter& w, const Expr& n, const Expr& first) const {
    if (!b_.s_.prefetch) return;
    const int64_t share = (segment_ * list_columns_ + kPanelColumns - 1) / kPanelColumns;
    const Expr inside = w.let("inside", kernel::index_rem(n, int_const(kPanelColumns)));
    Expr panel = kernel::add(kernel::sub(n, inside), int_const(sorted_columns_)), next_first = first;
    if (segments_ > 1) {
      const Expr of_sorted = w.let("of_sorted", kernel::index_rem(n, int_const(sorted_columns_)));
      const Expr next_sorted = kernel::add(kernel::sub(n, of_sorted), int_const(sorted_columns_));
      const Expr is_last = kernel::compare(ScalarOp::kGe, next_sorted, kernel::add(b_.n0_, columns_));
      const Expr goes_on = kernel::compare(ScalarOp::kLt, segment_number_, int_const(segments_ - 1));
      const Expr again = kernel::add(b_.n0_, kernel::sub(of_sorted, inside));
      panel = w.let("panel", kernel::select(is_last, kernel::select(goes_on, again, panel), panel));
      const Expr after = kernel::select(goes_on, kernel::add(first, int_const(segment_)), int_const(0));
      next_first = w.let("next_first", kernel::select(is_last, after, first));
    }
    const Expr begin = times(kernel::index_div(inside, int_const(list_columns_)), share);
    for (int64_t i = 0; i < share; ++i) {
      const Expr step = kernel::add(next_first, kernel::add(begin, int_const(i)));
      w.emit(kernel::prefetch(b_.o_.b_buffer, times(b_.o_.b_index(panel, step), kByteGroup)));
    }
  }

  // Squares of sums are turned, so that columns are neighbours again.
  void finish(LoopWriter& w, const Tile& t) {
    const int together = b_.o_.finish_in_pairs ? 2 : 1;
    const int64_t width = int64_t{together} * lanes_, all = b_.n_dim_.value();
    const Buffer stage = kernel::make_buffer("stage", {DType::kI32, 1}, Scope::kStack,
                                             kernel::Access::kReadWrite, lanes_ * width);
    const bool staged = !t.whole || b_.o_.finish_is_long;
    w.loop("v", int_const(t.vectors), [&](const Expr& v) {
      if (staged) w.emit(kernel::alloc(stage));
      const Expr row = w.let("first_row", times(v, lanes_));
      Expr live = int_const(lanes_);
      if (!t.whole)
        live = w.let("live", kernel::max(int_const(0), kernel::min(live, kernel::sub(t.rows, row))));
      const Expr m = kernel::add(b_.row0_, kernel::add(t.first, row));
      const auto some = [&](const Expr& c, int64_t exist) {
        const Expr n = kernel::add(b_.n0_, c);
        const std::vector<std::vector<Expr>> squares = turned_sums(w, t, c, row, exist);
        if (!staged) {
          for (int i = 0; i < lanes_; ++i) {
            finish_row(w, kernel::add(m, int_const(i)), n, exist, width, [&](int64_t j, int lanes) {
              const Expr value = squares[static_cast<size_t>(j / lanes_)][static_cast<size_t>(i)];
              if (lanes == lanes_) return value;
              std::vector<int> both(static_cast<size_t>(lanes));
              std::iota(both.begin(), both.end(), 0);
              return kernel::shuffle(
                  value, squares[static_cast<size_t>(j / lanes_ + 1)][static_cast<size_t>(i)], both);
            });
          }
          return;
        }
        for (size_t h = 0; h < squares.size(); ++h) {
          for (int i = 0; i < lanes_; ++i)
            w.store(stage, int_const(i * width + static_cast<int64_t>(h) * lanes_),
                    squares[h][static_cast<size_t>(i)]);
        }
        w.loop("i", live, [&](const Expr& i) {
          finish_row(w, kernel::add(m, i), n, exist, width, [&](int64_t j, int lanes) {
            return kernel::load(stage, kernel::add(times(i, width), int_const(j)), lanes);
          });
        });
      };
      w.loop("group", kernel::index_div(columns_, int_const(width)),
             [&](const Expr& g) { some(w.let("c", times(g, width)), width); });
      const int64_t rest = all % width;
      if (rest == 0) return;
      const auto last = [&] { some(w.let("c", kernel::sub(columns_, int_const(rest))), rest); };
      if (all <= b_.s_.block_columns) {
        last();
      } else {
        w.when(w.ne(kernel::index_rem(columns_, int_const(width)), int_const(0)), last);
      }
    });
  }

  // Of a vector of rows and `exist` columns from c on: [vector of columns][row].
  std::vector<std::vector<Expr>> turned_sums(LoopWriter& w, const Tile& t, const Expr& c, const Expr& row,
                                             int64_t exist) {
    std::vector<std::vector<Expr>> out;
    for (int64_t h = 0; h < exist; h += lanes_) {
      std::vector<Expr> rows;
      for (int64_t i = h; i < h + lanes_; ++i) {
        const Expr at = sum_at(t, kernel::add(c, int_const(i)), row);
        rows.push_back(i < exist ? w.let("sum", kernel::load(sums_, at, lanes_)) : b_.zeros());
      }
      out.push_back(turned(w, std::move(rows)));
    }
    return out;
  }

  // `value`: sums of so many columns from one on, of the row.
  void finish_row(LoopWriter& w, const Expr& m, const Expr& n, int64_t exist, int64_t width,
                  const std::function<Expr(int64_t column, int lanes)>& value) {
    const bool whole = exist == width;
    for (int64_t j = 0; j < exist; j += whole ? width : lanes_) {
      const int lanes = whole ? static_cast<int>(width) : lanes_;
      const Expr count = exist - j < lanes ? int_const(exist - j) : nullptr;
      for (Stmt& s : b_.o_.finish(m, kernel::add(n, int_const(j)), value(j, lanes), lanes, count))
        w.emit(std::move(s));
    }
  }

  Builder& b_;
  const ChainOperands& chains_;
  const Expr columns_;
  const int64_t steps_, segments_, segment_, list_columns_, sorted_columns_;
  const int lanes_;
  Buffer turned_, sums_, acc_;
  Expr segment_number_;
};

Stmts Builder::chain_block() {
  TERN_CHECK(one_depth_block_ && chain_last_segment_steps(k_dim_.value()) >= s_.lanes && n_dim_.is_const(),
             "chains run over a whole depth, in segments of {} steps or more", s_.lanes);
  k0_ = int_const(0);
  depth_ = k_;
  ChainTiles tiles(*this, clipped(s_.block_columns, n0_, n_dim_, n_));
  Stmts out = tiles.allocs();
  if (o_.gather_a) append(out, o_.gather_a(a_block_, row0_, rows_, k0_, depth_, s_.block_depth * step_));
  const int64_t side = int64_t{s_.chain_vectors} * s_.lanes;
  const auto tile = [&](const Expr& first, int vectors, bool whole) {
    return tiles.tile({first, kernel::sub(rows_, first), vectors, s_.lanes, whole});
  };
  const Var t = kernel::make_var("tile");
  out.push_back(kernel::loop(t, int_const(0), kernel::index_div(rows_, int_const(side)), LoopKind::kSerial,
                             tile(kernel::mul(var_expr(t), int_const(side)), s_.chain_vectors, true)));
  const auto vectors_of = [&](int64_t rows) { return static_cast<int>((rows + s_.lanes - 1) / s_.lanes); };
  const Var rest = kernel::make_var("rest"), first = kernel::make_var("rest_row");
  if (m_dim_.is_const() && m_dim_.value() % side == 0) return out;
  out.push_back(kernel::let(rest, kernel::index_rem(rows_, int_const(side))));
  out.push_back(kernel::let(first, kernel::sub(rows_, var_expr(rest))));
  Stmts last;
  if (m_dim_.is_const()) {
    const int64_t rows = m_dim_.value() % side;
    last = tile(var_expr(first), vectors_of(rows), rows % s_.lanes == 0);
  } else {
    const int half = (s_.chain_vectors + 1) / 2;
    last = {
        kernel::if_then(kernel::compare(ScalarOp::kLe, var_expr(rest), int_const(int64_t{half} * s_.lanes)),
                        tile(var_expr(first), half, false), tile(var_expr(first), s_.chain_vectors, false))};
  }
  out.push_back(
      kernel::if_then(kernel::compare(ScalarOp::kGt, var_expr(rest), int_const(0)), std::move(last)));
  return out;
}

}  // namespace tern::lower::contraction
