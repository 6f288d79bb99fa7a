#include "compiler/lower/gpu/recurrent_kernel.h"

#include <algorithm>

#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using graph::Value;
using kernel::Access;
using kernel::BarrierScope;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Var;
using kernel::VType;

constexpr int kQuad = 4;

Expr lane_of(const Expr& vector, int lane) {
  return kernel::shuffle(vector, nullptr, {lane});
}
Expr zero_of(DType dtype) {
  return is_float(dtype) ? kernel::float_const(0.0, dtype) : int_const(0, dtype);
}

class Builder {
 public:
  Builder(DispatchBuilder& dispatch, const Recurrence& recurrence, const RecurrentSchedule& schedule,
          Level level, const std::vector<int>& weights)
      : dispatch_(dispatch),
        r_(recurrence),
        s_(schedule),
        level_(level),
        model_(gpu_model(level)),
        weights_(weights),
        emitter_(dispatch),
        inputs_(dispatch),
        carried_(recurrence.loop->operands.size() - 2),
        body_(*recurrence.loop->regions[0]) {}

  void add() {
    grid();
    who();
    allocate();
    for (int stage = 0; stage < r_.stages; ++stage) load_weights(stage);
    if (model_.arch == Arch::kCuda) w_.emit(kernel::grid_wait());
    bind_inputs();
    begin();
    const Expr steps = dispatch_.expr(max(r_.steps, 0));
    w_.loop("t", steps, [&](const Expr& t) { step(t, steps); });
    results();
    if (s_.cluster > 1) w_.emit(kernel::barrier(BarrierScope::kCluster));  // others may still read
    const double steps_hint = static_cast<double>(dispatch_.context().hint(r_.steps));
    dispatch_.add_variant(level_, grid_, w_.take(), "recurrence: " + s_.text(),
                          {s_.threads(), thread_, shuffles() ? model_.subgroup : 0, s_.cluster},
                          {.cycles = s_.cycles * steps_hint});
  }

 private:
  bool shuffles() const { return model_.subgroup != 0; }
  bool one_row() const { return s_.rows == 1; }
  int parts_of_row() const { return s_.parts / s_.rows; }

  void grid() {
    const Dim blocks = ceildiv(r_.rows, Dim(s_.rows));
    if (!blocks.is_const(1)) grid_.push_back({block_, blocks, dispatch_.expr(blocks)});
    if (s_.cluster > 1) grid_.push_back({member_, Dim(s_.cluster), int_const(s_.cluster)});
  }

  void who() {
    const Expr t = kernel::var_expr(thread_);
    part_ = w_.let("part", rem(t, s_.parts));
    own_ = w_.let("own", div(t, s_.parts));
    unit_ = s_.cluster > 1 ? w_.let("unit", plus(times(w_.get(member_), s_.units), own_)) : own_;
    unit_exists_ = int64_t{s_.cluster} * s_.units == r_.width ? nullptr : w_.lt(unit_, int_const(r_.width));
    // A unit that there is: threads of others do as its own do, and store nothing.
    const Var column = kernel::make_var("column");
    column_ = unit_exists_ ? kernel::min(unit_, int_const(r_.width - 1)) : unit_;
    w_.emit(kernel::let(column, column_));
    column_ = kernel::var_expr(column);
    column_var_ = column;
    own_row_ = one_row() ? int_const(0) : w_.let("own_row", div(part_, parts_of_row()));
    first_row_ =
        r_.rows.is_const() && r_.rows.value() <= s_.rows ? int_const(0) : times(w_.get(block_), s_.rows);
    const Expr row = plus(first_row_, own_row_);
    const Expr rows = dispatch_.expr(r_.rows);
    const bool whole = r_.rows.is_const() && r_.rows.value() % s_.rows == 0;
    row_ = w_.let("row", whole ? row : kernel::min(row, kernel::sub(rows, int_const(1))));
    row_exists_ = whole ? nullptr : w_.lt(row, rows);
    keeps_ = parts_of_row() == 1 ? nullptr : w_.eq(rem(part_, parts_of_row()), int_const(0));
    stores_ = both(both(keeps_, unit_exists_), row_exists_);
  }

  Buffer local(const char* name, VType type, Scope scope, int64_t size) {
    const Buffer b = kernel::make_buffer(name, type, scope, Access::kReadWrite, size);
    w_.emit(kernel::alloc(b));
    return b;
  }

  int copies() const { return s_.cluster > 1 ? 1 : 2; }

  void allocate() {
    pitch_ = s_.pitch(r_.width);
    const VType f32{DType::kF32, 1};
    for (size_t x = 0; x < r_.exchanged.size(); ++x) {
      rows_.push_back(local("rows", f32, Scope::kWorkgroup, copies() * s_.rows * pitch_));
      if (s_.cluster > 1)
        parts_.push_back(local("shared", f32, Scope::kWorkgroup, int64_t{2} * s_.rows * s_.units));
    }
    int64_t most = 0;
    for (int stage = 0; stage < r_.stages; ++stage) most = std::max(most, columns(stage));
    if (!shuffles()) fold_ = local("sums_of_parts", f32, Scope::kWorkgroup, most * s_.rows * s_.threads());
    sums_ = local("sums", f32, Scope::kRegister, most * s_.rows);
  }

  int64_t columns(int stage) const {
    int64_t n = 0;
    for (const RecurrentProduct& p : r_.products)
      if (p.stage == stage) n += static_cast<int64_t>(p.offsets.size());
    return n;
  }

  // ---- Weights

  // Column `offset` units behind a thread's own, of each product of a stage.
  struct Column {
    size_t product;
    int64_t offset;
  };
  std::vector<Column> columns_of(int stage) const {
    std::vector<Column> out;
    for (size_t p = 0; p < r_.products.size(); ++p) {
      if (r_.products[p].stage != stage) continue;
      for (const int64_t offset : r_.products[p].offsets) out.push_back({p, offset});
    }
    return out;
  }
  DType stored(size_t product) const {
    return dispatch_.context().program().buffers[static_cast<size_t>(weights_[product])].dtype;
  }
  int64_t quads(size_t product) const { return ceil_div(r_.products[product].depth, int64_t{kQuad}); }

  // As it is stored.
  Expr quad_in_memory(const Column& c, const Expr& round) {
    const RecurrentProduct& p = r_.products[c.product];
    const Expr quad = w_.let("quad", plus(times(round, s_.parts), part_));
    const Expr at = plus(times(quad, p.columns), plus(column_, int_const(c.offset)));
    const Expr read = kernel::load(dispatch_.bind(weights_[c.product]), times(at, kQuad), kQuad);
    if (quads(c.product) % s_.parts == 0) return read;
    return kernel::select(kernel::broadcast(w_.lt(quad, int_const(quads(c.product))), kQuad), read,
                          kernel::broadcast(zero_of(stored(c.product)), kQuad));
  }
  VType register_type(size_t product) const {
    if (s_.wide) return {DType::kF32, kQuad};
    return {DType::kU32, dtype_bits(stored(product)) * kQuad / 32};
  }

  void load_weights(int stage) {
    const std::vector<Column> all = columns_of(stage);
    const RecurrentSchedule::Homes& homes = s_.homes[static_cast<size_t>(stage)];
    held_.emplace_back();
    staged_.emplace_back();
    for (const Column& c : all) {
      Buffer held, staged;
      if (homes.registers > 0) {
        held = local("weights", register_type(c.product), Scope::kRegister, homes.registers);
        for (int64_t i = 0; i < homes.registers; ++i) {
          const Expr quad = quad_in_memory(c, int_const(i));
          w_.store(
              held, int_const(i),
              s_.wide ? kernel::cast(quad, DType::kF32) : kernel::bitcast(quad, register_type(c.product)));
        }
      }
      if (homes.memory > 0) {
        staged = local("more_weights", {stored(c.product), 1}, Scope::kWorkgroup,
                       homes.memory * s_.threads() * kQuad);
        w_.loop("i", int_const(homes.memory), [&](const Expr& i) {
          w_.store(staged, staged_at(i), quad_in_memory(c, plus(i, int_const(homes.registers))));
        });
      }
      held_.back().push_back(held);
      staged_.back().push_back(staged);
    }
  }
  Expr staged_at(const Expr& i) const {
    return times(plus(times(i, s_.threads()), kernel::var_expr(thread_)), kQuad);
  }

  // ---- Rows that products read

  Expr row_at(const Expr& copy, const Expr& row, const Expr& k) const {
    const Expr first = copies() == 1 ? row : plus(times(copy, s_.rows), row);
    return plus(times(first, pitch_), k);
  }

  Index index_of(const Value* v, const Expr& row, const Expr& unit) const {
    const Shape& shape = v->type.shape;
    Index out;
    for (size_t d = 0; d + 1 < shape.size(); ++d) out.push_back(shape[d].is_const(1) ? int_const(0) : row);
    out.push_back(unit);
    return out;
  }

  void flush(ElementEmitter& emitter) {
    TERN_CHECK(emitter.take_checks().empty(), "a recurrence has indices that depend on data");
  }

  // Zeros, and initial values of carried rows.
  void begin() {
    const int64_t each = s_.rows * pitch_, threads = s_.threads();
    for (size_t x = 0; x < r_.exchanged.size(); ++x) {
      const int carried = r_.exchanged[x].carried;
      const int64_t all = copies() * each;
      w_.loop("fill", int_const(ceil_div(all, threads)), [&](const Expr& i) {
        const Expr q = w_.let("q", plus(times(i, threads), kernel::var_expr(thread_)));
        const auto fill = [&] {
          if (carried < 0) return w_.store(rows_[x], q, kernel::float_const(0.0));
          const Value* initial = r_.loop->operands[static_cast<size_t>(carried) + 2];
          const Expr k = w_.let("k", rem(q, pitch_));
          const Expr row = plus(first_row_, div(q, pitch_));
          const bool whole = r_.rows.is_const() && r_.rows.value() % s_.rows == 0;
          const Expr last = kernel::sub(dispatch_.expr(r_.rows), int_const(1));
          const Expr known = w_.let("known", whole && copies() == 1 ? row : kernel::min(row, last));
          const Expr unit = w_.let("unit", kernel::min(k, int_const(r_.width - 1)));
          const Expr value =
              kernel::cast(inputs_.element(initial, index_of(initial, known, unit)), DType::kF32);
          w_.store(rows_[x], q,
                   kernel::select(w_.lt(k, int_const(r_.width)), value, kernel::float_const(0.0)));
        };
        all % threads == 0 ? fill() : w_.when(w_.lt(q, int_const(all)), fill);
      });
    }
    for (size_t i = 0; i < carried_; ++i) {
      const Value* arg = body_.args[i + 2];
      if (!r_.varying.contains(arg)) {
        states_.push_back(nullptr);
        continue;
      }
      const Value* initial = r_.loop->operands[i + 2];
      states_.push_back(w_.declare("state", inputs_.element(initial, index_of(initial, row_, column_))));
      emitter_.bind(arg, kernel::var_expr(states_.back()));
    }
    flush(inputs_);
    w_.emit(kernel::barrier());
  }

  // A unit's new value to all who multiply by it.
  void exchange(size_t x, const Expr& value, const Expr& parity) {
    const Expr number = kernel::cast(value, DType::kF32);
    if (s_.cluster == 1) {
      const Expr exists = both(keeps_, unit_exists_);
      const auto store = [&] { w_.store(rows_[x], row_at(parity, own_row_, unit_), number); };
      exists ? w_.when(exists, store) : store();
      return;
    }
    const auto store = [&] {
      w_.store(parts_[x], plus(times(plus(times(parity, s_.rows), own_row_), s_.units), own_),
               unit_exists_ ? kernel::select(unit_exists_, number, kernel::float_const(0.0)) : number);
    };
    keeps_ ? w_.when(keeps_, store) : store();
  }

  // Until all have done so; every workgroup of a cluster has a copy then.
  void meet(const std::vector<size_t>& exchanged, const Expr& parity) {
    if (s_.cluster > 1) {
      w_.emit(kernel::barrier(BarrierScope::kCluster));
      const int64_t quads = s_.units / kQuad, of_member = quads * s_.rows, all = of_member * s_.cluster;
      for (const size_t x : exchanged) {
        for (int64_t first = 0; first < all; first += s_.threads()) {
          const Expr q = w_.let("q", plus(kernel::var_expr(thread_), int_const(first)));
          const auto copy = [&] {
            const Expr member = w_.let("member", div(q, of_member)), rest = w_.let("rest", rem(q, of_member));
            const Expr row = w_.let("peer_row", div(rest, quads)),
                       at = w_.let("at", times(rem(rest, quads), kQuad));
            const Expr from = plus(times(plus(times(parity, s_.rows), row), s_.units), at);
            const Expr values =
                kernel::intrinsic(Intrinsic::kPeerLoad, {from, member}, {DType::kF32, kQuad}, parts_[x]);
            w_.store(rows_[x], plus(times(row, pitch_), plus(times(member, s_.units), at)), values);
          };
          first + s_.threads() <= all ? copy() : w_.when(w_.lt(q, int_const(all)), copy);
        }
      }
    }
    w_.emit(kernel::barrier());
  }

  // ---- Inputs of steps

  void bind_inputs() {
    for (size_t i = 0; i < carried_; ++i) {
      const Value* arg = body_.args[i + 2];
      if (r_.varying.contains(arg)) continue;
      const Value* initial = r_.loop->operands[i + 2];
      inputs_.bind(arg, [this, initial](const Index& at) { return inputs_.element(initial, at); });
    }
    for (const auto& [node, place] : r_.places) {
      const Value* data = node->operand();
      const auto axis = static_cast<std::ptrdiff_t>(node->int_attr("axis"));
      const Expr start = dispatch_.expr(place.start);
      const int64_t factor = place.factor;
      inputs_.bind(node->result(), [this, data, axis, start, factor](const Index& index) {
        Index at = index;
        at.insert(at.begin() + axis, kernel::add(times(iteration_, factor), start));
        return inputs_.element(data, at);
      });
    }
    set_iteration(int_const(0));
    const bool some = r_.steps.is_const();  // at least one
    for (const StepInput& input : r_.inputs) {
      const auto value = [&] { return input_element(input); };
      if (some) {
        held_inputs_.push_back(w_.declare("input", value()));
      } else {
        held_inputs_.push_back(w_.declare("input", zero_of(input.value->type.dtype)));
        w_.when(w_.lt(int_const(0), dispatch_.expr(max(r_.steps, 0))),
                [&] { w_.set(held_inputs_.back(), value()); });
      }
    }
    flush(inputs_);
    std::vector<const Value*> bound;
    for (const StepInput& input : r_.inputs) {
      if (std::find(bound.begin(), bound.end(), input.value) != bound.end()) continue;
      bound.push_back(input.value);
      emitter_.bind(input.value, [this, v = input.value](const Index& at) {
        const int64_t offset = offset_of(at);
        for (size_t i = 0; i < r_.inputs.size(); ++i)
          if (r_.inputs[i].value == v && r_.inputs[i].offset == offset)
            return kernel::var_expr(held_inputs_[i]);
        TERN_UNREACHABLE("an input of a step that was not found");
      });
    }
  }
  void set_iteration(const Expr& t) {
    iteration_ = t;
    inputs_.bind(r_.iteration, t);  // forgets what was computed for another one
  }
  Expr input_element(const StepInput& input) {
    const Expr unit = plus(column_, int_const(input.offset));
    return inputs_.element(input.value, index_of(input.value, row_, unit));
  }
  // How far a coordinate is behind a thread's unit.
  int64_t offset_of(const Index& at) const {
    if (at.empty()) return 0;
    const Expr offset = kernel::substitute(at.back(), {{column_var_.get(), int_const(0)}});
    TERN_CHECK(kernel::is_const(offset), "a unit of a recurrence reads columns that are no constant apart");
    return offset->i;
  }

  // ---- Products

  Expr weights_of_quad(int stage, size_t column, const Expr& held_round, const Expr& staged_round,
                       const Expr& round) {
    const Column c = columns_of(stage)[column];
    const auto s = static_cast<size_t>(stage);
    if (held_round) {
      const VType type = register_type(c.product);
      const Expr q = kernel::load(held_[s][column], held_round, type.lanes);
      return s_.wide ? q : kernel::cast(kernel::bitcast(q, {stored(c.product), kQuad}), DType::kF32);
    }
    const Expr q = staged_round ? kernel::load(staged_[s][column], staged_at(staged_round), kQuad)
                                : quad_in_memory(c, round);
    return kernel::cast(q, DType::kF32);
  }

  // What a round adds to the sums.
  void round(int stage, const Expr& held_round, const Expr& staged_round, const Expr& at,
             const Expr& parity) {
    const std::vector<Column> all = columns_of(stage);
    const Expr k = w_.let("k", times(plus(times(at, s_.parts), part_), kQuad));
    std::vector<Expr> x;  // quads of rows, of each exchanged value
    for (size_t e = 0; e < r_.exchanged.size(); ++e) {
      const bool read = std::any_of(r_.products.begin(), r_.products.end(), [&](const RecurrentProduct& p) {
        return p.stage == stage && p.rows == e;
      });
      for (int row = 0; row < s_.rows; ++row)
        x.push_back(read ? w_.let("x", kernel::load(rows_[e], row_at(parity, int_const(row), k), kQuad))
                         : nullptr);
    }
    for (size_t c = 0; c < all.size(); ++c) {
      const Expr weights = w_.let("w", weights_of_quad(stage, c, held_round, staged_round, at));
      const size_t e = r_.products[all[c].product].rows;
      for (int row = 0; row < s_.rows; ++row) {
        const Expr slot = int_const(static_cast<int64_t>(c) * s_.rows + row);
        Expr sum = kernel::load(sums_, slot);
        for (int lane = 0; lane < kQuad; ++lane)
          sum = kernel::op(ScalarOp::kFma,
                           {lane_of(x[e * static_cast<size_t>(s_.rows) + static_cast<size_t>(row)], lane),
                            lane_of(weights, lane), sum});
        w_.store(sums_, slot, sum);
      }
    }
  }

  void products(int stage, const Expr& parity) {
    const std::vector<Column> all = columns_of(stage);
    const RecurrentSchedule::Homes& homes = s_.homes[static_cast<size_t>(stage)];
    for (size_t i = 0; i < all.size() * static_cast<size_t>(s_.rows); ++i)
      w_.store(sums_, int_const(static_cast<int64_t>(i)), kernel::float_const(0.0));
    for (int64_t i = 0; i < homes.registers; ++i) round(stage, int_const(i), nullptr, int_const(i), parity);
    if (homes.memory > 0)
      w_.loop("i", int_const(homes.memory),
              [&](const Expr& i) { round(stage, nullptr, i, plus(i, int_const(homes.registers)), parity); });
    if (homes.caches > 0)
      w_.loop("i", int_const(homes.caches), [&](const Expr& i) {
        round(stage, nullptr, nullptr, plus(i, int_const(homes.registers + homes.memory)), parity);
      });
    fold(all);
  }

  // Sums of a unit's threads; each then has those of its row.
  void fold(const std::vector<Column>& all) {
    std::vector<Expr> totals;
    for (size_t c = 0; c < all.size(); ++c)
      totals.push_back(shuffles() ? fold_in_subgroup(static_cast<int64_t>(c)) : nullptr);
    if (!shuffles()) totals = fold_in_memory(all.size());
    for (size_t p = 0; p < r_.products.size(); ++p) {
      std::vector<std::pair<int64_t, Expr>> of_product;
      for (size_t c = 0; c < all.size(); ++c)
        if (all[c].product == p) of_product.emplace_back(all[c].offset, totals[c]);
      if (of_product.empty()) continue;
      const Value* v = r_.products[p].node->result();
      emitter_.bind(v, [this, v, of_product](const Index& at) {
        const int64_t offset = offset_of(at);
        for (const auto& [known, sum] : of_product)
          if (known == offset) return kernel::cast(sum, v->type.dtype);
        TERN_UNREACHABLE("a column of a recurrence that was not multiplied");
      });
    }
  }

  Expr fold_in_subgroup(int64_t column) {
    std::vector<Expr> sums;
    for (int row = 0; row < s_.rows; ++row)
      sums.push_back(w_.let("sum", kernel::load(sums_, int_const(column * s_.rows + row))));
    int bit = s_.parts / 2;
    const auto other = [&](const Expr& e) {
      return kernel::intrinsic(Intrinsic::kSubgroupShuffleXor, {e, int_const(bit)}, {DType::kF32, 1});
    };
    // Halves of the rows go to halves of the threads, as long as there are several.
    for (; sums.size() > 1; bit /= 2) {
      const size_t half = sums.size() / 2;
      const Expr upper = w_.let("upper", w_.ne(rem(div(part_, bit), 2), int_const(0)));
      std::vector<Expr> next;
      for (size_t i = 0; i < half; ++i) {
        const Expr sent = w_.let("sent", kernel::select(upper, sums[i], sums[i + half]));
        const Expr kept = w_.let("kept", kernel::select(upper, sums[i + half], sums[i]));
        next.push_back(w_.let("sum", kernel::add(kept, w_.let("other", other(sent)))));
      }
      sums = std::move(next);
    }
    for (; bit >= 1; bit /= 2) sums[0] = w_.let("sum", kernel::add(sums[0], w_.let("other", other(sums[0]))));
    return sums[0];
  }

  std::vector<Expr> fold_in_memory(size_t columns) {
    const int64_t threads = s_.threads();
    const Expr t = kernel::var_expr(thread_);
    for (size_t c = 0; c < columns; ++c) {
      for (int row = 0; row < s_.rows; ++row) {
        const int64_t slot = static_cast<int64_t>(c) * s_.rows + row;
        w_.store(fold_, plus(int_const(slot * threads), t), kernel::load(sums_, int_const(slot)));
      }
    }
    w_.emit(kernel::barrier());
    std::vector<Expr> out;
    const Expr first = times(own_, s_.parts);
    for (size_t c = 0; c < columns; ++c) {
      const Expr slot = plus(int_const(static_cast<int64_t>(c) * s_.rows), own_row_);
      Expr sum;
      for (int p = 0; p < s_.parts; ++p) {
        const Expr one = kernel::load(fold_, plus(times(slot, threads), plus(first, int_const(p))));
        sum = sum ? kernel::add(sum, one) : one;
      }
      out.push_back(w_.let("sum", sum));
    }
    return out;
  }

  // ---- A step

  Expr unit_element(const Value* v) { return emitter_.element(v, index_of(v, row_, column_)); }

  void compute(int stage) {
    for (const Recurrence::Computed& c : r_.computed) {
      if (c.stage != stage) continue;
      const Expr value = w_.let("value", unit_element(c.value));
      emitter_.bind(c.value, value);
    }
  }

  void step(const Expr& t, const Expr& steps) {
    const Expr now = w_.let("now", rem(t, 2)), next = w_.let("next", kernel::sub(int_const(1), now));
    set_iteration(w_.let("later", kernel::min(plus(t, int_const(1)), kernel::sub(steps, int_const(1)))));
    std::vector<Expr> ahead;
    for (const StepInput& input : r_.inputs)
      ahead.push_back(input.changes ? w_.let("ahead", input_element(input)) : nullptr);
    flush(inputs_);
    for (int stage = 0; stage <= r_.stages; ++stage) {
      compute(stage);
      if (stage == r_.stages) break;
      std::vector<size_t> computed;
      for (size_t x = 0; x < r_.exchanged.size(); ++x) {
        if (r_.exchanged[x].carried >= 0 || r_.exchanged[x].stage != stage) continue;
        exchange(x, unit_element(r_.exchanged[x].value), now);
        computed.push_back(x);
      }
      if (!computed.empty()) meet(computed, now);
      products(stage, now);
    }
    finish_step(t, steps, next);
    for (size_t i = 0; i < ahead.size(); ++i)
      if (ahead[i]) w_.set(held_inputs_[i], ahead[i]);
    flush(emitter_);
  }

  void finish_step(const Expr& t, const Expr& steps, const Expr& next) {
    std::vector<Expr> values(carried_);
    for (size_t i = 0; i < carried_; ++i)
      if (states_[i]) values[i] = w_.let("carried", unit_element(body_.results[i + 1]));
    std::vector<size_t> carried;
    for (size_t x = 0; x < r_.exchanged.size(); ++x)
      if (r_.exchanged[x].carried >= 0) carried.push_back(x);
    const auto hand_over = [&] {
      for (const size_t x : carried) exchange(x, values[static_cast<size_t>(r_.exchanged[x].carried)], next);
      meet(carried, next);
    };
    const auto scans = [&] {
      for (size_t r = 1 + carried_; r < body_.results.size(); ++r) {
        const Value *slice = body_.results[r], *stack = r_.loop->results[r - 1];
        Index at = index_of(slice, row_, column_);
        at.insert(at.begin(), t);
        w_.emit(emitter_.store(stack, at, unit_element(slice)));
      }
    };
    // The last step's rows are nobody's operand.
    if (!carried.empty())
      s_.cluster > 1 ? w_.when(w_.lt(plus(t, int_const(1)), steps), hand_over) : hand_over();
    // Behind the meeting, which would wait for what is stored in front of it.
    if (body_.results.size() > 1 + carried_) stores_ ? w_.when(stores_, scans) : scans();
    for (size_t i = 0; i < carried_; ++i)
      if (states_[i]) w_.set(states_[i], values[i]);
  }

  void results() {
    const auto store = [&] {
      for (size_t i = 0; i < carried_; ++i) {
        if (!states_[i]) continue;
        const Value* v = r_.loop->results[i];
        w_.emit(emitter_.store(v, index_of(v, row_, column_), kernel::var_expr(states_[i])));
      }
    };
    if (carried_ > 0) stores_ ? w_.when(stores_, store) : store();
  }

  DispatchBuilder& dispatch_;
  const Recurrence& r_;
  const RecurrentSchedule& s_;
  const Level level_;
  const GpuModel& model_;
  const std::vector<int>& weights_;
  ElementEmitter emitter_, inputs_;  // of what varies, and of what does not
  const size_t carried_;
  const graph::Block& body_;
  LoopWriter w_;
  std::vector<kernel::GridAxis> grid_;
  const Var thread_ = kernel::make_var("t"), block_ = kernel::make_var("block"),
            member_ = kernel::make_var("member");
  Var column_var_;
  Expr part_, own_, unit_, column_, unit_exists_, own_row_, first_row_, row_, row_exists_, keeps_, stores_;
  int64_t pitch_ = 0;
  std::vector<Buffer> rows_, parts_;
  Buffer sums_, fold_;
  std::vector<std::vector<Buffer>> held_, staged_;  // of each stage's columns
  std::vector<Var> held_inputs_, states_;
  Expr iteration_;
};

}  // namespace

void add_recurrent_variant(DispatchBuilder& dispatch, const Recurrence& recurrence,
                           const RecurrentSchedule& schedule, Level level, const std::vector<int>& weights) {
  Builder(dispatch, recurrence, schedule, level, weights).add();
}

}  // namespace tern::lower::gpu
