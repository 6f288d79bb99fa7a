#include "compiler/support/check.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace tern {
namespace {
std::vector<std::string>& context() {
  thread_local std::vector<std::string> stack;
  return stack;
}
}  // namespace

CheckContext::CheckContext(std::string what) {
  context().push_back(std::move(what));
}
CheckContext::~CheckContext() {
  context().pop_back();
}

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "internal error: %s:%d: %s%s%s\n", file, line, condition, message.empty() ? "" : ": ",
               message.c_str());
  for (auto it = context().rbegin(); it != context().rend(); ++it)
    std::fprintf(stderr, " - While %s\n", it->c_str());
  std::fprintf(stderr, "This is a bug in tern, not in your model.\n");
  std::abort();
}

}  // namespace tern
