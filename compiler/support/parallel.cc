#include "compiler/support/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <utility>

namespace tern {

namespace {

// One more thread, or false: the system has none to give (limits of users and containers). Fewer do the work.
bool add_thread(std::vector<std::thread>& threads, const std::function<void()>& work) {
  try {
    threads.emplace_back(work);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace

void parallel_for(size_t count, int threads, const std::function<void(size_t)>& job) {
  std::vector<std::exception_ptr> thrown(count);
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) {
      try {
        job(i);
      } catch (...) {
        thrown[i] = std::current_exception();
      }
    }
  };
  std::vector<std::thread> others;
  const size_t workers = std::min(count, static_cast<size_t>(std::max(threads, 1)));
  for (size_t t = 1; t < workers && add_thread(others, work); ++t) {
  }
  work();
  for (std::thread& thread : others) thread.join();
  for (const std::exception_ptr& exception : thrown) {
    if (exception) std::rethrow_exception(exception);
  }
}

Background::~Background() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  more_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Background::add(std::function<void()> job) {
  if (most_ <= 0) return job();
  std::unique_lock lock(mutex_);
  jobs_.push_back({added_++, std::move(job)});
  ++left_;
  if (threads_.size() < static_cast<size_t>(most_) && !add_thread(threads_, [this] { work(); }))
    most_ = static_cast<int>(threads_.size());
  more_.notify_one();
  while (most_ == 0 && take_one(lock)) {
  }
}

// The next job, without the lock; false: there is none.
bool Background::take_one(std::unique_lock<std::mutex>& lock) {
  if (jobs_.empty()) return false;
  const Job job = std::move(jobs_.front());
  jobs_.pop_front();
  lock.unlock();
  std::exception_ptr thrown;
  try {
    job.run();
  } catch (...) {
    thrown = std::current_exception();
  }
  lock.lock();
  if (thrown && (!thrown_ || job.number < thrower_)) {
    thrown_ = thrown;
    thrower_ = job.number;
  }
  if (--left_ == 0) ended_.notify_all();
  return true;
}

void Background::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    while (take_one(lock)) {
    }
    if (closed_) return;
    more_.wait(lock);
  }
}

void Background::wait() {
  std::unique_lock lock(mutex_);
  while (take_one(lock)) {
  }
  ended_.wait(lock, [this] { return left_ == 0; });
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

}  // namespace tern
