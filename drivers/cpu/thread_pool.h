// A team of threads that runs one job at a time: the thread that brings the job is worker 0, the pool's own
// threads join as they wake. Nobody waits for a thread that has not joined: a job must be written so that
// those who are there can do all of it.
//
// Waiting threads spin for a bounded time and then sleep; an idle pool uses no processor time. A job is one
// wake-up.
#pragma once

#include <atomic>

#include "drivers/cpu/host.h"
#include "hal/base/host_sync.h"
#include "hal/base/status.h"

namespace tern::cpu {

inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

class ThreadPool {
 public:
  // Called by each worker that joins, with its number: 0 is the thread that called run.
  using Body = void (*)(void* job, uint32_t worker);

  // `worker_count` counts the caller of run: worker_count - 1 threads are made.
  TERN_MUST_USE tern_status_t start(tern_allocator_t allocator, uint32_t worker_count, uint32_t spin_ns);
  void stop();  // joins the threads; fine on a pool that never started

  uint32_t worker_count() const { return worker_count_; }

  // The right to run a job.
  bool try_acquire() { return tern_mutex_try_lock(&owner_); }
  void acquire() { tern_mutex_lock(&owner_); }
  void release() { tern_mutex_unlock(&owner_); }

  // Lets the system run a worker other than 0 on cores of that capacity only (host_core_capacities). A hint.
  void keep_to_cores_of(uint32_t worker, uint32_t capacity);

  // Runs body(job, 0) here and body(job, i) on the threads that join meanwhile; returns when all have
  // returned. Acquired first.
  void run(Body body, void* job);

  // For bodies: waits until `ready()` holds. Whoever makes it hold calls notify() afterwards.
  template <typename Ready>
  void wait(Ready ready) {
    if (!spin(ready)) sleep(ready);
  }
  void notify() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_relaxed) != 0) wake();
  }

 private:
  // The gate: the job's number in the upper half, then one bit while it takes joiners, and below the number
  // of those inside.
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kInside = kOpen - 1;

  template <typename Ready>
  bool spin(Ready ready) {
    if (ready()) return true;
    if (spin_ns_ <= 1) return false;
    const int64_t end = tern_host_now() + spin_ns_;
    for (;;) {
      for (int i = 0; i < 32; ++i) {
        spin_pause();
        if (ready()) return true;
      }
      if (tern_host_now() >= end) return false;
    }
  }

  template <typename Ready>
  void sleep(Ready ready) {
    sleepers_.fetch_add(1, std::memory_order_relaxed);
    std::atomic_thread_fence(
        std::memory_order_seq_cst);  // pairs with notify(): one of the two sees the other
    for (;;) {
      const int32_t event = __atomic_load_n(&event_, __ATOMIC_ACQUIRE);
      if (ready()) break;
      tern_host_wait(&event_, event, INT64_MAX);
    }
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }

  void wake();
  void work(uint32_t worker);
  static void* thread_main(void* self);

  struct Thread {
    ThreadPool* pool;
    uint32_t worker;
    HostThread host;
  };

  tern_allocator_t allocator_ = {};
  Thread* threads_ = nullptr;
  uint32_t worker_count_ = 1;
  uint32_t started_ = 0;
  int64_t spin_ns_ = 0;
  tern_mutex_t owner_ = {};
  Body body_ = nullptr;
  void* job_ = nullptr;
  alignas(64) std::atomic<uint64_t> gate_{0};
  std::atomic<bool> stopping_{false};
  alignas(64) std::atomic<int32_t> sleepers_{0};
  int32_t event_ = 0;
};

}  // namespace tern::cpu
