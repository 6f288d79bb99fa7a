#include "compiler/support/parallel.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace tern {
namespace {

TEST_CASE("each job runs once, on however many threads") {
  for (int threads : {0, 1, 2, 7}) {
    for (size_t count : {size_t{0}, size_t{1}, size_t{5}, size_t{100}}) {
      std::vector<std::atomic<int>> runs(count);
      parallel_for(count, threads, [&](size_t i) { ++runs[i]; });
      for (const std::atomic<int>& n : runs) CHECK(n == 1);
    }
  }
}

TEST_CASE("what the first job throws arrives, and the others run all the same") {
  for (int threads : {1, 3}) {
    std::atomic<int> ran = 0;
    std::string caught;
    try {
      parallel_for(10, threads, [&](size_t i) {
        ++ran;
        if (i == 4 || i == 7) throw std::runtime_error(std::to_string(i));
      });
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    CHECK(caught == "4");
    CHECK(ran == 10);
  }
}

TEST_CASE("jobs in the background have ended after wait, and what the first one throws arrives") {
  for (int threads : {0, 1, 3}) {
    Background background(threads);
    std::atomic<int> ran = 0;
    for (int round = 1; round <= 2; ++round) {
      for (int i = 0; i < 50; ++i) background.add([&] { ++ran; });
      background.wait();
      CHECK(ran == 50 * round);
    }
    if (threads == 0) continue;
    for (int i = 0; i < 10; ++i) {
      background.add([i] {
        if (i >= 4) throw std::runtime_error(std::to_string(i));
      });
    }
    std::string caught;
    try {
      background.wait();
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    CHECK(caught == "4");
  }
}

TEST_CASE("jobs that nobody waits for are done all the same") {
  std::atomic<int> ran = 0;
  {
    Background background(2);
    for (int i = 0; i < 50; ++i) background.add([&] { ++ran; });
  }
  CHECK(ran == 50);
}

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
// In a process without room for one more stack, as where a container's number of threads is used up.
int without_threads(const std::function<void(std::atomic<int>&)>& jobs) {
  const pid_t child = fork();
  if (child == 0) {
    std::ifstream sizes("/proc/self/statm");
    rlim_t pages = 0;
    sizes >> pages;
    const rlim_t room = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (4 << 20);
    const rlimit limit = {room, room};
    setrlimit(RLIMIT_AS, &limit);
    std::atomic<int> ran = 0;
    jobs(ran);
    _exit(ran);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("jobs are done where the system has no threads to give") {
  CHECK(without_threads([](std::atomic<int>& ran) { parallel_for(100, 64, [&](size_t) { ++ran; }); }) == 100);
  CHECK(without_threads([](std::atomic<int>& ran) {
          Background background(64);
          for (int i = 0; i < 70; ++i) background.add([&] { ++ran; });
          background.wait();
          background.add([&] { ++ran; });
        }) == 71);
}
#endif

}  // namespace
}  // namespace tern
