#include <algorithm>
#include <unordered_set>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/ir.h"
#include "compiler/kernel/text.h"
#include "compiler/kernel/tile_parts.h"

namespace tern::kernel {

namespace {

bool valid_lanes(int lanes) {
  return lanes >= 1 && lanes <= 256 && (lanes & (lanes - 1)) == 0;
}

bool is_identifier(const std::string& name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  for (char c : name) {
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!word) return false;
  }
  return true;
}

class Verifier {
 public:
  explicit Verifier(const Kernel& kernel) : kernel_(kernel), tile_parts_(kernel) {}
  std::string run();

 private:
  template <typename... Args>
  void problem(fmt::format_string<Args...> format, Args&&... args) {
    if (problems_.size() < 4000) problems_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
  }
  void define(const Var& var, bool is_mutable) {
    if (var == nullptr) return problem("A definition has no variable.");
    if (!is_identifier(var->name)) problem("The variable name '{}' is no identifier.", var->name);
    if (!valid_lanes(var->type.lanes)) problem("Variable '{}' has {} lanes.", var->name, var->type.lanes);
    if (!ever_.insert(var.get()).second) problem("Variable '{}' is defined twice.", var->name);
    vars_.insert(var.get());
    if (is_mutable) mutable_.insert(var.get());
  }
  bool gpu() const { return kernel_.threads != 0; }
  bool is_number(const Expr& e, const Dim& number) const;
  void expr(const Expr& e);
  void intrinsic(const Expr& e);
  void collective_in_select(const Expr& e);
  void async_copy(const Stmt& s);
  void group_mma(const Stmt& s);
  void arrival(const Stmt& s);
  void tensor(const Tensor& t);
  void tensor_copy(const Stmt& s);
  void tile(const Stmt& s);
  void gpu_only(const char* what) {
    if (!gpu()) problem("A CPU kernel has {}.", what);
  }
  void machine();
  void access(const Buffer& buffer, const Expr& index, const Expr& count, int lanes, bool writes);
  void stmt(const Stmt& s);
  void body(const std::vector<Stmt>& statements);

  const Kernel& kernel_;
  const TileParts tile_parts_;
  std::unordered_set<const VarNode*> vars_, mutable_, ever_;
  std::unordered_set<const BufferNode*> buffers_;
  std::unordered_set<const ExprNode*> checked_;
  std::string problems_;
  bool unrolled_context_ = false;
};

void Verifier::access(const Buffer& buffer, const Expr& index, const Expr& count, int lanes, bool writes) {
  if (buffer == nullptr) return problem("An access names no buffer.");
  if (!buffers_.contains(buffer.get())) problem("Buffer '{}' is used outside its scope.", buffer->name);
  if (buffer->scope == Scope::kGlobal) {
    if (writes && buffer->access == Access::kRead) problem("Buffer '{}' is read-only.", buffer->name);
    if (!writes && buffer->access == Access::kWrite) problem("Buffer '{}' is write-only.", buffer->name);
  }
  if (buffer->scope == Scope::kRegister && !unrolled_context_ && !int_value(index)) {
    problem("The index of register buffer '{}' is not constant.", buffer->name);
  }
  if (auto i = int_value(index); i && buffer->scope != Scope::kGlobal) {
    int width = buffer->type.lanes > 1 ? 1 : lanes;
    bool limited = count != nullptr;
    if (*i < 0 || (*i >= buffer->size) || (!limited && *i + width > buffer->size)) {
      problem("Index {} of buffer '{}' lies outside its {} elements.", *i, buffer->name, buffer->size);
    }
  }
  if (count == nullptr) return;
  bool is_mask = count->type.dtype == DType::kBool && count->type.lanes == lanes;
  bool is_count = count->type == VType{DType::kI64, 1} && index->type.lanes == 1;
  if (!is_mask && !is_count) problem("The count of an access to '{}' has a wrong type.", buffer->name);
}

void Verifier::expr(const Expr& root) {
  visit(root, [&](const Expr& e) {
    if (e->kind != ExprKind::kVar && e->kind != ExprKind::kLoad && !checked_.insert(e.get()).second) return;
    const bool tile = e->kind == ExprKind::kLoad && tile_parts_.has(e->buffer.get());
    if (!tile && !valid_lanes(e->type.lanes)) problem("An expression has {} lanes.", e->type.lanes);
    switch (e->kind) {
      case ExprKind::kVar:
        if (!vars_.contains(e->var.get())) {
          problem("Variable '{}' is used outside its scope.", e->var->name);
        }
        break;
      case ExprKind::kLoad:
        access(e->buffer, e->args[0], e->args.size() > 1 ? e->args[1] : nullptr, e->type.lanes, false);
        break;
      case ExprKind::kIntrinsic:
        intrinsic(e);
        break;
      case ExprKind::kOp:
        if (gpu() && e->op == ScalarOp::kSelect) collective_in_select(e);
        break;
      default:
        break;
    }
  });
}

void Verifier::collective_in_select(const Expr& select) {
  for (size_t k : {size_t{1}, size_t{2}}) {
    visit(select->args[k], [&](const Expr& e) {
      if (is_collective(e)) problem("'{}' stands in the arm of a select.", intrinsic_name(e->intrinsic));
    });
  }
}

// The operand types that a row's meaning gives; rows that take any type are not here.
struct IntrinsicTypes {
  Intrinsic which;
  VType result;
  std::vector<VType> args;
};
const std::vector<IntrinsicTypes>& intrinsic_types() {
  static const std::vector<IntrinsicTypes>* rows = [] {
    const VType u2{DType::kU32, 2}, u4{DType::kU32, 4}, f4{DType::kF32, 4}, i4{DType::kI32, 4};
    return new std::vector<IntrinsicTypes>{
        {Intrinsic::kMmaM16N8K16F16, f4, {u4, u2, f4}},
        {Intrinsic::kMmaM16N8K16BF16, f4, {u4, u2, f4}},
        {Intrinsic::kMmaM16N8K8TF32, f4, {u4, u2, f4}},
        {Intrinsic::kMmaM16N8K32S8, i4, {u4, u2, i4}},
        {Intrinsic::kMmaM16N8K32U8, i4, {u4, u2, i4}},
        {Intrinsic::kLdmatrixX4, u4, {{DType::kI64, 1}}},
        {Intrinsic::kLdmatrixX4Trans, u4, {{DType::kI64, 1}}},
    };
  }();
  return *rows;
}

void Verifier::intrinsic(const Expr& e) {
  std::string_view name = intrinsic_name(e->intrinsic);
  if (static_cast<int>(e->args.size()) != intrinsic_arity(e->intrinsic)) {
    return problem("Intrinsic '{}' has {} operands.", name, e->args.size());
  }
  IntrinsicTrait trait = intrinsic_trait(e->intrinsic);
  if ((e->buffer != nullptr) != reads_buffer(trait)) {
    return problem("Intrinsic '{}' {} a buffer.", name, e->buffer != nullptr ? "is given" : "lacks");
  }
  if (e->buffer != nullptr) {
    access(e->buffer, e->args[0], nullptr, 1, false);
    const int bits = dtype_bits(e->buffer->type.dtype);
    const bool narrow = trait != IntrinsicTrait::kPeerLoad,
               good = (bits == 32 && e->intrinsic != Intrinsic::kLdmatrixX4Trans) || (bits == 16 && narrow) ||
                      (bits == 8 && e->intrinsic == Intrinsic::kLdmatrixX4);
    if (e->buffer->scope != Scope::kWorkgroup || !good) {
      problem("Intrinsic '{}' reads '{}', which is no workgroup buffer of {}-bit elements.", name,
              e->buffer->name, narrow ? 16 : 32);
    }
  }
  if (trait == IntrinsicTrait::kLanes) return;
  if (trait == IntrinsicTrait::kPeerLoad) {
    if (e->type != VType{e->buffer->type.dtype, 4}) problem("'{}' reads no four elements.", name);
    if (kernel_.cluster < 2) problem("'{}' stands in a kernel without clusters.", name);
    return;
  }
  bool is_shuffle =
      e->intrinsic == Intrinsic::kSubgroupShuffle || e->intrinsic == Intrinsic::kSubgroupShuffleXor;
  if (!gpu() || kernel_.subgroup == 0 || (!is_shuffle && kernel_.subgroup != 32)) {
    problem("Intrinsic '{}' stands in a kernel that relies on subgroups of {}.", name, kernel_.subgroup);
  }
  if (is_shuffle && (e->type != e->args[0]->type || e->args[1]->type != VType{DType::kI64, 1})) {
    problem("The operands of '{}' have wrong types.", name);
  }
  if (auto mask = int_value(e->args.back());
      e->intrinsic == Intrinsic::kSubgroupShuffleXor && (!mask || *mask < 0 || *mask >= kernel_.subgroup)) {
    problem("The mask of '{}' is no constant below {}.", name, kernel_.subgroup);
  }
  for (const IntrinsicTypes& row : intrinsic_types()) {
    if (row.which != e->intrinsic) continue;
    bool same = e->type == row.result;
    for (size_t k = 0; k < row.args.size(); ++k) same &= e->args[k]->type == row.args[k];
    if (!same) problem("The operands of '{}' have wrong types.", name);
  }
}

void Verifier::async_copy(const Stmt& s) {
  gpu_only("an asynchronous copy");
  if (s->value->kind != ExprKind::kLoad || s->value->args[0]->type.lanes != 1 ||
      s->value->buffer->scope != Scope::kGlobal || s->buffer->scope != Scope::kWorkgroup) {
    return problem(
        "The asynchronous copy to '{}' is none of consecutive global elements to workgroup memory.",
        s->buffer->name);
  }
  if (s->value->args.size() > 1 && s->value->args[1]->type.dtype == DType::kBool) {
    problem("The asynchronous copy to '{}' has a mask.", s->buffer->name);
  }
  int bits = dtype_bits(s->value->type.dtype) * s->value->type.lanes;
  if (dtype_bits(s->value->type.dtype) < 8 || (bits != 32 && bits != 64 && bits != 128)) {
    problem("The asynchronous copy to '{}' is one of {} bits, not of 4, 8 or 16 bytes.", s->buffer->name,
            bits);
  }
  access(s->buffer, s->index, nullptr, s->value->type.lanes, true);
}

void Verifier::group_mma(const Stmt& s) {
  gpu_only("a product of a group of subgroups");
  if (kernel_.subgroup != 32 || kernel_.threads < 128)
    problem("group_mma stands in a kernel of {} threads in subgroups of {}.", kernel_.threads,
            kernel_.subgroup);
  const int64_t columns = s->buffer->size * 8;
  const DType b_type = s->begin->type.dtype;
  const bool integers = b_type == DType::kI8, wide = b_type == DType::kF32;
  const DType sum = integers ? DType::kI32 : DType::kF32;
  if (s->buffer->scope != Scope::kRegister || s->buffer->type != VType{sum, 4} || columns > 256)
    problem("The sums '{}' of group_mma are no register buffer of at most 32 {}x4.", s->buffer->name,
            dtype_name(sum));
  if (s->code < 0 || s->code % 512 != 0 || (s->code != 0 && (integers || wide)))
    problem("group_mma reads panels of {} elements for {} columns.", s->code, columns);
  for (const Expr& e : {s->value, s->begin}) {
    if (e == s->value && e->kind == ExprKind::kLoad && e->buffer->scope == Scope::kRegister) {
      if (e->type != VType{DType::kU32, 4} || integers)
        problem("The registers of a group_mma are no u32x4 of floats.");
      continue;
    }
    const DType type = e->type.dtype;
    const bool good = e->kind == ExprKind::kLoad && e->type.lanes == 1 &&
                      e->buffer->scope == Scope::kWorkgroup &&
                      (type == b_type || (integers && type == DType::kU8)) &&
                      (type == DType::kF16 || type == DType::kBF16 || dtype_bits(type) == 8 || wide);
    if (!good)
      problem(
          "An operand of group_mma is no element of f16, bf16, f32 or 8-bit integers in workgroup memory.");
  }
}

void Verifier::arrival(const Stmt& s) {
  gpu_only("a count of arrivals");
  if (kernel_.subgroup == 0 || kernel_.cluster != 1)
    problem("Arrivals are counted in a kernel without subgroups or with clusters.");
  if (s->buffer->scope != Scope::kWorkgroup || s->buffer->type != VType{DType::kU64, 1})
    problem("The counters '{}' are no u64 of workgroup memory.", s->buffer->name);
  const int64_t subgroups = kernel_.threads / std::max(1, kernel_.subgroup);
  if (s->arrival == ArrivalOp::kStart && s->value &&
      (!int_value(s->value) || *int_value(s->value) < 1 || *int_value(s->value) > subgroups))
    problem("The subgroups that arrive at '{}' are no constant of 1 to {}.", s->buffer->name, subgroups);
  if (s->value && s->value->type != VType{DType::kI64, 1})
    problem("A phase of arrivals at '{}' is no i64.", s->buffer->name);
  access(s->buffer, s->index, nullptr, 1, true);
}

void Verifier::tensor(const Tensor& t) {
  if (!is_identifier(t->name)) problem("The tensor name '{}' is bad.", t->name);
  if (kernel_.subgroup == 0 || kernel_.cluster != 1)
    problem("Tensor '{}' stands in a kernel without subgroups or with clusters.", t->name);
  const bool binding = t->buffer && t->buffer->scope == Scope::kGlobal && t->buffer->access == Access::kRead;
  if (!binding || !buffers_.contains(t->buffer.get()) || dtype_bits(t->buffer->type.dtype) < 8 ||
      dtype_bits(t->buffer->type.dtype) > 64)
    return problem("Tensor '{}' is of no read binding of elements of 1 to 8 bytes.", t->name);
  if (t->axes.empty() || t->axes.size() > kMostTensorAxes)
    return problem("Tensor '{}' has {} axes, not 1 to {}.", t->name, t->axes.size(), kMostTensorAxes);
  const int64_t bytes = dtype_bits(t->buffer->type.dtype) / 8;
  if (t->offset < 0 || t->offset * bytes % 16 != 0)
    problem("Tensor '{}' begins at element {}, not at whole 16 bytes.", t->name, t->offset);
  for (size_t d = 0; d < t->axes.size(); ++d) {
    const TensorAxis& axis = t->axes[d];
    const bool last = d + 1 == t->axes.size();
    for (const Expr& e : {axis.size, axis.stride}) {
      const bool param =
          e->kind == ExprKind::kVar && std::any_of(kernel_.params.begin(), kernel_.params.end(),
                                                   [&](const Param& p) { return p.var == e->var; });
      if (!param && !int_value(e)) problem("Axis {} of tensor '{}' is no constant or parameter.", d, t->name);
      if (int_value(e) && *int_value(e) < 1) problem("Axis {} of tensor '{}' is not positive.", d, t->name);
    }
    if (last ? int_value(axis.stride) != 1 : int_value(axis.stride) && *int_value(axis.stride) * bytes % 16)
      problem("The stride of axis {} of tensor '{}' is not 1 or no whole 16 bytes.", d, t->name);
    if (axis.box < 1 || axis.box > 256)
      problem("Axis {} of tensor '{}' has boxes of {} elements, not 1 to 256.", d, t->name, axis.box);
    if (last && (t->swizzled ? bytes != 2 || axis.box != 64 : axis.box * bytes % 16 != 0))
      problem("Rows of the boxes of tensor '{}' have {} elements of {} bytes.", t->name, axis.box, bytes);
  }
}

void Verifier::tensor_copy(const Stmt& s) {
  const TensorNode& t = *s->tensor;
  if (std::find(kernel_.tensors.begin(), kernel_.tensors.end(), s->tensor) == kernel_.tensors.end())
    problem("Tensor '{}' is none of the kernel's.", t.name);
  if (s->at.size() != t.axes.size()) problem("A copy of '{}' begins at {} numbers.", t.name, s->at.size());
  for (const Expr& e : s->at) {
    if (e->type != VType{DType::kI64, 1}) problem("A copy of '{}' begins at no i64.", t.name);
  }
  if (s->buffer->scope != Scope::kWorkgroup || s->buffer->type != t.buffer->type)
    problem("A box of '{}' is copied to '{}', no such elements of workgroup memory.", t.name,
            s->buffer->name);
  if (s->value->buffer->scope != Scope::kWorkgroup || s->value->type != VType{DType::kU64, 1})
    problem("The counter of a copy of '{}' is no u64 of workgroup memory.", t.name);
  if (const auto i = int_value(s->index); i && *i + t.box_elements() > s->buffer->size)
    problem("A box of '{}' at {} does not fit the {} elements of '{}'.", t.name, *i, s->buffer->size,
            s->buffer->name);
  access(s->buffer, s->index, nullptr, 1, true);
}

void Verifier::tile(const Stmt& s) {
  const BufferNode& b = *s->buffer;
  const int holders = gpu() ? kernel_.subgroup : 1;
  const auto is_tiles = [&](const BufferNode& buffer) {
    const DType dtype = buffer.type.dtype;
    const bool held = dtype == DType::kI8 || dtype == DType::kI32 ||
                      (is_float(dtype) && dtype_bits(dtype) <= 32) || (dtype == DType::kU8 && !gpu());
    return held && buffer.scope == Scope::kRegister && tile_parts_.has(&buffer) &&
           buffer.type.lanes == kernel_.tiles.lanes(tile_parts_.of(&buffer), holders);
  };
  if (!is_tiles(b))
    problem(
        "The tiles '{}' are no register buffer of numbers with so many lanes as a thread has of them (tiles "
        "of "
        "{} x {} x {}, subgroups of {}).",
        b.name, kernel_.tiles.m, kernel_.tiles.n, kernel_.tiles.k, holders);
  const int lanes = b.type.lanes;
  access(s->buffer, s->index, nullptr, lanes, true);
  if (s->tile == TileOp::kFill) {
    if (s->value->type.dtype != b.type.dtype || (s->value->type.lanes != 1 && s->value->type.lanes != lanes))
      problem("The tile '{}' is filled with another type.", b.name);
    if (s->value->type.lanes == 1) return;
    visit(s->value, [&](const Expr& e) {
      const bool other = e->kind == ExprKind::kLoad ? !is_tiles(*e->buffer)
                                                    : e->kind == ExprKind::kVar && e->type.lanes == lanes;
      if (other) problem("The tile '{}' is computed of what is no tile.", b.name);
    });
    return;
  }
  const BufferNode& from = *s->value->buffer;
  if (s->tile == TileOp::kMultiply) {
    const bool loads = s->begin->kind == ExprKind::kLoad && is_tiles(from) && is_tiles(*s->begin->buffer);
    const DType right = s->begin->type.dtype, sums = right == DType::kI8 ? DType::kI32 : DType::kF32;
    const DType left = right == DType::kI8 && !gpu() ? DType::kU8 : right;
    const bool multiplied = gpu() ? dtype_bits(right) <= 16 : right == DType::kI8 || right == DType::kBF16;
    if (!loads || !multiplied || s->value->type.dtype != left || b.type.dtype != sums)
      problem("The product into tile '{}' is none of {}.", b.name,
              gpu() ? "16-bit floats into f32, or of i8 into i32" : "bf16 into f32, or of u8 by i8 into i32");
    return;
  }
  const bool memory = from.scope == (gpu() ? Scope::kWorkgroup : Scope::kScratch) ||
                      (from.scope == Scope::kGlobal && s->tile != TileOp::kStore);
  if (s->tile == TileOp::kLoadGroups && (gpu() || tile_parts_.of(&b) != TilePart::kB))
    problem("The tile '{}' is loaded by groups, and is no right operand of a CPU's product.", b.name);
  if (s->tile == TileOp::kLoadColumns && !gpu())
    problem("The tile '{}' is loaded from columns by a CPU.", b.name);
  const DType in_memory = s->value->type.dtype;
  const bool bits =
      !gpu() && s->tile != TileOp::kStore && b.type.dtype == DType::kBF16 &&
      (in_memory == DType::kU16 || (in_memory == DType::kU32 && s->tile == TileOp::kLoadGroups));
  if (!memory || s->value->type.lanes != 1 || (in_memory != b.type.dtype && !bits) ||
      s->count->type != VType{DType::kI64, 1})
    problem("The tile '{}' is loaded from or stored to '{}', which is no such memory.", b.name, from.name);
}

void Verifier::machine() {
  const Kernel& k = kernel_;
  if (!gpu()) {
    if (k.thread != nullptr || k.subgroup != 0 || k.workgroup_bytes != 0) {
      problem("A CPU kernel has a thread number, subgroups or workgroup memory.");
    }
    return;
  }
  if (k.threads < 1 || k.threads > 1024) problem("The kernel has {} threads, not 1 to 1024.", k.threads);
  if (k.scratch_bytes != 0) problem("A GPU kernel has scratch memory.");
  if (k.thread == nullptr || k.thread->type != VType{DType::kI64, 1}) problem("The thread number is no i64.");
  bool good = k.subgroup >= 0 && k.subgroup <= 128 && (k.subgroup & (k.subgroup - 1)) == 0;
  if (!good || (k.subgroup != 0 && k.threads % k.subgroup != 0)) {
    problem("Subgroups of {} do not divide {} threads.", k.subgroup, k.threads);
  }
  if (k.copiers < 0 || k.copiers >= k.threads || k.copiers % 128 != 0 ||
      (k.copiers != 0 && (k.threads % 128 != 0 || k.subgroup != 32)))
    problem("{} of {} threads in subgroups of {} are to copy, which are no whole groups of 128 or all.",
            k.copiers, k.threads, k.subgroup);
  if (k.cluster < 1 || k.cluster > kMostCluster ||
      (k.cluster > 1 && (k.grid.empty() || !k.grid.back().extent.is_const(k.cluster))))
    problem("A cluster of {} workgroups is not the last grid axis, or not of 1 to {}.", k.cluster,
            kMostCluster);
  define(k.thread, false);
}

void Verifier::stmt(const Stmt& s) {
  visit_exprs(s, [&](const Expr& e) { expr(e); });
  switch (s->kind) {
    case StmtKind::kFor: {
      if (s->begin->type != VType{DType::kI64, 1} || s->extent->type != VType{DType::kI64, 1}) {
        problem("The bounds of loop '{}' are not i64.", s->var->name);
      }
      if (s->loop == LoopKind::kVector && !int_value(s->extent)) {
        problem("The extent of vector loop '{}' is not constant.", s->var->name);
      }
      bool outer = unrolled_context_;
      unrolled_context_ |= s->loop == LoopKind::kUnroll || s->loop == LoopKind::kVector;
      auto saved = vars_;
      define(s->var, false);
      body(s->body);
      vars_ = std::move(saved);
      unrolled_context_ = outer;
      return;
    }
    case StmtKind::kLet:
    case StmtKind::kDeclare:
      define(s->var, s->kind == StmtKind::kDeclare);
      return;
    case StmtKind::kAssign:
      if (!vars_.contains(s->var.get())) problem("'{}' is assigned outside its scope.", s->var->name);
      if (!mutable_.contains(s->var.get())) problem("'{}' is assigned but not mutable.", s->var->name);
      return;
    case StmtKind::kStore: {
      int lanes = s->value->type.lanes;
      if (s->index->type.lanes > 1) lanes = s->index->type.lanes;
      if (s->buffer->type.lanes > 1 && s->value->type.lanes != s->buffer->type.lanes) {
        problem("A store of {} lanes into '{}' of {}.", s->value->type.lanes, s->buffer->name,
                s->buffer->type.lanes);
      }
      if (s->index->type.lanes > 1 && s->value->type.lanes != s->index->type.lanes) {
        problem("A scatter of {} lanes to {} indices of '{}'.", s->value->type.lanes, s->index->type.lanes,
                s->buffer->name);
      }
      access(s->buffer, s->index, s->count, lanes, true);
      return;
    }
    case StmtKind::kAlloc:
      if (s->buffer->scope == Scope::kGlobal) problem("Alloc of global buffer '{}'.", s->buffer->name);
      if (s->buffer->scope == Scope::kScratch && gpu())
        problem("Buffer '{}' of a GPU kernel is scratch.", s->buffer->name);
      if (s->buffer->scope == Scope::kWorkgroup) gpu_only("workgroup memory");
      if (s->buffer->size <= 0) problem("Buffer '{}' has {} elements.", s->buffer->name, s->buffer->size);
      if (!is_identifier(s->buffer->name)) problem("The buffer name '{}' is bad.", s->buffer->name);
      if (s->buffer->type.lanes > 1 && s->buffer->scope != Scope::kRegister) {
        problem("Buffer '{}' holds vectors outside registers.", s->buffer->name);
      }
      buffers_.insert(s->buffer.get());
      return;
    case StmtKind::kBlock:
    case StmtKind::kIf:
    case StmtKind::kWhile:
      body(s->body);
      body(s->else_body);
      return;
    case StmtKind::kFail:
      if (s->code <= 0) problem("fail with code {}.", s->code);
      return;
    case StmtKind::kBarrier:
      if (is_barrier(s, BarrierScope::kCluster) && kernel_.cluster < 2)
        problem("A cluster's barrier stands in a kernel without clusters.");
      if (is_barrier(s, BarrierScope::kSubgroup) && kernel_.subgroup == 0)
        problem("A subgroup's barrier stands in a kernel that relies on no subgroups.");
      return gpu_only("a barrier");
    case StmtKind::kPrefetch:
      if (!buffers_.contains(s->buffer.get()))
        problem("Buffer '{}' is used outside its scope.", s->buffer->name);
      return;
    case StmtKind::kAsyncCopy:
      return async_copy(s);
    case StmtKind::kAsyncCommit:
    case StmtKind::kAsyncWait:
      if (s->code < 0) problem("async_wait leaves {} groups.", s->code);
      return gpu_only("an asynchronous copy");
    case StmtKind::kArrival:
      return arrival(s);
    case StmtKind::kTensorCopy:
      return tensor_copy(s);
    case StmtKind::kTile:
      return tile(s);
    case StmtKind::kGroupMma:
      return group_mma(s);
    case StmtKind::kGroupMmaWait:
      if (s->value && s->value->type != VType{DType::kF32, 1})
        problem("group_mma_wait stands after a value that is no f32.");
      return gpu_only("a product of a group of subgroups");
    case StmtKind::kGroupMmaCommit:
      return gpu_only("a product of a group of subgroups");
    case StmtKind::kGridWait:
      return gpu_only("a wait for the grid");
    case StmtKind::kComment:
      return;
  }
}

void Verifier::body(const std::vector<Stmt>& statements) {
  auto vars = vars_;
  auto buffers = buffers_;
  for (const Stmt& s : statements) stmt(s);
  vars_ = std::move(vars);
  buffers_ = std::move(buffers);
}

// A constant of that value, or a parameter that has it (kernels that dispatches of many sizes share).
bool Verifier::is_number(const Expr& e, const Dim& number) const {
  if (e->kind != ExprKind::kVar) return int_value(e) == number.value();
  return std::any_of(kernel_.params.begin(), kernel_.params.end(),
                     [&](const Param& p) { return p.var == e->var && p.value == number; });
}

std::string Verifier::run() {
  const Kernel& k = kernel_;
  if (!is_identifier(k.name)) problem("The kernel name '{}' is no identifier.", k.name);
  for (const Buffer& b : k.bindings) {
    if (b->scope != Scope::kGlobal) problem("Binding '{}' is not global.", b->name);
    if (b->type.lanes != 1) problem("Binding '{}' holds vectors.", b->name);
    if (!is_identifier(b->name)) problem("The buffer name '{}' is bad.", b->name);
    buffers_.insert(b.get());
  }
  for (const Param& p : k.params) {
    if (p.var->type != VType{DType::kI64, 1}) problem("Parameter '{}' is not i64.", p.var->name);
    define(p.var, false);
  }
  for (const GridAxis& g : k.grid) {
    if (g.extent_expr == nullptr) {
      problem("Grid axis '{}' has no extent expression.", g.var->name);
    } else {
      expr(g.extent_expr);
      if (g.extent.is_const() && !is_number(g.extent_expr, g.extent)) {
        problem("Grid axis '{}' has two extents.", g.var->name);
      }
    }
  }
  for (const GridAxis& g : k.grid) define(g.var, false);
  machine();
  for (const Tensor& t : k.tensors) tensor(t);
  body(k.body);
  if (!tile_parts_.problem().empty()) problem("Of the kernel {}.", tile_parts_.problem());
  return problems_;
}

}  // namespace

std::string verify(const Kernel& kernel) {
  return Verifier(kernel).run();
}

}  // namespace tern::kernel
