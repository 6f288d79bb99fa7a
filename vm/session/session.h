// A session: one function of a module made ready on one device. Everything an invocation needs is made at
// creation.
//
// The parts, one file each: select.cc (program, kernel variants), code.cc (executables), record.cc
// (constants, command lists), bind.cc (inputs and outputs of an invocation), memory.cc (arena, dynamic
// buffers, lists), interpreter.cc and ops_*.cc (bytecode), invoke.cc. One thread at a time uses a session;
// only `cancel` is touched by others.
#pragma once

#include "hal/device.h"
#include "tern/tern.h"
#include "vm/module/module.h"

namespace tern::vm {

enum { kLabelSize = 160 };  // bytes of a label, its end included

// What a reference register, a dynamic slot or a list element refers to. Counted; a session's own, so not
// atomic.
struct Ref {
  uint32_t count;
  module::RefType type;
};

struct Buffer : Ref {
  tern_hal_buffer_t* hal;
  int64_t bytes;  // as asked for; the HAL buffer may be larger when it was used before
  Buffer* next_free;
  uint32_t dtype, rank;
  int64_t dims[TERN_MAX_RANK];
};

struct List : Ref {
  Buffer** items;
  uint32_t size, capacity;
};

// A caller's tensor as the device sees it: its memory imported or, where the device has memory of its own
// (Session::device_memory), a buffer of at least its size that it is copied to.
struct External {
  void* pointer;
  uint64_t size;
  tern_hal_buffer_t* buffer;
};

struct Input {
  External external;
  uint64_t bytes;
  const tern_tensor_t* tensor;  // of the running invocation; null: not given
};

struct Output {
  External external;         // the caller's memory, imported
  tern_tensor_t* tensor;     // of the running invocation
  tern_hal_buffer_t* owned;  // the session's memory, kept between invocations
  uint64_t owned_size;
  tern_hal_buffer_t* source;  // what is bound: external's buffer, `owned`, or a donor's; borrowed
  uint64_t reserved;          // bytes that are bound
  bool bound, donated;
  void* host;  // what the host sees of `owned`, where the device's memory is its own
  uint64_t host_size;
  int64_t dims[TERN_MAX_RANK];  // -1: not known yet
};

// A running routine's place; the registers of frame n+1 lie behind those of frame n.
struct Frame {
  const module::Routine* routine;
  const uint64_t* code;
  uint32_t pc;
  uint32_t routine_index;
  uint16_t results_to;  // the caller's list that takes the results
};

struct Machine {
  const uint64_t* code;  // of the running routine
  uint32_t pc;
  int64_t* i;  // register windows
  double* f;
  Ref** r;
  Frame* frames;
  uint32_t depth;  // running frames; frames[depth - 1] is the innermost
  uint64_t steps;  // back edges and calls
  tern_status_t status;
  int64_t* stack_i;
  double* stack_f;
  Ref** stack_r;
  uint32_t size_r;
};

}  // namespace tern::vm

struct tern_session_t {
  tern_allocator_t allocator;
  tern_module_t* module;
  tern_hal_device_t* device;
  const tern::vm::ProgramView* program;
  const tern::module::Function* function;
  uint32_t function_index;
  uint64_t arena_limit, dynamic_limit, step_limit;
  const tern_static_kernel_t* static_kernels;  // while the session is created
  uint32_t static_kernel_count;

  tern_hal_executable_t** executables;  // as the module's; null: not used
  uint8_t* variants;                    // of each kernel, which one this device runs
  uint32_t executable_count;
  tern_hal_command_buffer_t** recordings;  // one a command list; null before the first record
  bool recorded, initializing;
  char* labels;  // one a source of the module, kLabelSize bytes each; null when there are none

  tern_hal_range_t* ranges;       // one a slot: what the HAL's submit takes
  tern_hal_buffer_t** slot_held;  // constants, persistent: the session's reference
  tern::vm::Buffer** slot_refs;   // dynamic
  uint32_t arena_slot;            // kNone32: none
  tern_hal_buffer_t* arena;
  uint64_t arena_size;
  bool arena_known;
  bool device_memory;  // host memory cannot be imported: what goes in and out is copied

  int64_t* block;
  int64_t* symbols;  // -1: not bound yet
  tern::vm::Input* inputs;
  tern::vm::Output* outputs;
  uint32_t input_count, output_count;

  tern::vm::Buffer* free_buffers;
  uint64_t dynamic_bytes;
  tern::vm::List* spare_list;
  uint32_t list_items;  // that lists have room for

  tern::vm::Machine machine;
  tern_hal_semaphore_t* semaphore;  // signalled by each submission
  uint64_t timeline;
  tern_hal_cancel_t cancel;
  int64_t deadline;
  tern_hal_event_log_t* event_log;
  tern_session_stats_t stats;

  struct {
    void* memory;
    size_t size;
  } owned[20];  // arrays above, freed with the session
  uint32_t owned_count;
};

namespace tern::vm {

using Session = tern_session_t;

// A zeroed array that lives as long as the session; false when memory is short. A count of 0 gives null.
bool session_array(Session& s, size_t count, size_t element, void** out);
template <typename T>
bool session_array(Session& s, size_t count, T** out) {
  return session_array(s, count, sizeof(T), reinterpret_cast<void**>(out));
}

inline tern_status_t out_of_memory() {
  return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
}

// code.cc
// Chooses program and variants, loads their code.
tern_status_t select_code(Session& s);

// record.cc
tern_status_t bind_slots(Session& s);  // constants, persistent
tern_status_t record_lists(Session& s);
// Runs the program's init, if it has one; what only init reads is there meanwhile.
tern_status_t run_init(Session& s);
void release_recordings(Session& s);

// bind.cc
tern_status_t bind_arguments(Session& s, const tern_invoke_t& invoke);
// On devices with memory of their own: buffers of inputs and outputs at the dimensions that the symbols have
// now.
tern_status_t reserve_arguments(Session& s);
tern_status_t reserve_output(Session& s, uint32_t output, uint64_t bytes);
tern_status_t finish_outputs(Session& s);
void release_arguments(Session& s);
// Bytes of a dense tensor; false on overflow or a negative dimension.
bool tensor_bytes(uint32_t dtype, const int64_t* dims, uint32_t rank, uint64_t* out_bytes);

// memory.cc
// Host memory as the device sees it. Where it cannot, device_memory is set and *out_buffer is as it was.
tern_status_t import_memory(Session& s, const void* pointer, uint64_t size, bool read_only,
                            tern_hal_buffer_t** out_buffer);
tern_status_t reserve_arena(Session& s, int64_t bytes);
tern_status_t allocate_buffer(Session& s, int64_t bytes, Buffer** out_buffer);
tern_status_t create_list(Session& s, List** out_list);
tern_status_t list_reserve(Session& s, List* list, uint32_t capacity);
void release_ref(Session& s, Ref* ref);                    // null is fine
void set_slot(Session& s, uint32_t slot, Buffer* buffer);  // takes over the caller's reference; null clears
void release_free_buffers(Session& s);
void release_spare_list(Session& s);

// commands.cc
tern_status_t submit_list(Session& s, uint32_t list);
tern_status_t await_all(Session& s);
tern_status_t read_slot(Session& s, uint32_t slot, int64_t offset, void* out, uint32_t size);

// interpreter.cc
tern_status_t make_machine(Session& s);
// Runs a routine without arguments to its end. References and dynamic slots are empty afterwards.
tern_status_t run_routine(Session& s, uint32_t routine);

}  // namespace tern::vm
