#include "compiler/lower/context.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/suggest_sizes.h"
#include "compiler/kernel/expr_util.h"
#include "compiler/lower/arithmetic_cost.h"
#include "compiler/lower/cost_model.h"
#include "compiler/lower/finish_kernel.h"
#include "compiler/lower/fitting_variants.h"
#include "compiler/lower/regions.h"
#include "compiler/support/dim_overflow.h"
#include "compiler/support/dim_sum.h"

namespace tern::lower {
namespace {

using graph::OpKind;
using kernel::Access;

// Limits of what sizes and positions can be. No limit is known where a symbol has none, or where the limit
// itself leaves 64 bits.
class Bounder {
 public:
  explicit Bounder(graph::Graph& graph) : graph_(graph) {}

  std::optional<Dim> bound(const Dim& d, bool upper) {
    switch (d.op()) {
      case Dim::Op::kConst:
        return d;
      case Dim::Op::kSymbol:
        return symbol(d, upper);
      case Dim::Op::kAdd:
        return terms(d, upper);
      case Dim::Op::kMin:
        return fold(d, upper, upper, [](Dim a, Dim b) { return min(a, b); });
      case Dim::Op::kMax:
        return fold(d, upper, !upper, [](Dim a, Dim b) { return max(a, b); });
      case Dim::Op::kMul: {  // a constant factor comes last; the others are sizes
        const bool negative = d.args().back().is_const() && d.args().back().value() < 0;
        return fold(d, upper != negative, false, [](Dim a, Dim b) { return a * b; });
      }
      case Dim::Op::kFloorDiv:
      case Dim::Op::kCeilDiv: {
        const auto a = bound(d.args()[0], upper);
        auto b = bound(d.args()[1], !upper);
        if (!a || !b) return std::nullopt;
        b = max(*b, Dim(1));  // what divides is no less where the sizes are those of a run
        return within([&] { return d.op() == Dim::Op::kFloorDiv ? floordiv(*a, *b) : ceildiv(*a, *b); });
      }
      case Dim::Op::kMod: {
        if (!upper) return Dim(0);
        const auto b = bound(d.args()[1], true);
        return b ? within([&] { return *b - 1; }) : std::nullopt;
      }
    }
    return std::nullopt;
  }

 private:
  template <typename F>
  static std::optional<Dim> within(F f) {
    try {
      return f();
    } catch (const DimOverflow&) {
      return std::nullopt;
    }
  }

  std::optional<Dim> symbol(const Dim& d, bool upper) {
    const graph::SymbolInfo* info = graph_.find_symbol(d.symbol_name());
    if (!info || info->origin == graph::SymbolInfo::Origin::kInput) return d;
    if (!upper) return info->min != INT64_MIN ? std::optional<Dim>(info->min) : std::nullopt;
    if (!info->upper || ++depth_ > 100) {
      if (info->max != INT64_MAX) return Dim(info->max);
      return std::nullopt;
    }
    return bound(*info->upper, true);
  }

  // What importers hold data to so that sums of it stay within 64 bits says nothing about memory.
  static bool is_far(const Dim& d) {
    return d.is_const() && (d.value() >= int64_t{1} << 40 || d.value() <= -(int64_t{1} << 40));
  }

  std::optional<Dim> terms(const Dim& d, bool upper) {
    std::vector<Dim> limits;
    for (const Dim& a : d.args()) {
      const auto b = bound(a, upper);
      if (!b) return std::nullopt;
      limits.push_back(*b);
    }
    return within([&] { return sum(limits); });
  }

  // `any`: one operand's limit is one of the whole, as an upper one of a minimum.
  template <typename F>
  std::optional<Dim> fold(const Dim& d, bool upper, bool any, F f) {
    std::optional<Dim> out;
    for (const Dim& a : d.args()) {
      const auto b = a.is_const() ? std::optional<Dim>(a) : bound(a, upper);
      if (any && (!b || is_far(*b))) continue;
      if (!b) return std::nullopt;
      out = out ? within([&] { return f(*out, *b); }) : b;
      if (!out) return std::nullopt;
    }
    return out;
  }

  graph::Graph& graph_;
  int depth_ = 0;
};

std::string identifier(const std::string& label) {
  std::string out;
  for (const char c : label) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    out += word ? c : '_';
  }
  return out;
}

}  // namespace

LoweringContext::LoweringContext(graph::Graph& graph, const Target& target, const LowerOptions& options,
                                 LoweredProgram& program, Diagnostics& diagnostics)
    : graph_(graph),
      target_(target),
      options_(options),
      program_(program),
      diagnostics_(diagnostics),
      steps_(&program.steps) {
  program_.precision.storage = options.precision;
  program_.precision.tf32 = options.tf32;
}

void LoweringContext::plan_precision() {
  precision_ = PrecisionPlan(graph_, options_.precision, options_.keep_f32);
}

bool LoweringContext::enabled(std::string_view step) const {
  return std::find(options_.disabled.begin(), options_.disabled.end(), step) == options_.disabled.end();
}

int64_t LoweringContext::hint(const Dim& dim) const {
  const auto value = dim.evaluate([&](const std::string& name) -> std::optional<int64_t> {
    const graph::SymbolInfo* info = graph_.find_symbol(name);
    if (!info) return graph::kLikelySize;
    if (info->hint > 0) return info->hint;
    return graph::likely_size(graph_, *info);
  });
  return std::max<int64_t>(value.value_or(graph::kLikelySize), 1);
}

std::optional<Dim> LoweringContext::upper_bound(const Dim& dim) const {
  return Bounder(graph_).bound(dim, true);
}

int LoweringContext::add_buffer(BufferDef def) {
  program_.buffers.push_back(std::move(def));
  return static_cast<int>(program_.buffers.size()) - 1;
}

int LoweringContext::add_temporary(const std::string& name, DType dtype, const Dim& elements) {
  BufferDef def;
  def.name = name;
  def.dtype = dtype;
  const Dim bytes = ceildiv(elements * Dim(dtype_bits(dtype)), 8);
  const auto bound = upper_bound(bytes);
  def.kind = bound ? BufferKind::kTemporary : BufferKind::kDynamic;
  def.bytes = bound ? *bound : bytes;
  const int id = add_buffer(std::move(def));
  if (!bound) {
    Step step;
    step.kind = Step::Kind::kAllocate;
    step.allocate = std::make_shared<AllocateStep>(AllocateStep{id, bytes});
    push(std::move(step));
  }
  return id;
}

// Elements of a constant that are compared: a number a row of what a normalisation divides by, for instance.
constexpr int64_t kMostSplat = 1 << 16;

std::optional<scalar::ScalarValue> LoweringContext::splat(const graph::Value* value) {
  const auto is_view = [](OpKind k) {
    return k == OpKind::kTranspose || k == OpKind::kSlice || k == OpKind::kBroadcast || k == OpKind::kReshape;
  };
  while (value->def && is_view(value->def->kind)) value = value->def->operand();
  const TensorDataPtr data = constant_data(value);
  if (!data || data->count() == 0 || data->dtype() == DType::kString || is_complex(data->dtype())) return {};
  const int bits = dtype_bits(data->dtype());
  if (data->count() > 1) {
    if (bits < 8 || data->count() > kMostSplat) return {};
    const auto size = static_cast<size_t>(bits / 8);
    const auto bytes = data->bytes();
    if (std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) != 0) return {};
  }
  if (is_float(data->dtype())) return scalar::scalar_from_double(data->dtype(), data->float_at(0));
  return scalar::scalar_from_int(data->dtype(), data->int_at(0));
}

TensorDataPtr LoweringContext::permuted(const TensorDataPtr& data, const std::vector<int>& order) {
  std::vector<int64_t> shape;
  for (const int d : order) shape.push_back(data->shape()[static_cast<size_t>(d)]);
  auto out = TensorData::make(data->dtype(), shape);
  const size_t rank = order.size();
  std::vector<int64_t> source_strides(rank), strides(rank), at(rank, 0);
  int64_t stride = 1;
  for (size_t d = rank; d-- > 0;) {
    source_strides[d] = stride;
    stride *= data->shape()[d];
  }
  for (size_t p = 0; p < rank; ++p) strides[p] = source_strides[static_cast<size_t>(order[p])];
  const auto size = static_cast<size_t>(dtype_bits(data->dtype()) / 8);
  TERN_CHECK(size > 0, "a constant of {} is reordered", dtype_name(data->dtype()));
  const uint8_t* from = data->bytes().data();
  uint8_t* to = out->mutable_bytes().data();
  int64_t source = 0;
  for (int64_t i = 0; i < out->count(); ++i) {
    std::memcpy(to + static_cast<size_t>(i) * size, from + static_cast<size_t>(source) * size, size);
    for (size_t p = rank; p-- > 0;) {
      source += strides[p];
      if (++at[p] < shape[p]) break;
      source -= strides[p] * shape[p];
      at[p] = 0;
    }
  }
  return out;
}

int LoweringContext::add_constant(const std::string& name, TensorDataPtr data,
                                  std::shared_ptr<const WeightEncoding> encoding) {
  if (auto it = constants_.find(data.get()); it != constants_.end()) return it->second;
  BufferDef def;
  def.kind = BufferKind::kConstant;
  def.name = name;
  def.dtype = data->dtype();
  def.bytes = dtype_storage_bytes(data->dtype(), data->count());
  def.data = data;
  def.encoding = std::move(encoding);
  const int id = add_buffer(std::move(def));
  constants_[data.get()] = id;
  return id;
}

TensorDataPtr LoweringContext::constant_data(const graph::Value* value) {
  return graph::constant_data(value);
}

bool LoweringContext::has_place(const graph::Value* value) {
  if (places_.contains(value)) return true;
  if (constant_data(value)) return true;
  if (!value->def || !graph::info(value->def->kind).view || value->def->operands.empty()) return false;
  switch (value->def->kind) {
    case OpKind::kTranspose:
    case OpKind::kSlice:
    case OpKind::kBroadcast:
    case OpKind::kReshape:
      break;
    default:
      return false;
  }
  if (!has_place(value->def->operand())) return false;
  auto view = view_place(*value->def, place(value->def->operand()));
  if (!view) return false;
  places_[value] = std::move(*view);
  return true;
}

const Place& LoweringContext::place(const graph::Value* value) {
  if (auto it = places_.find(value); it != places_.end()) return it->second;
  if (auto it = shared_tables_.find(value); it != shared_tables_.end())
    return places_[value] = shared_table_place(value, it->second, *this);
  if (TensorDataPtr data = constant_data(value)) {
    const DType stored = precision_.storage(value);
    note_stored(value, stored);
    if (stored != data->dtype()) {
      TensorDataPtr& narrow = narrow_data_[data.get()];
      if (!narrow) narrow = converted(data, stored);
      data = narrow;
    }
    const int buffer = add_constant(value->name, data);
    return places_[value] = dense_place(buffer, Layout::dense(value->type.rank()), value->type.shape);
  }
  TERN_CHECK(has_place(value), "value {} ('{}') of op {} has no place", value->id, value->name,
             value->def ? graph::info(value->def->kind).name : "argument");
  return places_[value];
}

DType LoweringContext::stored_type(const graph::Value* value) const {
  for (const graph::Value* v = value;; v = v->def->operand()) {
    if (auto it = places_.find(v); it != places_.end())
      return program_.buffers[static_cast<size_t>(it->second.buffer)].dtype;
    if (!v->def || !is_view(*v->def)) return precision_.storage(v);
  }
}

void LoweringContext::note_stored(const graph::Value* value, DType stored) {
  if (!precision_.narrows() || !noted_.insert(value).second) return;
  PrecisionReport& report = program_.precision;
  if (stored != value->type.dtype) {
    ++(constant_data(value) ? report.narrow_constants : report.narrow_values);
  } else if (const Keep* keep = precision_.kept(value)) {
    const bool known = value->def && value->def->source;
    report.kept.push_back({value->name, known ? value->def->source->node : "", keep_reason(*keep)});
  }
}

void LoweringContext::note_product(const graph::Node& contraction, bool tf32) {
  PrecisionReport& report = program_.precision;
  ++(tf32 ? report.tf32_products : report.f32_products);
  if (tf32 || !options_.tf32 || !precision_.requested(contraction)) return;
  report.kept.push_back({contraction.result()->name, contraction.source ? contraction.source->node : "",
                         keep_reason(Keep::kRequested)});
}

void LoweringContext::fail(const graph::Node& node, Error error) {
  const std::string op(graph::info(node.kind).name);
  if (node.source) {
    diagnostics_.add(std::move(error).note(
        fmt::format("While lowering node '{}' ({}), core op {}", node.source->node, node.source->op, op)));
  } else {
    diagnostics_.add(std::move(error).note(fmt::format("While lowering core op {}", op)));
  }
}

// ---- DispatchBuilder

DispatchBuilder::DispatchBuilder(LoweringContext& context, const Region& region)
    : context_(context), region_(region), label_(region.label()) {
  for (const graph::Value* v : region.inputs) {
    // Constants get a buffer only when they are bound: packed weights replace theirs.
    if (!LoweringContext::constant_data(v) && !LoweringContext::splat(v))
      declared_[context.place(v).buffer] = Access::kRead;
  }
  for (const graph::Value* v : region.outputs) {
    const int buffer = context.place(v).buffer;
    const auto [it, fresh] = declared_.emplace(buffer, Access::kWrite);
    if (!fresh && it->second == Access::kRead) it->second = Access::kReadWrite;
  }
}

namespace {

constexpr size_t kMaxLiterals = 16;

// Numbers that belong to an operation rather than to a layer: neutral elements, the bounds of bytes.
bool is_structural(const scalar::ScalarValue& v) {
  const double number = is_float(v.dtype) ? v.f : static_cast<double>(v.i);
  constexpr double kNumbers[] = {0, 1, -1, 0.5, 2, 255, -128};
  return std::find(std::begin(kNumbers), std::end(kNumbers), number) != std::end(kNumbers);
}

}  // namespace

bool DispatchBuilder::shares_literals() const {
  if (is_gpu(context_.target().arch)) return false;  // bindings are few there
  const auto is_byte = [](const graph::Value* v) {
    return v->type.dtype == DType::kU8 || v->type.dtype == DType::kI8;
  };
  return std::any_of(region_.inputs.begin(), region_.inputs.end(), is_byte) ||
         std::any_of(region_.outputs.begin(), region_.outputs.end(), is_byte);
}

kernel::Expr DispatchBuilder::literal(const scalar::ScalarValue& value) {
  const bool movable = (value.dtype == DType::kF32 && std::isfinite(value.f)) || value.dtype == DType::kI32;
  if (!movable || is_structural(value) || !shares_literals()) return kernel::scalar_const(value);
  const auto same = [&](const scalar::ScalarValue& v) {
    return v.dtype == value.dtype && v.i == value.i && v.f == value.f;
  };
  auto at = std::find_if(literals_.known.begin(), literals_.known.end(), same);
  const auto index = at - literals_.known.begin();
  // Zero points are known to be whole and small by the type that they come through, a byte mostly.
  const double number = is_float(value.dtype) ? value.f : static_cast<double>(value.i);
  const bool byte = number == std::nearbyint(number) && number >= 0 && number < 256;
  const bool whole =
      byte || (is_float(value.dtype) && number == std::nearbyint(number) && std::fabs(number) < 32768);
  if (at == literals_.known.end()) {
    if (literals_.known.size() == kMaxLiterals) return kernel::scalar_const(value);
    if (!literals_.data) {
      literals_.data = TensorData::make(DType::kI32, {static_cast<int64_t>(kMaxLiterals)});
      literals_.buffer = context_.add_constant("literals", literals_.data);
    }
    literals_.known.push_back(value);
    const bool integer = whole || !is_float(value.dtype);
    literals_.data->mutable_as<int32_t>()[index] =
        integer ? static_cast<int32_t>(number) : std::bit_cast<int32_t>(static_cast<float>(number));
    const kernel::Expr word = kernel::load(bind(literals_.buffer), kernel::int_const(index));
    const kernel::Expr held = whole     ? kernel::cast(word, byte ? DType::kU8 : DType::kI16)
                              : integer ? word
                                        : kernel::bitcast(word, {DType::kF32, 1});
    literals_.lets.push_back(
        kernel::let(kernel::make_var(fmt::format("literal{}", index), held->type), held));
  }
  const kernel::Expr held = kernel::var_expr(literals_.lets[static_cast<size_t>(index)]->var);
  return kernel::cast(held, value.dtype);
}

kernel::Buffer DispatchBuilder::bind(int buffer, Access access) {
  for (const Bound& b : bound_) {
    if (b.buffer == buffer) return b.handle;
  }
  if (auto it = declared_.find(buffer); it != declared_.end()) access = it->second;
  const BufferDef& def = context_.program().buffers[static_cast<size_t>(buffer)];
  // A table's length is part of its kernel: lookups read it whole.
  const int64_t known = def.data && def.dtype == DType::kU8 && def.data->count() == 256 ? 256 : 0;
  kernel::BufferNode node{
      fmt::format("b{}", bound_.size()),    {def.dtype, 1}, kernel::Scope::kGlobal, access, known,
      in_place_ && access == Access::kWrite};
  bound_.push_back({buffer, access, std::make_shared<const kernel::BufferNode>(std::move(node))});
  return bound_.back().handle;
}

bool DispatchBuilder::is_constant(const Bound& bound) const {
  return context_.program().buffers[static_cast<size_t>(bound.buffer)].kind == BufferKind::kConstant;
}

bool DispatchBuilder::is_constant(const kernel::Buffer& handle) const {
  return std::any_of(bound_.begin(), bound_.end(),
                     [&](const Bound& b) { return b.handle == handle && is_constant(b); });
}

// The buffers that are only read, and how many elements they have as far as that is known.
std::unordered_map<const kernel::BufferNode*, int64_t> DispatchBuilder::elements_read() const {
  std::unordered_map<const kernel::BufferNode*, int64_t> out;
  for (const Bound& b : bound_) {
    if (b.access != Access::kRead) continue;
    const Dim bytes = bound_bytes(b.buffer);
    out[b.handle.get()] = bytes.is_const() ? bytes.value() * 8 / dtype_bits(b.handle->type.dtype) : 0;
  }
  return out;
}

// A dynamic buffer is as long as what lies in it now, which its definition need not say (loop-carried
// growth); others are as long as they are.
Dim DispatchBuilder::bound_bytes(int buffer) const {
  const BufferDef& def = context_.program().buffers[static_cast<size_t>(buffer)];
  if (def.kind != BufferKind::kDynamic) return def.bytes;
  std::optional<Dim> elements;
  const auto see = [&](const graph::Value* v) {
    if (LoweringContext::constant_data(v) || LoweringContext::splat(v)) return;
    if (context_.place(v).buffer != buffer) return;
    const Place& place = context_.place(v);
    Dim last = place.offset + 1;
    for (size_t d = 0; d < place.strides.size(); ++d) {
      const Dim& stride = place.strides[d];
      if (stride.is_const() && stride.value() <= 0) continue;
      last = last + (v->type.shape[d] - 1) * stride;
    }
    elements = elements ? max(*elements, last) : max(last, 0);
  };
  for (const graph::Value* v : region_.inputs) see(v);
  for (const graph::Value* v : region_.outputs) see(v);
  if (!elements) return def.bytes;
  return ceildiv(*elements * Dim(dtype_bits(def.dtype)), 8);
}

void DispatchBuilder::add_variant(Level level, std::vector<kernel::GridAxis> grid,
                                  std::vector<kernel::Stmt> body, std::string schedule,
                                  const Workgroup& workgroup, const ScheduleCost& cost) {
  TERN_CHECK(!is_gpu(level_arch(level)) || workgroup.threads <= gpu_model(level).max_threads,
             "{} threads of a workgroup, {} has {}", workgroup.threads, level_name(level),
             gpu_model(level).max_threads);
  auto k = std::make_shared<kernel::Kernel>();
  k->grid = std::move(grid);
  k->body = std::move(body);
  k->schedule = std::move(schedule);
  k->threads = workgroup.threads;
  k->thread = workgroup.thread;
  k->subgroup = workgroup.subgroup;
  if (cost.matrix_units && level_arch(level) == Arch::kVulkan) k->tiles = gpu_model(level).tile;
  if (!is_gpu(level_arch(level))) k->tiles = cost.tiles;
  k->cluster = workgroup.cluster;
  k->tensors = workgroup.tensors;
  k->copiers = workgroup.copiers;
  k->checks_loops = level_arch(level) == Arch::kVulkan &&
                    (checks_loops_ || kernel::constant_iterations(k->body) > kSafeIterations);
  work_.on_matrix_units |= cost.matrix_units;
  variants_.push_back({level, std::move(k), cost});
}

// Elements of a value that a region reads: of a table that it only gathers from, no more than it takes out.
Dim DispatchBuilder::gathered(const graph::Value* value, const Dim& elements) const {
  Dim taken = 0;
  for (const graph::Node* n : region_.nodes) {
    const bool gather =
        n->kind == OpKind::kGather || n->kind == OpKind::kGatherElements || n->kind == OpKind::kGatherNd;
    for (size_t i = 0; i < n->operands.size(); ++i) {
      if (n->operands[i] != value) continue;
      if (!gather || i != 0) return elements;
      taken = taken + product(n->result()->type.shape);
    }
  }
  return taken.is_const(0) ? elements : min(elements, taken);
}

// The bytes of a buffer that these values are; nullopt when none of them lies there.
std::optional<Dim> DispatchBuilder::touched_bytes(int buffer,
                                                  const std::vector<graph::Value*>& values) const {
  const BufferDef& def = context_.program().buffers[static_cast<size_t>(buffer)];
  std::optional<Dim> elements;
  for (const graph::Value* v : values) {
    auto at = context_.places_.find(v);
    if (at == context_.places_.end() || at->second.buffer != buffer) continue;
    Dim count = 1;
    for (size_t d = 0; d < at->second.strides.size(); ++d) {
      if (!at->second.strides[d].is_const(0)) count = count * v->type.shape[d];
    }
    elements = elements.value_or(0) + gathered(v, count);
  }
  if (!elements) return std::nullopt;
  return min(ceildiv(*elements * Dim(dtype_bits(def.dtype)), 8), bound_bytes(buffer));
}

// What is written and outgrows the caches. Where the result may take the memory of a temporary that is read,
// its lines are in the caches anyway.
std::unordered_set<const kernel::BufferNode*> DispatchBuilder::outgrowing(Level level) const {
  const auto kind = [&](const Bound& b) {
    return context_.program().buffers[static_cast<size_t>(b.buffer)].kind;
  };
  const bool in_place = in_place_ && std::any_of(bound_.begin(), bound_.end(), [&](const Bound& b) {
                          return b.access == Access::kRead && kind(b) == BufferKind::kTemporary;
                        });
  std::unordered_set<const kernel::BufferNode*> out;
  for (const Bound& b : bound_) {
    if (b.access != Access::kWrite || (in_place && kind(b) == BufferKind::kTemporary)) continue;
    const Dim written = touched_bytes(b.buffer, region_.outputs).value_or(bound_bytes(b.buffer));
    if (!written.is_const(0) && outgrows_caches(level, context_.hint(written))) out.insert(b.handle.get());
  }
  return out;
}

void DispatchBuilder::measure_work() {
  for (const Bound& b : bound_) {
    if (b.access != Access::kWrite) {
      const Dim read = touched_bytes(b.buffer, region_.inputs)
                           .value_or(b.access == Access::kRead ? bound_bytes(b.buffer) : Dim(0));
      work_.read = work_.read + read;
      if (is_constant(b)) usual_constants_ += context_.hint(read);
    }
    if (b.access != Access::kRead)
      work_.written =
          work_.written + touched_bytes(b.buffer, region_.outputs).value_or(bound_bytes(b.buffer));
  }
  if (region_.copy_for) work_.flops = 0;
  // hint() gives at least 1.
  work_.usual_flops = work_.flops.is_const(0) ? 0 : context_.hint(work_.flops);
  work_.usual_read = work_.read.is_const(0) ? 0 : context_.hint(work_.read);
  work_.usual_written = work_.written.is_const(0) ? 0 : context_.hint(work_.written);
}

void DispatchBuilder::finish() {
  auto dispatch = std::make_shared<DispatchStep>();
  dispatch->label = label_;
  dispatch->sources = region_.sources();
  for (const Bound& b : bound_) dispatch->bindings.push_back({b.buffer, 0, bound_bytes(b.buffer), b.access});
  measure_work();
  dispatch->kind = kind_name(region_.kind);
  dispatch->work = work_;
  dispatch->neighbours = region_.neighbours;
  for (Neighbour& n : dispatch->neighbours) n.node = nullptr;  // lowering takes the graph apart
  dispatch->copy_for = region_.copy_for;
  dispatch->each_run = each_run_;
  for (const kernel::Param& p : params_.params()) dispatch->params.push_back(p.value);
  const std::string name = fmt::format("{}_{}", identifier(label_), context_.dispatches_++);
  KernelFacts facts;
  facts.root = region_.kind;
  facts.label = label_;
  facts.elements = elements_read();
  facts.streams_halves = streams_halves_;
  for (const Bound& b : bound_) {
    if (is_constant(b)) facts.constants.insert(b.handle.get());
  }
  for (Variant& v : variants_) {
    kernel::Kernel& k = *v.kernel;
    k.name = name;
    k.body.insert(k.body.begin(), literals_.lets.begin(), literals_.lets.end());
    for (const Bound& b : bound_) k.bindings.push_back(b.handle);
    k.params = params_.params();
    for (const auto& s : dispatch->sources) k.source.push_back(fmt::format("{} ({})", s->node, s->op));
    k.flops = work_.flops;
    k.bytes_read = work_.read;
    k.bytes_written = work_.written;
    Dim tiles = 1;
    for (const kernel::GridAxis& axis : k.grid) tiles = tiles * axis.extent;
    ScheduleCost schedule = v.cost;
    if (schedule.cycles == 0 && region_.kind == RootKind::kNone && k.threads == 0)
      schedule.cycles = elementwise_cycles(region_, context_, machine(v.level));
    const DispatchCost cost{work_, usual_constants_, context_.hint(tiles),
                            region_.kind == RootKind::kContraction, schedule};
    dispatch->variants.push_back({v.level, v.kernel, tiles, predict_seconds(v.level, cost)});
    facts.level = v.level;
    if (k.threads == 0) facts.outgrows_caches = outgrowing(v.level);
    // Which of Vulkan's variants stay depends on what the passes find: those are finished here.
    if (level_arch(v.level) == Arch::kVulkan)
      finish_kernel(k, facts);
    else
      finish_later(v.kernel, facts);
  }
  keep_fitting(dispatch->variants);
  Step step;
  step.kind = Step::Kind::kDispatch;
  step.dispatch = std::move(dispatch);
  context_.push(std::move(step));
}

}  // namespace tern::lower
