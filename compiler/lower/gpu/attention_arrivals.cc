// Keys by products of 128 threads whose stages change hands by counts of arrivals, K's and V's apart: groups
// run ahead of each other. Copies are asked for by all threads, or as boxes by a subgroup that does nothing
// else, so that no product waits for another group.
#include "compiler/lower/gpu/attention_builder.h"
#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/hand_over.h"

namespace tern::lower::gpu {

using kernel::ArrivalOp;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;

// The stages of K or of V: when block n's copies are there, and when the products with it have read it.
class AttentionBuilder::BlockStages {
 public:
  BlockStages(LoopWriter& w, const AttentionSchedule& s, const char* copied, const char* left)
      : boxes_(s.tensors),
        stages_(w, kStages, copied, left, boxes_ ? int_const(1) : nullptr,
                boxes_ ? int_const(s.warps_m) : nullptr) {}
  Expr counter(const Expr& block) const { return stages_.counter(stage(block)); }
  void copied(const Expr& block) {
    stages_.copied(stage(block), boxes_ ? ArrivalOp::kArrive : ArrivalOp::kCopied);
  }
  void await_copies(const Expr& block) { stages_.await_copies(stage(block), phase(block)); }
  void left(const Expr& block) { stages_.left(stage(block)); }
  void await_left(const Expr& block) { stages_.await_left(stage(block), phase(block)); }

 private:
  static Expr stage(const Expr& block) { return kernel::index_rem(block, int_const(kStages)); }
  static Expr phase(const Expr& block) { return kernel::index_div(block, int_const(kStages)); }
  const bool boxes_;
  HandOver stages_;
};

void AttentionBuilder::when_multiplies(LoopWriter& w, const std::function<void()>& body) const {
  s_.tensors ? w.when(less(t_, int_const(int64_t{32} * s_.warps_m)), body) : body();
}

std::vector<kernel::Stmt> AttentionBuilder::all_keys_by_arrivals() {
  LoopWriter w;
  const Buffer scores = prepare_groups(w);
  BlockStages k(w, s_, "k_copied", "k_left"), v(w, s_, "v_copied", "v_left");
  w.emit(kernel::barrier());
  const auto when_copies = [&](const std::function<void()>& body) {
    s_.tensors ? w.when(in_range(kernel::sub(t_, int_const(int64_t{32} * s_.warps_m)), int_const(32)), body)
               : body();
  };
  const auto copy = [&](BlockStages& stages, const Staged& m, const Expr& block) {
    fetch_block(w, m, block, stages.counter(block));
    stages.copied(block);
  };
  const Expr blocks = blocks_of_keys(), zero = int_const(0), one = int_const(1);
  when_copies([&] {
    fetch(w, q_staged_, m0_, zero, k.counter(zero));
    copy(k, k_staged_, zero);
    copy(v, v_staged_, zero);
    w.when(less(one, blocks), [&] { copy(k, k_staged_, one); });
  });
  when_multiplies(w, [&] {
    k.await_copies(zero);
    group_scores(w, scores, zero);
    w.emit(kernel::group_mma_wait(0));
    k.left(zero);
    softmax(w, scores, zero);
    pack_weights(w, scores);
  });
  w.loop("block", kernel::sub(blocks, one), [&](Expr block) {
    const Expr next = w.let("next", kernel::add(block, one));
    const Expr after = w.let("after", kernel::add(block, int_const(2)));
    const auto copy_next = [&] {
      w.when(less(after, blocks), [&] {
        k.await_left(block);
        copy(k, k_staged_, after);
      });
      w.when(less(zero, block), [&] { v.await_left(w.let("before", kernel::sub(block, one))); });
      copy(v, v_staged_, next);
    };
    if (s_.tensors) when_copies(copy_next);
    when_multiplies(w, [&] {
      k.await_copies(next);
      v.await_copies(block);
      group_scores(w, scores, next);
      group_values(w, block);
      if (!s_.tensors) copy_next();  // a warp waits for its turn to issue products
      weigh_next(w, scores, next, [&] { k.left(next); }, [&] { v.left(block); });
    });
  });
  when_multiplies(w, [&] {
    const Expr last = w.let("last", kernel::sub(blocks, one));
    v.await_copies(last);
    group_values(w, last);
    w.emit(kernel::group_mma_wait(0));
  });
  return w.take();
}

}  // namespace tern::lower::gpu
