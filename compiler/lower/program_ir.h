// Dispatch-level IR: what lowering hands to compiler/program: buffers and the steps that fill them. One
// LoweredProgram a function and target class.
//
// Steps run in order and may run side by side where no buffer connects them; program/ finds the needed
// barriers from the bindings. All sizes and offsets are Dims over symbols that are bound when the step runs:
// input dims at entry, others by kBind/kRead steps and loops.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/kernel/ir.h"
#include "compiler/lower/fusion_reason.h"
#include "compiler/lower/target.h"

namespace tern::lower {

enum class BufferKind : uint8_t {
  kInput,      // the caller's, dense ONNX order; never written
  kOutput,     // the caller's or the runtime's, dense ONNX order
  kConstant,   // bytes known now
  kDerived,    // computed from constants by the program's init steps, once a session; static size
  kTemporary,  // lives in the arena; bytes is a Dim over entry symbols (an upper bound for data-dependent
               // sizes)
  kDynamic,  // allocated by kAllocate when its size is known (sizes that no entry symbol bounds; loop-carried
             // growth)
};

struct WeightEncoding;  // weight_encoding.h

struct BufferDef {
  BufferKind kind = BufferKind::kTemporary;
  std::string name;  // the value's source name, for dumps
  DType dtype = DType::kNone;
  Dim bytes;           // reserved size
  int io_index = -1;   // kInput, kOutput
  TensorDataPtr data;  // kConstant: the bytes, already packed as kernels read them
  std::shared_ptr<const WeightEncoding> encoding;  // kConstant: how they follow from panels; may be null
  bool for_init = false;                           // kConstant: only init steps read it
  int alias_of = -1;  // this buffer is part of another one, at alias_offset (concat operands computed in
                      // place, views): no memory of its own
  Dim alias_offset;
};

struct Binding {
  int buffer = -1;
  Dim offset;  // bytes
  Dim length;  // bytes that the kernel may touch from offset
  kernel::Access access = kernel::Access::kRead;
};

struct KernelVariant {
  Level level;
  std::shared_ptr<const kernel::Kernel> kernel;  // its params equal the dispatch's, its bindings too
  Dim tiles;
  double predicted = 0;  // seconds at usual sizes, by the cost model (cost_model.h); CPUs: on one core
};

// What a dispatch does, for reports and profiles.
struct Work {
  Dim flops;          // of floats; multiply-adds count twice. Bytes: operations on them
  Dim read, written;  // bytes that it needs to touch, each once
  bool on_bytes = false;
  bool on_matrix_units = false;                                // of a GPU, in the best variant
  int64_t usual_flops = 0, usual_read = 0, usual_written = 0;  // at usual sizes
};

struct Step;

struct DispatchStep {
  std::string label;      // short: "conv2d+bias+relu"
  std::string_view kind;  // of its region: "contraction"
  std::vector<std::shared_ptr<const graph::Source>> sources;
  std::vector<Binding> bindings;
  std::vector<Dim> params;
  std::vector<KernelVariant> variants;  // one a level, best last
  Work work;
  std::vector<Neighbour> neighbours;     // nodes next to it that are not part of it, and why
  std::optional<FusionReason> copy_for;  // it is a copy that lowering needs
  bool each_run = false;  // stays where it is even if it reads constants alone: its result is not worth memory
};
struct CopyStep {
  Binding from, to;  // equal length
};
struct FillStep {
  Binding to;
  std::vector<uint8_t> pattern;  // 1, 2, 4 or 8 bytes
};
struct BindStep {  // symbol := expression
  std::string symbol;
  Dim value;
};
struct ReadStep {  // symbol := element of an integer or bool buffer, after all steps before it are complete
  std::string symbol;
  int buffer = -1;
  Dim offset;  // bytes
  DType dtype = DType::kI64;
  int64_t min = 0, max = INT64_MAX;  // outside: the invocation fails with a sentence
};
struct AllocateStep {  // kDynamic buffers: (re)allocated here, valid until allocated again or the invocation
                       // ends
  int buffer = -1;
  Dim bytes;
};
struct SwapStep {  // exchanges the memory of two dynamic buffers, or of two temporaries of equal size
                   // (loop-carried values)
  int a = -1, b = -1;
};
struct IfStep {
  int condition = -1;  // buffer of one bool
  std::vector<Step> then_steps, else_steps;
};
// i = 0; while (i < trip_count && (condition < 0 || *condition)) { iteration := i; body; ++i }; count := i
struct LoopStep {
  Dim trip_count;                              // INT64_MAX: unlimited
  int condition = -1;                          // buffer of one bool, read before each iteration
  std::string iteration_symbol, count_symbol;  // may be empty
  std::vector<Step> body;
};
// Of a bool in memory, or, without a buffer, of an expression that is 0 when the check fails.
struct CheckStep {
  int condition = -1;
  Dim holds;
  std::string message;
};

struct Step {
  enum class Kind : uint8_t { kDispatch, kCopy, kFill, kBind, kRead, kAllocate, kSwap, kIf, kLoop, kCheck };
  Kind kind = Kind::kDispatch;
  // The one that `kind` names is set.
  std::shared_ptr<DispatchStep> dispatch;
  std::shared_ptr<CopyStep> copy;
  std::shared_ptr<FillStep> fill;
  std::shared_ptr<BindStep> bind;
  std::shared_ptr<ReadStep> read;
  std::shared_ptr<AllocateStep> allocate;
  std::shared_ptr<SwapStep> swap;
  std::shared_ptr<IfStep> branch;
  std::shared_ptr<LoopStep> loop;
  std::shared_ptr<CheckStep> check;
};

struct IoDef {
  std::string name;
  DType dtype = DType::kNone;
  Shape shape;  // outputs may use symbols bound during the invocation
  int buffer = -1;
};

// What --precision did: values that have memory of their own, and constants.
struct PrecisionReport {
  DType storage = DType::kF32;
  int narrow_values = 0, narrow_constants = 0;
  bool tf32 = false;  // asked for
  int tf32_products = 0, f32_products = 0;
  struct Kept {
    std::string value, node;  // names; may be empty
    std::string_view reason;
  };
  std::vector<Kept> kept;
};

struct LoweredProgram {
  std::string function;  // "main"
  std::vector<IoDef> inputs, outputs;
  std::vector<graph::SymbolInfo> symbols;  // kInput ones are bound at entry; value pointers are null here
  std::vector<BufferDef> buffers;
  std::vector<Step> init_steps;  // commands that fill kDerived buffers, which `steps` only read
  std::vector<Step> steps;
  PrecisionReport precision;
};

}  // namespace tern::lower
