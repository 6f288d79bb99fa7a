// Work on several threads whose result does not depend on how many there are: each job writes to a place of
// its own.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tern {

// Calls job(0) to job(count - 1), each once and beginning in that order, on at most `threads` threads, of
// which the caller's is one, and returns when all have ended. What a job throws is thrown here (of several,
// the one of the first job), after the others.
void parallel_for(size_t count, int threads, const std::function<void(size_t)>& job);

// Jobs that other threads do while the caller goes on. Without threads each is done at once.
class Background {
 public:
  explicit Background(int threads) : most_(threads) {}
  ~Background();  // after all jobs
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  void add(std::function<void()> job);
  // Does what is left beside the other threads, and returns when all jobs have ended. Throws what the first
  // of them threw.
  void wait();

 private:
  struct Job {
    size_t number;
    std::function<void()> run;
  };
  int most_;
  std::mutex mutex_;
  std::condition_variable more_, ended_;
  std::deque<Job> jobs_;
  std::vector<std::thread> threads_;
  size_t added_ = 0, left_ = 0;  // left: waiting or being done
  bool closed_ = false;
  std::exception_ptr thrown_;
  size_t thrower_ = 0;

  void work();
  bool take_one(std::unique_lock<std::mutex>& lock);
};

}  // namespace tern
