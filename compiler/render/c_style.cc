// Statements, the kernel function and its tile loop as C text.
#include <unordered_set>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"
#include "compiler/render/c_expr.h"
#include "compiler/render/render.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::render {

using kernel::Buffer;
using kernel::Expr;
using kernel::Kernel;
using kernel::Scope;
using kernel::Stmt;
using kernel::StmtKind;
using kernel::Var;

namespace {

constexpr int64_t kMostRegisters = 256;

class KernelPrinter {
 public:
  KernelPrinter(const Kernel& kernel, const CTarget& target)
      : kernel_(kernel),
        helpers_(target),
        expr_(helpers_, buffers_, [this](const Var& v) { return name_of(v.get(), v->name); }) {}
  Result<RenderedKernel> run();

 private:
  std::string name_of(const void* node, const std::string& base);
  std::string fresh(const std::string& base);  // a name that nothing else has
  void line(std::string_view text) { out_ += std::string(2 * depth_, ' ') + std::string(text) + "\n"; }
  template <typename... Args>
  void linef(fmt::format_string<Args...> format, Args&&... args) {
    line(fmt::format(format, std::forward<Args>(args)...));
  }
  void body(const std::vector<Stmt>& statements) {
    ++depth_;
    for (const Stmt& s : statements) stmt(s);
    --depth_;
  }
  void stmt(const Stmt& s);
  void alloc_stmt(const Stmt& s);
  void bindings();
  void tile_loop();
  void find_arrays();

  const Kernel& kernel_;
  HelperSet helpers_;
  std::unordered_map<const kernel::BufferNode*, BufferSpelling> buffers_;
  CExpr expr_;
  std::unordered_map<const void*, std::string> names_;
  std::unordered_set<std::string> taken_;
  std::unordered_set<const kernel::BufferNode*> arrays_;  // registers that need an address
  std::string out_;
  int depth_ = 0;
  std::string problem_;
};

bool is_reserved(const std::string& name) {
  static const std::unordered_set<std::string> kWords = {
      "auto",     "break",  "case",        "char",     "const",      "continue", "default",  "do",
      "double",   "else",   "enum",        "extern",   "float",      "for",      "goto",     "if",
      "inline",   "int",    "long",        "register", "restrict",   "return",   "short",    "signed",
      "sizeof",   "static", "struct",      "switch",   "typedef",    "union",    "unsigned", "void",
      "volatile", "while",  "args",        "tile",     "tile_begin", "tile_end", "scratch",  "scratch_size",
      "asm",      "bool",   "kernel_args", "FMA",      "CONVERT_1",  "CONVERT_N"};
  if (kWords.contains(name)) return true;
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
  if (b->scope == Scope::kRegister && !arrays_.contains(b.get())) {
    // All of name_0, name_1, … must be free.
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
    return;
  }
  if (b->scope == Scope::kWorkgroup) problem_ = "workgroup memory has no C form";
  buffers_[b.get()] = {name, false};
  linef("{} {}[{}] __attribute__((aligned(64)));", element, name, elements);
}

void KernelPrinter::stmt(const Stmt& s) {
  switch (s->kind) {
    case StmtKind::kBlock:
      line("{");
      body(s->body);
      line("}");
      return;
    case StmtKind::kFor: {
      std::string begin = expr_.text(s->begin), extent = expr_.text(s->extent);
      std::string i = name_of(s->var.get(), s->var->name);
      std::string end = kernel::is_int(s->begin, 0) ? extent
                        : kernel::is_const(s->begin) && kernel::is_const(s->extent)
                            ? fmt::format("{}", s->begin->i + s->extent->i)
                            : fmt::format("{} + {}", begin, extent);
      if (kernel::is_const(s->extent) || s->extent->kind == kernel::ExprKind::kVar) {
        linef("for (i64 {0} = {1}; {0} < {2}; ++{0}) {{", i, begin, end);
      } else {
        linef("for (i64 {0} = {1}, {3} = {2}; {0} < {3}; ++{0}) {{", i, begin, end, fresh(i + "_end"));
      }
      body(s->body);
      line("}");
      return;
    }
    case StmtKind::kLet:
    case StmtKind::kDeclare: {
      std::string value = expr_.text(s->value);
      linef("{}{} {} = {};", s->kind == StmtKind::kLet ? "const " : "", helpers_.type(s->var->type),
            name_of(s->var.get(), s->var->name), value);
      return;
    }
    case StmtKind::kAssign:
      linef("{} = {};", name_of(s->var.get(), s->var->name), expr_.text(s->value));
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
      linef("return {};", s->code);
      return;
    case StmtKind::kBarrier:
    case StmtKind::kAsyncCopy:
    case StmtKind::kAsyncCommit:
    case StmtKind::kAsyncWait:
      problem_ = "barriers and asynchronous copies have no C form";
      return;
    case StmtKind::kComment:
      linef("// {}", s->text);
      return;
  }
}

void KernelPrinter::bindings() {
  bool aliased = false;
  for (const Buffer& b : kernel_.bindings) aliased |= b->may_alias;
  for (size_t k = 0; k < kernel_.bindings.size(); ++k) {
    const Buffer& b = kernel_.bindings[k];
    bool reads = b->access == kernel::Access::kRead;
    bool unique = !aliased || !(b->may_alias || reads);
    std::string name = name_of(b.get(), b->name);
    buffers_[b.get()] = {name, false};
    std::string element = helpers_.named_type(storage(b->type.dtype), 1);
    linef("{}{}* {}const {} = ({}{}*)args->bindings[{}];", reads ? "const " : "", element,
          unique ? "restrict " : "", name, reads ? "const " : "", element, k);
  }
  for (size_t k = 0; k < kernel_.params.size(); ++k) {
    const Var& v = kernel_.params[k].var;
    linef("const i64 {} = args->params[{}];", name_of(v.get(), v->name), k);
  }
}

// Coordinates count up with the tiles: one division a call, none a tile.
void KernelPrinter::tile_loop() {
  const auto& grid = kernel_.grid;
  std::vector<std::string> axes, counters, extents;
  for (const kernel::GridAxis& g : grid) {
    axes.push_back(name_of(g.var.get(), g.var->name));
    counters.push_back(fresh(axes.back() + "_tile"));
    extents.push_back(expr_.text(g.extent_expr));
  }
  if (!grid.empty()) {
    line("if (tile_begin >= tile_end) return 0;");
    std::string rest = "tile_begin";
    for (size_t k = grid.size(); k-- > 1;) {
      std::string above = fresh(axes[k] + "_rest");
      linef("i64 {} = {} % {};", counters[k], rest, extents[k]);
      linef("const i64 {} = {} / {};", above, rest, extents[k]);
      rest = above;
    }
    linef("i64 {} = {};", counters[0], rest);
  }
  line("for (i64 tile = tile_begin; tile < tile_end; ++tile) {");
  ++depth_;
  for (size_t k = 0; k < grid.size(); ++k) linef("const i64 {} = {};", axes[k], counters[k]);
  --depth_;
  body(kernel_.body);
  if (!grid.empty()) {
    ++depth_;
    for (size_t k = grid.size(); k-- > 1;) {
      linef("if (++{} == {}) {{", counters[k], extents[k]);
      ++depth_;
      linef("{} = 0;", counters[k]);
    }
    linef("++{};", counters[0]);
    for (size_t k = grid.size(); k-- > 1;) {
      --depth_;
      line("}");
    }
    --depth_;
  }
  line("}");
}

Result<RenderedKernel> KernelPrinter::run() {
  for (std::string_view type : {"i64", "i32", "u8"}) helpers_.named_type(type, 1);
  find_arrays();
  line("(const kernel_args* args, i64 tile_begin, i64 tile_end, void* scratch, i64 scratch_size) {");
  depth_ = 1;
  if (kernel_.scratch_bytes > 0) {
    linef("if (scratch_size < {}) return {};", kernel_.scratch_bytes,
          static_cast<int>(TERN_KERNEL_SCRATCH_TOO_SMALL));
  }
  bindings();
  tile_loop();
  line("return 0;");
  depth_ = 0;
  line("}");
  if (problem_.empty()) problem_ = expr_.problem();
  if (!problem_.empty()) {
    return tern::error("Kernel '{}' cannot be written as C for {}: {}.", kernel_.name, helpers_.target().name,
                       problem_);
  }
  RenderedKernel out;
  out.name = kernel_.name;
  for (const std::string& s : kernel_.source) out.comment += fmt::format("// {}\n", s);
  if (!kernel_.schedule.empty()) out.comment += fmt::format("// schedule: {}\n", kernel_.schedule);
  out.body = std::move(out_);
  out.helpers = helpers_.helpers();
  return out;
}

}  // namespace

Result<RenderedKernel> render_c(const Kernel& kernel, const CTarget& target) {
  return KernelPrinter(kernel, target).run();
}

std::string unit_text(const std::vector<const RenderedKernel*>& kernels) {
  std::string text =
      "#define CONVERT_1(T, x) ((T)(x))\n"
      "#define CONVERT_N(T, x) __builtin_convertvector(x, T)\n"
      "#ifdef TERN_FMA\n"
      "#define FMA(a, b, c) __builtin_elementwise_fma(a, b, c)\n"
      "#else\n"
      "#define FMA(a, b, c) ((a) * (b) + (c))\n"
      "#endif\n";
  std::unordered_set<std::string_view> known;
  for (const RenderedKernel* k : kernels) {
    for (const Helper& h : k->helpers) {
      if (known.insert(h.key).second) text += h.text;
    }
  }
  text += "typedef struct kernel_args { void* const* bindings; const i64* params; } kernel_args;\n";
  for (const RenderedKernel* k : kernels) {
    text += "\n" + k->comment + "i32 " + k->name + k->body;
  }
  return text;
}

}  // namespace tern::render
