// Parser of .tk text: recursive descent over what print.cc writes. Names resolve by scope; types of constants
// and loads come from their words and buffers.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/ir.h"
#include "compiler/kernel/lexer.h"
#include "compiler/kernel/text.h"

namespace tern::kernel {

namespace {

Intrinsic intrinsic_from_name(std::string_view name) {
  for (size_t k = 0; k < static_cast<size_t>(Intrinsic::kCount); ++k) {
    if (intrinsic_name(static_cast<Intrinsic>(k)) == name) return static_cast<Intrinsic>(k);
  }
  return Intrinsic::kCount;
}

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Result<Kernel> kernel();

 private:
  // After the first problem every function returns quickly with a harmless value; the caller of kernel() sees
  // only the problem.
  template <typename... Args>
  void fail(fmt::format_string<Args...> format, Args&&... args) {
    if (failed_) return;
    failed_ = true;
    // The last token read is the one that is wrong, or stands right before it.
    problem_ = error("Line {}: {}", tokens_[at_ == 0 ? 0 : at_ - 1].line,
                     fmt::format(format, std::forward<Args>(args)...));
  }
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token next() {
    Token t = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return t;
  }
  bool is(std::string_view text) const { return peek().text == text && peek().kind != TokenKind::kString; }
  bool accept(std::string_view text) {
    if (!is(text)) return false;
    next();
    return true;
  }
  void expect(std::string_view text) {
    if (!accept(text)) fail("'{}' stands where '{}' is expected.", peek().text, text);
  }
  std::string word() {
    if (peek().kind != TokenKind::kWord) fail("'{}' stands where a name is expected.", peek().text);
    return next().text;
  }
  std::string string() {
    if (peek().kind != TokenKind::kString) fail("'{}' stands where a string is expected.", peek().text);
    return next().text;
  }
  int64_t integer() {
    bool negative = accept("-");
    std::string text = next().text;
    int64_t value = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc() || end != text.data() + text.size()) fail("'{}' is no integer.", text);
    return negative ? -value : value;
  }
  Dim dim();
  VType type();
  Var define(const std::string& name, VType type) {
    Var v = make_var(name, type);
    vars_[name] = v;
    return v;
  }

  // One level of expressions or bodies, so that text cannot use up the stack.
  struct Deeper {
    explicit Deeper(Parser& of) : parser(of) {
      if (++parser.depth_ > kMostDepth) parser.fail("more than {} levels are nested.", kMostDepth);
    }
    ~Deeper() { --parser.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& parser;
  };
  static constexpr int kMostDepth = 1000;

  void header(Kernel& k);
  std::vector<Stmt> body();
  Stmt stmt();
  Stmt for_stmt(LoopKind kind);
  Stmt alloc_stmt();
  Stmt target_stmt();
  // The buffer of the next word, which must be known; null, and failed, else.
  Buffer named_buffer();
  // buffer[index]
  std::pair<Buffer, Expr> element();
  Stmt prefetch_stmt(bool near);
  Stmt async_stmt();
  Stmt group_mma_stmt();
  Stmt group_mma_wait_stmt();
  Stmt arrival_stmt(ArrivalOp op);
  Tensor tensor();
  Stmt tensor_copy_stmt();
  Stmt tile_stmt(TileOp op);
  Expr expr();
  Expr constant();
  Expr parenthesised();
  Expr call(const std::string& name);
  Expr call_with(const std::string& stem, const std::string& suffix, std::vector<Expr> args,
                 const Buffer& buffer);
  std::vector<Expr> arguments();
  Expr load_from(const Buffer& buffer);
  Expr nothing() { return int_const(0); }
  Expr checked_op(ScalarOp which, std::vector<Expr> args);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  std::unordered_map<std::string, Var> vars_;
  std::unordered_map<std::string, Buffer> buffers_;
  std::unordered_map<std::string, Tensor> tensors_;
  int depth_ = 0;  // of expressions and bodies
  bool failed_ = false;
  Error problem_;
};

Dim Parser::dim() {
  std::string text = string();
  auto parsed = Dim::parse(text);
  if (parsed.ok()) return *parsed;
  fail("'{}' is no dimension: {}", text, parsed.error().message);
  return {};
}

VType Parser::type() {
  std::string name = word();
  size_t x = name.rfind('x');
  VType out;
  out.dtype = dtype_from_name(name);
  if (out.dtype == DType::kNone && x != std::string::npos) {
    out.dtype = dtype_from_name(name.substr(0, x));
    out.lanes = std::atoi(name.c_str() + x + 1);
  }
  if (out.dtype == DType::kNone || out.lanes < 1) {
    fail("'{}' is no type.", name);
    return {DType::kI64, 1};
  }
  return out;
}

void Parser::header(Kernel& k) {
  while (!failed_) {
    if (accept("source")) {
      k.source.push_back(string());
    } else if (accept("schedule")) {
      k.schedule = string();
    } else if (accept("scratch")) {
      k.scratch_bytes = integer();
    } else if (accept("work")) {
      k.flops = dim();
      k.bytes_read = dim();
      k.bytes_written = dim();
    } else if (accept("bind")) {
      std::string name = word();
      expect(":");
      VType t = type();
      int64_t size = 0;
      if (accept("[")) {
        size = integer();
        expect("]");
      }
      std::string access = word();
      Access a = access == "read" ? Access::kRead : access == "write" ? Access::kWrite : Access::kReadWrite;
      if (a == Access::kReadWrite && access != "read_write") fail("'{}' is no access.", access);
      BufferNode node{name, t, Scope::kGlobal, a, size, accept("alias")};
      k.bindings.push_back(std::make_shared<const BufferNode>(std::move(node)));
      buffers_[name] = k.bindings.back();
    } else if (accept("param")) {
      std::string name = word();
      expect("=");
      Dim value = dim();
      k.params.push_back({define(name, {DType::kI64, 1}), value});
    } else if (accept("tensor")) {
      k.tensors.push_back(tensor());
    } else if (accept("grid")) {
      std::string name = word();
      expect("<");
      Expr extent = expr();
      expect("=");
      Dim value = dim();
      k.grid.push_back({define(name, {DType::kI64, 1}), value, extent});
    } else if (accept("threads")) {
      std::string name = word();
      expect("<");
      k.threads = static_cast<int>(integer());
      k.thread = define(name, {DType::kI64, 1});
    } else if (accept("subgroup")) {
      k.subgroup = static_cast<int>(integer());
    } else if (accept("tiles")) {
      for (int* extent : {&k.tiles.m, &k.tiles.n, &k.tiles.k}) *extent = static_cast<int>(integer());
    } else if (accept("copiers")) {
      k.copiers = static_cast<int>(integer());
    } else if (accept("checks_loops")) {
      k.checks_loops = true;
    } else if (accept("cluster")) {
      k.cluster = static_cast<int>(integer());
    } else if (accept("workgroup")) {
      k.workgroup_bytes = integer();
    } else {
      return;
    }
  }
}

Result<Kernel> Parser::kernel() {
  Kernel k;
  while (peek().kind == TokenKind::kComment) next();
  expect("kernel");
  k.name = word();
  expect("{");
  header(k);
  k.body = body();
  if (peek().kind != TokenKind::kEnd) fail("'{}' stands behind the kernel.", peek().text);
  if (failed_) return std::move(problem_);
  return k;
}

// Statements up to and with the closing brace.
std::vector<Stmt> Parser::body() {
  auto vars = vars_;
  auto buffers = buffers_;
  std::vector<Stmt> out;
  while (!failed_ && !is("}")) {
    if (peek().kind == TokenKind::kEnd) fail("a '}}' is missing.");
    Stmt s = stmt();
    if (s != nullptr) out.push_back(std::move(s));
  }
  expect("}");
  vars_ = std::move(vars);
  buffers_ = std::move(buffers);
  return out;
}

Stmt Parser::for_stmt(LoopKind kind) {
  std::string name = word();
  expect("=");
  Expr begin = expr();
  expect("..");
  expect("+");
  Expr extent = expr();
  expect("{");
  auto outer = vars_;
  Var v = define(name, {DType::kI64, 1});
  std::vector<Stmt> inner = body();
  vars_ = std::move(outer);
  return loop(v, begin, extent, kind, std::move(inner));
}

Stmt Parser::alloc_stmt() {
  std::string name = word();
  expect(":");
  VType t = type();
  expect("[");
  int64_t size = integer();
  expect("]");
  std::string scope = word();
  Scope where = Scope::kGlobal;
  for (Scope s : {Scope::kScratch, Scope::kStack, Scope::kRegister, Scope::kWorkgroup}) {
    if (scope_name(s) == scope) where = s;
  }
  if (where == Scope::kGlobal) fail("'{}' is no place for a local buffer.", scope);
  Buffer b = make_buffer(name, t, where, Access::kReadWrite, size);
  buffers_[name] = b;
  return alloc(b, accept("at") ? integer() : 0);
}

// name = value, or name[index] = value
Stmt Parser::target_stmt() {
  std::string name = word();
  if (accept("[")) {
    auto it = buffers_.find(name);
    if (it == buffers_.end()) {
      fail("there is no buffer '{}'.", name);
      return nullptr;
    }
    Expr index = expr();
    Expr count = accept("if") ? expr() : nullptr;
    expect("]");
    expect("=");
    Expr value = expr();
    if (failed_) return nullptr;
    if (value->type.dtype != it->second->type.dtype || index->type.dtype != DType::kI64) {
      fail("a store to '{}' has a wrong type.", name);
      return nullptr;
    }
    return store(it->second, index, value, count, accept("streaming"));
  }
  expect("=");
  Expr value = expr();
  auto it = vars_.find(name);
  if (it == vars_.end()) fail("there is no variable '{}'.", name);
  if (failed_) return nullptr;
  if (it->second->type != value->type) fail("'{}' has another type than what it is set to.", name);
  return failed_ ? nullptr : assign(it->second, value);
}

Buffer Parser::named_buffer() {
  const std::string name = word();
  if (auto it = buffers_.find(name); it != buffers_.end()) return it->second;
  fail("there is no buffer '{}'.", name);
  return nullptr;
}

std::pair<Buffer, Expr> Parser::element() {
  Buffer buffer = named_buffer();
  expect("[");
  Expr index = expr();
  expect("]");
  return {std::move(buffer), std::move(index)};
}

Stmt Parser::prefetch_stmt(bool near) {
  const auto [buffer, index] = element();
  if (!failed_ && index->type != VType{DType::kI64, 1}) fail("the index of a prefetch is no scalar i64.");
  return failed_ ? nullptr : prefetch(buffer, index, near);
}

// dst[index] = src[index; lanes if count]
Stmt Parser::async_stmt() {
  const auto [buffer, index] = element();
  expect("=");
  Expr value = expr();
  if (!failed_ && value->kind != ExprKind::kLoad) fail("an asynchronous copy takes a load.");
  if (!failed_ && (value->type.dtype != buffer->type.dtype || index->type != VType{DType::kI64, 1})) {
    fail("an asynchronous copy to '{}' has a wrong type.", buffer->name);
  }
  return failed_ ? nullptr : async_copy(buffer, index, value);
}

Stmt Parser::group_mma_stmt() {
  const Buffer buffer = named_buffer();
  expect(",");
  Expr a = expr();
  expect(",");
  Expr b = expr();
  if (!failed_ && (a->kind != ExprKind::kLoad || b->kind != ExprKind::kLoad))
    fail("group_mma takes two elements of buffers.");
  GroupMmaForm form;
  if (accept(";") && accept("panels")) form.b_panel = integer();
  if (accept("fresh")) form.fresh = true;
  return failed_ ? nullptr : group_mma(buffer, a, b, form);
}

Stmt Parser::arrival_stmt(ArrivalOp op) {
  const auto [buffer, index] = element();
  Expr value;
  if (op == ArrivalOp::kWait) {
    expect(",");
    value = expr();
  } else if (op == ArrivalOp::kStart && accept(",")) {
    value = expr();
  }
  return failed_ ? nullptr : arrival(op, buffer, index, value);
}

// name = buffer[offset]: size by stride box elements, … swizzled
Tensor Parser::tensor() {
  auto node = std::make_shared<TensorNode>();
  node->name = word();
  expect("=");
  node->buffer = named_buffer();
  if (accept("[")) {
    node->offset = integer();
    expect("]");
  }
  expect(":");
  do {
    TensorAxis axis;
    axis.size = expr();
    expect("by");
    axis.stride = expr();
    expect("box");
    axis.box = integer();
    node->axes.push_back(std::move(axis));
  } while (!failed_ && accept(","));
  node->swizzled = accept("swizzled");
  tensors_[node->name] = node;
  return node;
}

// dst[index] = tensor[at, …], counters[i]
Stmt Parser::tensor_copy_stmt() {
  const auto [buffer, index] = element();
  expect("=");
  const std::string name = word();
  const auto tensor = tensors_.find(name);
  if (tensor == tensors_.end()) fail("there is no tensor '{}'.", name);
  expect("[");
  std::vector<Expr> at;
  do {
    at.push_back(expr());
  } while (!failed_ && accept(","));
  expect("]");
  expect(",");
  Expr counter = expr();
  if (!failed_ && counter->kind != ExprKind::kLoad) fail("tensor_copy takes an element of counters.");
  return failed_ ? nullptr : tensor_copy(buffer, index, tensor->second, std::move(at), std::move(counter));
}

Stmt Parser::group_mma_wait_stmt() {
  const int64_t groups_left = integer();
  Expr after;
  if (accept("after")) after = expr();
  return failed_ ? nullptr : group_mma_wait(groups_left, std::move(after));
}

// buffer[index], value or memory[first] or a[i] (, pitch or b[j])
Stmt Parser::tile_stmt(TileOp op) {
  const auto [buffer, index] = element();
  expect(",");
  Expr value = expr(), operand;
  if (op != TileOp::kFill) {
    expect(",");
    operand = expr();
    if (!failed_ && value->kind != ExprKind::kLoad)
      fail("{} takes an element of a buffer.", tile_op_name(op));
  }
  return failed_ ? nullptr : tile(op, buffer, index, value, operand);
}

Stmt Parser::stmt() {
  const Deeper deeper(*this);
  if (peek().kind == TokenKind::kComment) return comment(next().text);
  for (LoopKind kind : {LoopKind::kSerial, LoopKind::kUnroll, LoopKind::kVector, LoopKind::kThread}) {
    // A variable may have such a name: `serial = …` sets it.
    if (is(loop_kind_name(kind)) && peek(1).kind == TokenKind::kWord) {
      next();
      return for_stmt(kind);
    }
  }
  if (accept("{")) return block(body());
  if ((is("let") || is("var")) && peek(1).kind == TokenKind::kWord) {
    bool is_let = next().text == "let";
    std::string name = word();
    expect(":");
    VType t = type();
    expect("=");
    Expr value = expr();
    if (!failed_ && value->type != t)
      fail("'{}' is {} but its value is {}.", name, type_text(t), type_text(value->type));
    if (failed_) return nullptr;
    Var v = define(name, t);
    return is_let ? let(v, value) : declare(v, value);
  }
  if (is("alloc") && peek(1).kind == TokenKind::kWord) {
    next();
    return alloc_stmt();
  }
  bool keyword = peek(1).text != "=" && peek(1).text != "[";
  if (keyword && (is("if") || is("while"))) {
    bool is_if = next().text == "if";
    Expr condition = expr();
    if (!failed_ && condition->type != VType{DType::kBool, 1}) fail("the condition is no bool.");
    expect("{");
    std::vector<Stmt> then_body = body(), else_body;
    if (is_if && accept("else")) {
      expect("{");
      else_body = body();
    }
    if (failed_) return nullptr;
    return is_if ? if_then(condition, std::move(then_body), std::move(else_body))
                 : while_loop(condition, std::move(then_body));
  }
  if (keyword && accept("barrier")) return barrier();
  if (keyword && accept("cluster_barrier")) return barrier(BarrierScope::kCluster);
  if (keyword && accept("subgroup_barrier")) return barrier(BarrierScope::kSubgroup);
  if (keyword && accept("grid_wait")) return grid_wait();
  for (ArrivalOp op : kArrivalOps) {
    if (keyword && accept(arrival_op_name(op))) return arrival_stmt(op);
  }
  for (TileOp op : kTileOps) {
    if (keyword && accept(tile_op_name(op))) return tile_stmt(op);
  }
  if (keyword && accept("group_mma")) return group_mma_stmt();
  if (keyword && accept("group_mma_commit")) return group_mma_commit();
  if (keyword && accept("group_mma_wait")) return group_mma_wait_stmt();
  if (keyword && accept("tensor_copy")) return tensor_copy_stmt();
  if (keyword && accept("prefetch")) return prefetch_stmt(false);
  if (keyword && accept("prefetch_near")) return prefetch_stmt(true);
  if (keyword && accept("async_copy")) return async_stmt();
  if (keyword && accept("async_commit")) return async_commit();
  if (keyword && accept("async_wait")) return async_wait(integer());
  if (keyword && accept("fail")) return kernel::fail(integer());
  return target_stmt();
}

Expr Parser::checked_op(ScalarOp which, std::vector<Expr> args) {
  std::vector<DType> types;
  for (const Expr& a : args) types.push_back(a->type.dtype);
  auto result = scalar::result_type(which, types);
  if (!result.ok()) {
    fail("{}", result.error().message);
    return nothing();
  }
  int lanes = 1;
  for (const Expr& a : args) {
    if (a->type.lanes != 1 && lanes != 1 && a->type.lanes != lanes) fail("operands of different lanes.");
    lanes = std::max(lanes, a->type.lanes);
  }
  return failed_ ? nothing() : op(which, std::move(args));
}

// Numbers: 3, 3:i32, 1.5, 1.5:f64; words: true, inf, nan.
Expr Parser::constant() {
  bool negative = accept("-");
  std::string text = next().text;
  bool is_floating = text.find_first_of(".en") != std::string::npos;
  DType dtype = is_floating ? DType::kF32 : DType::kI64;
  if (is(":")) {
    next();
    dtype = type().dtype;
  }
  if (is_float(dtype)) {
    double v = text == "inf" ? INFINITY : text == "nan" ? NAN : std::strtod(text.c_str(), nullptr);
    return float_const(negative ? -v : v, dtype);
  }
  uint64_t v = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (problem != std::errc() || end != text.data() + text.size()) fail("'{}' is no number.", text);
  return int_const(static_cast<int64_t>(negative ? 0 - v : v), dtype);
}

Expr Parser::parenthesised() {
  Expr a = expr();
  std::string sign = next().text;
  Expr b = expr();
  expect(")");
  if (failed_) return nothing();
  for (size_t k = 0; k < static_cast<size_t>(ScalarOp::kCount); ++k) {
    auto which = static_cast<ScalarOp>(k);
    if (!infix_text(which).empty() && infix_text(which) == sign) return checked_op(which, {a, b});
  }
  fail("'{}' is no operator.", sign);
  return nothing();
}

std::vector<Expr> Parser::arguments() {
  std::vector<Expr> out;
  if (is(")") || is(";")) return out;
  do {
    out.push_back(expr());
  } while (!failed_ && accept(","));
  return out;
}

Expr Parser::load_from(const Buffer& buffer) {
  Expr index = expr(), count;
  int64_t lanes = accept(";") ? integer() : 1;
  if (accept("if")) count = expr();
  expect("]");
  if (!failed_ && index->type.dtype != DType::kI64) fail("the index of '{}' is no i64.", buffer->name);
  if (failed_) return nothing();
  return load(buffer, index, static_cast<int>(lanes), count);
}

Expr Parser::call(const std::string& name) {
  size_t dot = name.find('.');
  const std::string stem = name.substr(0, dot);
  const std::string suffix = dot == std::string::npos ? "" : name.substr(dot + 1);
  Buffer buffer;
  if (Intrinsic which = intrinsic_from_name(stem);
      which != Intrinsic::kCount && reads_buffer(intrinsic_trait(which))) {
    std::string operand = word();
    if (auto it = buffers_.find(operand); it != buffers_.end()) buffer = it->second;
    if (buffer == nullptr) fail("there is no buffer '{}'.", operand);
    expect(",");
  }
  std::vector<Expr> args = arguments();
  if (name == "shuffle") {
    expect(";");
    std::vector<int> lanes;
    do {
      lanes.push_back(static_cast<int>(integer()));
    } while (!failed_ && accept(","));
    expect(")");
    if (args.empty() || args.size() > 2) fail("shuffle takes one or two vectors.");
    return failed_ ? nothing() : shuffle(args[0], args.size() > 1 ? args[1] : nullptr, std::move(lanes));
  }
  expect(")");
  if (failed_) return nothing();
  return call_with(stem, suffix, std::move(args), buffer);
}

Expr Parser::call_with(const std::string& stem, const std::string& suffix, std::vector<Expr> args,
                       const Buffer& buffer) {
  auto need = [&](size_t n) {
    if (args.size() != n) fail("'{}' takes {} operands and is given {}.", stem, n, args.size());
    return !failed_;
  };
  auto suffix_type = [&]() -> VType {
    size_t x = suffix.rfind('x');
    VType t{dtype_from_name(suffix), 1};
    if (t.dtype == DType::kNone && x != std::string::npos) {
      t = {dtype_from_name(suffix.substr(0, x)), std::atoi(suffix.c_str() + x + 1)};
    }
    if (t.dtype == DType::kNone || t.lanes < 1) fail("'{}' is no type.", suffix);
    return t;
  };
  if (stem == "cast" || stem == "cast_overflow") {
    VType t = suffix_type();
    return need(1) ? cast(args[0], t.dtype, stem == "cast") : nothing();
  }
  if (stem == "bitcast") {
    VType t = suffix_type();
    return need(1) ? bitcast(args[0], t) : nothing();
  }
  if (stem == "complex") {
    VType t = suffix_type();
    if (!need(2) || !is_const(args[0]) || !is_const(args[1])) return nothing();
    scalar::ScalarValue v;
    v.dtype = t.dtype;
    v.f = args[0]->f;
    v.imaginary = args[1]->f;
    return scalar_const(v);
  }
  if (stem == "ramp") {
    if (!need(3) || !int_value(args[1]) || !int_value(args[2])) return nothing();
    return ramp(args[0], *int_value(args[1]), static_cast<int>(*int_value(args[2])));
  }
  if (stem == "broadcast") {
    if (!need(2) || !int_value(args[1])) return nothing();
    return broadcast(args[0], static_cast<int>(*int_value(args[1])));
  }
  if (stem == "idiv" || stem == "irem") {
    if (!need(2)) return nothing();
    return stem == "idiv" ? index_div(args[0], args[1]) : index_rem(args[0], args[1]);
  }
  if (stem == "select_both") return need(3) ? select_both(args[0], args[1], args[2]) : nothing();
  if (stem == "reduce") {
    ScalarOp which = scalar::scalar_op_from_name(suffix);
    if (which == ScalarOp::kCount) fail("'{}' is no op.", suffix);
    return need(1) ? reduce_lanes(which, args[0]) : nothing();
  }
  if (Intrinsic which = intrinsic_from_name(stem); which != Intrinsic::kCount) {
    VType t = suffix_type();
    return need(static_cast<size_t>(intrinsic_arity(which))) ? intrinsic(which, std::move(args), t, buffer)
                                                             : nothing();
  }
  ScalarOp which = scalar::scalar_op_from_name(stem);
  if (which == ScalarOp::kCount || !suffix.empty()) {
    fail("there is no function '{}'.", stem);
    return nothing();
  }
  return need(static_cast<size_t>(scalar::info(which).arity)) ? checked_op(which, std::move(args))
                                                              : nothing();
}

Expr Parser::expr() {
  const Deeper deeper(*this);
  if (failed_) return nothing();
  if (accept("(")) return parenthesised();
  const Token& t = peek();
  if (t.kind == TokenKind::kNumber || is("-")) return constant();
  if (t.kind != TokenKind::kWord) {
    fail("'{}' stands where an expression is expected.", t.text);
    return nothing();
  }
  if (peek(1).text == "(" && peek(1).kind == TokenKind::kPunctuation) {
    std::string name = word();
    next();
    return call(name);
  }
  if (auto b = buffers_.find(t.text); b != buffers_.end() && peek(1).text == "[") {
    next();
    next();
    return load_from(b->second);
  }
  if (auto v = vars_.find(t.text); v != vars_.end()) {
    next();
    return var_expr(v->second);
  }
  if (is("true") || is("false")) return int_const(next().text == "true" ? 1 : 0, DType::kBool);
  if (is("inf") || is("nan")) return constant();
  fail("there is no variable '{}'.", t.text);
  return nothing();
}

}  // namespace

Result<Kernel> parse_kernel(std::string_view text) {
  TERN_ASSIGN(std::vector<Token> tokens, tokenize(text));
  return Parser(std::move(tokens)).kernel();
}

}  // namespace tern::kernel
