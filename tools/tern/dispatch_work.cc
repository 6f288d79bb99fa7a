#include "tools/tern/dispatch_work.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <vector>

namespace tern::cli {
namespace {

// Recursive descent. In doubles: they are only ever shown. After an error everything is nothing.
class Evaluator {
 public:
  Evaluator(std::string_view text, const SymbolValues& symbols) : text_(text), symbols_(symbols) {}

  std::optional<double> whole() {
    const double value = sum();
    return good_ && at_ == text_.size() ? std::optional(value) : std::nullopt;
  }

 private:
  static constexpr int kDepth = 64;

  bool accept(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  double sum() {
    if (++depth_ > kDepth) good_ = false;
    double value = accept('-') ? -product() : product();
    while (good_) {
      if (accept('+')) {
        value += product();
      } else if (accept('-')) {
        value -= product();
      } else {
        break;
      }
    }
    --depth_;
    return value;
  }

  double product() {
    double value = factor();
    while (good_ && accept('*')) value *= factor();
    return value;
  }

  double factor() {
    if (!good_) return 0;
    if (accept('(')) {
      const double value = sum();
      good_ = good_ && accept(')');
      return value;
    }
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_'))
      ++at_;
    const std::string word(text_.substr(begin, at_ - begin));
    if (word.empty()) {
      good_ = false;
      return 0;
    }
    if (std::isdigit(static_cast<unsigned char>(word[0]))) return std::strtod(word.c_str(), nullptr);
    if (accept('(')) return call(word);
    const std::optional<int64_t> value = symbols_(word);
    good_ = value.has_value();
    return good_ ? static_cast<double>(*value) : 0;
  }

  double call(const std::string& name) {
    std::vector<double> args;
    do args.push_back(sum());
    while (good_ && accept(','));
    good_ = good_ && accept(')') && args.size() >= 2;
    if (!good_) return 0;
    if (name == "min") return *std::min_element(args.begin(), args.end());
    if (name == "max") return *std::max_element(args.begin(), args.end());
    good_ = args.size() == 2 && args[1] != 0;
    if (!good_) return 0;
    const double quotient = args[0] / args[1];
    if (name == "floordiv") return std::floor(quotient);
    if (name == "ceildiv") return std::ceil(quotient);
    good_ = name == "mod";
    return args[0] - std::floor(quotient) * args[1];
  }

  std::string_view text_;
  const SymbolValues& symbols_;
  size_t at_ = 0;
  int depth_ = 0;
  bool good_ = true;
};

}  // namespace

std::optional<DispatchWork> evaluate_work(std::string_view text, const SymbolValues& symbols) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(';', at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (parts.size() < 3 || parts.size() > 4) return std::nullopt;
  DispatchWork work;
  work.on_bytes = parts.size() == 4 && parts[3] == "bytes";
  work.on_matrix_units = parts.size() == 4 && parts[3] == "matrix";
  if (parts.size() == 4 && !work.on_bytes && !work.on_matrix_units) return std::nullopt;
  for (size_t i = 0; i < 3; ++i) {
    const std::optional<double> value = Evaluator(parts[i], symbols).whole();
    if (!value || *value < 0) return std::nullopt;
    (i == 0 ? work.operations : work.bytes) += *value;
  }
  return work;
}

}  // namespace tern::cli
