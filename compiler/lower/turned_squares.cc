#include "compiler/lower/turned_squares.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/support/rounding.h"

namespace tern::lower {

using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;
using kernel::Var;

namespace {
constexpr int64_t kLineBytes = 64;
constexpr int kPartBits = 128;

int64_t elements_of_line(DType type) {
  return kLineBytes * 8 / std::max(dtype_bits(type), 8);
}
}  // namespace

Expr interleaved_half(const Expr& a, const Expr& b, bool upper) {
  std::vector<int> lanes;
  const int width = a->type.lanes;
  for (int i = 0; i < width / 2; ++i) {
    const int lane = upper ? width / 2 + i : i;
    lanes.push_back(lane);
    lanes.push_back(width + lane);
  }
  return kernel::shuffle(a, b, std::move(lanes));
}

namespace {

// In each part of `part` lanes: its lower or upper half of both vectors, `unit` lanes of each in turns.
Expr mixed_in_parts(const Expr& a, const Expr& b, int part, int unit, bool upper) {
  std::vector<int> lanes;
  const int width = a->type.lanes;
  for (int p = 0; p < width; p += part) {
    const int first = p + (upper ? part / 2 : 0);
    for (int u = first; u < first + part / 2; u += unit) {
      for (const int from : {u, width + u}) {
        for (int l = 0; l < unit; ++l) lanes.push_back(from + l);
      }
    }
  }
  return kernel::shuffle(a, b, std::move(lanes));
}

// The even or odd parts of `part` lanes of a, then those of b.
Expr every_other_part(const Expr& a, const Expr& b, int part, bool odd) {
  std::vector<int> lanes;
  for (int p = odd ? part : 0; p < 2 * a->type.lanes; p += 2 * part) {
    for (int l = 0; l < part; ++l) lanes.push_back(p + l);
  }
  return kernel::shuffle(a, b, std::move(lanes));
}

}  // namespace

// First inside parts of 128 bits, which processors mix in one cheap operation: squares of parts are turned,
// so that part q of row p k + j holds column p q + j of rows p k to p k + p - 1. Then the parts change
// places.
std::vector<Expr> turned(LoopWriter& w, std::vector<Expr> rows) {
  const auto n = static_cast<int>(rows.size());
  const int part = std::min(n, kPartBits / std::max(dtype_bits(rows[0]->type.dtype), 8));
  std::vector<Expr> next(rows.size());
  const auto at = [](int i) { return static_cast<size_t>(i); };
  for (int unit = 1; unit < part; unit *= 2) {
    for (int i = 0; i < n / 2; ++i) {
      const Expr &a = rows[at(i / unit * 2 * unit + i % unit)],
                 &b = rows[at(i / unit * 2 * unit + i % unit + unit)];
      next[at(2 * i)] = w.let("low", mixed_in_parts(a, b, part, unit, false));
      next[at(2 * i + 1)] = w.let("high", mixed_in_parts(a, b, part, unit, true));
    }
    rows = next;
  }
  for (int parts = 1; parts < n / part; parts *= 2) {
    for (int j = 0; j < part; ++j) {
      for (int k = 0; k < n / part / 2; ++k) {
        const Expr &a = rows[at(2 * k * part + j)], &b = rows[at((2 * k + 1) * part + j)];
        next[at(k * part + j)] = w.let("even", every_other_part(a, b, part, false));
        next[at(n / 2 + k * part + j)] = w.let("odd", every_other_part(a, b, part, true));
      }
    }
    rows = next;
  }
  return rows;
}

// Even columns from odd ones, then those of an odd number: in each place of a vector, one of the vectors has
// an element of the column.
std::vector<Expr> separated(std::vector<Expr> rows, std::vector<Stmt>& out) {
  const auto columns = static_cast<int>(rows.size());
  if (columns == 1) return rows;
  const int lanes = rows[0]->type.lanes;
  std::vector<Expr> result(rows.size());
  if (columns % 2 == 0) {
    for (const int odd : {0, 1}) {
      std::vector<int> from;
      for (int l = 0; l < lanes; ++l) from.push_back(2 * l + odd);
      std::vector<Expr> half;
      for (size_t i = 0; i < rows.size(); i += 2)
        half.push_back(named("half", kernel::shuffle(rows[i], rows[i + 1], from), out));
      half = separated(std::move(half), out);
      for (size_t i = 0; i < half.size(); ++i) result[2 * i + static_cast<size_t>(odd)] = half[i];
    }
    return result;
  }
  for (int column = 0; column < columns; ++column) {
    Expr all = rows[0];
    for (int i = 1; i < columns; ++i) {
      std::vector<int> from;
      for (int l = 0; l < lanes; ++l) from.push_back((i * lanes + l) % columns == column ? lanes + l : l);
      all = named("some", kernel::shuffle(all, rows[static_cast<size_t>(i)], std::move(from)), out);
    }
    std::vector<int> order;
    for (int l = 0; l < lanes; ++l) order.push_back((l * columns + column) % lanes);
    result[static_cast<size_t>(column)] =
        named("column", kernel::shuffle(all, nullptr, std::move(order)), out);
  }
  return result;
}

std::vector<Expr> interleaved_columns(std::vector<Expr> columns, std::vector<Stmt>& out) {
  const auto count = static_cast<int>(columns.size());
  if (count == 1) return columns;
  const int lanes = columns[0]->type.lanes;
  std::vector<Expr> rows;
  if (count % 2 == 0) {
    std::vector<std::vector<Expr>> halves(2);
    for (size_t i = 0; i < columns.size(); ++i) halves[i % 2].push_back(columns[i]);
    for (std::vector<Expr>& half : halves) half = interleaved_columns(std::move(half), out);
    for (size_t i = 0; i < halves[0].size(); ++i) {
      for (const bool upper : {false, true})
        rows.push_back(named("mixed", interleaved_half(halves[0][i], halves[1][i], upper), out));
    }
    return rows;
  }
  // Element l of row i is element (i lanes + l) / count of column (i lanes + l) % count: of each column one
  // element for each lane.
  for (int c = 0; c < count; ++c) {
    std::vector<int> order(static_cast<size_t>(lanes));
    for (int p = 0; p < lanes; ++p) order[static_cast<size_t>((p * count + c) % lanes)] = p;
    columns[static_cast<size_t>(c)] =
        named("column", kernel::shuffle(columns[static_cast<size_t>(c)], nullptr, std::move(order)), out);
  }
  for (int i = 0; i < count; ++i) {
    Expr row = columns[0];
    for (int c = 1; c < count; ++c) {
      std::vector<int> from;
      for (int l = 0; l < lanes; ++l) from.push_back((i * lanes + l) % count == c ? lanes + l : l);
      row = named("some", kernel::shuffle(row, columns[static_cast<size_t>(c)], std::move(from)), out);
    }
    rows.push_back(row);
  }
  return rows;
}

bool turns(const std::vector<Stmt>& store, const Var& slow, const Var& fast) {
  if (store.size() != 1 || store[0]->kind != kernel::StmtKind::kStore || store[0]->count) return false;
  const kernel::StmtNode& one = *store[0];
  const DType type = one.value->type.dtype;
  if (type != DType::kBool && (dtype_bits(type) < 8 || dtype_bits(type) > 32)) return false;
  const Expr next =
      kernel::substitute(one.index, {{fast.get(), kernel::add(kernel::var_expr(fast), int_const(1))}});
  const Expr difference = kernel::sub(next, one.index);
  kernel::IndexForms forms;
  const Expr simple = forms.simplify(difference);
  if (kernel::int_value(simple ? simple : difference) != 1) return false;
  if (!kernel::why_not_vectorizable(
           kernel::loop(slow, int_const(0), int_const(4), kernel::LoopKind::kSerial, store))
           .empty())
    return false;
  bool whole = true, loads = false;
  kernel::visit(kernel::vectorize(one.value, slow, 4), [&](const Expr& e) {
    if (e->kind != kernel::ExprKind::kLoad) return;
    whole &= e->args[0]->type.lanes == 1;
    loads |= e->type.lanes > 1;
  });
  return whole && loads;
}

int64_t squares_of_line(DType type, int lanes) {
  return std::max<int64_t>(elements_of_line(type) / lanes, 1);
}

namespace {

// The share of what the block ahead loads that belongs to the `number`th of so many parts.
void prefetch_share(LoopWriter& w, const Expr& value, const Var& slow, const Var& fast,
                    const BlockAhead& block, const Expr& number, int64_t parts) {
  kernel::visit(value, [&](const Expr& e) {
    if (e->kind != kernel::ExprKind::kLoad || e->buffer->scope != kernel::Scope::kGlobal ||
        !kernel::uses_var(e->args[0], slow.get()) || kernel::contains_load(e->args[0]))
      return;
    const int64_t line = elements_of_line(e->buffer->type.dtype);
    const int64_t run = (block.slow_side + line - 1) / line;  // in lines
    const int64_t share = (run * block.fast_side + parts - 1) / std::max<int64_t>(parts, 1);
    for (int64_t i = 0; i < share; ++i) {
      const Expr at = kernel::add(kernel::mul(number, int_const(share)), int_const(i));
      const Expr row = kernel::index_div(at, int_const(run)),
                 piece = kernel::sub(at, kernel::mul(row, int_const(run)));
      w.emit(kernel::prefetch(
          e->buffer,
          kernel::substitute(e->args[0],
                             {{slow.get(), kernel::add(block.slow, kernel::mul(piece, int_const(line)))},
                              {fast.get(), kernel::add(block.fast, row)}}),
          block.near));
    }
  });
}

using PutVector = std::function<void(int64_t along_slow, int64_t along_fast, const Expr& value)>;

// Squares side by side from (s, f) on: so many along slow, so many along fast. What they read of a line is
// read at once, and so is stored what makes a line.
void squares(LoopWriter& w, const kernel::StmtNode& store, const Var& slow, const Expr& s, const Var& fast,
             const Expr& f, int lanes, int64_t along_slow, int64_t along_fast, const PutVector& put) {
  // Masks: bytes are turned; floats of 16 bits are f32 to shuffles, so their bits are.
  const DType type = store.value->type.dtype;
  const bool is_bool = type == DType::kBool, is_half = type == DType::kF16 || type == DType::kBF16;
  std::vector<std::vector<Expr>> all;
  for (int64_t c = 0; c < along_fast; ++c) {
    for (int64_t d = 0; d < along_slow; ++d) {
      std::vector<Expr> rows;
      for (int i = 0; i < lanes; ++i) {
        const Expr row =
            kernel::substitute(store.value, {{fast.get(), kernel::add(f, int_const(c * lanes + i))}});
        Expr along = kernel::substitute(kernel::vectorize(row, slow, lanes),
                                        {{slow.get(), kernel::add(s, int_const(d * lanes))}});
        if (along->type.lanes != lanes) along = kernel::broadcast(along, lanes);
        if (is_bool) along = kernel::cast(along, DType::kU8);
        if (is_half) along = kernel::bitcast(along, {DType::kU16, lanes});
        rows.push_back(w.let("row", along));
      }
      all.push_back(turned(w, std::move(rows)));
    }
  }
  for (int64_t j = 0; j < along_slow * lanes; ++j) {
    for (int64_t c = 0; c < along_fast; ++c) {
      const Expr& value =
          all[static_cast<size_t>(c * along_slow + j / lanes)][static_cast<size_t>(j % lanes)];
      put(j, c * lanes,
          is_bool   ? kernel::cast(value, DType::kBool)
          : is_half ? kernel::bitcast(value, {type, lanes})
                    : value);
    }
  }
}

// A vector of the result at (s, f).
void put_at(LoopWriter& w, const kernel::StmtNode& store, const Var& slow, const Expr& s, const Var& fast,
            const Expr& f, const Expr& value) {
  w.store(store.buffer, kernel::substitute(store.index, {{slow.get(), s}, {fast.get(), f}}), value);
}

// A number of elements that squares divide.
bool is_whole(const AxisRange& range, int lanes) {
  return range.extent->kind == kernel::ExprKind::kConst && range.extent->i % lanes == 0;
}

// Loads one element of each line of a block, where processors foresee streams of loads, but not of
// prefetches. What is loaded is added up and kept, so that it is not left out.
class LoadedBlock {
 public:
  LoadedBlock(LoopWriter& w, const Expr& value, const Var& slow, const Expr& slow_begin, const Var& fast,
              const BlockAhead& block)
      : w_(w), slow_(slow), slow_begin_(slow_begin), fast_(fast), block_(block) {
    kernel::visit(value, [&](const Expr& e) {
      if (e->kind == kernel::ExprKind::kLoad && e->buffer->scope == kernel::Scope::kGlobal &&
          kernel::uses_var(e->args[0], slow.get()) && !kernel::contains_load(e->args[0]))
        loads_.push_back(e);
    });
    kept_ = kernel::make_buffer("touched", {DType::kF32, 1}, kernel::Scope::kScratch,
                                kernel::Access::kReadWrite, block.loaded);
    w.emit(kernel::alloc(kept_));
    for (int k = 0; k < block.loaded; ++k) sums_.push_back(w.declare("sum", kernel::float_const(0)));
  }
  // Whether all that is loaded has elements of that many bits.
  static bool fits(const Expr& value, const Var& slow, int bits) {
    bool same = true;
    kernel::visit(value, [&](const Expr& e) {
      if (e->kind == kernel::ExprKind::kLoad && kernel::uses_var(e->args[0], slow.get()))
        same &= dtype_bits(e->type.dtype) == bits && e->type.dtype != DType::kBool;
    });
    return same;
  }
  // How many lines are loaded for each that is stored: more than one where rows end inside lines.
  int64_t share(int64_t line) const { return ceil_div(lines_of_row(line) * line, block_.slow_side); }
  // The `number`th line of a stream's part of the block.
  void line(const Expr& number, int stream) {
    for (const Expr& e : loads_) {
      const int64_t line = elements_of_line(e->type.dtype), of_row = lines_of_row(line);
      const Expr row = kernel::index_div(number, int_const(of_row)),
                 piece = kernel::index_rem(number, int_const(of_row));
      const Expr f = kernel::add(block_.fast, kernel::add(row, int_const(stream * part_of(block_))));
      const Expr loaded =
          kernel::substitute(e, {{slow_.get(), kernel::add(slow_begin_, kernel::mul(piece, int_const(line)))},
                                 {fast_.get(), kernel::min(f, block_.last)}});
      const Var& sum = sums_[static_cast<size_t>(stream)];
      w_.set(sum, kernel::add(w_.get(sum), kernel::cast(loaded, DType::kF32)));
    }
  }
  void keep() {
    for (size_t k = 0; k < sums_.size(); ++k)
      w_.store(kept_, int_const(static_cast<int64_t>(k)), w_.get(sums_[k]));
  }
  int64_t lines_of_row(int64_t line) const { return ceil_div(block_.slow_side, line); }
  static int64_t part_of(const BlockAhead& block) { return block.fast_side / block.loaded; }

 private:
  LoopWriter& w_;
  Var slow_;
  Expr slow_begin_;
  Var fast_;
  const BlockAhead& block_;
  kernel::Buffer kept_;
  std::vector<Expr> loads_;
  std::vector<Var> sums_;
};

// Columns that are a line of what is read (or a vector, where rows are no lines) are turned into rows that
// wait in L1; these are stored line by line, each beside a line of the next block. Nothing where sides are no
// whole squares and lines.
std::vector<Stmt> turned_beside_loads(const kernel::StmtNode& store, const Var& slow,
                                      const AxisRange& slow_range, const Var& fast,
                                      const AxisRange& fast_range, int lanes, const BlockAhead& block) {
  const DType type = store.value->type.dtype;
  const int64_t line = elements_of_line(type), step = line * block.loaded;
  if (!kernel::is_int(slow_range.extent, block.slow_side) ||
      !kernel::is_int(fast_range.extent, block.fast_side) || block.slow_side % lanes != 0 ||
      block.fast_side % step != 0 || line % lanes != 0 ||
      !LoadedBlock::fits(store.value, slow, dtype_bits(type)))
    return {};
  const int64_t wide = block.slow_side % line == 0 ? line : lanes;
  LoopWriter w;
  LoadedBlock next(w, store.value, slow, slow_range.begin, fast, block);
  const int64_t pitch = block.fast_side + line, steps = block.fast_side / step, share = next.share(line);
  const kernel::Buffer waiting = kernel::make_buffer("waiting", {type, 1}, kernel::Scope::kScratch,
                                                     kernel::Access::kReadWrite, wide * pitch);
  w.emit(kernel::alloc(waiting));
  w.loop("down", int_const(block.slow_side / wide), [&](const Expr& down) {
    const Expr s0 = w.let("s0", kernel::add(slow_range.begin, kernel::mul(down, int_const(wide))));
    w.loop("across", int_const(block.fast_side / lanes), [&](const Expr& across) {
      const Expr f = kernel::mul(across, int_const(lanes));
      squares(w, store, slow, s0, fast, w.let("f0", kernel::add(fast_range.begin, f)), lanes, wide / lanes, 1,
              [&](int64_t j, int64_t, const Expr& value) {
                w.store(waiting, kernel::add(f, int_const(j * pitch)), value);
              });
    });
    w.loop("row", int_const(wide), [&](const Expr& row) {
      w.loop("lines", int_const(steps), [&](const Expr& lines) {
        const Expr stored = kernel::add(kernel::mul(down, int_const(wide)), row);
        const Expr number = w.let("number", kernel::add(kernel::mul(stored, int_const(steps)), lines));
        for (int stream = 0; stream < block.loaded; ++stream) {
          for (int64_t i = 0; i < share; ++i)
            next.line(kernel::add(kernel::mul(number, int_const(share)), int_const(i)), stream);
          for (int64_t at = stream * line; at < (stream + 1) * line; at += lanes) {
            const Expr f = kernel::add(kernel::mul(lines, int_const(step)), int_const(at));
            put_at(w, store, slow, kernel::add(s0, row), fast, kernel::add(fast_range.begin, f),
                   kernel::load(waiting, kernel::add(kernel::mul(row, int_const(pitch)), f), lanes));
          }
        }
      });
    });
  });
  next.keep();
  return w.take();
}

}  // namespace

std::vector<Stmt> turned_squares(const std::vector<Stmt>& store, const Var& slow, const AxisRange& slow_range,
                                 const Var& fast, const AxisRange& fast_range, int lanes,
                                 const std::optional<BlockAhead>& ahead) {
  LoopWriter w;
  const Expr width = int_const(lanes);
  const bool runs = ahead && ahead->runs;
  if (runs && ahead->loaded > 0) {
    std::vector<Stmt> beside =
        turned_beside_loads(*store[0], slow, slow_range, fast, fast_range, lanes, *ahead);
    if (!beside.empty()) return beside;
  }
  // Squares that are turned together along each axis: from memory whole lines are read at once and streamed
  // as wholes, since parts that other stores come between go to memory alone.
  const int64_t together =
      ahead && ahead->whole_lines && !runs ? squares_of_line(store[0]->value->type.dtype, lanes) : 1;
  const Expr slow_whole = kernel::mul(kernel::index_div(slow_range.extent, width), width),
             fast_whole = kernel::mul(kernel::index_div(fast_range.extent, width), width);
  const auto part = [&](const AxisRange& range, const Expr& number) {
    return kernel::add(range.begin, kernel::mul(number, width));
  };
  const auto counted = [&](const Expr& extent, int64_t step) {
    return kernel::index_div(extent, int_const(lanes * step));
  };
  const auto left = [&](const AxisRange& range) {
    const Expr& e = range.extent;
    return together > 1 && !(e->kind == kernel::ExprKind::kConst && e->i % (lanes * together) < lanes);
  };
  // Rows of the result from s0 on, of so many squares, wait until all are turned; then each is stored in one
  // go.
  const auto stored_in_runs = [&](const Expr& s0, const Expr& tall, int64_t most, const Expr& number) {
    const DType type = store[0]->value->type.dtype;
    const Expr acrosses = counted(fast_range.extent, 1);
    // Near, as rows of the result, else squares in the order in which they are turned, so that all is written
    // and read from end to end (Zen 3: 4096 x 8192 9.6 to 14 GB/s). Neighbours lie in other sets of L1.
    const int64_t row = (ahead->near ? ahead->fast_side : most * lanes * lanes) + elements_of_line(type);
    const int64_t rows = ahead->near ? most * lanes : (ahead->fast_side + lanes - 1) / lanes;
    const kernel::Buffer waiting = kernel::make_buffer("waiting", {type, 1}, kernel::Scope::kScratch,
                                                       kernel::Access::kReadWrite, rows * row);
    const auto place = [&](const Expr& s, const Expr& across) {
      return ahead->near ? kernel::add(kernel::mul(s, int_const(row)), kernel::mul(across, width))
                         : kernel::add(kernel::mul(across, int_const(row)), kernel::mul(s, width));
    };
    w.emit(kernel::alloc(waiting));
    w.loop("across", acrosses, [&](const Expr& across) {
      if (number)
        prefetch_share(w, store[0]->value, slow, fast, *ahead,
                       kernel::add(kernel::mul(number, acrosses), across),
                       ahead->slow_side / lanes * (ahead->fast_side / lanes));
      const Expr f = kernel::mul(across, width), f0 = w.let("f0", kernel::add(fast_range.begin, f));
      w.loop("square", tall, [&](const Expr& square) {
        const Expr s = kernel::mul(square, width);
        squares(w, *store[0], slow, kernel::add(s0, s), fast, f0, lanes, 1, 1,
                [&](int64_t j, int64_t, const Expr& value) {
                  w.store(waiting, place(kernel::add(s, int_const(j)), across), value);
                });
      });
    });
    w.loop("row", kernel::mul(tall, width), [&](const Expr& s) {
      w.loop("across", acrosses, [&](const Expr& across) {
        const Expr f = kernel::mul(across, width);
        put_at(w, *store[0], slow, kernel::add(s0, s), fast, kernel::add(fast_range.begin, f),
               kernel::load(waiting, place(s, across), lanes));
      });
    });
  };
  const auto band = [&](const Expr& s0, int64_t tall, const Expr& number) {
    if (runs) return stored_in_runs(s0, int_const(1), 1, number);
    const auto turn = [&](const Expr& f0, int64_t wide) {
      squares(w, *store[0], slow, s0, fast, f0, lanes, tall, wide,
              [&](int64_t j, int64_t f, const Expr& value) {
                put_at(w, *store[0], slow, kernel::add(s0, int_const(j)), fast, kernel::add(f0, int_const(f)),
                       value);
              });
    };
    const Expr acrosses = counted(fast_range.extent, together);
    w.loop("across", acrosses, [&](Expr across) {
      if (ahead)
        prefetch_share(w, store[0]->value, slow, fast, *ahead,
                       kernel::add(kernel::mul(number, acrosses), across),
                       ahead->slow_side / (lanes * together) * (ahead->fast_side / (lanes * together)));
      turn(w.let("f0", part(fast_range, kernel::mul(across, int_const(together)))), together);
    });
    if (!left(fast_range)) return;
    const Expr done = kernel::mul(acrosses, int_const(together));
    w.loop_from("single", done, kernel::sub(counted(fast_range.extent, 1), done),
                [&](Expr single) { turn(w.let("f0", part(fast_range, single)), 1); });
  };
  const auto element_rows = [&](const Expr& slow_begin, const Expr& slow_extent, const Expr& fast_begin,
                                const Expr& fast_extent) {
    const Var s = kernel::make_var("s"), f = kernel::make_var("f");
    const Stmt one =
        kernel::clone_fresh(store, {{slow.get(), kernel::var_expr(s)}, {fast.get(), kernel::var_expr(f)}})[0];
    const Stmt row = kernel::loop(f, fast_begin, fast_extent, kernel::LoopKind::kSerial, {one});
    return kernel::loop(s, slow_begin, slow_extent, kernel::LoopKind::kSerial, vector_loop(row, lanes));
  };
  if (together == 1 && !runs && !(is_whole(slow_range, lanes) && is_whole(fast_range, lanes))) {
    // The last squares end where the ranges do, and are partly stored again.
    const auto square_at = [&](const AxisRange& range, const Expr& number) {
      const Expr at = kernel::mul(number, width);
      if (is_whole(range, lanes)) return kernel::add(range.begin, at);
      return kernel::add(range.begin, kernel::min(at, kernel::sub(range.extent, width)));
    };
    const auto number = [&](const AxisRange& range) {
      return kernel::index_div(kernel::add(range.extent, int_const(lanes - 1)), width);
    };
    LoopWriter inside;
    const Expr acrosses = number(fast_range);
    inside.loop("down", number(slow_range), [&](const Expr& down) {
      const Expr s0 = inside.let("s0", square_at(slow_range, down));
      inside.loop("across", acrosses, [&](const Expr& across) {
        if (ahead)
          prefetch_share(inside, store[0]->value, slow, fast, *ahead,
                         kernel::add(kernel::mul(down, acrosses), across),
                         ahead->slow_side / lanes * (ahead->fast_side / lanes));
        const Expr f0 = inside.let("f0", square_at(fast_range, across));
        squares(inside, *store[0], slow, s0, fast, f0, lanes, 1, 1,
                [&](int64_t j, int64_t f, const Expr& value) {
                  put_at(inside, *store[0], slow, kernel::add(s0, int_const(j)), fast,
                         kernel::add(f0, int_const(f)), value);
                });
      });
    });
    const auto enough = [&](const AxisRange& range) {
      return kernel::compare(scalar::ScalarOp::kGe, range.extent, width);
    };
    const Stmt rows = element_rows(slow_range.begin, slow_range.extent, fast_range.begin, fast_range.extent);
    return {kernel::if_then(kernel::op(scalar::ScalarOp::kAnd, {enough(slow_range), enough(fast_range)}),
                            inside.take(), {rows})};
  }
  const Expr downs = counted(slow_range.extent, together);
  if (runs && !ahead->near) {
    stored_in_runs(slow_range.begin, downs, ahead->slow_side / lanes, nullptr);
  } else {
    w.loop("down", downs, [&](Expr down) {
      band(w.let("s0", part(slow_range, kernel::mul(down, int_const(together)))), together, down);
    });
  }
  if (left(slow_range)) {
    const Expr done = kernel::mul(downs, int_const(together));
    w.loop_from("lone", done, kernel::sub(counted(slow_range.extent, 1), done),
                [&](Expr lone) { band(w.let("s0", part(slow_range, lone)), 1, downs); });
  }
  const auto rest = [&](const Expr& slow_begin, const Expr& slow_extent, const Expr& fast_begin,
                        const Expr& fast_extent) {
    if (kernel::is_int(slow_extent, 0) || kernel::is_int(fast_extent, 0)) return;
    w.emit(element_rows(slow_begin, slow_extent, fast_begin, fast_extent));
  };
  rest(slow_range.begin, slow_whole, kernel::add(fast_range.begin, fast_whole),
       kernel::sub(fast_range.extent, fast_whole));
  rest(kernel::add(slow_range.begin, slow_whole), kernel::sub(slow_range.extent, slow_whole),
       fast_range.begin, fast_range.extent);
  return w.take();
}

}  // namespace tern::lower
