// What the commands of `tern` share: errors as sentences, exit codes, owned handles, JSON text, the options
// of device, module and session.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tern/tern.h"
#include "tools/command_line/problems.h"
#include "vm/text/module_file.h"

namespace tern::cli {

// Exit codes; docs/tern-cli.md repeats them.
using command_line::kFailed;
using command_line::kIo;
using command_line::kSuccess;
using command_line::kUsage;
constexpr int kBadModule = 3;  // the module is damaged, or of another version or target

// Ends a command: thrown by must() and fail(), caught in main.
struct Failure {
  command_line::Problems problems;
};
[[noreturn]] void fail(int code, std::string text);
// All problems in one failure; nothing if there are none.
void fail_if_any(const command_line::Problems& problems);
// Does nothing for success; else fails with the status's message and the exit code that fits. Takes the
// status.
void must(tern_status_t status);

std::string bold(std::string_view text);  // on standard output, if that is a terminal that wants it

// JSON as text, in the order it is written.
class Json {
 public:
  Json& open(char bracket, std::string_view key = {});  // '{' or '['
  Json& close();
  Json& text(std::string_view key, std::string_view value);
  Json& number(std::string_view key, double value);
  Json& integer(std::string_view key, int64_t value);
  Json& boolean(std::string_view key, bool value);
  std::string take();  // closes what is open, ends with a newline

 private:
  void begin(std::string_view key);
  std::string out_;
  std::vector<char> open_;
  bool first_ = true;
};

std::string bytes_text(double bytes);                        // "1.2 MB"
std::string shape_text(const int64_t* dims, uint32_t rank);  // "2x3", "scalar"
std::string file_name(std::string_view tensor);  // characters other than letters, digits, . _ - become _

struct DeviceOptions {
  std::string driver = "cpu";  // or "auto"
  int ordinal = -1;            // -1: the driver's first; with auto: any
  int threads = 0;             // 0: the usable physical cores
};

struct Deleter {
  void operator()(tern_instance_t* p) const { tern_instance_destroy(p); }
  void operator()(tern_device_t* p) const { tern_device_release(p); }
  void operator()(tern_buffer_t* p) const { tern_buffer_release(p); }
  void operator()(tern_module_t* p) const { tern_module_release(p); }
  void operator()(tern_session_t* p) const { tern_session_destroy(p); }
};
template <typename T>
using Handle = std::unique_ptr<T, Deleter>;

Handle<tern_module_t> load_module(tern_instance_t* instance, const std::string& path);
// The index of a function, the first one for an empty name.
uint32_t find_function(const tern_module_t* module, const std::string& name);
// Taken apart, for what the runtime does not read; out_size (may be null): bytes of the file.
vm::ModuleFile read_module_file(const std::string& path, size_t* out_size = nullptr);

double now_ms();
double peak_rss_mb();

}  // namespace tern::cli
