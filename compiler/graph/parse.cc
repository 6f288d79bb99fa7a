// The text form's parser: what print.cc writes, and what people write in tests: there, result types may be
// left out (they are inferred) and an input's lone symbols need no `symbol` line. Undefined values, unknown
// ops, attributes and types are errors with the line; whether the graph means something is verify's business.
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

#include "compiler/graph/ir.h"

namespace tern::graph {
namespace {

// Attribute types as ops.def spells them.
std::string_view attribute_type(OpKind kind, std::string_view name) {
  std::string_view rest = info(kind).attributes;
  while (!rest.empty()) {
    const size_t end = rest.find(' ');
    const std::string_view item = rest.substr(0, end);
    const size_t colon = item.find(':');
    if (item.substr(0, colon) == name) {
      std::string_view type = item.substr(colon + 1);
      if (!type.empty() && type.back() == '?') type.remove_suffix(1);
      return type;
    }
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return {};
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::unique_ptr<Graph>> parse() {
    graph_ = std::make_unique<Graph>();
    if (!word("graph")) return fail("'graph' is expected");
    TERN_ASSIGN(graph_->name, quoted());
    TERN_TRY(expect('{'));
    while (!peek('}')) {
      if (at_end()) return fail("'}' is missing");
      if (word("symbol")) {
        TERN_TRY(symbol());
      } else if (word("input")) {
        TERN_TRY(input());
      } else if (word("output")) {
        TERN_ASSIGN(Value * v, reference());
        graph_->body.results.push_back(v);
        std::string name = v->name;
        if (word("as")) {
          TERN_ASSIGN(name, quoted());
        }
        graph_->output_names.push_back(std::move(name));
      } else {
        TERN_TRY(node(graph_->body));
      }
    }
    TERN_TRY(expect('}'));
    if (!at_end()) return fail("text follows the graph");
    for (const auto& [name, value] : pending_elements_) {
      const auto found = values_.find(value);
      if (found == values_.end()) return error("The symbol {} reads %{}, which is not defined.", name, value);
      graph_->find_symbol(name)->value = found->second;
    }
    return std::move(graph_);
  }

  Result<TensorDataPtr> parse_tensor() {
    Result<TensorDataPtr> t = tensor();
    if (t.ok() && !at_end()) return fail("text follows the tensor");
    return t;
  }

 private:
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

  // --- Structure ---
  struct Declared {
    std::string key, name;
  };
  Result<Declared> declared() {
    TERN_TRY(expect('%'));
    Declared d;
    TERN_ASSIGN(d.key, name());
    if (!std::isdigit(static_cast<unsigned char>(d.key[0]))) d.name = d.key;
    if (peek('"')) {
      TERN_ASSIGN(d.name, quoted());
    }
    return d;
  }
  Status define(const Declared& d, Value* v) {
    if (!values_.emplace(d.key, v).second) return fail(fmt::format("%{} is defined twice", d.key));
    return Ok{};
  }
  Result<Value*> reference() {
    TERN_TRY(expect('%'));
    TERN_ASSIGN(const std::string key, name());
    const auto found = values_.find(key);
    if (found == values_.end()) return fail(fmt::format("%{} is not defined", key));
    return found->second;
  }

  Status symbol() {
    SymbolInfo s;
    TERN_ASSIGN(s.name, name());
    TERN_TRY(expect(':'));
    if (word("input")) {
      TERN_ASSIGN(s.input, number<int>());
      if (!word("axis")) return fail("'axis' is expected");
      TERN_ASSIGN(s.axis, number<int>());
    } else if (word("element")) {
      s.origin = SymbolInfo::Origin::kElement;
      TERN_TRY(expect('%'));
      TERN_ASSIGN(const std::string key, name());
      pending_elements_.emplace_back(s.name, key);
      TERN_TRY(expect('['));
      TERN_ASSIGN(s.element, number<int64_t>());
      TERN_TRY(expect(']'));
    } else if (word("control")) {
      s.origin = SymbolInfo::Origin::kControl;
    } else {
      return fail("'input', 'element' or 'control' is expected");
    }
    while (eat(',')) {
      if (word("min")) {
        TERN_ASSIGN(s.min, number<int64_t>());
      } else if (word("max")) {
        TERN_ASSIGN(s.max, number<int64_t>());
      } else if (word("hint")) {
        TERN_ASSIGN(s.hint, number<int64_t>());
      } else if (word("upper")) {
        TERN_ASSIGN(s.upper, dim(",\n"));
      } else {
        return fail("'min', 'max', 'hint' or 'upper' is expected");
      }
    }
    if (graph_->find_symbol(s.name)) return fail(fmt::format("the symbol {} is declared twice", s.name));
    graph_->symbols.push_back(std::move(s));
    return Ok{};
  }

  Result<Value*> argument(Block& block) {
    TERN_ASSIGN(const Declared d, declared());
    TERN_TRY(expect(':'));
    TERN_ASSIGN(Type t, type());
    Value* v = graph_->new_value(std::move(t), d.name);
    v->block = &block;
    v->index = static_cast<int>(block.args.size());
    block.args.push_back(v);
    TERN_TRY(define(d, v));
    return v;
  }

  Status input() {
    TERN_ASSIGN(Value * v, argument(graph_->body));
    std::string input_name = v->name;
    if (word("as")) {
      TERN_ASSIGN(input_name, quoted());
    }
    graph_->input_names.push_back(std::move(input_name));
    for (int axis = 0; axis < v->type.rank(); ++axis) {
      const Dim& d = v->type.shape[static_cast<size_t>(axis)];
      if (d.op() != Dim::Op::kSymbol || graph_->find_symbol(d.symbol_name())) continue;
      SymbolInfo s;
      s.name = d.symbol_name();
      s.input = v->index;
      s.axis = axis;
      graph_->symbols.push_back(std::move(s));
    }
    return Ok{};
  }

  Status node(Block& block) {
    auto made = std::make_unique<Node>();
    std::vector<Declared> results;
    if (peek('%')) {
      do {
        TERN_ASSIGN(Declared d, declared());
        results.push_back(std::move(d));
      } while (eat(','));
      TERN_TRY(expect('='));
    }
    std::vector<Type> types;
    if (word("constant")) {
      made->kind = OpKind::kConstant;
      TERN_ASSIGN(TensorDataPtr t, tensor());
      made->attrs.emplace_back("value", std::move(t));
    } else {
      TERN_TRY(call(*made, types));
    }
    if (eat('{')) {
      while (word("region")) TERN_TRY(region(*made));
      TERN_TRY(expect('}'));
    }
    if (word("from")) {
      Source s;
      TERN_ASSIGN(s.op, quoted());
      TERN_ASSIGN(s.node, quoted());
      made->source = std::make_shared<const Source>(std::move(s));
    }
    if (types.empty() && (!results.empty() || made->kind == OpKind::kConstant)) {
      Result<std::vector<Type>> inferred = infer(*graph_, *made);
      if (!inferred.ok()) return fail(inferred.error().message);
      types = std::move(inferred).value();
    }
    if (types.size() != results.size())
      return fail(fmt::format("{} types are given for {} results", types.size(), results.size()));
    for (size_t i = 0; i < results.size(); ++i) {
      Value* v = graph_->new_value(std::move(types[i]), results[i].name);
      v->def = made.get();
      v->index = static_cast<int>(i);
      made->results.push_back(v);
      TERN_TRY(define(results[i], v));
    }
    bind_counts(*made);
    block.nodes.push_back(std::move(made));
    return Ok{};
  }

  // A symbol that inference has just made for a data-dependent size.
  void bind_counts(const Node& made) {
    const bool nonzero = made.kind == OpKind::kNonZero || made.kind == OpKind::kNms;
    if (!nonzero && made.kind != OpKind::kUnique) return;
    for (SymbolInfo& s : graph_->symbols) {
      if (s.origin != SymbolInfo::Origin::kElement || s.value) continue;
      bool pending = false;
      for (const auto& [symbol_name, key] : pending_elements_) pending |= symbol_name == s.name;
      if (!pending) s.value = made.result(nonzero ? 1 : 4);
    }
  }

  Status call(Node& made, std::vector<Type>& types) {
    TERN_ASSIGN(const std::string op, name());
    made.kind = op_from_name(op);
    if (made.kind == OpKind::kCount) {
      const scalar::ScalarOp row = scalar::scalar_op_from_name(op);
      if (row == scalar::ScalarOp::kCount) return fail(fmt::format("the op '{}' is not known", op));
      made.kind = OpKind::kMap;
      made.attrs.emplace_back("op", row);
    }
    TERN_TRY(expect('('));
    while (!eat(')')) {
      if (!made.operands.empty()) TERN_TRY(expect(','));
      TERN_ASSIGN(Value * v, reference());
      made.operands.push_back(v);
    }
    if (eat('<')) {
      do {
        TERN_ASSIGN(const std::string key, name());
        TERN_TRY(expect('='));
        const std::string_view kind = attribute_type(made.kind, key);
        if (kind.empty()) return fail(fmt::format("'{}' has no attribute '{}'", op, key));
        TERN_ASSIGN(Attr value, attribute(kind));
        made.set(key, std::move(value));
      } while (eat(','));
      TERN_TRY(expect('>'));
    }
    TERN_TRY(required_attributes(made));
    if (eat(':')) {
      do {
        TERN_ASSIGN(Type t, type());
        types.push_back(std::move(t));
      } while (eat(','));
    }
    return Ok{};
  }

  Status required_attributes(const Node& made) {
    std::string_view rest = info(made.kind).attributes;
    while (!rest.empty()) {
      const size_t end = rest.find(' ');
      const std::string_view item = rest.substr(0, end);
      const std::string_view key = item.substr(0, item.find(':'));
      if (item.back() != '?' && !made.find(key))
        return fail(fmt::format("'{}' needs the attribute '{}'", info(made.kind).name, key));
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    }
    return Ok{};
  }

  Status region(Node& parent) {
    if (++depth_ > 100) return fail("regions nest too deep");
    auto block = std::make_unique<Block>();
    block->parent = &parent;
    TERN_TRY(expect('('));
    while (!eat(')')) {
      if (!block->args.empty()) TERN_TRY(expect(','));
      Result<Value*> v = argument(*block);
      if (!v.ok()) return v.take_error();
    }
    while (!word("yield")) {
      if (at_end()) return fail("'yield' is missing");
      TERN_TRY(node(*block));
    }
    if (peek('%')) {
      do {
        TERN_ASSIGN(Value * v, reference());
        block->results.push_back(v);
      } while (eat(','));
    }
    parent.regions.push_back(std::move(block));
    --depth_;
    return Ok{};
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  std::unique_ptr<Graph> graph_;
  std::unordered_map<std::string, Value*> values_;
  std::vector<std::pair<std::string, std::string>> pending_elements_;
};

}  // namespace

Result<std::vector<TensorDataPtr>> parse_tensors(std::string_view text) {
  std::vector<TensorDataPtr> out;
  while (text.find_first_not_of(' ') != std::string_view::npos) {
    // A ';' inside a string does not separate.
    size_t end = 0;
    for (bool quote = false; end < text.size() && (quote || text[end] != ';'); ++end) {
      if (text[end] == '\\')
        ++end;
      else if (text[end] == '"')
        quote = !quote;
    }
    end = std::min(end, text.size());
    TERN_ASSIGN(TensorDataPtr t, Parser(text.substr(0, end)).parse_tensor());
    out.push_back(std::move(t));
    text = text.substr(std::min(end + 1, text.size()));
  }
  return out;
}

Result<std::unique_ptr<Graph>> parse_graph(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace tern::graph
