// User errors as values. An Error is one full sentence in the present tense, with the value given and the
// limit, and context notes that callers add ("While importing node 'conv1' (Conv)"). Result<T> is a T or an
// Error; Diagnostics collects many Errors so that one report shows all problems of a model.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compiler/support/check.h"

namespace tern {

struct Error {
  std::string message;
  std::vector<std::string> notes;  // innermost first

  Error&& note(std::string text) && {
    notes.push_back(std::move(text));
    return std::move(*this);
  }
  // The message and one " - note" line a note.
  std::string text() const;
};

// error("Attribute 'axis' ({}) lies outside [{}, {}).", a, b, c)
template <typename... Args>
Error error(fmt::format_string<Args...> format, Args&&... args) {
  return Error{fmt::format(format, std::forward<Args>(args)...), {}};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}
  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  T& value() & {
    TERN_CHECK(ok(), "{}", error_.message);
    return *value_;
  }
  const T& value() const& {
    TERN_CHECK(ok(), "{}", error_.message);
    return *value_;
  }
  T&& value() && {
    TERN_CHECK(ok(), "{}", error_.message);
    return std::move(*value_);
  }
  T* operator->() { return &value(); }
  T& operator*() { return value(); }
  const Error& error() const { return error_; }
  Error&& take_error() { return std::move(error_); }

 private:
  std::optional<T> value_;
  Error error_;
};

struct Ok {};
using Status = Result<Ok>;

class Diagnostics {
 public:
  void add(Error error) { errors_.push_back(std::move(error)); }
  void warn(std::string text) { warnings_.push_back(std::move(text)); }
  bool ok() const { return errors_.empty(); }
  const std::vector<Error>& errors() const { return errors_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // All errors, one after the other, each with its notes.
  std::string text() const;

 private:
  std::vector<Error> errors_;
  std::vector<std::string> warnings_;
};

}  // namespace tern

#define TERN_CONCAT_(a, b) a##b
#define TERN_CONCAT(a, b) TERN_CONCAT_(a, b)

// TERN_TRY(status_expression): returns its error from the enclosing function.
#define TERN_TRY(expression)                                                                 \
  do {                                                                                       \
    if (auto tern_status = (expression); !tern_status.ok()) return tern_status.take_error(); \
  } while (0)

// TERN_ASSIGN(auto x, result_expression): x is the value, or the enclosing function returns the error.
#define TERN_ASSIGN(target, expression) TERN_ASSIGN_(TERN_CONCAT(tern_result_, __LINE__), target, expression)
#define TERN_ASSIGN_(temporary, target, expression)   \
  auto temporary = (expression);                      \
  if (!temporary.ok()) return temporary.take_error(); \
  target = std::move(temporary).value()
