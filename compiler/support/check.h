// Internal invariants. TERN_CHECK is for "we are wrong": it prints where, what and the current context, and
// aborts, in every build. What a user's model can cause is an Error (result.h), never a check.
#pragma once

#include <fmt/format.h>

#include <string>

namespace tern {

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& message);

// Names what is being done ("pass fuse", "lowering node 'conv1'") for check_failed's report, innermost last.
// Per thread.
class CheckContext {
 public:
  explicit CheckContext(std::string what);
  ~CheckContext();
  CheckContext(const CheckContext&) = delete;
  CheckContext& operator=(const CheckContext&) = delete;
};

}  // namespace tern

#define TERN_CHECK(condition, ...)                                                         \
  do {                                                                                     \
    if (!(condition)) [[unlikely]]                                                         \
      ::tern::check_failed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (0)

#define TERN_UNREACHABLE(...) \
  ::tern::check_failed(__FILE__, __LINE__, "unreachable", ::fmt::format("" __VA_ARGS__))
