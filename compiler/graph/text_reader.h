// Inside graph/: the words of .tg text: tokens, types, tensors, attribute values. parse.cc builds structure
// from them.
#pragma once

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include "compiler/graph/ir.h"

namespace tern::graph {

class TextReader {
 public:
  explicit TextReader(std::string_view text) : text_(text) {}

  Result<TensorDataPtr> parse_tensor() {
    Result<TensorDataPtr> t = tensor();
    if (t.ok() && !at_end()) return fail("text follows the tensor");
    return t;
  }

 protected:
  // --- Tokens ---
  Error fail(std::string_view what) const {
    size_t line = 1;
    for (size_t i = 0; i < at_ && i < text_.size(); ++i) line += text_[i] == '\n';
    return error("Line {}: {} at '{}'.", line, what, text_.substr(std::min(at_, text_.size()), 20));
  }
  void skip() {
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_]))) {
        ++at_;
      } else if (text_[at_] == ';') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }
  bool at_end() {
    skip();
    return at_ >= text_.size();
  }
  bool peek(char c) {
    skip();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool eat(char c) {
    if (!peek(c)) return false;
    ++at_;
    return true;
  }
  Status expect(char c) {
    if (eat(c)) return Ok{};
    return fail(fmt::format("'{}' is expected", c));
  }
  static bool is_word_char(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
  }
  std::string_view peek_word() {
    skip();
    size_t end = at_;
    while (end < text_.size() && is_word_char(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }
  bool word(std::string_view w) {
    if (peek_word() != w) return false;
    at_ += w.size();
    return true;
  }
  Result<std::string> name() {
    const std::string_view w = peek_word();
    if (w.empty()) return fail("a name is expected");
    at_ += w.size();
    return std::string(w);
  }
  Result<std::string> quoted() {
    TERN_TRY(expect('"'));
    std::string out;
    while (at_ < text_.size() && text_[at_] != '"') {
      char c = text_[at_++];
      if (c == '\\' && at_ < text_.size()) {
        c = text_[at_++];
        if (c == 'x') {
          unsigned v = 0;
          const auto r =
              std::from_chars(text_.data() + at_, text_.data() + std::min(at_ + 2, text_.size()), v, 16);
          if (r.ec != std::errc()) return fail("a hexadecimal escape is malformed");
          at_ += 2;
          c = static_cast<char>(v);
        }
      }
      out += c;
    }
    if (at_ >= text_.size()) return fail("a string is not closed");
    ++at_;
    return out;
  }
  // Up to the first of `stops` outside parentheses.
  std::string_view until(std::string_view stops) {
    skip();
    const size_t start = at_;
    int depth = 0;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (depth == 0 && stops.find(c) != std::string_view::npos) break;
      depth += c == '(';
      depth -= c == ')';
    }
    size_t end = at_;
    while (end > start && text_[end - 1] == ' ') --end;
    return text_.substr(start, end - start);
  }
  template <typename T>
  Result<T> number() {
    skip();
    T v{};
    const auto r = std::from_chars(text_.data() + at_, text_.data() + text_.size(), v);
    if (r.ec != std::errc()) return fail("a number is expected");
    at_ = static_cast<size_t>(r.ptr - text_.data());
    return v;
  }
  Result<Dim> dim(std::string_view stops) {
    const std::string_view t = until(stops);
    Result<Dim> d = Dim::parse(t);
    if (!d.ok()) return fail(d.error().message);
    return d;
  }
  template <typename T, typename F>
  Result<std::vector<T>> list(F item) {
    TERN_TRY(expect('['));
    std::vector<T> out;
    while (!eat(']')) {
      if (!out.empty()) TERN_TRY(expect(','));
      TERN_ASSIGN(T v, item());
      out.push_back(std::move(v));
    }
    return out;
  }

  // --- Types and tensors ---
  Result<DType> dtype() {
    TERN_ASSIGN(const std::string n, name());
    const DType d = dtype_from_name(n);
    if (d == DType::kNone) return fail(fmt::format("'{}' is no element type", n));
    return d;
  }
  Result<Type> type() {
    const bool sequence = peek_word() == "seq", optional = peek_word() == "opt";
    if (sequence || optional) {
      at_ += 3;
      TERN_TRY(expect('<'));
      TERN_ASSIGN(Type element, type());
      TERN_TRY(expect('>'));
      return sequence ? Type::sequence(std::move(element)) : Type::optional(std::move(element));
    }
    TERN_ASSIGN(const DType d, dtype());
    TERN_ASSIGN(Shape shape, list<Dim>([&] { return dim(",]"); }));
    return Type::tensor(d, std::move(shape));
  }
  Result<double> float_number() {
    const bool negative = eat('-');
    double v = 0;
    if (word("nan")) {
      v = std::numeric_limits<double>::quiet_NaN();
    } else if (word("inf")) {
      v = std::numeric_limits<double>::infinity();
    } else {
      TERN_ASSIGN(v, number<double>());
    }
    return negative ? -v : v;
  }
  Result<scalar::ScalarValue> element(DType d) {
    scalar::ScalarValue v;
    v.dtype = d;
    switch (dtype_kind(d)) {
      case DTypeKind::kBool:
        v.i = word("true");
        if (!v.i && !word("false")) return fail("'true' or 'false' is expected");
        return v;
      case DTypeKind::kFloat: {
        TERN_ASSIGN(const double x, float_number());
        return scalar::scalar_from_double(d, x);
      }
      case DTypeKind::kComplex: {
        TERN_TRY(expect('('));
        TERN_ASSIGN(v.f, float_number());
        TERN_ASSIGN(v.imaginary, float_number());
        TERN_TRY(expect(')'));
        return v;
      }
      case DTypeKind::kUint: {
        TERN_ASSIGN(const uint64_t u, number<uint64_t>());
        v.i = static_cast<int64_t>(u);
        return v;
      }
      default: {
        TERN_ASSIGN(v.i, number<int64_t>());
        return v;
      }
    }
  }
  Result<TensorDataPtr> tensor() {
    TERN_ASSIGN(const Type t, type());
    if (!t.is_tensor() || !is_static(t.shape)) return fail("a constant needs a static tensor type");
    const std::vector<int64_t> shape = static_dims(t.shape);
    int64_t count = 1;
    for (const int64_t d : shape)
      if (d < 0 || __builtin_mul_overflow(count, d, &count) || count > int64_t{1} << 30)
        return fail("a constant's shape is out of range");
    if (word("hash")) return fail("a constant that was printed as a hash cannot be read back");
    const bool splat = word("splat");
    if (!splat && count > static_cast<int64_t>(text_.size() - at_))
      return fail(fmt::format("{} elements do not follow", count));
    auto data = TensorData::make(t.dtype, shape);
    if (splat) {
      TERN_ASSIGN(const scalar::ScalarValue v, element(t.dtype));
      for (int64_t i = 0; i < data->count(); ++i)
        scalar::store_value(t.dtype, data->mutable_bytes().data(), i, v);
      return TensorDataPtr(data);
    }
    TERN_TRY(expect('{'));
    std::vector<std::string> strings;
    for (int64_t i = 0; i < data->count(); ++i) {
      if (i) TERN_TRY(expect(','));
      if (t.dtype == DType::kString) {
        TERN_ASSIGN(std::string s, quoted());
        strings.push_back(std::move(s));
      } else {
        TERN_ASSIGN(const scalar::ScalarValue v, element(t.dtype));
        scalar::store_value(t.dtype, data->mutable_bytes().data(), i, v);
      }
    }
    TERN_TRY(expect('}'));
    if (t.dtype == DType::kString) data = TensorData::strings(shape, std::move(strings));
    return TensorDataPtr(data);
  }

  Result<Attr> attribute(std::string_view type_name) {
    if (type_name == "int") {
      TERN_ASSIGN(const int64_t v, number<int64_t>());
      return Attr(v);
    }
    if (type_name == "ints") {
      TERN_ASSIGN(auto v, list<int64_t>([&] { return number<int64_t>(); }));
      return Attr(std::move(v));
    }
    if (type_name == "float") {
      TERN_ASSIGN(const double v, float_number());
      return Attr(v);
    }
    if (type_name == "floats") {
      TERN_ASSIGN(auto v, list<double>([&] { return float_number(); }));
      return Attr(std::move(v));
    }
    if (type_name == "str") {
      TERN_ASSIGN(auto v, quoted());
      return Attr(std::move(v));
    }
    if (type_name == "strs") {
      TERN_ASSIGN(auto v, list<std::string>([&] { return quoted(); }));
      return Attr(std::move(v));
    }
    if (type_name == "dims") {
      TERN_ASSIGN(auto v, list<Dim>([&] { return dim(",]"); }));
      return Attr(std::move(v));
    }
    if (type_name == "dtype") {
      TERN_ASSIGN(const DType v, dtype());
      return Attr(v);
    }
    if (type_name == "bool") {
      if (word("true")) return Attr(true);
      if (word("false")) return Attr(false);
      return fail("'true' or 'false' is expected");
    }
    if (type_name == "tensor") {
      TERN_ASSIGN(auto v, tensor());
      return Attr(std::move(v));
    }
    if (type_name == "scalar") {
      TERN_ASSIGN(const std::string n, name());
      const scalar::ScalarOp op = scalar::scalar_op_from_name(n);
      if (op == scalar::ScalarOp::kCount) return fail(fmt::format("'{}' is no scalar op", n));
      return Attr(op);
    }
    return fail("the attribute is not known");
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace tern::graph
