// The frame of a CUDA kernel: schemas/abi/kernel_abi.h's entry. One block computes one tile.
#include <algorithm>
#include <unordered_set>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/simplify.h"
#include "compiler/render/group_waits.h"
#include "compiler/render/kernel_printer.h"

namespace tern::render {

using kernel::Buffer;
using kernel::Stmt;
using kernel::StmtKind;

namespace {

constexpr int kRegisters = 65536;                           // of a processor
constexpr int kMostRegisters = 240, kCopierRegisters = 40;  // of a thread

class CudaKernelPrinter : public KernelPrinter {
 public:
  using KernelPrinter::KernelPrinter;

 private:
  void frame(std::string& head) override;
  void parameters();
  void coordinates();
  std::string fail_text(int64_t code) override {
    return fmt::format("{{ *fault_word = {}; return; }}", code);
  }
  std::string workgroup_text(const std::string& element, const std::string& name, const Stmt& s) override {
    if (kernel_.workgroup_bytes == 0) fail("workgroup memory has no offsets yet (assign_workgroup)");
    return fmt::format("{0}* const {1} = ({0}*)(workgroup_memory + {2});", element, name, s->code);
  }
  std::string barrier_text(const Stmt& s) override {
    if (is_barrier(s, kernel::BarrierScope::kCluster)) return "cluster_barrier();";
    if (is_barrier(s, kernel::BarrierScope::kSubgroup)) return "__syncwarp();";
    return group_registers_.empty() && kernel_.tensors.empty() ? "__syncthreads();"
                                                               : "group_visible(); __syncthreads();";
  }
  std::string group_mma_text(const Stmt& s);
  std::string arrival_text(const Stmt& s);
  std::string tensor_copy_text(const Stmt& s);
  std::string pinned(const std::vector<Buffer>& registers);
  void roles();
  // Where an operand of a product of groups begins: `chunks` of 16 bytes behind an address that its
  // neighbours have in common.
  struct GroupOperand {
    std::string address;
    int64_t chunks = 0;
  };
  GroupOperand group_operand(const kernel::Expr& load) {
    const int64_t chunk = 128 / dtype_bits(load->type.dtype);  // elements
    kernel::Expr index = load->args[0];
    GroupOperand out;
    if (index->kind == kernel::ExprKind::kOp && index->op == kernel::ScalarOp::kAdd) {
      const std::optional<int64_t> behind = kernel::int_value(index->args[1]);
      if (behind && *behind >= 0 && *behind % chunk == 0) {
        out.chunks = *behind / chunk;
        index = index->args[0];
      }
    }
    const MemoryAccess at = expr_.access(load->buffer, index, nullptr, 1);
    out.address = fmt::format("{} + {}", at.base, at.index);
    return out;
  }
  void find_groups();
  // The compiler takes what is only read for unchanging while the kernel runs, and would read it before the
  // wait: pointers are made unknown to it there.
  std::string wait_text() const {
    std::string text = "grid_wait();";
    for (const std::string& name : read_) text += fmt::format(" unknown({});", name);
    return text;
  }
  std::string async_text(const Stmt& s) override;

  std::vector<std::string> read_;        // pointers to what is only read
  std::vector<Buffer> group_registers_;  // what products of groups add to, or read
  RegistersOfWaits waited_;
  std::unordered_set<const kernel::BufferNode*> copied_;  // counters of copies, which products of groups read
  bool waits_itself_ = false;                             // the body says where it waits for the grid
  size_t group_end_ = 0;                                  // of the text, after the last product
};

void CudaKernelPrinter::find_groups() {
  visit(kernel_.body, [&](const Stmt& s) {
    waits_itself_ |= s->kind == StmtKind::kGridWait;
    if (s->arrival == kernel::ArrivalOp::kCopied) copied_.insert(s->buffer.get());
    if (s->kind != StmtKind::kGroupMma) return;
    for (const Buffer& b : {s->buffer, s->value->buffer}) {
      if (b->scope == kernel::Scope::kRegister &&
          std::find(group_registers_.begin(), group_registers_.end(), b) == group_registers_.end())
        group_registers_.push_back(b);
    }
  });
  waited_ = registers_of_waits(kernel_.body, group_registers_);
}

std::string CudaKernelPrinter::pinned(const std::vector<Buffer>& registers) {
  std::string text;
  for (const Buffer& b : registers) {
    auto it = buffers_.find(b.get());
    if (it == buffers_.end()) continue;
    if (!it->second.separate) fail("an operand of group_mma is no register");
    for (int64_t k = 0; k < b->size; ++k) text += fmt::format(" group_pin({}_{});", it->second.name, k);
  }
  return text;
}

namespace {

// "k8.f32.tf32.tf32": the depth and the types of a product of groups.
std::string group_types(const Stmt& s) {
  const DType type = s->begin->type.dtype;
  if (type == DType::kF32) return "k8.f32.tf32.tf32";
  if (type == DType::kI8) return s->value->type.dtype == DType::kU8 ? "k32.s32.u8.s8" : "k32.s32.s8.s8";
  return type == DType::kF16 ? "k16.f32.f16.f16" : "k16.f32.bf16.bf16";
}

}  // namespace

// Products in a row share one fence in front.
std::string CudaKernelPrinter::group_mma_text(const Stmt& s) {
  const int64_t columns = s->buffer->size * 8, sums = s->buffer->size * 4;
  std::string registers, constraints;
  for (int64_t k = 0; k < sums; ++k) {
    registers += fmt::format("{}%{}", k ? ", " : "", k);
    constraints +=
        fmt::format("{}\"+{}\"({}_{}[{}])", k ? ", " : "", is_float(s->buffer->type.dtype) ? "f" : "r",
                    buffers_[s->buffer.get()].name, k / 4, k % 4);
  }
  std::string text = out_.size() == group_end_ ? ""
                                               : pinned(group_registers_).substr(1) + " group_fence();\n" +
                                                     std::string(2 * static_cast<size_t>(depth_), ' ');
  const bool in_registers = s->value->buffer->scope == kernel::Scope::kRegister;
  std::string a_text = fmt::format("%{}", sums), a_operands;
  if (in_registers) {
    a_text = fmt::format("{{%{}, %{}, %{}, %{}}}", sums, sums + 1, sums + 2, sums + 3);
    const std::string name =
        fmt::format("{}_{}", buffers_[s->value->buffer.get()].name, *kernel::int_value(s->value->args[0]));
    for (int k = 0; k < 4; ++k) a_operands += fmt::format("{}\"r\"({}[{}])", k ? ", " : "", name, k);
  } else {
    const GroupOperand a = group_operand(s->value);
    a_operands = fmt::format("\"l\"(group_operand({}, {}))", a.address, a.chunks);
  }
  const int64_t b_at = sums + (in_registers ? 4 : 1);
  const GroupOperand b = group_operand(s->begin);
  const std::string b_operand =
      s->code == 0 ? fmt::format("group_operand({}, {})", b.address, b.chunks)
                   : fmt::format("group_operand_panels({}, {}, {})", b.address, 2 * s->code, b.chunks);
  // Floats have signs to choose, of 16 bits also whether rows run along k.
  std::string form;
  if (is_float(s->begin->type.dtype)) form = ", 1, 1";
  if (dtype_bits(s->begin->type.dtype) == 16)
    form += fmt::format("{}, {}", in_registers ? "" : ", 0", s->code != 0 ? 1 : 0);
  text += fmt::format(
      "asm volatile(\"{{ .reg .pred p; setp.eq.u32 p, 1, {}; wgmma.mma_async.sync.aligned.m64n{}{} "
      "{{{}}}, {}, %{}, p{}; }}\" : {} : {}, \"l\"({}));",
      s->fresh ? 0 : 1, columns, group_types(s), registers, a_text, b_at, form, constraints, a_operands,
      b_operand);
  group_end_ =
      out_.size() + text.size() + 2 * static_cast<size_t>(depth_) + 1;  // with the line's indentation and end
  return text;
}

std::string CudaKernelPrinter::arrival_text(const Stmt& s) {
  const MemoryAccess at = expr_.access(s->buffer, s->index, nullptr, 1);
  const std::string counter = fmt::format("{} + {}", at.base, at.index);
  switch (s->arrival) {
    case kernel::ArrivalOp::kStart:
      return fmt::format(
          "arrivals_start({}, {});", counter,
          s->value ? *kernel::int_value(s->value) * kernel_.subgroup : int64_t{kernel_.threads});
    case kernel::ArrivalOp::kArrive:
      return fmt::format("arrive({});", counter);
    case kernel::ArrivalOp::kCopied:
      return fmt::format("arrive_copied({});", counter);
    default:
      return fmt::format("arrivals_wait({}, (u32)({}) & 1);{}", counter, expr_.text(s->value),
                         copied_.contains(s->buffer.get()) ? " group_visible();" : "");
  }
}

// Coordinates go innermost first.
std::string CudaKernelPrinter::tensor_copy_text(const Stmt& s) {
  const MemoryAccess to = expr_.access(s->buffer, s->index, nullptr, 1);
  const MemoryAccess counter = expr_.access(s->value->buffer, s->value->args[0], nullptr, 1);
  std::string at;
  for (size_t d = s->at.size(); d-- > 0;) at += ", (i32)(" + expr_.text(s->at[d]) + ")";
  return fmt::format("tensor_copy<{}>({} + {}, {}, {} + {}{});",
                     s->tensor->box_elements() * dtype_bits(s->buffer->type.dtype) / 8, to.base, to.index,
                     name_of(s->tensor.get(), s->tensor->name), counter.base, counter.index, at);
}

std::string CudaKernelPrinter::async_text(const Stmt& s) {
  if (s->kind == StmtKind::kTensorCopy) return tensor_copy_text(s);
  if (s->kind == StmtKind::kGridWait) return wait_text();
  if (s->kind == StmtKind::kArrival) return arrival_text(s);
  if (s->kind == StmtKind::kGroupMma) return group_mma_text(s);
  if (s->kind == StmtKind::kGroupMmaCommit) return "group_commit();";
  if (s->kind == StmtKind::kGroupMmaWait) {
    const std::string after = s->value ? fmt::format("computed({}); ", expr_.text(s->value)) : "";
    return fmt::format("{}group_wait<{}>();{}", after, s->code, pinned(waited_[s.get()]));
  }
  if (s->kind == StmtKind::kAsyncCommit) return "async_commit();";
  if (s->kind == StmtKind::kAsyncWait) return fmt::format("async_wait<{}>();", s->code);
  const kernel::Expr& from = s->value;
  const int element = dtype_bits(from->type.dtype) / 8, lanes = from->type.lanes;
  MemoryAccess to = expr_.access(s->buffer, s->index, nullptr, lanes);
  MemoryAccess source =
      expr_.access(from->buffer, from->args[0], from->args.size() > 1 ? from->args[1] : nullptr, lanes);
  std::string given;
  if (!source.limit.empty()) {
    given = fmt::format(", v_max(0, v_min({}, (i32)({}))) * {}", lanes, source.limit, element);
  }
  return fmt::format("async_copy<{}>({} + {}, {} + {}{});", element * lanes, to.base, to.index, source.base,
                     source.index, given);
}

void CudaKernelPrinter::parameters() {
  bool aliased = false;
  for (const Buffer& b : kernel_.bindings) aliased |= b->may_alias;
  std::string list;
  std::vector<std::string> pointers;
  auto add = [&](const std::string& parameter) { list += (list.empty() ? "" : ", ") + parameter; };
  for (const Buffer& b : kernel_.bindings) {
    bool reads = b->access == kernel::Access::kRead;
    bool unique = !aliased || !(b->may_alias || reads);
    std::string name = name_of(b.get(), b->name), element = helpers_.named_type(storage(b->type.dtype), 1);
    buffers_[b.get()] = {name, false};
    const std::string_view restrict = unique ? "__restrict__ " : "";
    if (!reads) {
      add(fmt::format("{}* {}{}", element, restrict, name));
      continue;
    }
    const std::string given = fresh(name + "_given");
    add(fmt::format("const {}* {}{}", element, restrict, given));
    read_.push_back(name);
    pointers.push_back(fmt::format("const {}* {} = {};", element, name, given));
  }
  std::vector<std::string> values;
  for (const kernel::Param& p : kernel_.params) {
    values.push_back(fresh(name_of(p.var) + "_param"));
    add(fmt::format("i64 {}", values.back()));
  }
  for (const kernel::Tensor& t : kernel_.tensors)
    add(fmt::format("const __grid_constant__ Tensor {}", name_of(t.get(), t->name)));
  if (can_fail(kernel_)) add("i32* fault_word");
  linef("({}) {{", list);
  ++depth_;
  line("grid_start();");
  for (const kernel::Tensor& t : kernel_.tensors) linef("tensor_prefetch({});", name_of(t.get(), t->name));
  for (const std::string& pointer : pointers) line(pointer);
  if (!waits_itself_) line(wait_text());
  for (size_t k = 0; k < values.size(); ++k) {
    const kernel::Var& v = kernel_.params[k].var;
    linef("const {0} {1} = ({0}){2};", index_type(v), name_of(v), values[k]);
  }
}

// The tile's coordinates: the last axis is the fastest.
void CudaKernelPrinter::coordinates() {
  linef("const {} {} = threadIdx.x;", index_type(kernel_.thread), name_of(kernel_.thread));
  std::string rest = "blockIdx.x";
  for (size_t k = kernel_.grid.size(); k-- > 0;) {
    const kernel::GridAxis& axis = kernel_.grid[k];
    std::string_view type = index_type(axis.var);
    std::string name = name_of(axis.var);
    if (k == 0) return linef("const {0} {1} = ({0})({2});", type, name, rest);
    std::string extent = expr_.text(axis.extent_expr), above = fresh(name + "_rest");
    linef("const {0} {1} = ({0})({2} % (u32)({3}));", type, name, rest, extent);
    linef("const u32 {} = {} / (u32)({});", above, rest, extent);
    rest = above;
  }
}

void CudaKernelPrinter::frame(std::string& head) {
  find_groups();
  if (kernel_.subgroup != 0 && kernel_.subgroup != 32) fail("it relies on subgroups of another size than 32");
  const std::string cluster =
      kernel_.cluster > 1 ? fmt::format("__cluster_dims__({}, 1, 1) ", kernel_.cluster) : "";
  head = fmt::format("extern \"C\" __global__ void {}__launch_bounds__({}) ", cluster, kernel_.threads);
  parameters();
  coordinates();
  if (kernel_.copiers != 0) roles();
  --depth_;
  if (kernel_.copiers == 0) body(kernel_.body);
  line("}");
}

// The two arms of with_roles. A thread has as many registers as all threads may have to begin with; copiers
// give some of theirs to the others.
void CudaKernelPrinter::roles() {
  const int others = kernel_.threads - kernel_.copiers;
  const int each = kRegisters / kernel_.threads / 8 * 8;
  const int left = (each * kernel_.threads - kCopierRegisters * kernel_.copiers) / others / 8 * 8;
  const bool scarce = each < kMostRegisters;
  const Stmt& s = kernel_.body.front();
  linef("if ({}) {{", expr_.text(s->value));
  if (scarce) linef("  more_registers<{}>();", std::min(left, kMostRegisters));
  body(s->body);
  line("} else {");
  if (scarce) linef("  fewer_registers<{}>();", kCopierRegisters);
  body(s->else_body);
  line("}");
}

// Code for copiers and code for the others: an `if` of two arms.
kernel::Kernel with_roles(const kernel::Kernel& kernel) {
  kernel::Kernel out = kernel;
  const int others = kernel.threads - kernel.copiers;
  out.body = {kernel::if_then(
      kernel::compare(kernel::ScalarOp::kLt, kernel::var_expr(kernel.thread), kernel::int_const(others)),
      kernel::body_of_threads(kernel, 0, others), kernel::body_of_threads(kernel, others, kernel.threads))};
  return out;
}

}  // namespace

Result<RenderedKernel> render_cuda_kernel(const kernel::Kernel& kernel, const CTarget& target) {
  if (kernel.copiers == 0) return CudaKernelPrinter(kernel, target).run();
  const kernel::Kernel split = with_roles(kernel);
  return CudaKernelPrinter(split, target).run();
}

}  // namespace tern::render
