// Stages of workgroup memory that change hands by counts of arrivals (kernel IR: kArrival): those who copy
// into a stage arrive when it is full, those who multiply out of it when they have read it, and each side
// waits for the other's phase. Names are of the two buffers of counters.
#pragma once

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

class HandOver {
 public:
  // copiers, readers: arrivals that end a phase; null: one of every thread.
  HandOver(LoopWriter& w, int stages, const char* copied, const char* left, const kernel::Expr& copiers,
           const kernel::Expr& readers)
      : w_(w), copied_(counters(copied, stages)), left_(counters(left, stages)) {
    for (const kernel::Buffer& counter : {copied_, left_}) w_.emit(kernel::alloc(counter));
    for (int i = 0; i < stages; ++i) {
      emit(kernel::ArrivalOp::kStart, copied_, kernel::int_const(i), copiers);
      emit(kernel::ArrivalOp::kStart, left_, kernel::int_const(i), readers);
    }
  }

  // Where boxes of a stage are counted.
  kernel::Expr counter(const kernel::Expr& stage) const { return kernel::load(copied_, stage); }
  // how: kArrive, or kCopied when the thread's asynchronous copies are there.
  void copied(const kernel::Expr& stage, kernel::ArrivalOp how = kernel::ArrivalOp::kArrive) {
    emit(how, copied_, stage, nullptr);
  }
  void left(const kernel::Expr& stage) { emit(kernel::ArrivalOp::kArrive, left_, stage, nullptr); }
  void await_copies(const kernel::Expr& stage, const kernel::Expr& phase) {
    emit(kernel::ArrivalOp::kWait, copied_, stage, phase);
  }
  void await_left(const kernel::Expr& stage, const kernel::Expr& phase) {
    emit(kernel::ArrivalOp::kWait, left_, stage, phase);
  }

 private:
  static kernel::Buffer counters(const char* name, int stages) {
    return kernel::make_buffer(name, {DType::kU64, 1}, kernel::Scope::kWorkgroup, kernel::Access::kReadWrite,
                               stages);
  }
  void emit(kernel::ArrivalOp op, const kernel::Buffer& counter, const kernel::Expr& stage,
            const kernel::Expr& value) {
    w_.emit(kernel::arrival(op, counter, stage, value));
  }

  LoopWriter& w_;
  const kernel::Buffer copied_, left_;
};

}  // namespace tern::lower::gpu
