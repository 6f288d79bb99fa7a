#include "tests/guarded/guarded_memory.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace tern::test {
namespace {

constexpr int64_t kPage = 4096;
constexpr int64_t kGuard = 16 * kPage;
constexpr uint8_t kAround = 0x6b;

thread_local sigjmp_buf* landing = nullptr;
thread_local Fault last_fault;

bool is_store(const void* context) {
#if defined(__x86_64__)
  return (static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
  (void)context;
  return false;
#endif
}

void on_fault(int signal_number, siginfo_t* info, void* context) {
  if (!landing) {
    signal(signal_number, SIG_DFL);
    return;
  }
  last_fault = {true, is_store(context), info->si_code == SI_KERNEL ? nullptr : info->si_addr};
  siglongjmp(*landing, 1);
}

// The handler for as long as it lives: test frameworks bring their own for each test.
class FaultHandler {
 public:
  FaultHandler() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &segv_);
    sigaction(SIGBUS, &action, &bus_);
  }
  ~FaultHandler() {
    sigaction(SIGSEGV, &segv_, nullptr);
    sigaction(SIGBUS, &bus_, nullptr);
  }
  FaultHandler(const FaultHandler&) = delete;
  FaultHandler& operator=(const FaultHandler&) = delete;

 private:
  struct sigaction segv_ = {}, bus_ = {};
};

std::string text_of(const char* access, int64_t distance, const char* where) {
  char text[96];
  std::snprintf(text, sizeof text, "%s %lld bytes %s", access, static_cast<long long>(distance), where);
  return text;
}

}  // namespace

GuardedMemory::GuardedMemory(int64_t size, Side side, int64_t alignment, int64_t remainder) : size_(size) {
  const int64_t body = (size + alignment + kPage - 1) / kPage * kPage;
  pages_size_ = body + 2 * kGuard;
  void* pages = mmap(nullptr, static_cast<size_t>(pages_size_), PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED || mprotect(static_cast<uint8_t*>(pages) + kGuard, static_cast<size_t>(body),
                                      PROT_READ | PROT_WRITE) != 0) {
    std::fprintf(stderr, "No memory for %lld guarded bytes.\n", static_cast<long long>(size));
    std::abort();
  }
  pages_ = static_cast<uint8_t*>(pages);
  uint8_t* begin = pages_ + kGuard;
  int64_t offset = remainder;
  if (side == kBack) offset = (body - size - remainder) / alignment * alignment + remainder;
  data_ = begin + offset;
  memset(begin, kAround, static_cast<size_t>(offset));
  memset(data_ + size, kAround, static_cast<size_t>(body - offset - size));
}

GuardedMemory::~GuardedMemory() {
  if (pages_) munmap(pages_, static_cast<size_t>(pages_size_));
}

GuardedMemory::GuardedMemory(GuardedMemory&& other) noexcept
    : pages_(std::exchange(other.pages_, nullptr)),
      pages_size_(other.pages_size_),
      size_(other.size_),
      data_(other.data_) {}

void GuardedMemory::make_read_only() {
  mprotect(pages_ + kGuard, static_cast<size_t>(pages_size_ - 2 * kGuard), PROT_READ);
}

bool GuardedMemory::holds(const void* address) const {
  const auto* p = static_cast<const uint8_t*>(address);
  return p >= pages_ && p < pages_ + pages_size_;
}

std::string GuardedMemory::damage() const {
  const uint8_t* end = pages_ + pages_size_ - kGuard;
  for (const uint8_t* p = data_ + size_; p < end; ++p) {
    if (*p != kAround) return describe(p, true);
  }
  for (const uint8_t* p = data_ - 1; p >= pages_ + kGuard; --p) {
    if (*p != kAround) return describe(p, true);
  }
  return "";
}

std::string GuardedMemory::describe(const void* address, bool store) const {
  const int64_t offset = static_cast<const uint8_t*>(address) - data_;
  const char* access = store ? "a store" : "a load";
  if (offset >= size_) return text_of(access, offset - size_, "behind its end");
  return offset < 0 ? text_of(access, -offset, "before its begin")
                    : text_of(access, offset, "behind its begin");
}

Fault call_guarded(const std::function<void()>& body) {
  const FaultHandler handler;
  sigjmp_buf here;
  last_fault = {};
  if (sigsetjmp(here, 1) == 0) {
    landing = &here;
    body();
  }
  landing = nullptr;
  return last_fault;
}

}  // namespace tern::test
