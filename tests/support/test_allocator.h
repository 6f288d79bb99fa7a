// An allocator for tests: counts what is out, can fail the n-th call, fills memory with a pattern before and
// after its use, and checks that sizes given back are those that were asked for. Thread-safe. At destruction
// everything must have come back.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mutex>
#include <string>
#include <unordered_map>

#include "hal/base/allocator.h"

namespace tern::test {

class TestAllocator {
 public:
  TestAllocator() = default;
  TestAllocator(const TestAllocator&) = delete;
  TestAllocator& operator=(const TestAllocator&) = delete;
  ~TestAllocator() {
    const std::string errors = take_errors();
    if (errors.empty()) return;
    fprintf(stderr, "%s", errors.c_str());
    abort();
  }

  // What went wrong so far, leaks included, as lines of text; forgets it.
  std::string take_errors() {
    std::lock_guard lock(mutex_);
    std::string errors = errors_;
    for (auto& entry : live_) {
      errors += "an allocation of " + std::to_string(entry.second) + " bytes did not come back\n";
      free(entry.first);
    }
    live_.clear();
    errors_.clear();
    return errors;
  }

  tern_allocator_t get() { return {this, allocate, release}; }

  // The n-th call from now on fails (1: the next one), and if `and_later` all that follow; 0: none.
  void fail_at(size_t n, bool and_later = false) {
    std::lock_guard lock(mutex_);
    fail_at_ = n ? calls_ + n : 0;
    and_later_ = and_later;
  }
  size_t calls() {
    std::lock_guard lock(mutex_);
    return calls_;
  }
  size_t live_count() {
    std::lock_guard lock(mutex_);
    return live_.size();
  }
  size_t live_bytes() {
    std::lock_guard lock(mutex_);
    size_t bytes = 0;
    for (auto& entry : live_) bytes += entry.second;
    return bytes;
  }

 private:
  static void* allocate(void* self, size_t size, size_t alignment) {
    auto* me = static_cast<TestAllocator*>(self);
    std::lock_guard lock(me->mutex_);
    ++me->calls_;
    if (me->fail_at_ && (me->calls_ == me->fail_at_ || (me->and_later_ && me->calls_ > me->fail_at_)))
      return nullptr;
    if (alignment < 16) alignment = 16;
    if (size > size_t{1} << 40) return nullptr;  // more than any machine has: not worth asking a sanitizer
    void* memory = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (!memory) return nullptr;
    if (size < 1 << 20) memset(memory, 0xcd, size);
    me->live_[memory] = size;
    return memory;
  }
  static void release(void* self, void* pointer, size_t size) {
    auto* me = static_cast<TestAllocator*>(self);
    std::lock_guard lock(me->mutex_);
    auto found = me->live_.find(pointer);
    if (found == me->live_.end()) {
      me->errors_ += "released what was not allocated\n";
      return;
    }
    if (found->second != size) {
      me->errors_ += "released " + std::to_string(size) + " bytes of an allocation of " +
                     std::to_string(found->second) + "\n";
    }
    size = found->second;
    me->live_.erase(found);
    if (size < 1 << 20) memset(pointer, 0xdd, size);
    free(pointer);
  }

  std::mutex mutex_;
  std::unordered_map<void*, size_t> live_;
  std::string errors_;
  size_t calls_ = 0;
  size_t fail_at_ = 0;
  bool and_later_ = false;
};

}  // namespace tern::test
