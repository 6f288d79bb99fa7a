#include "compiler/lower/gpu/nms.h"

#include <algorithm>

#include "compiler/lower/gpu/block_scan.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

constexpr int kWordBits = 32;

Expr word(int64_t v) {
  return kernel::int_const(v, DType::kI32);
}

struct Box {
  Expr y1, x1, y2, x2, area;
};

class Selector {
 public:
  Selector(const Dim& batches, const Dim& classes, const Dim& n, bool center, const SpecialMachine& machine,
           kernel::ParamTable& params)
      : params_(params), classes_(classes), n_(n), center_(center) {
    threads_ = std::min(machine.threads, 512);
    block_ = threads_ >= 512 ? 128 : 64;
    const Dim rows = batches * classes;
    out_.bindings = {boxes_, order_, candidates_, limits_, thresholds_, kept_, numbers_};
    out_.threads = threads_;
    out_.thread = thread_;
    out_.schedule = fmt::format("blocks of {} candidates by {} threads", block_, threads_);
    out_.grid = {{row_, rows, params.expr(rows)}};
  }

  SpecialKernel run() {
    const Expr row = w_.get(row_), n = params_.expr(n_);
    first_ = w_.let("first", kernel::mul(row, n));
    box0_ = w_.let("box0", kernel::mul(kernel::index_div(row, params_.expr(classes_)), n));
    iou_ = w_.let("iou", w_.load(thresholds_, w_.i(0)));
    const Expr most = kernel::max(kernel::min(w_.load(limits_, w_.i(0)), n), w_.i(0));
    limit_ = w_.let("limit", to_index(to_i32(most)));
    const Expr count = w_.let("count", to_index(w_.load(candidates_, row)));
    allocate();
    column_ = w_.let("column", rem(thread(), block_));
    share_ = w_.let("share", div(thread(), block_));
    number_ = w_.declare("number", w_.i(0));
    const kernel::Var begin = w_.declare("begin", w_.i(0));
    w_.while_loop(w_.both(w_.lt(w_.get(begin), count), w_.lt(w_.get(number_), limit_)), [&] {
      one_block(w_.let("here", w_.get(begin)), count);
      w_.set(begin, plus(w_.get(begin), w_.i(block_)));
    });
    w_.when(w_.eq(thread(), w_.i(0)), [&] { w_.store(numbers_, row, to_i32(w_.get(number_))); });
    out_.body = w_.take();
    return std::move(out_);
  }

 private:
  Expr thread() const { return kernel::var_expr(thread_); }
  int shares() const { return threads_ / block_; }
  int words() const { return block_ / kWordBits; }

  Buffer shared(const char* name, DType dtype, int64_t size) {
    const Buffer b =
        kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kWorkgroup, Access::kReadWrite, size);
    w_.emit(kernel::alloc(b));
    return b;
  }
  void allocate() {
    mine_ = shared("mine", DType::kF32, int64_t{5} * block_);
    theirs_ = shared("theirs", DType::kF32, int64_t{5} * block_);
    overlaps_ = shared("overlaps", DType::kI32, int64_t{words()} * block_);
    dead_ = shared("dead", DType::kI32, threads_);
    slots_ = shared("slots", DType::kI32, block_ + 1);
  }

  // Box `p` of the row's batch to workgroup memory.
  void fetch(const Buffer& to, const Expr& at, const Expr& p) {
    const Expr four = w_.let("box", kernel::load(boxes_, times(plus(box0_, p), 4), 4));
    Expr v[4];
    for (int i = 0; i < 4; ++i) v[i] = w_.let("c", kernel::shuffle(four, nullptr, {i}));
    Box box;
    if (center_) {
      const Expr half = kernel::float_const(0.5);
      const Expr half_w = w_.let("half_w", kernel::mul(v[2], half)),
                 half_h = w_.let("half_h", kernel::mul(v[3], half));
      box = {kernel::sub(v[1], half_h), kernel::sub(v[0], half_w), kernel::add(v[1], half_h),
             kernel::add(v[0], half_w), nullptr};
    } else {
      box = {kernel::min(v[0], v[2]), kernel::min(v[1], v[3]), kernel::max(v[0], v[2]),
             kernel::max(v[1], v[3]), nullptr};
    }
    Expr* const corners[] = {&box.y1, &box.x1, &box.y2, &box.x2};
    for (Expr* corner : corners) *corner = w_.let("corner", *corner);
    box.area = kernel::mul(kernel::sub(box.y2, box.y1), kernel::sub(box.x2, box.x1));
    const Expr values[] = {box.y1, box.x1, box.y2, box.x2, box.area};
    for (int i = 0; i < 5; ++i) w_.store(to, plus(at, w_.i(int64_t{i} * block_)), values[i]);
  }
  Box read(const Buffer& from, const Expr& at) {
    Expr v[5];
    for (int i = 0; i < 5; ++i) v[i] = w_.let("v", w_.load(from, plus(at, w_.i(int64_t{i} * block_))));
    return {v[0], v[1], v[2], v[3], v[4]};
  }

  // Calls `then` where a kept box and a candidate overlap by more than the threshold.
  void when_over(const Box& kept, const Box& box, const std::function<void()>& then) {
    const Expr height = kernel::sub(kernel::min(kept.y2, box.y2), kernel::max(kept.y1, box.y1));
    const Expr width = kernel::sub(kernel::min(kept.x2, box.x2), kernel::max(kept.x1, box.x1));
    const Expr h = w_.let("h", height), v = w_.let("v", width), zero = kernel::float_const(0.0);
    const Expr meet = w_.both(w_.both(w_.lt(zero, h), w_.lt(zero, v)),
                              w_.both(w_.lt(zero, kept.area), w_.lt(zero, box.area)));
    w_.when(meet, [&] {
      const Expr part = w_.let("part", kernel::mul(h, v));
      const Expr whole = kernel::sub(kernel::add(kept.area, box.area), part);
      w_.when(w_.lt(iou_, kernel::op(ScalarOp::kDiv, {part, whole})), then);
    });
  }

  void one_block(const Expr& begin, const Expr& count) {
    w_.emit(kernel::barrier());
    const Expr last = kernel::sub(count, w_.i(1));
    const auto candidate = [&](const Expr& at) {
      return to_index(w_.load(order_, plus(first_, kernel::min(plus(begin, at), last))));
    };
    w_.when(w_.lt(thread(), w_.i(block_)), [&] { fetch(mine_, thread(), w_.let("p", candidate(thread()))); });
    w_.emit(kernel::barrier());
    const Box own = read(mine_, column_);
    const kernel::Var dead =
        w_.declare("is_dead", kernel::select(w_.lt(plus(begin, column_), count), word(0), word(1)));
    against_kept(own, dead);
    among_themselves(own);
    w_.store(dead_, thread(), w_.get(dead));
    w_.emit(kernel::barrier());
    w_.when(w_.eq(thread(), w_.i(0)), [&] { walk(); });
    w_.emit(kernel::barrier());
    w_.when(w_.lt(thread(), w_.i(block_)), [&] {
      const Expr slot = w_.let("slot", to_index(w_.load(slots_, thread())));
      w_.when(w_.le(w_.i(0), slot),
              [&] { w_.store(kept_, plus(first_, slot), to_i32(candidate(thread()))); });
    });
    w_.set(number_, to_index(w_.load(slots_, w_.i(block_))));
  }

  void against_kept(const Box& own, const kernel::Var& dead) {
    const kernel::Var from = w_.declare("from", w_.i(0));
    w_.while_loop(w_.lt(w_.get(from), w_.get(number_)), [&] {
      const Expr begin = w_.let("kept_begin", w_.get(from));
      const Expr left = w_.let("left", kernel::min(kernel::sub(w_.get(number_), begin), w_.i(block_)));
      w_.emit(kernel::barrier());
      w_.when(w_.lt(thread(), left), [&] {
        fetch(theirs_, thread(), w_.let("p", to_index(w_.load(kept_, plus(first_, plus(begin, thread()))))));
      });
      w_.emit(kernel::barrier());
      const kernel::Var at = w_.declare("at", share_);
      w_.while_loop(w_.both(w_.lt(w_.get(at), left), w_.eq(w_.get(dead), word(0))), [&] {
        const Box kept = read(theirs_, w_.let("other", w_.get(at)));
        when_over(kept, own, [&] { w_.set(dead, word(1)); });
        w_.set(at, plus(w_.get(at), w_.i(shares())));
      });
      w_.set(from, plus(begin, w_.i(block_)));
    });
  }

  // Bit k of word j of a candidate: the candidate 32 j + k of the block comes before and overlaps it.
  void among_themselves(const Box& own) {
    for (int j = 0; j < words(); j += shares()) {
      const Expr which = w_.let("which", plus(w_.i(j), share_));
      const auto bits_of = [&] {
        const kernel::Var bits = w_.declare("bits", word(0)), bit = w_.declare("bit", word(1));
        const Expr first = w_.let("first_bit", times(which, kWordBits));
        w_.loop("k", w_.i(kWordBits), [&](Expr k) {
          const Expr other = w_.let("other", plus(first, k));
          w_.when(w_.lt(other, column_), [&] {
            when_over(read(mine_, other), own,
                      [&] { w_.set(bits, kernel::op(ScalarOp::kOr, {w_.get(bits), w_.get(bit)})); });
          });
          w_.set(bit, kernel::op(ScalarOp::kShl, {w_.get(bit), word(1)}));
        });
        w_.store(overlaps_, plus(times(which, block_), column_), w_.get(bits));
      };
      if (j + shares() <= words()) {
        bits_of();
      } else {
        w_.when(w_.lt(which, w_.i(words())), bits_of);
      }
    }
  }

  // One thread: in the order of scores.
  void walk() {
    std::vector<kernel::Var> kept;
    for (int j = 0; j < words(); ++j) kept.push_back(w_.declare("kept_bits", word(0)));
    const kernel::Var next = w_.declare("next", to_i32(w_.get(number_)));
    const Expr limit = w_.let("limit_word", to_i32(limit_));
    for (int j = 0; j < words(); ++j) {
      const kernel::Var bit = w_.declare("bit", word(1));
      w_.loop("c", w_.i(kWordBits), [&](Expr c) {
        const Expr at = w_.let("at", plus(w_.i(int64_t{j} * kWordBits), c));
        Expr hit = w_.load(dead_, at);
        for (int s = 1; s < shares(); ++s)
          hit = kernel::op(ScalarOp::kOr, {hit, w_.load(dead_, plus(at, w_.i(int64_t{s} * block_)))});
        for (int i = 0; i <= j; ++i) {
          const Expr bits = w_.load(overlaps_, plus(at, w_.i(int64_t{i} * block_)));
          hit = kernel::op(ScalarOp::kOr,
                           {hit, kernel::op(ScalarOp::kAnd, {bits, w_.get(kept[static_cast<size_t>(i)])})});
        }
        const Expr keep = w_.let("keep", w_.both(w_.eq(hit, word(0)), w_.lt(w_.get(next), limit)));
        w_.store(slots_, at, kernel::select(keep, w_.get(next), word(-1)));
        w_.when(keep, [&] {
          const kernel::Var& own = kept[static_cast<size_t>(j)];
          w_.set(own, kernel::op(ScalarOp::kOr, {w_.get(own), w_.get(bit)}));
          w_.set(next, kernel::add(w_.get(next), word(1)));
        });
        w_.set(bit, kernel::op(ScalarOp::kShl, {w_.get(bit), word(1)}));
      });
    }
    w_.store(slots_, w_.i(block_), w_.get(next));
  }

  const Buffer boxes_ = global("boxes", DType::kF32, Access::kRead),
               order_ = global("order", DType::kI32, Access::kRead),
               candidates_ = global("candidates", DType::kI32, Access::kRead),
               limits_ = global("limits", DType::kI64, Access::kRead),
               thresholds_ = global("thresholds", DType::kF32, Access::kRead),
               kept_ = global("kept", DType::kI32, Access::kReadWrite),
               numbers_ = global("numbers", DType::kI32, Access::kWrite);
  const kernel::Var thread_ = kernel::make_var("t"), row_ = kernel::make_var("row");
  kernel::ParamTable& params_;
  const Dim classes_, n_;
  const bool center_;
  int threads_ = 1, block_ = 64;
  SpecialKernel out_;
  LoopWriter w_;
  Buffer mine_, theirs_, overlaps_, dead_, slots_;
  Expr first_, box0_, iou_, limit_, column_, share_;
  kernel::Var number_;
};

}  // namespace

SpecialKernel nms_select_kernel(const Dim& batches, const Dim& classes, const Dim& n, bool center_point_box,
                                const SpecialMachine& machine, kernel::ParamTable& params) {
  return Selector(batches, classes, n, center_point_box, machine, params).run();
}

SpecialKernel nms_list_kernel(const Dim& batches, const Dim& classes_dim, const Dim& n_dim,
                              const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer kept = global("kept", DType::kI32, Access::kRead),
               numbers = global("numbers", DType::kI32, Access::kRead),
               selected = global("selected", DType::kI64, Access::kWrite),
               count = global("count", DType::kI64, Access::kWrite);
  out.bindings = {kept, numbers, selected, count};
  out.threads = 128;
  out.thread = kernel::make_var("t");
  out.subgroup = machine.subgroup;
  out.schedule = "a workgroup a row";
  const Dim rows_dim = batches * classes_dim, grid = max(rows_dim, 1);
  const kernel::Var row_var = kernel::make_var("row");
  out.grid = {{row_var, grid, params.expr(grid)}};
  LoopWriter w;
  const Expr row = w.get(row_var), rows = params.expr(rows_dim), thread = kernel::var_expr(out.thread),
             classes = params.expr(classes_dim), n = params.expr(n_dim);
  const kernel::Var sum = w.declare("sum", word(0)), other = w.declare("other", thread);
  w.while_loop(w.lt(w.get(other), row), [&] {
    w.set(sum, kernel::add(w.get(sum), w.load(numbers, w.get(other))));
    w.set(other, plus(w.get(other), w.i(out.threads)));
  });
  const BlockScan scan = block_scan(w, {out.threads, machine.subgroup, thread}, ScalarOp::kAdd, w.get(sum));
  const Expr start = w.let("start", to_index(scan.total));
  const kernel::Var mine = w.declare("mine", w.i(0));
  w.when(w.lt(row, rows), [&] { w.set(mine, to_index(w.load(numbers, row))); });
  const kernel::Var at = w.declare("at", thread);
  w.while_loop(w.lt(w.get(at), w.get(mine)), [&] {
    const Expr to = w.let("to", times(plus(start, w.get(at)), 3));
    w.store(selected, to, kernel::index_div(row, classes));
    w.store(selected, plus(to, w.i(1)), kernel::index_rem(row, classes));
    w.store(selected, plus(to, w.i(2)), to_index(w.load(kept, plus(kernel::mul(row, n), w.get(at)))));
    w.set(at, plus(w.get(at), w.i(out.threads)));
  });
  w.when(w.both(w.eq(thread, w.i(0)), w.le(rows, plus(row, w.i(1)))),
         [&] { w.store(count, w.i(0), plus(start, w.get(mine))); });
  out.body = w.take();
  return out;
}

}  // namespace tern::lower::gpu
