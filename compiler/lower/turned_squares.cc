#include "compiler/lower/turned_squares.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"
#include "compiler/kernel/vectorize.h"

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

// Loads every line of the two ranges, `streams` rows far from each other in turns: where processors foresee
// streams of loads, but not of prefetches, these bring a block from memory fastest. What is loaded is added
// up and kept, so that it is not left out.
void touch(LoopWriter& w, const Expr& value, const Var& slow, const AxisRange& slow_range, const Var& fast,
           const AxisRange& fast_range, int streams) {
  kernel::visit(value, [&](const Expr& e) {
    if (e->kind != kernel::ExprKind::kLoad || e->buffer->scope != kernel::Scope::kGlobal ||
        e->type.dtype == DType::kBool || !kernel::uses_var(e->args[0], slow.get()) ||
        kernel::contains_load(e->args[0]))
      return;
    const int64_t line = elements_of_line(e->type.dtype);
    const kernel::Buffer kept = kernel::make_buffer("touched", {DType::kF32, 1}, kernel::Scope::kScratch,
                                                    kernel::Access::kReadWrite, streams);
    w.emit(kernel::alloc(kept));
    std::vector<Var> sums;
    for (int k = 0; k < streams; ++k) sums.push_back(w.declare("sum", kernel::float_const(0)));
    const Expr part = kernel::index_div(fast_range.extent, int_const(streams));
    const Expr lines =
        kernel::index_div(kernel::add(slow_range.extent, int_const(line - 1)), int_const(line));
    w.loop("row", part, [&](const Expr& row) {
      w.loop("line", lines, [&](const Expr& at) {
        for (int k = 0; k < streams; ++k) {
          const Expr s = kernel::add(slow_range.begin, kernel::mul(at, int_const(line)));
          const Expr f = kernel::add(fast_range.begin, kernel::add(row, kernel::mul(part, int_const(k))));
          const Expr loaded = kernel::substitute(e, {{slow.get(), s}, {fast.get(), f}});
          const Var& sum = sums[static_cast<size_t>(k)];
          w.set(sum, kernel::add(w.get(sum), kernel::cast(loaded, DType::kF32)));
        }
      });
    });
    for (int k = 0; k < streams; ++k) w.store(kept, int_const(k), w.get(sums[static_cast<size_t>(k)]));
  });
}

using PutVector = std::function<void(int64_t along_slow, int64_t along_fast, const Expr& value)>;

// Squares side by side from (s, f) on: so many along slow, so many along fast. What they read of a line is
// read at once, and so is stored what makes a line.
void squares(LoopWriter& w, const kernel::StmtNode& store, const Var& slow, const Expr& s, const Var& fast,
             const Expr& f, int lanes, int64_t along_slow, int64_t along_fast, const PutVector& put) {
  const bool is_bool = store.value->type.dtype == DType::kBool;  // masks: bytes are turned
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
        rows.push_back(w.let("row", along));
      }
      all.push_back(turned(w, std::move(rows)));
    }
  }
  for (int64_t j = 0; j < along_slow * lanes; ++j) {
    for (int64_t c = 0; c < along_fast; ++c) {
      const Expr& value =
          all[static_cast<size_t>(c * along_slow + j / lanes)][static_cast<size_t>(j % lanes)];
      put(j, c * lanes, is_bool ? kernel::cast(value, DType::kBool) : value);
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

}  // namespace

std::vector<Stmt> turned_squares(const std::vector<Stmt>& store, const Var& slow, const AxisRange& slow_range,
                                 const Var& fast, const AxisRange& fast_range, int lanes,
                                 const std::optional<BlockAhead>& ahead) {
  LoopWriter w;
  const Expr width = int_const(lanes);
  const bool runs = ahead && ahead->runs;
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
    if (runs) return stored_in_runs(s0, int_const(1), 1, ahead->touched > 0 ? nullptr : number);
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
  if (runs && ahead->touched > 0)
    touch(w, store[0]->value, slow, slow_range, fast, fast_range, ahead->touched);
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
