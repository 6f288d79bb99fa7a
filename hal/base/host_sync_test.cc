#include "hal/base/host_sync.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

TEST_CASE("the clock goes forward") {
  const int64_t first = tern_host_now();
  CHECK(tern_host_now() >= first);
}

TEST_CASE("a wait ends at its deadline, and at once if the value is another") {
  const int32_t value = 1;
  const int64_t begin = tern_host_now();
  while (tern_host_now() < begin + 5000000) tern_host_wait(&value, 1, begin + 5000000);
  CHECK(tern_host_now() - begin < 5000000000);
  tern_host_wait(&value, 2, INT64_MAX);
}

TEST_CASE("a mutex keeps threads apart") {
  tern_mutex_t mutex = {};
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) {
        const tern::MutexLock lock(&mutex);
        ++count;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(count == 80000);
  CHECK(tern_mutex_try_lock(&mutex));
  CHECK_FALSE(tern_mutex_try_lock(&mutex));
  tern_mutex_unlock(&mutex);
}
