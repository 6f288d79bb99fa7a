// The text form's parser: what print.cc writes, and what people write in tests: there, result types may be
// left out (they are inferred) and an input's lone symbols need no `symbol` line. Undefined values, unknown
// ops, attributes and types are errors with the line; whether the graph means something is verify's business.
#include <cctype>

#include "compiler/graph/text_reader.h"

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

class Parser : public TextReader {
 public:
  using TextReader::TextReader;

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

 private:
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
    TERN_ASSIGN(TensorDataPtr t, TextReader(text.substr(0, end)).parse_tensor());
    out.push_back(std::move(t));
    text = text.substr(std::min(end + 1, text.size()));
  }
  return out;
}

Result<std::unique_ptr<Graph>> parse_graph(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace tern::graph
