// The frame of a CUDA kernel: schemas/abi/kernel_abi.h's entry. One block computes one tile.
#include "compiler/kernel/expr_util.h"
#include "compiler/render/kernel_printer.h"

namespace tern::render {

using kernel::Buffer;
using kernel::Stmt;
using kernel::StmtKind;

namespace {

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
  std::string barrier_text() override { return "__syncthreads();"; }
  std::string async_text(const Stmt& s) override;
};

std::string CudaKernelPrinter::async_text(const Stmt& s) {
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
  auto add = [&](const std::string& parameter) { list += (list.empty() ? "" : ", ") + parameter; };
  for (const Buffer& b : kernel_.bindings) {
    bool reads = b->access == kernel::Access::kRead;
    bool unique = !aliased || !(b->may_alias || reads);
    std::string name = name_of(b.get(), b->name), element = helpers_.named_type(storage(b->type.dtype), 1);
    buffers_[b.get()] = {name, false};
    add(fmt::format("{}{}* {}{}", reads ? "const " : "", element, unique ? "__restrict__ " : "", name));
  }
  std::vector<std::string> values;
  for (const kernel::Param& p : kernel_.params) {
    values.push_back(fresh(name_of(p.var) + "_param"));
    add(fmt::format("i64 {}", values.back()));
  }
  if (can_fail(kernel_)) add("i32* fault_word");
  linef("({}) {{", list);
  ++depth_;
  line("grid_wait();");
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
  if (kernel_.subgroup != 0 && kernel_.subgroup != 32) fail("it relies on subgroups of another size than 32");
  head = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) ", kernel_.threads);
  parameters();
  coordinates();
  --depth_;
  body(kernel_.body);
  line("}");
}

}  // namespace

Result<RenderedKernel> render_cuda_kernel(const kernel::Kernel& kernel, const CTarget& target) {
  return CudaKernelPrinter(kernel, target).run();
}

}  // namespace tern::render
