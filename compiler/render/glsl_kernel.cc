// Statements and the whole shader as GLSL.
#include <unordered_set>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/plain_text.h"
#include "compiler/kernel/unroll.h"
#include "compiler/render/glsl_expr.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::render {

using kernel::Buffer;
using kernel::Expr;
using kernel::Kernel;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;
using kernel::StmtKind;
using kernel::Var;

namespace {

// Whether the kernel makes whole numbers of floats: a quotient one unit off may then be a whole step off
// (quantised values, positions of Resize).
bool rounds_to_whole(const Kernel& kernel) {
  bool found = false;
  kernel::visit(kernel.body, [&](const Stmt& s) {
    kernel::visit_exprs(s, [&](const Expr& root) {
      kernel::visit(root, [&](const Expr& e) {
        if (e->kind == kernel::ExprKind::kCast)
          found |= is_float(e->args[0]->type.dtype) && is_int(e->type.dtype);
        if (e->kind == kernel::ExprKind::kOp)
          found |= e->op == ScalarOp::kFloor || e->op == ScalarOp::kCeil || e->op == ScalarOp::kTrunc ||
                   e->op == ScalarOp::kRoundEven;
      });
    });
  });
  return found;
}

class GlslPrinter {
 public:
  GlslPrinter(const Kernel& kernel, const GlslTarget& target)
      : kernel_(kernel),
        narrow_(kernel),
        tiles_(kernel),
        helpers_(target),
        memory_(helpers_),
        expr_(helpers_, memory_, narrow_, rounds_to_whole(kernel),
              [this](const Var& v) { return name_of(v.get(), v->name); }) {}
  Result<GlslKernel> run();

 private:
  std::string name_of(const void* node, const std::string& base);
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
  void loop(const Stmt& s);
  void note_stores(const std::vector<Stmt>& body);
  void alloc(const Stmt& s);
  void bindings();
  void coordinates();
  std::string interface_text() const;
  bool is_narrow(const Var& v) const {
    return v->type == kernel::VType{DType::kI64, 1} && narrow_.narrow(v.get());
  }
  void fail(std::string text) {
    if (problem_.empty()) problem_ = std::move(text);
  }

  const Kernel& kernel_;
  kernel::NarrowIndices narrow_;
  const GlslTiles tiles_;
  GlslHelpers helpers_;
  GlslMemory memory_;
  GlslExpr expr_;
  std::unordered_map<const void*, std::string> names_;
  std::unordered_set<std::string> taken_;
  std::string out_, problem_;
  bool orders(const Buffer& stored) const;
  bool stored_ = false;  // to global memory that barriers order, by a statement before this one
  std::unordered_set<const kernel::BufferNode*> read_;  // global memory, by any statement
  bool stays_loop_ = false;                             // a loop that compilers shall not unroll
  int depth_ = 1;
};

// Names of the kernel get a prefix that no word of GLSL and no helper has.
std::string GlslPrinter::name_of(const void* node, const std::string& base) {
  auto [it, added] = names_.try_emplace(node);
  if (!added) return it->second;
  // Two underscores in a row are reserved.
  std::string stem = "v";
  for (char c : "_" + base) {
    if (c != '_' || stem.back() != '_') stem += c;
  }
  if (stem.back() == '_') stem += "n";
  std::string candidate = stem;
  for (int n = 1; !taken_.insert(candidate).second; ++n) candidate = fmt::format("{}_{}", stem, n);
  return it->second = candidate;
}

void GlslPrinter::alloc(const Stmt& s) {
  const Buffer& b = s->buffer;
  const std::string name = name_of(b.get(), b->name);
  switch (b->scope) {
    case Scope::kRegister:
      memory_.declare_register(b.get(), name);
      if (tiles_.has(b.get())) return linef("{} {}[{}];", tiles_.type(b.get()), name, b->size);
      linef("{} {}[{}];", helpers_.type(glsl_carrier(b->type.dtype), b->type.lanes), name,
            std::max<int64_t>(b->size, 1));
      return;
    case Scope::kStack:
      return memory_.declare_stack(b.get(), name);
    case Scope::kWorkgroup:
      if (dtype_bits(b->type.dtype) > 64) fail("workgroup memory of c128 has no form");
      return memory_.declare_workgroup(b.get(), name, s->code);
    case Scope::kScratch:
      // A CPU kernel's, which tests render too: the one thread's own.
      return memory_.declare_stack(b.get(), name);
    case Scope::kGlobal:
      return;
  }
}

// Whether something in a loop divides by its round, or by what follows from that: unrolled, most of it is
// constants.
bool divides_by_round(const Stmt& loop) {
  std::unordered_set<const kernel::VarNode*> varies{loop->var.get()};
  bool found = false;
  kernel::visit(loop->body, [&](const Stmt& s) {
    kernel::visit_exprs(s, [&](const Expr& root) {
      kernel::visit(root, [&](const Expr& e) { found |= e->is_index && kernel::uses_any(e, varies); });
    });
    if (s->kind == StmtKind::kLet && kernel::uses_any(s->value, varies)) varies.insert(s->var.get());
  });
  return found;
}

// Whether a loop of a kernel on tiles must stay one: the first run of a kernel waits for its code from memory
// (11 us for nine rounds of a convolution, unrolled), and most kernels of a network run a few times. Loops of
// 100 to 800 statements as loops: BERT-base and ViT-B/16 3 % faster, layers of 3 x 3 taps a tenth slower.
bool is_long(const Stmt& loop) {
  const int64_t most = divides_by_round(loop) ? 800 : 100;
  return kernel::unrolled_size({loop}) > most;
}

void GlslPrinter::loop(const Stmt& s) {
  const std::string i = name_of(s->var.get(), s->var->name);
  // A variable that is data too (an index that is stored) has 64 bits, where a device may have none.
  const bool narrow = is_narrow(s->var);
  const std::string type = narrow ? "int" : helpers_.type("int64_t");
  const std::string begin = narrow ? expr_.index(s->begin) : expr_.text(s->begin);
  const std::string extent = narrow ? expr_.index(s->extent) : expr_.text(s->extent);
  const std::string end = kernel::is_int(s->begin, 0) ? extent : fmt::format("{} + {}", begin, extent);
  if (tiles_.any() && is_long(s)) {
    stays_loop_ = true;
    line("[[dont_unroll]]");
  }
  const bool simple = kernel::is_const(s->extent) || s->extent->kind == kernel::ExprKind::kVar;
  if (simple) {
    linef("for ({3} {0} = {1}; {0} < {2}; ++{0}) {{", i, begin, end, type);
  } else {
    linef("for ({3} {0} = {1}, {0}_end = {2}; {0} < {0}_end; ++{0}) {{", i, begin, end, type);
  }
  note_stores(s->body);
  body(s->body);
  line("}");
}

// Whether barriers order stores to this memory. Kernels of tiles store each element once: where nothing reads
// it, nothing sees the order, and a barrier that waited for stores would cost as much as memory takes.
bool GlslPrinter::orders(const Buffer& stored) const {
  return stored->scope == Scope::kGlobal && (!tiles_.any() || read_.contains(stored.get()));
}

// What a loop's body stores stands before its barriers too.
void GlslPrinter::note_stores(const std::vector<Stmt>& body) {
  kernel::visit(body, [&](const Stmt& s) { stored_ |= s->kind == StmtKind::kStore && orders(s->buffer); });
}

void GlslPrinter::stmt(const Stmt& s) {
  switch (s->kind) {
    case StmtKind::kBlock:
      line("{");
      body(s->body);
      line("}");
      return;
    case StmtKind::kFor:
      return loop(s);
    case StmtKind::kLet:
    case StmtKind::kDeclare: {
      const bool narrow = is_narrow(s->var);
      if (s->kind == StmtKind::kLet) expr_.note_let(s->var, s->value);
      const std::string value = narrow ? expr_.index(s->value) : expr_.text(s->value);
      const std::string type =
          narrow ? "int" : helpers_.type(glsl_carrier(s->var->type.dtype), s->var->type.lanes);
      linef("{}{} {} = {};", s->kind == StmtKind::kLet ? "const " : "", type,
            name_of(s->var.get(), s->var->name), value);
      return;
    }
    case StmtKind::kAssign:
      linef("{} = {};", name_of(s->var.get(), s->var->name),
            is_narrow(s->var) ? expr_.index(s->value) : expr_.text(s->value));
      return;
    case StmtKind::kStore:
      stored_ |= orders(s->buffer);
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
      note_stores(s->body);
      body(s->body);
      line("}");
      return;
    case StmtKind::kAlloc:
      return alloc(s);
    case StmtKind::kFail:
      linef("fault_word = {};", s->code);
      line("return;");
      return;
    case StmtKind::kBarrier:
      if (is_barrier(s, kernel::BarrierScope::kCluster)) return fail("clusters have no form");
      // subgroupBarrier() orders all memory.
      if (is_barrier(s, kernel::BarrierScope::kSubgroup) && tiles_.any() && !stored_)
        return line(
            "controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, "
            "gl_SemanticsAcquireRelease);");
      if (is_barrier(s, kernel::BarrierScope::kSubgroup)) return line("subgroupBarrier();");
      // barrier() orders workgroup memory. A wider one waits for every load on its way and empties caches.
      if (stored_) line("groupMemoryBarrier();");
      line("barrier();");
      return;
    case StmtKind::kPrefetch:  // a hint
      return;
    case StmtKind::kAsyncCopy:
    case StmtKind::kAsyncCommit:
    case StmtKind::kAsyncWait:
      return fail("asynchronous copies have no form");
    case StmtKind::kTensorCopy:
      return fail("copies of tensors have no form");
    case StmtKind::kArrival:
      return fail("counts of arrivals have no form");
    case StmtKind::kTile:
      return line(expr_.tile_text(s, tiles_));
    case StmtKind::kGroupMma:
    case StmtKind::kGroupMmaCommit:
    case StmtKind::kGroupMmaWait:
      return fail("products of groups of subgroups have no form");
    case StmtKind::kGridWait:  // every dispatch waits for what it depends on
      return;
    case StmtKind::kComment:
      linef("// {}", kernel::plain_text(s->text));
      return;
  }
}

void GlslPrinter::bindings() {
  for (size_t k = 0; k < kernel_.bindings.size(); ++k) {
    const Buffer& b = kernel_.bindings[k];
    memory_.declare_binding(b.get(), name_of(b.get(), b->name), k);
  }
  memory_.declare_pool(kernel_.workgroup_bytes, tiles_.any());
}

// The tile's coordinates, the thread, the parameters.
void GlslPrinter::coordinates() {
  const bool pushed = kernel_.params.size() <= TERN_VULKAN_PUSHED_PARAMS;
  line("const uint tile_number = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;");
  line("if (tile_number >= launch.tiles) return;");
  for (size_t k = 0; k < kernel_.params.size(); ++k) {
    const Var& v = kernel_.params[k].var;
    const std::string place = fmt::format("{}[{}]", pushed ? "launch.params" : "launch_params", k);
    if (is_narrow(v)) {
      linef("const int {} = int({}.x);", name_of(v.get(), v->name), place);
    } else {
      linef("const {} {} = int64_t(packUint2x32({}));", helpers_.type("int64_t"), name_of(v.get(), v->name),
            place);
    }
  }
  if (kernel_.thread) {
    if (!is_narrow(kernel_.thread)) fail("the thread's number needs 64 bits");
    const std::string name = name_of(kernel_.thread.get(), kernel_.thread->name);
    // The numbering of threads that the kernel's subgroups are by.
    if (kernel_.subgroup) {
      linef("const int {} = int(gl_SubgroupID * {}u + gl_SubgroupInvocationID);", name, kernel_.subgroup);
    } else {
      linef("const int {} = int(gl_LocalInvocationID.x);", name);
    }
  }
  std::string rest = "tile_number";
  for (size_t k = kernel_.grid.size(); k-- > 0;) {
    const kernel::GridAxis& axis = kernel_.grid[k];
    if (!is_narrow(axis.var)) fail(fmt::format("the grid axis '{}' needs 64 bits", axis.var->name));
    const std::string name = name_of(axis.var.get(), axis.var->name);
    if (k == 0) {
      linef("const int {} = int({});", name, rest);
      continue;
    }
    const std::string extent = expr_.index(axis.extent_expr);
    linef("const int {} = int({} % uint({}));", name, rest, extent);
    linef("const uint {}_rest = {} / uint({});", name, rest, extent);
    rest = name + "_rest";
  }
}

std::string GlslPrinter::interface_text() const {
  const size_t params = kernel_.params.size();
  const bool pushed = params <= TERN_VULKAN_PUSHED_PARAMS;
  size_t binding = kernel_.bindings.size();
  std::string text = "layout(push_constant) uniform Launch {\n  uint tiles;\n  uint reserved;\n";
  if (pushed && params) text += fmt::format("  uvec2 params[{}];\n", params);
  text += "} launch;\n";
  if (!pushed)
    text += fmt::format(
        "layout(std430, set = 0, binding = {}) readonly buffer Params {{ uvec2 launch_params[]; }};\n",
        binding++);
  if (kernel::can_fail(kernel_))
    text +=
        fmt::format("layout(std430, set = 0, binding = {}) buffer Fault {{ int fault_word; }};\n", binding);
  return text;
}

// OpSDot and OpSUDot, whose first operand is the signed one, for shader compilers that do not know
// GL_EXT_integer_dot_product. The last operand: four bytes in a word.
constexpr std::string_view kDotProducts =
    "spirv_instruction(extensions = [\"SPV_KHR_integer_dot_product\"], capabilities = [6018, 6019], id = "
    "4450)\n"
    "int dot_i8i8(uint a, uint b, spirv_literal int format);\n"
    "spirv_instruction(extensions = [\"SPV_KHR_integer_dot_product\"], capabilities = [6018, 6019], id = "
    "4452)\n"
    "int dot_i8u8(uint a, uint b, spirv_literal int format);\n";

Result<GlslKernel> GlslPrinter::run() {
  kernel::visit(kernel_.body, [&](const Stmt& s) {
    kernel::visit_exprs(s, [&](const kernel::Expr& whole) {
      kernel::visit(whole, [&](const kernel::Expr& e) {
        if (e->kind == kernel::ExprKind::kLoad && e->buffer->scope == Scope::kGlobal)
          read_.insert(e->buffer.get());
      });
    });
  });
  bindings();
  coordinates();
  --depth_;
  body(kernel_.body);
  // A loop of two iterations, though no compiler knows that the field is 0, shows whether the device still
  // makes them.
  if (kernel_.checks_loops) {
    line("  int made_loops = 0;");
    line("  for (int all = 2 + int(launch.reserved); made_loops < all; ++made_loops) {}");
    linef("  if (made_loops < 2) fault_word = {};", static_cast<int>(TERN_KERNEL_LOOP_CUT));
  }
  if (problem_.empty()) problem_ = tiles_.problem();
  if (problem_.empty()) problem_ = expr_.problem();
  if (!problem_.empty())
    return tern::error("Kernel '{}' cannot be written as GLSL: {}.", kernel_.name, problem_);
  GlslKernel out;
  out.name = kernel_.name;
  out.needs = helpers_.needs();
  out.text = "#version 450\n";
  if (out.needs.int64) out.text += "#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require\n";
  out.needs.tiles = tiles_.any();
  const auto extension = [&](std::string_view name, bool used) {
    if (used) out.text += fmt::format("#extension GL_{} : require\n", name);
  };
  const bool narrow = helpers_.target().narrow;
  extension("KHR_shader_subgroup_basic", kernel_.subgroup != 0 || out.needs.shuffle);
  extension("KHR_shader_subgroup_shuffle", out.needs.shuffle);
  extension("EXT_shader_16bit_storage", narrow);
  extension("EXT_shader_8bit_storage", narrow);
  extension("EXT_shader_explicit_arithmetic_types_float16", narrow);
  extension("KHR_memory_scope_semantics", tiles_.any());
  extension("KHR_cooperative_matrix", tiles_.any());
  extension("EXT_bfloat16", tiles_.any_of(DType::kBF16));
  extension("EXT_shader_explicit_arithmetic_types_int8", tiles_.any_of(DType::kI8));
  extension("EXT_control_flow_attributes", stays_loop_);
  extension("EXT_spirv_intrinsics", out.needs.dots);
  out.text += fmt::format("// kernel {}\n", kernel_.name);
  for (const std::string& source : kernel_.source)
    out.text += fmt::format("// {}\n", kernel::plain_text(source));
  if (!kernel_.schedule.empty())
    out.text += fmt::format("// schedule: {}\n", kernel::plain_text(kernel_.schedule));
  out.text += fmt::format("layout(local_size_x = {}) in;\n", std::max(kernel_.threads, 1));
  if (out.needs.dots) out.text += kDotProducts;
  out.text += interface_text() + memory_.declarations() + helpers_.text() + memory_.functions();
  out.text += "void main() {\n" + out_ + "}\n";
  return out;
}

}  // namespace

Result<GlslKernel> render_glsl(const Kernel& kernel, const GlslTarget& target) {
  return GlslPrinter(kernel, target).run();
}

}  // namespace tern::render
