// The evaluator: walks statements and expressions one by one for all threads of a workgroup, or of a cluster
// of workgroups, in lockstep (a CPU kernel is one thread). Slow and obvious; every access is checked. A mask
// says which threads, or which lanes of which threads, take part; a branch that divides them runs both ways.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "compiler/kernel/eval_intrinsics.h"
#include "compiler/kernel/eval_race.h"
#include "compiler/kernel/ir.h"
#include "compiler/kernel/tile_parts.h"

namespace tern::kernel {

// One value a thread, or a uniform one: the same for all that take part.
struct EvalValue {
  VType type;
  bool uniform = true;
  std::vector<scalar::ScalarValue> data;

  LaneValues of(int thread) const {
    auto lanes = static_cast<size_t>(type.lanes);
    return LaneValues(data).subspan(uniform ? 0 : static_cast<size_t>(thread) * lanes, lanes);
  }
  std::span<scalar::ScalarValue> of(int thread) {
    auto lanes = static_cast<size_t>(type.lanes);
    return std::span(data).subspan(uniform ? 0 : static_cast<size_t>(thread) * lanes, lanes);
  }
};
using ValueRef = std::shared_ptr<const EvalValue>;

struct EvalMask {
  int lanes = 1;
  int count = 0;  // threads of which a lane takes part
  std::vector<uint8_t> bits;

  bool on(int thread, int lane) const {
    return bits[static_cast<size_t>(lanes == 1 ? thread : thread * lanes + lane)] != 0;
  }
  bool any(int thread) const;
};

struct EvalMemory {
  uint8_t* data = nullptr;
  int64_t elements = 0;
  int64_t thread_bytes = 0;     // from one thread's copy to the next one's; 0: shared
  int64_t workgroup_bytes = 0;  // the same from one workgroup of a cluster to the next one's
  bool is_private = false;
  std::vector<uint8_t> owned;
  std::vector<scalar::ScalarValue> registers;  // registers with vector elements, thread by thread
  std::shared_ptr<RaceTracker> races;
  int64_t first_unit = 0;
  int unit_bits = 0;  // of a unit of `races`
  bool is_global = false;
};

class Evaluator {
 public:
  explicit Evaluator(const Kernel& kernel);
  Result<int32_t> run(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params,
                      int64_t begin, int64_t end);
  // As check_bounds.
  Status run_ends(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params);

 private:
  template <typename... Args>
  void fault(fmt::format_string<Args...> format, Args&&... args) {
    if (!failed_) error_ = tern::error(format, std::forward<Args>(args)...);
    failed_ = true;
  }
  bool stopped() const { return failed_ || code_ != 0; }

  // Expressions (eval_expr.cc)
  ValueRef expr(const Expr& e, const EvalMask& mask);
  ValueRef op_value(const Expr& e, const EvalMask& mask);
  ValueRef select_value(const Expr& e, const EvalMask& mask);
  ValueRef cast_value(const Expr& e, const EvalMask& mask);
  ValueRef bitcast_value(const Expr& e, const EvalMask& mask);
  ValueRef lane_value(const Expr& e, const EvalMask& mask);
  ValueRef intrinsic_value(const Expr& e, const EvalMask& mask);
  ValueRef peer_value(const Expr& e, const EvalMask& mask);
  ValueRef collective_value(const Expr& e, const EvalMask& mask);
  // A value for `e`, zero; f(thread) fills it for those that take part, once if uniform.
  template <typename F>
  ValueRef make(VType type, bool uniform, const EvalMask& mask, F&& f);

  // Memory (eval_access.cc)
  EvalMemory* memory_of(const Buffer& buffer, const char* what);
  ValueRef load_value(const Expr& e, const EvalMask& mask);
  void load_lanes(const Expr& e, const EvalMemory& memory, int thread, int reader, LaneValues at,
                  const EvalValue* count, const EvalMask& mask, std::span<scalar::ScalarValue> out);
  void store_value(const Stmt& s, const EvalMask& mask);
  void allocate(const Stmt& s);
  bool in_bounds(const Buffer& b, int64_t i, const EvalMemory& memory, const char* what);
  void subgroup_barrier(const EvalMask& mask);
  void prefetch(const Stmt& s, const EvalMask& mask);
  // thread: or kSeveral. counter: of a copy that it counts, which `thread` asks for; else -1.
  void touch(const Buffer& b, const EvalMemory& memory, int64_t i, bool write, int thread, int counter = -1);
  void prepare_workgroup();
  void order_all();  // a barrier: all that was comes before all that will be
  void find_common();
  int width() const { return kernel_.subgroup > 0 ? kernel_.subgroup : threads_; }

  // Asynchronous copies (eval_access.cc)
  struct PendingCopy {
    Stmt stmt;
    EvalMemory* memory;
    int64_t index;
    const uint8_t* source;
    int64_t source_index;
    int64_t count;
  };
  using CopyGroups = std::deque<std::vector<PendingCopy>>;  // the last one is open
  void async_copy(const Stmt& s, const EvalMask& mask);
  void async_wait(int thread, int64_t groups_left);

  // Products of groups of subgroups (eval_group_mma.cc)
  struct PendingProduct {
    Stmt stmt;
    int group;  // of 128 threads
    int64_t a, b;
    std::vector<scalar::ScalarValue> registers;  // A's, of the group's threads
  };
  void group_mma(const Stmt& s, const EvalMask& mask);
  void group_mma_wait(int64_t groups_left);
  void multiply(const PendingProduct& product);
  void find_operands(PendingProduct& product);
  std::vector<scalar::ScalarValue> registers_of(const Expr& operand, int64_t element, int group);
  int64_t b_index(const PendingProduct& product, int64_t n, int64_t k) const;
  double group_mma_element(const Expr& operand, int64_t index, int group);

  // Copies of boxes of tensors (eval_tensor.cc)
  struct PendingBox {
    Stmt stmt;
    int64_t index;
    std::vector<int64_t> at;
  };
  void tensor_copy(const Stmt& s, const EvalMask& mask);
  void copy_box(const PendingBox& box);
  // For each element of a box: its index in workgroup memory, and in the tensor's buffer or -1.
  void visit_box(const PendingBox& box, const std::function<void(int64_t to, int64_t from)>& f);

  // Counts of arrivals (eval_arrival.cc)
  struct PendingArrival {
    int subgroup;
    Clock clock;
    std::vector<PendingCopy> copies;
    std::vector<PendingBox> boxes;
  };
  struct Counter {
    int id = 0;
    int64_t phase = 0;
    std::vector<Clock> ended;                      // of each phase: what came before its end
    std::vector<int64_t> waited;                   // the phase that each subgroup waited for last
    Clock ending;                                  // of this phase, so far
    int arrived = 0;                               // subgroups, in this phase
    int expected = 0;                              // subgroups that a phase waits for
    std::vector<int64_t> started;                  // arrivals of each subgroup
    std::map<int, std::vector<PendingBox>> boxes;  // of subgroups that have not arrived since
    std::deque<PendingArrival> pending;
  };
  void arrival(const Stmt& s, const EvalMask& mask);
  void arrive(const Stmt& s, const EvalMask& mask);
  void wait_for_arrivals(const Stmt& s, const EvalMask& mask);
  std::vector<std::pair<int, Counter*>> counters_of(const Stmt& s, const EvalMask& mask,
                                                    std::string_view what);
  void count_arrival(Counter& counter, const PendingArrival& arriving);
  void perform(const PendingCopy& copy, int thread);

  // Tiles of a subgroup (eval_tile.cc)
  void tile(const Stmt& s, const EvalMask& mask);
  scalar::ScalarValue* tile_elements(const Expr& index, const Buffer& buffer, int first_thread,
                                     const EvalMask& mask);
  void tile_memory(const Stmt& s, scalar::ScalarValue* elements, int first_thread, const EvalMask& mask);

  // Statements (eval.cc)
  void stmt(const Stmt& s, const EvalMask& mask);
  bool passed_over(const Stmt& s) const;
  void for_stmt(const Stmt& s, const EvalMask& mask);
  void assign(const Stmt& s, const EvalMask& mask);
  void body(const std::vector<Stmt>& statements, const EvalMask& mask);
  EvalMask where(const EvalValue& condition, const EvalMask& mask, bool is_true);
  void bind(const Var& var, int64_t value);
  bool is_full(const EvalMask& mask) const { return mask.count == threads_; }
  Status take(const std::vector<EvalBinding>& bindings, const std::vector<int64_t>& params);
  std::vector<int64_t> grid_extents(const EvalMask& all);
  void bind_tile(int64_t tile, const std::vector<int64_t>& extents);
  // Of a thread's workgroup in its cluster.
  int rank(int thread) const { return thread > 0 ? thread / (threads_ / kernel_.cluster) : 0; }
  uint8_t* bytes_of(const EvalMemory& memory, int thread) const {
    return memory.data + thread * memory.thread_bytes + rank(thread) * memory.workgroup_bytes;
  }

  const Kernel& kernel_;
  const TileParts tile_parts_;
  const int threads_;  // of a cluster
  std::unordered_map<const VarNode*, ValueRef> vars_;
  std::unordered_map<const ExprNode*, std::pair<Expr, ValueRef>> constants_;
  std::unordered_map<const BufferNode*, EvalMemory> memory_;
  EvalMemory workgroup_;  // all of it, once buffers have their offsets
  std::vector<CopyGroups> copies_;
  std::deque<std::vector<PendingProduct>> group_mma_groups_ = decltype(group_mma_groups_)(1);
  std::map<std::pair<const BufferNode*, int64_t>, Counter> counters_;  // of arrivals
  int next_counter_ = 0;
  int64_t group_ = 0, epoch_ = 0;
  std::vector<Clock> clocks_;             // of each subgroup
  Clock common_;                          // what comes before what any of them does next
  std::vector<int64_t> subgroup_epochs_;  // of each subgroup
  int64_t cluster_epoch_ = 0, last_peer_read_ = -1;
  Error error_;
  bool failed_ = false;
  bool ends_only_ = false;  // of loops
  int32_t code_ = 0;
};

inline scalar::ScalarValue zero_of(DType dtype) {
  scalar::ScalarValue value;
  value.dtype = dtype;
  return value;
}

}  // namespace tern::kernel
