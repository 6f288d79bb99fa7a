// Kernel IR (.tk): one dispatch. Few node kinds; arithmetic is the scalar table (scalar/ops.def), machine
// operations that are not scalar arithmetic are rows of kernel/intrinsics.def.
//
// Semantics
// - A kernel computes one *tile* of its grid: the grid axes' variables are bound to the tile's coordinates,
// and the body runs. Tiles are
//   independent: no tile reads what another one writes, no two write the same element. On a CPU the tiles of
//   a grid are linearised row-major (last axis fastest).
// - Expressions are pure values of a VType: an element type and a number of lanes (1: scalar). Lane-wise ops
// take operands of equal lanes. Index
//   arithmetic is i64. Operations mean what scalar/ops.def says; a bool vector is a mask. Constants and ops
//   are evaluated in their stated type: no implicit conversion, no contraction of mul+add (fma is its own
//   op), no reassociation.
// - Buffers are flat arrays of their element type, indexed by element. Global buffers are the kernel's
// bindings. Local ones (Alloc) live in worker scratch, on the
//   stack, or in registers; a register buffer's element may be a vector and its indices must be constant
//   after unrolling. Two bindings never overlap, except that one declared `may_alias` with an input is read
//   element by element before the same element is written (in-place).
// - Load with lanes > 1 and a scalar index reads consecutive elements; with a vector index (i64, same lanes)
// it gathers. `count` (i64, 0..lanes) limits a
//   consecutive access to its first lanes: the others read as 0, or are not written, and their memory is not
//   touched.
//   Instead of a count, a bool vector of the access's lanes (a mask) limits any vector access to its set
//   lanes.
// - A streaming store means what another one does; it says that nobody reads the memory soon, so that caches
// need not keep it (stream_stores.h). The kernel's end comes after it for all who wait for that end.
// - select chooses before it reads: a load inside the arm that is not chosen does not happen (lane by lane),
// so
//   `select(inside, x[i], 0)` is a padded read. Everything else in an expression is evaluated.
// - Sub-byte element types are indexed by element too; renderers unpack.
// - Order: statements run one after the other; loops of kind kUnroll and kSerial in order; kVector only
// before vectorize.
//
// GPU kernels (threads > 0)
// - The body runs once for every thread of a workgroup, which computes one tile; `thread` is the thread's
// number. Lets, variables, stack and register buffers are the thread's own; workgroup buffers are shared and
// undefined at entry.
// - kBarrier is reached by all threads of the workgroup that have not ended, or by none: it orders their
// accesses to workgroup and global memory. Without one between them, two threads may not touch the same
// element (sub-byte types: the same byte) if one of them writes. Workgroups are never ordered.
// A subgroup's barrier does the same among the threads of each subgroup, reached by all of them or by none.
// - Rows of intrinsics.def with the trait kCollective or kCollectiveLoad work across a subgroup (thread t is
// lane t % subgroup of subgroup t / subgroup): all its threads reach them together, outside the arms of a
// select. They order no memory.
// - An asynchronous copy reads its source and writes its destination at any time between the statement and
// the end of the kAsyncWait of the same thread that covers its group; then it is visible to that thread, and
// to others after a barrier. Groups are closed by kAsyncCommit; `wait n` leaves at most the n newest groups
// open.
// - kArrival: elements of a workgroup buffer of u64 that nothing else touches count arrivals of subgroups.
// kStart, by all threads and with a barrier behind it, begins phase 0; a phase ends, and the next one begins,
// when every subgroup has arrived in it, or as many as kStart says. A subgroup arrives together, and knows
// that the phase before has ended: it waited for it, or for what came after a wait for it. kCopied arrives
// when the asynchronous copies that its threads started until then are complete. kWait, by all threads of a
// subgroup with the same operands, waits for the end of phase `value`; who waits at a counter waits for all
// its phases in order. What was accessed before an arrival comes before what follows a wait for its phase,
// copies included. Unlike a barrier, an arrival does not hold up.
// - kTensorCopy, reached by all threads of a subgroup with the same operands, copies a box of a tensor: from
// element `at` on, `box` elements along each axis, to workgroup memory, dense, outermost axis first, or
// swizzled as kGroupMma has it (rows of 128 bytes are its innermost axis then). Elements outside
// the tensor are zero. It reads and writes at any time until the end of the phase in which its subgroup
// arrives next at the counter that it names, which is its own to wait for: the phase ends when the copy is
// complete, and a kernel does not end before it.
// - kGroupMma is a product of 128 threads (four subgroups from a multiple of four on, which reach it
// together): sums[64 x N] += A[64 x K] * B[N x K]^T, K of 32 bytes (16 elements of f16 or bf16, of which the
// following speaks; 8 of f32, which are cut to TF32; 32 of u8 or i8 with i8, whose sums are i32; rows and
// swizzle are the same in bytes), N = 8 * the elements of `sums`, whose register layout
// is that of mma's C: thread 32 w + l has in element j rows 16 w + l / 4 and + 8, columns 8 j + l % 4 * 2 and
// + 1. A's element (r, k) is at index first + 64 r + k of its workgroup buffer, B's (n, k) at first + 64 n +
// k, *swizzled*: index i lies at i xor (i / 64 % 8 * 8), so that rows of 64 elements are free of bank
// conflicts; buffers begin at multiples of 1024 bytes. Or A is an element (u32x4) of a register buffer, laid
// out as mma's A for each subgroup's 16 rows; or B's rows run along n, in panels of 64 columns: (n, k) at
// first + n / 64 * panel + 64 k + n % 64. A fresh product sets the sums instead of adding. It reads its
// operands and adds at any time until the end of the kGroupMmaWait that covers its group; until then nobody
// writes them.
// - In a kernel of clusters (`cluster` > 1) the tiles along the last grid axis, whose extent that is, are
// workgroups that run at the same time and in step: control flow around barriers and collective rows does not
// depend on which of them it is. A barrier with `cluster` orders the accesses of all of them to workgroup
// memory; `peer_load` reads another's between two of them, and nobody ends before the last one.
// - Tiles are matrices that a subgroup holds together (cooperative matrices): elements of a register buffer,
// with as many lanes as each thread has of the matrix, whose layout is opaque. Only kTile touches such a
// buffer; all threads of the subgroup reach it together with the same operands. A buffer's tiles have one
// part in products (tile_parts.h), and the kernel's `tiles` says what that is: A m x k, B k x n, sums m x n.
// In memory a tile's first element and its pitch are multiples of 16 bytes. A and B are of f16 or bf16, with
// sums of f32, or of i8, with sums of i32.
// A CPU kernel has tiles, too: registers of 16 rows of 64 bytes (cpu_tile), whose elements are the lanes of a
// buffer's element. A is of u8, B of i8, sums of i32, or bf16, bf16 and f32 (to be multiplied in pairs: each
// sum is rounded several times). B is loaded by groups: a row of memory has for each column the next 4 bytes
// of elements along k. A kernel has eight at a time.
// - A dispatch may start before the dispatches that it depends on have ended: kGridWait waits for them.
// Before it, a kernel touches nothing but constants (weights). A kernel without one waits at its start.
// - kFail ends the thread; the dispatch gets one of the codes.
// - Every parameter, grid extent and element count fits 31 bits: what runs the kernel checks it
// (narrow_indices). A parameter that is a literal's bits (program/share_literals) is only cast to i32.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "compiler/kernel/tile_shape.h"
#include "compiler/scalar/scalar.h"
#include "compiler/support/dim.h"
#include "compiler/support/dtype.h"

namespace tern::kernel {

using scalar::ScalarOp;

struct VType {
  DType dtype = DType::kNone;
  int lanes = 1;
  bool operator==(const VType&) const = default;
};

struct VarNode {
  std::string name;  // for reading; identity is the pointer, the printer makes names unique
  VType type;
};
using Var = std::shared_ptr<const VarNode>;

enum class Scope : uint8_t {
  kGlobal,     // a binding
  kScratch,    // the worker's scratch memory (CPU), 64-byte aligned
  kStack,      // the kernel's frame: small, constant size
  kRegister,   // a tile of scalars or vectors held in registers
  kWorkgroup,  // GPU workgroup memory
};
enum class Access : uint8_t { kRead, kWrite, kReadWrite };

struct BufferNode {
  std::string name;
  VType type;  // lanes > 1 only in registers
  Scope scope = Scope::kGlobal;
  Access access = Access::kRead;
  int64_t size = 0;  // elements; local scopes, and bindings of known length
  bool may_alias =
      false;  // kGlobal: may share memory with a read binding of equal size (element-wise in-place)
};
using Buffer = std::shared_ptr<const BufferNode>;

enum class Intrinsic : uint8_t {
#define TERN_INTRINSIC(name, text, arity, trait, meaning) k##name,
#include "compiler/kernel/intrinsics.def"
#undef TERN_INTRINSIC
  kCount
};
// kLanes: of this thread's operands alone. kCollective: of a whole subgroup's. kCollectiveLoad: the same, and
// `buffer` (a workgroup buffer, indexed by args) is read. kPeerLoad: `buffer` of another workgroup is read.
enum class IntrinsicTrait : uint8_t { kLanes, kCollective, kCollectiveLoad, kPeerLoad };

enum class ExprKind : uint8_t {
  kConst,      // scalar constant (broadcast for lanes > 1 through kBroadcast): integers in `i`, floats in `f`
  kVar,        // let, loop, grid or declared variable, or parameter
  kOp,         // scalar op on args
  kCast,       // args[0] to type.dtype, scalar::eval_cast (flag: saturate)
  kBitcast,    // args[0]'s bits as type; lanes may change when total bits agree
  kLoad,       // buffer[args[0]], optional args[1] = count
  kRamp,       // vector i64: args[0] + lane * i
  kBroadcast,  // scalar args[0] in every lane
  kReduce,     // scalar: fold of args[0]'s lanes with op (add: any order, pairwise tree)
  kShuffle,    // lanes picked by `lanes` from args[0] followed by args[1] (if present); -1: undefined lane
  kIntrinsic,  // row of intrinsics.def on args
};

struct ExprNode;
using Expr = std::shared_ptr<const ExprNode>;
struct ExprNode {
  ExprKind kind;
  VType type;
  ScalarOp op = ScalarOp::kCount;
  Intrinsic intrinsic = Intrinsic::kCount;
  bool saturate = true;
  // kOp div and rem made by index_div, index_rem: both operands are >= 0 and the divisor is > 0.
  bool is_index = false;
  bool both_arms = false;  // kOp select: what its arms load is there, whatever the condition is
  int64_t i = 0;
  double f = 0, imaginary = 0;
  Var var = {};
  Buffer buffer = {};
  std::vector<Expr> args = {};
  std::vector<int> lanes = {};  // kShuffle
};

// A read binding as a tensor, whose boxes kTensorCopy copies: the element at `at` is the one at index offset
// + sum(at * stride). The binding holds every element. Axes: outermost first, one to five.
struct TensorAxis {
  Expr size, stride;  // elements; constants or parameters; 1 is the last stride, others fill whole 16 bytes
  int64_t box = 1;    // elements of a box, at most 256
};
inline constexpr size_t kMostTensorAxes = 5;
struct TensorNode {
  std::string name;
  Buffer buffer;
  std::vector<TensorAxis> axes;
  int64_t offset = 0;  // a multiple of 16 bytes
  bool swizzled = false;
  int64_t box_elements() const {
    int64_t elements = 1;
    for (const TensorAxis& axis : axes) elements *= axis.box;
    return elements;
  }
};
using Tensor = std::shared_ptr<const TensorNode>;

enum class StmtKind : uint8_t {
  kBlock,
  kFor,
  kLet,
  kDeclare,
  kAssign,
  kStore,
  kIf,
  kWhile,
  kAlloc,
  kBarrier,
  kFail,
  kComment,
  kAsyncCopy,  // buffer[index] = value, a consecutive load, later: of workgroup memory, 4, 8 or 16 bytes
  kAsyncCommit,
  kPrefetch,  // a hint: the line of buffer[index] will be read soon: into L2, or (code 1, CPUs) L1. On CPUs
              // the index may be anything, on GPUs it is in the buffer
  kGridWait,  // until what the dispatch depends on is complete: before it, only bindings that no dispatch
              // writes are read
  kGroupMma,  // buffer += tile at value * tile at begin (two loads of one element: where the tiles begin)
              // code: B's panel, or 0; fresh
  kGroupMmaCommit,
  kGroupMmaWait,  // until at most `code` groups of products are open; value, if any, is computed before
  kTile,          // what `tile` says
  kArrival,       // what `arrival` says, of counter buffer[index]
  kTensorCopy,    // buffer[index] = the box of `tensor` from `at` on; value: a load, of the counter
  kAsyncWait      // until at most `code` groups of this thread are open
};
// On tile buffer[index].
enum class TileOp : uint8_t {
  kNone,
  kFill,  // every element = value: a scalar, or, of the tile's lanes, what is computed of the same element of
          // other tiles (loads of sums, constants)
  kLoad,  // from rows, `count` elements apart, of the memory that begins at the element `value`, a load
  kLoadColumns,  // the same from columns
  kLoadGroups,   // the same, of B on CPUs: rows of groups of 4 bytes along k, a group a column
  kStore,        // to rows, likewise; workgroup memory
  kMultiply,  // += tile `value` * tile `begin`, two loads: of 16-bit floats, exact products, f32 sums in any
              // order; or of i8
};
// Whose threads meet, as numbers in StmtNode::code.
enum class BarrierScope : uint8_t { kWorkgroup, kCluster, kSubgroup };
enum class ArrivalOp : uint8_t {
  kNone,
  kStart,  // value, if any: how many subgroups, a constant, arrive in each phase; else all
  kArrive,
  kCopied,
  kWait,  // value: the number of the phase, from 0 on
};
enum class LoopKind : uint8_t { kSerial, kUnroll, kVector, kThread };

struct StmtNode;
using Stmt = std::shared_ptr<const StmtNode>;
struct StmtNode {
  StmtKind kind;
  LoopKind loop = LoopKind::kSerial;
  TileOp tile = TileOp::kNone;
  ArrivalOp arrival = ArrivalOp::kNone;
  Var var = {};                  // kFor, kLet, kDeclare (mutable), kAssign
  Expr begin = {}, extent = {};  // kFor: var = begin .. begin+extent-1
  Expr value = {};     // kLet, kDeclare (initial), kAssign, kStore; kIf/kWhile: the condition (bool scalar)
  Buffer buffer = {};  // kStore, kAlloc
  Expr index = {}, count = {};  // kStore, kAsyncCopy (no count: its load has one); count optional
  std::vector<Stmt> body = {};  // kBlock, kFor, kIf (then), kWhile, kLet/kDeclare/kAlloc: scope is the rest
                                // of the enclosing block, body empty
  std::vector<Stmt> else_body = {};
  // kFail: a TERN_KERNEL_... status; ends the kernel. kAlloc of kScratch, kWorkgroup: the byte offset
  // (assign_scratch, assign_workgroup). kAsyncWait: groups that may stay open.
  // kBarrier: a BarrierScope. kPrefetch: 1 is L1.
  int64_t code = 0;
  bool fresh = false;      // kGroupMma: the sums begin at zero
  bool streaming = false;  // kStore: a hint
  std::string text = {};   // kComment
  Tensor tensor = {};      // kTensorCopy
  std::vector<Expr> at = {};
};

struct GridAxis {
  Var var;
  Dim extent;        // for the program: how many tiles
  Expr extent_expr;  // the same, over constants and parameters
};

// A scalar parameter: i64, whose value the program computes from the invocation's dimensions.
struct Param {
  Var var;
  Dim value;
};

inline constexpr int kMostCluster = 8;  // workgroups that devices run as a cluster wherever they have them

struct Kernel {
  std::string name;              // C identifier
  std::vector<Buffer> bindings;  // in the order of the dispatch's bindings
  std::vector<Param> params;
  std::vector<Tensor> tensors;
  std::vector<GridAxis> grid;  // empty: one tile
  std::vector<Stmt> body;
  int64_t scratch_bytes = 0;  // sum of aligned scratch Allocs, set by assign_scratch
  int threads = 0;            // of a workgroup; 0: a CPU kernel
  Var thread;                 // i64, 0 <= thread < threads
  int subgroup = 0;           // threads of a subgroup, where the kernel relies on it; else 0
  TileShape tiles;            // of its tiles, where it has any
  // The last threads, which do little but ask for copies: they have code of their own where the level has a
  // form for that, and the others their registers. A hint; whole groups of 128.
  int copiers = 0;
  // Vulkan: its loops may be so long that a device gives up (lavapipe ends every loop of a thread that has
  // made 65,535 iterations in all of them). The kernel fails then, with TERN_KERNEL_LOOP_CUT.
  bool checks_loops = false;
  int cluster = 1;                  // workgroups of a cluster: the last grid axis
  int64_t workgroup_bytes = 0;      // of workgroup Allocs that have their offsets, set by assign_workgroup
  std::vector<std::string> source;  // "node (Op)" lines for the header comment and reports
  std::string schedule;             // one line: what the schedule chose
  // Work of the whole grid, for reports and rooflines. Dims, so that they hold for symbolic sizes.
  Dim flops, bytes_read, bytes_written;
};

// Parameters shared by the variants of one dispatch: each distinct non-constant Dim becomes one parameter.
class ParamTable {
 public:
  Expr expr(Dim dim);  // an int constant, or the parameter's variable
  const std::vector<Param>& params() const { return params_; }

 private:
  std::vector<Param> params_;
};

// ---- Construction (expr.cc). Constructors check types (TERN_CHECK) and fold constants through
// scalar::eval_*; integer index arithmetic is simplified lightly (x+0, x*1, constants last); simplify.h does
// more.
Var make_var(std::string name, VType type = {DType::kI64, 1});
Buffer make_buffer(std::string name, VType type, Scope scope, Access access, int64_t size = 0);
Expr int_const(int64_t value, DType dtype = DType::kI64);
Expr float_const(double value, DType dtype = DType::kF32);
Expr scalar_const(const scalar::ScalarValue& value);
Expr var_expr(const Var& var);
Expr op(ScalarOp op, std::vector<Expr> args);  // a scalar arg beside vectors is broadcast
Expr cast(Expr value, DType to, bool saturate = true);
Expr bitcast(Expr value, VType to);
// `count`: a count or a mask (see the semantics above). `lanes` is ignored for vector indices and for
// registers with vector elements.
Expr load(const Buffer& buffer, Expr index, int lanes = 1, Expr count = nullptr);
Expr ramp(Expr base, int64_t stride, int lanes);
Expr broadcast(Expr value, int lanes);
Expr reduce_lanes(ScalarOp op, Expr value);
Expr shuffle(Expr a, Expr b, std::vector<int> lanes);
// `buffer`: of rows with the trait kCollectiveLoad.
Expr intrinsic(Intrinsic which, std::vector<Expr> args, VType type, Buffer buffer = nullptr);
inline Expr add(Expr a, Expr b) {
  return op(ScalarOp::kAdd, {std::move(a), std::move(b)});
}
inline Expr sub(Expr a, Expr b) {
  return op(ScalarOp::kSub, {std::move(a), std::move(b)});
}
inline Expr mul(Expr a, Expr b) {
  return op(ScalarOp::kMul, {std::move(a), std::move(b)});
}
inline Expr min(Expr a, Expr b) {
  return op(ScalarOp::kMin, {std::move(a), std::move(b)});
}
inline Expr max(Expr a, Expr b) {
  return op(ScalarOp::kMax, {std::move(a), std::move(b)});
}
// Division and remainder of non-negative index expressions (both must be >= 0, b > 0): div and rem rows.
Expr index_div(Expr a, Expr b);
Expr index_rem(Expr a, Expr b);
Expr select(Expr c, Expr a, Expr b);
Expr select_both(const Expr& c, const Expr& a, const Expr& b);  // ExprNode::both_arms
Expr compare(ScalarOp op, Expr a, Expr b);

Stmt block(std::vector<Stmt> body);
Stmt loop(const Var& var, Expr begin, Expr extent, LoopKind kind, std::vector<Stmt> body);
Stmt let(const Var& var, Expr value);
Stmt declare(const Var& var, Expr initial);
Stmt assign(const Var& var, Expr value);
Stmt store(const Buffer& buffer, Expr index, Expr value, Expr count = nullptr, bool streaming = false);
Stmt if_then(Expr condition, std::vector<Stmt> then_body, std::vector<Stmt> else_body = {});
Stmt while_loop(Expr condition, std::vector<Stmt> body);
Stmt alloc(const Buffer& buffer, int64_t scratch_offset = 0);
Stmt barrier(BarrierScope scope = BarrierScope::kWorkgroup);
bool is_barrier(const Stmt& s, BarrierScope scope);
// dst[index] = value, a consecutive load from global memory (its count, if any, limits what is read: the rest
// is 0).
Stmt async_copy(const Buffer& dst, Expr index, Expr value);
Stmt async_commit();
Stmt grid_wait();
// sums (f32x4 registers, one element eight columns) += A * B; a and b: loads of the first elements.
// a may be a load of a register element. b_panel: 0, or elements from one panel of 64 columns to the next.
struct GroupMmaForm {
  int64_t b_panel = 0;
  bool fresh = false;
};
Stmt group_mma(const Buffer& sums, Expr a, Expr b, GroupMmaForm form = {});
Stmt group_mma_commit();
// `after`, an f32: the wait stands behind what computes it (code generators move arithmetic across waits).
Stmt group_mma_wait(int64_t groups_left, Expr after = nullptr);
// operand: begin of kMultiply, count of loads and stores.
Stmt tile(TileOp op, const Buffer& buffer, Expr index, Expr value, Expr operand = nullptr);
Stmt arrival(ArrivalOp op, const Buffer& counters, Expr index, Expr value = nullptr);
// counter: a load of one element.
Stmt tensor_copy(const Buffer& dst, Expr index, const Tensor& tensor, std::vector<Expr> at, Expr counter);
Stmt async_wait(int64_t groups_left);
Stmt prefetch(const Buffer& buffer, Expr index, bool near = false);
Stmt fail(int64_t code);
Stmt comment(std::string text);

// ---- Text, checks, meaning
std::string print_kernel(const Kernel& kernel);
Result<Kernel> parse_kernel(std::string_view text);
// Types, scopes, definitions before uses, constant register indices, params known. All violations, one a
// line; empty when well-formed.
std::string verify(const Kernel& kernel);

// Runs tiles [begin, end) slowly and obviously. Bindings are byte spans (checked: an access outside is an
// Error that names buffer, index and statement). The threads of a workgroup run in lockstep; barriers and
// collective rows that only some of them reach, and data races within a workgroup and between workgroups, are
// Errors too.
struct EvalBinding {
  uint8_t* data;
  int64_t bytes;
};
// Returns the kernel's status code (0, or what kFail gave).
Result<int32_t> evaluate(const Kernel& kernel, const std::vector<EvalBinding>& bindings,
                         const std::vector<int64_t>& params, int64_t tile_begin, int64_t tile_end);

// Whether a kernel's indices stay inside, in moments for sizes of real models: of each loop the first and
// the last round alone are walked, of each grid axis the first tile and the last two. Results mean nothing;
// failures of the kernel, barriers, arrivals and copies of tensors are passed over.
Status check_bounds(const Kernel& kernel, const std::vector<EvalBinding>& bindings,
                    const std::vector<int64_t>& params);

// ---- Rewriting (rewrite.cc): bottom-up; f returns a replacement or null to keep.
Expr rewrite(const Expr& e, const std::function<Expr(const Expr&)>& f);
std::vector<Stmt> rewrite(const std::vector<Stmt>& body, const std::function<Expr(const Expr&)>& on_expr,
                          const std::function<std::vector<Stmt>(const Stmt&)>& on_stmt = nullptr);
Expr substitute(const Expr& e, const std::unordered_map<const VarNode*, Expr>& values);

// ---- Passes over kernel IR (one file pair each: simplify.h, vectorize.h, unroll.h, assign_scratch.h, …),
// listed here for orientation: simplify(kernel)         affine normal form of index expressions, div/rem by
// known ranges, dead lets, constant ifs, common subexpressions into lets vectorize(body, var, n)  replaces a
// kVector loop of constant extent n by vector code: var becomes a ramp, loads become consecutive, broadcast
// or gathers unroll(kernel)           expands kUnroll loops of constant extent, register indices become
// constants assign_scratch(kernel)   gives scratch Allocs their place; sets scratch_bytes
// assign_workgroup(kernel) the same for workgroup memory

}  // namespace tern::kernel
