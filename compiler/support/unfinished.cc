#include "compiler/support/unfinished.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>

namespace tern {
namespace {

// From the user, from limits (ulimit), from a pipe that nobody reads any more, from abort().
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU, SIGXFSZ, SIGPIPE, SIGABRT};

// Whoever takes a name out of its place owns it: the handler, or the destructor.
std::array<std::atomic<const char*>, 256> g_paths;

// opendir() allocates, which a handler must not.
bool remove_files(int folder) {
  alignas(8) char entries[4096];
  for (;;) {
    const long size = syscall(SYS_getdents64, folder, entries, sizeof(entries));
    if (size <= 0) return size == 0;
    for (long at = 0; at < size;) {
      // ino, off: 64 bits each; the record's size; the type; the name
      uint16_t length = 0;
      std::memcpy(&length, entries + at + 16, sizeof(length));
      unlinkat(folder, entries + at + 19, 0);
      at += length;
    }
  }
}

void remove_path(const char* path) {
  if (unlink(path) == 0 || (errno != EISDIR && errno != EPERM)) return;
  // Compilers that still run may add files meanwhile.
  for (int tries = 0; tries < 50; ++tries) {
    const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (folder < 0) return;
    remove_files(folder);
    close(folder);
    if (rmdir(path) == 0 || errno != ENOTEMPTY) return;
    poll(nullptr, 0, 2);
  }
}

extern "C" void remove_unfinished(int signal_number) {
  for (std::atomic<const char*>& place : g_paths) {
    if (const char* path = place.exchange(nullptr)) remove_path(path);
  }
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void install() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (int number : kSignals) {
      struct sigaction action = {}, former = {};
      action.sa_handler = remove_unfinished;
      sigaction(number, nullptr, &former);
      // What is ignored (nohup) or handled by the program stays so.
      if (former.sa_handler == SIG_DFL) sigaction(number, &action, nullptr);
    }
  });
}

}  // namespace

Unfinished::Unfinished(const std::string& path) : path_(std::make_unique<std::string>(path)) {
  install();
  for (size_t i = 0; i < g_paths.size() && slot_ < 0; ++i) {
    const char* free = nullptr;
    if (g_paths[i].compare_exchange_strong(free, path_->c_str())) slot_ = static_cast<int>(i);
  }
}

Unfinished::~Unfinished() {
  if (!path_ || slot_ < 0) return;
  const char* mine = path_->c_str();
  // The handler reads the name meanwhile if it has taken it; the process is about to end.
  if (!g_paths[static_cast<size_t>(slot_)].compare_exchange_strong(mine, nullptr))
    static_cast<void>(path_.release());
}

}  // namespace tern
