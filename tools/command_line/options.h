// Options of a command, on CLI11, with what CLI11 lacks: every problem of a command line is collected instead
// of the first one thrown, and each is a sentence with the value and the limit. Refused are unknown options
// (with the nearest known one), arguments too many, values that are missing, empty, no number, out of range
// or an option's own name, and single values given more than once.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "tools/command_line/problems.h"

namespace tern::command_line {

class Options {
 public:
  // Both must outlive the parsing; this need not.
  Options(CLI::App* app, Problems* problems);

  // A positional argument that must be there; `what` names it in a sentence: "model".
  void required(const char* name, std::string& value, const char* what, const std::string& help);
  void text(const char* names, std::string& value, const char* type, const std::string& help);
  // Repeatable, one value each time.
  void list(const char* names, std::vector<std::string>& values, const char* type, const std::string& help);
  template <typename T>
  void integer(const char* names, T& value, long long least, unsigned long long most,
               const std::string& help) {
    const auto take = [&value](unsigned long long bits) { value = static_cast<T>(bits); };
    add_integer(names, take, least, most, help);
  }
  void number(const char* names, double& value, double least, double most, const std::string& help);
  void flag(const char* names, bool& value, const std::string& help);

 private:
  void add_integer(const char* names, std::function<void(unsigned long long)> take, long long least,
                   unsigned long long most, const std::string& help);
  void add(const char* names, const char* type, const std::string& help,
           std::function<void(const std::string&)> take);
  CLI::App* app_;
  Problems* problems_;
};

// Parses. -1: go on, though `problems` may have something; else the exit code of --help or --version, which
// is done.
int parse(CLI::App& app, int argc, const char* const* argv, Problems& problems);

}  // namespace tern::command_line
