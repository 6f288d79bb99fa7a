#include "compiler/lower/special_dispatch.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/lower/nest_axes.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::Value;

// What a kernel of a level may use.
SpecialMachine special_machine(Level level) {
  constexpr int kMostThreads = 512;
  if (!is_gpu(level_arch(level))) return {machine(level).vector_bits / 32, true};
  const GpuModel& model = gpu_model(level);
  return {1, false, std::min(model.max_threads, kMostThreads), model.subgroup};
}

}  // namespace

void SpecialDispatch::bind(int buffer, kernel::Access access, const Dim& offset_bytes) {
  const BufferDef& def = block_.context().program().buffers[static_cast<size_t>(buffer)];
  bindings_.push_back({buffer, offset_bytes, def.bytes - offset_bytes, access});
}

void SpecialDispatch::bind_input(Value* value) {
  const Value* dense = block_.ensure_dense(value);
  const Place& place = block_.context().place(dense);
  bind(place.buffer, kernel::Access::kRead, place.offset * Dim(dtype_bits(value->type.dtype) / 8));
}

void SpecialDispatch::bind_output(const Value* value, kernel::Access access) {
  const Place& place = block_.context().place(value);
  bind(place.buffer, access, place.offset * Dim(dtype_bits(value->type.dtype) / 8));
}

void SpecialDispatch::finish(const std::string& label,
                             const std::function<SpecialKernel(const SpecialMachine&)>& make, bool folds) {
  auto dispatch = std::make_shared<DispatchStep>();
  dispatch->label = label;
  dispatch->kind = kind_name(RootKind::kSpecial);
  if (node_.source) dispatch->sources.push_back(node_.source);
  dispatch->bindings = std::move(bindings_);
  bindings_.clear();
  std::map<std::tuple<int, int, int>, std::pair<std::shared_ptr<kernel::Kernel>, Dim>> made;
  for (const Level level : variant_levels(block_.context().target(), folds ? Covers::kFolds : Covers::kAll)) {
    const SpecialMachine m = special_machine(level);
    auto& [k, tiles] = made[{m.lanes, m.threads, m.subgroup}];
    if (!k) std::tie(k, tiles) = kernel_of(label, make(m), *dispatch);
    dispatch->variants.push_back({level, k, tiles});
  }
  for (auto& [how, kernel_and_tiles] : made) kernel_and_tiles.first->params = params_.params();
  measure_work(*dispatch);
  for (const kernel::Param& p : params_.params()) dispatch->params.push_back(p.value);
  Step step;
  step.kind = Step::Kind::kDispatch;
  step.dispatch = std::move(dispatch);
  block_.context().push(std::move(step));
}

std::pair<std::shared_ptr<kernel::Kernel>, Dim> SpecialDispatch::kernel_of(const std::string& label,
                                                                           SpecialKernel special,
                                                                           DispatchStep& dispatch) {
  auto k = std::make_shared<kernel::Kernel>(finish_special(label, std::move(special), params_));
  // What the kernel does with its bindings, the kernel knows best.
  for (size_t i = 0; i < k->bindings.size(); ++i) dispatch.bindings[i].access = k->bindings[i]->access;
  for (const auto& s : dispatch.sources) k->source.push_back(fmt::format("{} ({})", s->node, s->op));
  if (is_gpu(block_.context().target().arch) && k->threads == 0) {  // a tile is one thread's
    k->threads = 1;
    k->thread = kernel::make_var("t");
  }
  // How often they go round, the data says.
  k->checks_loops = block_.context().target().arch == Arch::kVulkan;
  kernel::assign_workgroup(*k);
  const std::string problems = kernel::verify(*k);
  TERN_CHECK(problems.empty(), "the kernel of {} does not verify:\n{}", label, problems);
  Dim tiles = 1;
  for (const kernel::GridAxis& axis : k->grid) tiles = tiles * axis.extent;
  return {k, tiles};
}

// Bytes only: how many operations a sort or a search takes, the data says.
void SpecialDispatch::measure_work(DispatchStep& dispatch) {
  Work& work = dispatch.work;
  for (const Binding& b : dispatch.bindings) {
    if (b.access != kernel::Access::kWrite) work.read = work.read + b.length;
    if (b.access != kernel::Access::kRead) work.written = work.written + b.length;
  }
  work.usual_read = block_.context().hint(work.read);
  work.usual_written = block_.context().hint(work.written);
}

// Results of special ops are dense.
void place_dense(BlockLowering& block, const Value* v) {
  LoweringContext& context = block.context();
  if (context.has_place(v)) return;
  block.layouts()[v] = Layout::dense(v->type.rank());
  context.set_place(v, block.allocate(v));
}

int nms_thresholds(const Node& node, BlockLowering& block) {
  const auto count = static_cast<int>(node.operands.size()) - 3;
  const int thresholds = block.context().add_temporary("nms thresholds", DType::kF32, count);
  for (int i = 0; i < count; ++i) {
    Place place = dense_place(thresholds, Layout::dense(0), {});
    place.offset = i;
    block.copy_to(node.operand(3 + i), place, FusionReason::kCopyTarget);
  }
  return thresholds;
}

Dim range_product(const Shape& shape, size_t begin, size_t end) {
  Dim out = 1;
  for (size_t d = begin; d < end; ++d) out = out * shape[d];
  return out;
}

// Binds now the symbols that result `r` gives: later results' sizes depend on them.
void read_count(Node& node, int r, BlockLowering& block) {
  for (const graph::SymbolInfo& s : block.context().graph().symbols) {
    if (s.origin != graph::SymbolInfo::Origin::kElement || s.value != node.result(r)) continue;
    const Place& place = block.context().place(node.result(r));
    Step step;
    step.kind = Step::Kind::kRead;
    step.read = std::make_shared<ReadStep>(
        ReadStep{s.name, place.buffer, place.offset * 8 + Dim(s.element) * 8, DType::kI64, s.min, s.max});
    block.context().push(std::move(step));
  }
}

// A temporary of `elements` in which a kernel leaves a result whose size only it finds out.
Place bounded_place(BlockLowering& block, const Value* v, const Dim& elements) {
  const int buffer = block.context().add_temporary(v->name, v->type.dtype, elements);
  return dense_place(buffer, Layout::dense(v->type.rank()), v->type.shape);
}

}  // namespace tern::lower
