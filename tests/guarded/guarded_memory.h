// Memory between pages that nobody may touch, and calls that report a touch as a sentence instead of dying of
// it.
//
// The bytes between the guards and the memory itself, of which there are as many as its alignment wants, hold
// a pattern that `damage` looks for afterwards. One guarded call runs at a time in a thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tern::test {

class GuardedMemory {
 public:
  enum Side { kFront, kBack };  // which guard the memory touches, as far as alignment lets it

  // `remainder`: what the address is modulo `alignment` (a power of two).
  GuardedMemory(int64_t size, Side side, int64_t alignment, int64_t remainder = 0);
  ~GuardedMemory();
  GuardedMemory(GuardedMemory&& other) noexcept;
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }
  void make_read_only();
  bool holds(const void* address) const;  // the guards count
  // Which of the bytes around the memory was stored to: "a store 3 bytes behind its end"; empty if none was.
  std::string damage() const;
  std::string describe(const void* address, bool store) const;

 private:
  uint8_t* pages_ = nullptr;
  int64_t pages_size_ = 0, size_ = 0;
  uint8_t* data_ = nullptr;
};

// An access that the processor refused.
struct Fault {
  bool happened = false, store = false;
  const void* address =
      nullptr;  // null when the processor does not say (a vector at an address that is not aligned)
};
Fault call_guarded(const std::function<void()>& body);

}  // namespace tern::test
