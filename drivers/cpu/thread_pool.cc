#include "drivers/cpu/thread_pool.h"

namespace tern::cpu {

tern_status_t ThreadPool::start(tern_allocator_t allocator, uint32_t worker_count, uint32_t spin_ns) {
  allocator_ = allocator;
  worker_count_ = worker_count;
  spin_ns_ = spin_ns;
  const uint32_t count = worker_count - 1;
  if (count == 0) return TERN_OK;
  threads_ = static_cast<Thread*>(tern_allocate(allocator, count * sizeof(Thread), alignof(Thread)));
  if (!threads_) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  for (; started_ < count; ++started_) {
    threads_[started_] = {this, started_ + 1, {}};
    if (host_thread_start(&threads_[started_].host, thread_main, &threads_[started_])) continue;
    return tern_status_make(allocator, TERN_STATUS_OUT_OF_MEMORY,
                            "The operating system makes no more threads: (%u) of (%u) are running.", started_,
                            count);
  }
  return TERN_OK;
}

void ThreadPool::stop() {
  stopping_.store(true, std::memory_order_seq_cst);
  notify();
  for (uint32_t i = 0; i < started_; ++i) host_thread_join(&threads_[i].host);
  started_ = 0;
  if (threads_) tern_release(allocator_, threads_, (worker_count_ - 1) * sizeof(Thread));
  threads_ = nullptr;
}

void ThreadPool::keep_to_cores_of(uint32_t worker, uint32_t capacity) {
  if (worker >= 1 && worker <= started_) host_thread_keep_to_cores_of(&threads_[worker - 1].host, capacity);
}

void ThreadPool::run(Body body, void* job) {
  body_ = body;
  job_ = job;
  const uint64_t number = (gate_.load(std::memory_order_relaxed) >> 32) + 1;
  gate_.store(number << 32 | kOpen, std::memory_order_release);
  notify();
  body(job, 0);
  gate_.fetch_and(~kOpen, std::memory_order_relaxed);
  wait([this] { return (gate_.load(std::memory_order_acquire) & kInside) == 0; });
}

void ThreadPool::wake() {
  __atomic_fetch_add(&event_, 1, __ATOMIC_RELEASE);
  tern_host_wake_all(&event_);
}

void ThreadPool::work(uint32_t worker) {
  uint64_t seen = 0;  // number of the last job joined
  while (!stopping_.load(std::memory_order_relaxed)) {
    uint64_t gate = 0;
    auto job_is_open = [&] {
      gate = gate_.load(std::memory_order_acquire);
      return ((gate & kOpen) && gate >> 32 != seen) || stopping_.load(std::memory_order_relaxed);
    };
    wait(job_is_open);
    if (!(gate & kOpen) || gate >> 32 == seen) continue;
    if (!gate_.compare_exchange_strong(gate, gate + 1, std::memory_order_acquire)) continue;
    seen = gate >> 32;
    body_(job_, worker);
    const uint64_t before = gate_.fetch_sub(1, std::memory_order_release);
    if (!(before & kOpen) && (before & kInside) == 1) notify();
  }
}

void* ThreadPool::thread_main(void* self) {
  auto* thread = static_cast<Thread*>(self);
  thread->pool->work(thread->worker);
  return nullptr;
}

}  // namespace tern::cpu
