// Statements as text.
#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/plain_text.h"
#include "compiler/kernel/unroll.h"
#include "compiler/render/kernel_printer.h"

namespace tern::render {

using kernel::Buffer;
using kernel::Expr;
using kernel::Scope;
using kernel::Stmt;
using kernel::StmtKind;
using kernel::Var;

namespace {

constexpr int64_t kMostRegisters = 256;

// Schedules have unrolled what should be. What clang unrolls beside that (copies eight times, the parts of a
// product's depth, remainders) took up to a quarter of its time, and none of the networks that were timed
// gained by it (docs/performance.md).
// Left to it are few statements in all, and rounds so short that their end counts (taps of a window).
constexpr int64_t kMostUnrolled = 32, kShortRound = 2;

bool stays_loop(const Stmt& loop) {
  if (!kernel::is_const(loop->extent) && kernel::unrolled_size(loop->body) <= kShortRound) return false;
  return kernel::unrolled_size({loop}) > kMostUnrolled;
}

// Steps along the depth of a product: multiply-adds of vectors to sums in registers, and nothing else in the
// loop. Where a core's two threads take turns at fetching, a pass of some twenty instructions of AVX2 keeps
// each waiting for its next one; four of them do not. Passes of AVX-512 are longer, and aarch64's are of four
// steps already.
bool is_short_product(const Stmt& loop) {
  constexpr size_t kMostStatements = 32, kLeastProducts = 4;
  constexpr int64_t kLeastPasses = 8;
  if (loop->body.size() > kMostStatements) return false;
  if (kernel::is_const(loop->extent) && loop->extent->i < kLeastPasses) return false;
  size_t products = 0;
  for (const Stmt& s : loop->body) {
    if (s->kind == StmtKind::kLet) continue;
    const bool adds = s->kind == StmtKind::kStore && s->buffer->scope == Scope::kRegister &&
                      s->value->kind == kernel::ExprKind::kOp && s->value->op == kernel::ScalarOp::kFma;
    if (!adds) return false;
    ++products;
  }
  return products >= kLeastProducts;
}

}  // namespace

KernelPrinter::KernelPrinter(const kernel::Kernel& kernel, const CTarget& target)
    : kernel_(kernel),
      helpers_(target),
      dialect_(*target.dialect),
      narrow_(target.dialect->narrow_indices ? std::optional<kernel::NarrowIndices>(kernel) : std::nullopt),
      expr_(helpers_, buffers_, narrow_ ? &*narrow_ : nullptr, [this](const Var& v) { return name_of(v); }) {}

bool KernelPrinter::is_reserved(const std::string& name) const {
  static const std::unordered_set<std::string> kWords = {
      "auto",     "break",  "case",        "char",     "const",      "continue", "default",  "do",
      "double",   "else",   "enum",        "extern",   "float",      "for",      "goto",     "if",
      "inline",   "int",    "long",        "register", "restrict",   "return",   "short",    "signed",
      "sizeof",   "static", "struct",      "switch",   "typedef",    "union",    "unsigned", "void",
      "volatile", "while",  "args",        "tile",     "tile_begin", "tile_end", "scratch",  "scratch_size",
      "asm",      "bool",   "kernel_args", "FMA",      "CONVERT_1",  "CONVERT_N"};
  if (kWords.contains(name)) return true;
  for (std::string_view word : dialect_.reserved) {
    if (name == word) return true;
  }
  // Type names and helpers: f32, f32x8, exp_f32x8, …
  for (std::string_view type :
       {"f16", "f32", "f64", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "b1", "c64", "c128"}) {
    if (name == type || name.starts_with(std::string(type) + "x") ||
        name.find("_" + std::string(type)) != std::string::npos) {
      return true;
    }
  }
  return false;
}

std::string KernelPrinter::name_of(const void* node, const std::string& base) {
  auto [it, added] = names_.try_emplace(node);
  if (!added) return it->second;
  std::string stem = is_reserved(base) ? base + "_" : base;
  if (is_reserved(base) && is_reserved(stem)) stem = "v_" + fmt::format("{}", names_.size());
  it->second = fresh(stem);
  return it->second;
}

std::string KernelPrinter::fresh(const std::string& base) {
  std::string candidate = base;
  for (int n = 1; !taken_.insert(candidate).second; ++n) candidate = fmt::format("{}_v{}", base, n);
  return candidate;
}

// Register buffers become separate variables unless something indexes them by a variable or by more lanes
// than an element has.
void KernelPrinter::find_arrays() {
  bool tiles = kernel_.threads > 0;
  visit(kernel_.body,
        [&](const Stmt& s) { tiles |= s->kind == StmtKind::kAlloc && s->buffer->scope == Scope::kRegister; });
  if (!tiles) expr_.set_roomy();
  auto check = [&](const Buffer& b, const Expr& index, int lanes, const Expr& count) {
    if (b->scope != Scope::kRegister) return;
    bool simple = kernel::int_value(index).has_value() && lanes == b->type.lanes && count == nullptr;
    if (!simple || b->size > kMostRegisters) arrays_.insert(b.get());
  };
  visit(kernel_.body, [&](const Stmt& s) {
    if (s->kind == StmtKind::kStore) check(s->buffer, s->index, s->value->type.lanes, s->count);
    visit_exprs(s, [&](const Expr& root) {
      visit(root, [&](const Expr& e) {
        if (e->kind != kernel::ExprKind::kLoad) return;
        check(e->buffer, e->args[0], e->type.lanes, e->args.size() > 1 ? e->args[1] : nullptr);
      });
    });
  });
}

void KernelPrinter::body(const std::vector<Stmt>& statements) {
  ++depth_;
  const int tiles = tiles_held_;
  for (const Stmt& s : statements) stmt(s);
  tiles_held_ = tiles;
  --depth_;
}

// One variable an element: all of name_0, name_1, … must be free.
void KernelPrinter::register_stmt(const Buffer& b, std::string name) {
  auto occupied = [&](const std::string& stem) {
    for (int64_t k = 0; k < b->size; ++k) {
      if (taken_.contains(fmt::format("{}_{}", stem, k))) return true;
    }
    return false;
  };
  while (occupied(name)) name = fresh(name + "_r");
  buffers_[b.get()] = {name, true};
  std::string type = helpers_.type(b->type);
  for (int64_t k = 0; k < b->size; ++k) {
    taken_.insert(fmt::format("{}_{}", name, k));
    linef("{} {}_{};", type, name, k);
  }
}

void KernelPrinter::alloc_stmt(const Stmt& s) {
  const Buffer& b = s->buffer;
  std::string name = name_of(b.get(), b->name);
  std::string element =
      b->type.lanes > 1 ? helpers_.type(b->type) : helpers_.named_type(storage(b->type.dtype), 1);
  int64_t elements = is_sub_byte(b->type.dtype) ? dtype_storage_bytes(b->type.dtype, b->size) : b->size;
  if (b->scope == Scope::kScratch) {
    buffers_[b.get()] = {name, false};
    linef("{}* const {} = ({}*)((u8*)scratch + {});", element, name, element, s->code);
    return;
  }
  if (b->scope == Scope::kRegister && tile_alloc(b, name)) return;
  if (b->scope == Scope::kRegister && !arrays_.contains(b.get())) return register_stmt(b, name);
  buffers_[b.get()] = {name, false};
  if (b->scope == Scope::kWorkgroup) return line(workgroup_text(element, name, s));
  line(dialect_.local_array(element, name, elements));
}

// The value of a variable, in the type that it is declared with.
std::string KernelPrinter::value_text(const Var& var, const Expr& value) {
  if (is_narrow(var)) {
    expr_.define_index(var, value);
    return expr_.text(value);
  }
  return expr_.data_text(value);
}

// Loops over local arrays with an index are the C compiler's to unroll: only then the arrays are registers.
bool KernelPrinter::indexes_locals(const Stmt& loop) const {
  bool found = false;
  const auto check = [&](const Buffer& b) {
    found |= b->scope == Scope::kStack || (b->scope == Scope::kRegister && arrays_.contains(b.get()));
  };
  kernel::visit(loop->body, [&](const Stmt& s) {
    if (s->kind == StmtKind::kStore) check(s->buffer);
    kernel::visit_exprs(s, [&](const Expr& root) {
      kernel::visit(root, [&](const Expr& e) {
        if (e->kind == kernel::ExprKind::kLoad) check(e->buffer);
      });
    });
  });
  return found;
}

void KernelPrinter::for_stmt(const Stmt& s) {
  const CTarget& target = helpers_.target();
  if (target.arch == CArch::kX86_64 && target.avx2 && !target.avx512 && is_short_product(s)) {
    line(dialect_.four_a_round);
  } else if (!dialect_.stays_loop.empty() && stays_loop(s) && !indexes_locals(s)) {
    line(dialect_.stays_loop);
  }
  std::string begin = expr_.text(s->begin), extent = expr_.text(s->extent);
  std::string i = name_of(s->var);
  std::string end = kernel::is_int(s->begin, 0) ? extent
                    : kernel::is_const(s->begin) && kernel::is_const(s->extent)
                        ? fmt::format("{}", s->begin->i + s->extent->i)
                        : fmt::format("{} + {}", begin, extent);
  std::string_view type = index_type(s->var);
  if (kernel::is_const(s->extent) || s->extent->kind == kernel::ExprKind::kVar) {
    linef("for ({3} {0} = {1}; {0} < {2}; ++{0}) {{", i, begin, end, type);
  } else {
    linef("for ({4} {0} = {1}, {3} = {2}; {0} < {3}; ++{0}) {{", i, begin, end, fresh(i + "_end"), type);
  }
  body(s->body);
  line("}");
}

void KernelPrinter::stmt(const Stmt& s) {
  switch (s->kind) {
    case StmtKind::kBlock:
      line("{");
      body(s->body);
      line("}");
      return;
    case StmtKind::kFor:
      return for_stmt(s);
    case StmtKind::kLet:
    case StmtKind::kDeclare: {
      std::string value = value_text(s->var, s->value);
      bool is_index = s->var->type == kernel::VType{DType::kI64, 1};
      if (is_index && s->kind == StmtKind::kLet) expr_.define_index(s->var, s->value);
      linef("{}{} {} = {};", s->kind == StmtKind::kLet ? "const " : "",
            is_index ? std::string(index_type(s->var)) : helpers_.type(s->var->type), name_of(s->var), value);
      return;
    }
    case StmtKind::kAssign:
      linef("{} = {};", name_of(s->var),
            is_narrow(s->var) ? expr_.text(s->value) : expr_.data_text(s->value));
      return;
    case StmtKind::kStore:
      line(expr_.store_text(s));
      return;
    case StmtKind::kIf:
      linef("if ({}) {{", expr_.text(s->value));
      body(s->body);
      if (!s->else_body.empty()) {
        line("} else {");
        body(s->else_body);
      }
      line("}");
      return;
    case StmtKind::kWhile:
      linef("while ({}) {{", expr_.text(s->value));
      body(s->body);
      line("}");
      return;
    case StmtKind::kAlloc:
      return alloc_stmt(s);
    case StmtKind::kFail:
      return line(fail_text(s->code));
    case StmtKind::kPrefetch:
      if (kernel_.threads > 0)
        return linef("prefetch({} + {});", buffers_.at(s->buffer.get()).name, expr_.text(s->index));
      // As integers: an address past the end is no pointer in C.
      linef("__builtin_prefetch((const void*)(({3}){0} + ({3}){1} * {2}), 0, {4});",
            buffers_.at(s->buffer.get()).name, expr_.text(s->index),
            (dtype_bits(s->buffer->type.dtype) + 7) / 8, helpers_.type({DType::kU64, 1}),
            s->code == 1 ? 3 : 2);
      return;
    case StmtKind::kBarrier:
      return line(barrier_text(s));
    case StmtKind::kTile:
      return tile_stmt(s);
    case StmtKind::kArrival:
    case StmtKind::kTensorCopy:
    case StmtKind::kAsyncCopy:
    case StmtKind::kGridWait:
    case StmtKind::kGroupMma:
    case StmtKind::kGroupMmaCommit:
    case StmtKind::kGroupMmaWait:
    case StmtKind::kAsyncCommit:
    case StmtKind::kAsyncWait:
      return line(async_text(s));
    case StmtKind::kComment:
      linef("// {}", kernel::plain_text(s->text));
      return;
  }
}

Result<RenderedKernel> KernelPrinter::run() {
  for (std::string_view type : {"i64", "i32", "u8"}) helpers_.named_type(type, 1);
  find_arrays();
  RenderedKernel out;
  frame(out.head);
  if (problem_.empty()) problem_ = expr_.problem();
  if (!problem_.empty()) {
    return tern::error("Kernel '{}' cannot be written as {} for {}: {}.", kernel_.name, dialect_.language,
                       helpers_.target().name, problem_);
  }
  out.name = kernel_.name;
  out.dialect = &dialect_;
  for (const std::string& s : kernel_.source) out.comment += fmt::format("// {}\n", kernel::plain_text(s));
  if (!kernel_.schedule.empty())
    out.comment += fmt::format("// schedule: {}\n", kernel::plain_text(kernel_.schedule));
  out.body = std::move(out_);
  out.helpers = helpers_.helpers();
  return out;
}

Result<RenderedKernel> render_c(const kernel::Kernel& kernel, const CTarget& target) {
  const bool is_cuda = target.arch == CArch::kCuda;
  if (is_cuda != (kernel.threads != 0)) {
    return tern::error("Kernel '{}' has {} threads and cannot be written for {}.", kernel.name,
                       kernel.threads, target.name);
  }
  return is_cuda ? render_cuda_kernel(kernel, target) : render_c_kernel(kernel, target);
}

std::string unit_text(const std::vector<const RenderedKernel*>& kernels) {
  if (kernels.empty()) return "";
  const Dialect& dialect = *kernels.front()->dialect;
  std::string text(dialect.prelude);
  std::unordered_set<std::string_view> known;
  for (const RenderedKernel* k : kernels) {
    for (const Helper& h : k->helpers) {
      if (known.insert(h.key).second) text += h.text;
    }
  }
  text += dialect.declarations;
  for (const RenderedKernel* k : kernels) text += "\n" + k->comment + k->head + k->name + k->body;
  return text;
}

}  // namespace tern::render
