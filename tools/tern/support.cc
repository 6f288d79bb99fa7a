#include "tools/tern/support.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace tern::cli {

void fail(int code, std::string text) {
  command_line::Problems problems;
  problems.add(std::move(text), code);
  throw Failure{std::move(problems)};
}

void fail_if_any(const command_line::Problems& problems) {
  if (!problems.empty()) throw Failure{problems};
}

void must(tern_status_t status) {
  if (!status) return;
  int code = kFailed;
  switch (tern_status_code(status)) {
    case TERN_STATUS_MALFORMED:
    case TERN_STATUS_INCOMPATIBLE:
      code = kBadModule;
      break;
    case TERN_STATUS_IO_ERROR:
      code = kIo;
      break;
    default:
      break;
  }
  std::string text = tern_status_message(status);
  tern_status_free(status);
  fail(code, std::move(text));
}

std::string bold(std::string_view text) {
  static const bool color = command_line::color_enabled(STDOUT_FILENO);
  const std::string plain = command_line::printable(std::string(text));
  return color ? "\033[1m" + plain + "\033[0m" : plain;
}

namespace {

// Bytes of the UTF-8 character that the text begins with; 0: it is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Spelled longer than needed, halves of pairs, beyond the last one.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90))
    return 0;
  return length;
}

}  // namespace

void Json::begin(std::string_view key) {
  if (!first_) out_ += ',';
  first_ = false;
  if (!open_.empty()) out_ += '\n' + std::string(2 * open_.size(), ' ');
  if (key.empty()) return;
  text({}, key);  // the same escapes as a value
  out_ += ": ";
}

Json& Json::open(char bracket, std::string_view key) {
  begin(key);
  out_ += bracket;
  open_.push_back(bracket == '{' ? '}' : ']');
  first_ = true;
  return *this;
}

Json& Json::close() {
  const char bracket = open_.back();
  open_.pop_back();
  if (!first_) out_ += '\n' + std::string(2 * open_.size(), ' ');
  out_ += bracket;
  first_ = false;
  return *this;
}

Json& Json::text(std::string_view key, std::string_view value) {
  if (!key.empty() || (!open_.empty() && open_.back() == ']')) begin(key);
  out_ += '"';
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    const size_t length = utf8_length(value.substr(i));
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || length == 0) {  // names may be any bytes
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", length == 0 ? 0xfffd : static_cast<unsigned>(c));
      out_ += escaped;
    } else {
      out_ += value.substr(i, length);
      i += length - 1;
    }
  }
  out_ += '"';
  return *this;
}

Json& Json::number(std::string_view key, double value) {
  begin(key);
  char digits[40];
  std::snprintf(digits, sizeof(digits), "%.6g", value);
  out_ += std::isfinite(value) ? digits : "null";
  return *this;
}

Json& Json::integer(std::string_view key, int64_t value) {
  begin(key);
  out_ += std::to_string(value);
  return *this;
}

Json& Json::boolean(std::string_view key, bool value) {
  begin(key);
  out_ += value ? "true" : "false";
  return *this;
}

std::string Json::take() {
  while (!open_.empty()) close();
  return std::move(out_) + "\n";
}

std::string bytes_text(double bytes) {
  const char* const units[] = {"B", "KB", "MB", "GB", "TB"};
  int unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit) bytes /= 1000;
  char text[40];
  std::snprintf(text, sizeof(text), unit && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
  return text;
}

std::string shape_text(const int64_t* dims, uint32_t rank) {
  if (rank == 0) return "scalar";
  std::string out;
  for (uint32_t i = 0; i < rank; ++i) out += (i ? "x" : "") + std::to_string(dims[i]);
  return out;
}

std::string file_name(std::string_view tensor) {
  std::string out;
  for (char c : tensor) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
    // One underscore a character, not a byte, of UTF-8.
    if ((c & 0xc0) == 0x80) continue;
    out += plain ? c : '_';
  }
  return out;
}

vm::ModuleFile read_module_file(const std::string& path, size_t* out_size) {
  std::ifstream stream(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(stream), {});
  vm::ModuleFile file;
  std::string error;
  if (!vm::unpack_module(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &file, &error))
    fail(kBadModule, error);
  if (out_size) *out_size = bytes.size();
  return file;
}

Handle<tern_module_t> load_module(tern_instance_t* instance, const std::string& path) {
  if (const std::string problem = command_line::input_problem("module", path); !problem.empty())
    fail(kIo, problem);
  tern_module_desc_t desc = {};
  desc.code_policy = TERN_CODE_TRUSTED;  // the user named the file
  tern_module_t* module = nullptr;
  tern_status_t status = tern_module_load_file(instance, path.c_str(), &desc, &module);
  if (status && path.ends_with(".onnx")) {
    tern_status_free(status);
    fail(kBadModule, "'" + path + "' is no tern module: `ternc " + path + "` makes one of it.");
  }
  must(status);
  return Handle<tern_module_t>(module);
}

uint32_t find_function(const tern_module_t* module, const std::string& name) {
  const int32_t index = tern_module_find_function(module, name.empty() ? nullptr : name.c_str());
  if (index >= 0) return static_cast<uint32_t>(index);
  std::string names;
  for (uint32_t i = 0; i < tern_module_function_count(module); ++i)
    names += (i ? ", '" : "'") + std::string(tern_module_function_name(module, i)) + "'";
  fail(kUsage, "The module has no function '" + name + "'; it has " + (names.empty() ? "none" : names) + ".");
}

double now_ms() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(time).count();
}

double peak_rss_mb() {
  // getrusage counts what the program that started this one had in memory too; the kernel's own line does
  // not.
  double peak = 0;
  if (std::FILE* status = std::fopen("/proc/self/status", "r")) {
    char line[256];
    long kilobytes = 0;
    while (std::fgets(line, sizeof(line), status)) {
      if (std::sscanf(line, "VmHWM: %ld", &kilobytes) == 1) peak = static_cast<double>(kilobytes) / 1024;
    }
    std::fclose(status);
  }
  if (peak > 0) return peak;
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace tern::cli
