// tern.h: load a compiled model (model.tern) and run it. The whole public C API of libtern; C11, also valid
// C++.
//
//   tern_instance_create → tern_cpu_driver_register(tern_instance_drivers(…)) → tern_device_create
//     → tern_module_load_file → tern_session_create → tern_session_invoke, again and again
//
// samples/run_model.c is a complete program. Rules that hold everywhere:
// - Every desc struct may be zeroed (`= {0}`): zero is the default of every field. Fields are only ever
//   appended.
// - Functions that can fail return tern_status_t: null is success; a failure is freed once with
//   tern_status_free. On failure out-parameters are null or unchanged, and nothing leaks.
// - Null where nothing says that it may be: a function that can fail answers TERN_STATUS_INVALID_ARGUMENT, a
//   getter 0, null, -1 or zeros, and what returns nothing does nothing.
// - Text that a getter returns belongs to the object and lives as long as it does. Strings are UTF-8,
//   terminated.
// - Threads: instances, devices and modules may be used from several threads at once; a session by one thread
//   at a time, except tern_session_cancel. Several sessions of one module run at once from several threads.
// - Objects keep what they need alive: release or destroy in any order, except that the instance goes last.
// - No memory but the instance's allocator's; no thread unless asked for; no signal handler, no output, no
//   global state.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) || defined(__clang__)
#define TERN_API_MUST_USE __attribute__((warn_unused_result))
#define TERN_API __attribute__((visibility("default")))
#else
#define TERN_API_MUST_USE
#define TERN_API
#endif

// ---- Status
// ---------------------------------------------------------------------------------------------------------------

#ifndef TERN_STATUS_CODES_DEFINED
#define TERN_STATUS_CODES_DEFINED
// Why a call failed. Append-only; hal/base/status_codes.def is the table that this repeats.
typedef enum tern_status_code_e {
  TERN_STATUS_OK = 0,
  TERN_STATUS_INVALID_ARGUMENT = 1,     // the caller passed something that can never be right
  TERN_STATUS_FAILED_PRECONDITION = 2,  // right in itself, but not in this state or order of calls
  TERN_STATUS_OUT_OF_RANGE = 3,         // an offset, length, index or dimension lies outside its bound
  TERN_STATUS_OUT_OF_MEMORY = 4,        // the allocator, the device or a set limit has no room
  TERN_STATUS_NOT_FOUND = 5,            // no driver, device, function, file or name like that
  TERN_STATUS_MALFORMED = 6,            // a module or executable is damaged or hostile
  TERN_STATUS_INCOMPATIBLE =
      7,  // well formed, but of a version, format or target that this build or device cannot take
  TERN_STATUS_PERMISSION_DENIED = 8,   // the caller's policy forbids it (machine code without trust)
  TERN_STATUS_UNIMPLEMENTED = 9,       // not built here
  TERN_STATUS_CANCELLED = 10,          // tern_session_cancel was called
  TERN_STATUS_DEADLINE_EXCEEDED = 11,  // the invocation's timeout passed first
  TERN_STATUS_DEVICE_LOST = 12,        // the device is gone: make a new one
  TERN_STATUS_DATA_ERROR =
      13,  // input data violates a contract that only a kernel can check (an index out of range)
  TERN_STATUS_IO_ERROR = 14,  // the operating system failed a file or memory operation
  TERN_STATUS_INTERNAL = 15,  // a bug in tern
} tern_status_code_t;
#endif

// The result of a call that can fail: null is success, everything else a failure that must be freed once.
typedef struct tern_status_record_t* tern_status_t;

// The code of a status; TERN_STATUS_OK for null.
TERN_API tern_status_code_t tern_status_code(tern_status_t status);
// What went wrong as one or more sentences with names, values and limits; without a text
// (TERN_STATUS_NO_MESSAGES builds) the code's meaning. Valid until the status is freed.
TERN_API const char* tern_status_message(tern_status_t status);
// Frees a failure. Null is fine.
TERN_API void tern_status_free(tern_status_t status);

// ---- Element types
// ----------------------------------------------------------------------------------------------------------

#ifndef TERN_DTYPES_DEFINED
#define TERN_DTYPES_DEFINED
// ONNX's own numbers. Types below 8 bits are packed, element 0 in the lowest bits. schemas/abi/dtypes.def is
// the table that this repeats.
typedef enum tern_dtype_e {
  TERN_DTYPE_NONE = 0,
  TERN_DTYPE_F32 = 1,
  TERN_DTYPE_U8 = 2,
  TERN_DTYPE_I8 = 3,
  TERN_DTYPE_U16 = 4,
  TERN_DTYPE_I16 = 5,
  TERN_DTYPE_I32 = 6,
  TERN_DTYPE_I64 = 7,
  TERN_DTYPE_String = 8,
  TERN_DTYPE_Bool = 9,
  TERN_DTYPE_F16 = 10,
  TERN_DTYPE_F64 = 11,
  TERN_DTYPE_U32 = 12,
  TERN_DTYPE_U64 = 13,
  TERN_DTYPE_C64 = 14,
  TERN_DTYPE_C128 = 15,
  TERN_DTYPE_BF16 = 16,
  TERN_DTYPE_F8E4M3FN = 17,
  TERN_DTYPE_F8E4M3FNUZ = 18,
  TERN_DTYPE_F8E5M2 = 19,
  TERN_DTYPE_F8E5M2FNUZ = 20,
  TERN_DTYPE_U4 = 21,
  TERN_DTYPE_I4 = 22,
  TERN_DTYPE_F4E2M1 = 23,
  TERN_DTYPE_F8E8M0 = 24,
  TERN_DTYPE_U2 = 25,
  TERN_DTYPE_I2 = 26,
} tern_dtype_t;
#endif

// ---- Instance: allocator and drivers
// ----------------------------------------------------------------------------------------

#ifndef TERN_ALLOCATOR_DEFINED
#define TERN_ALLOCATOR_DEFINED
// Where all host memory comes from. Both functions may be called from any thread.
typedef struct tern_allocator_t {
  void* self;  // passed to both functions; may be null
  // Returns `size` (> 0) bytes at a multiple of `alignment` (a power of two), or null. Contents are
  // undefined.
  void* (*allocate)(void* self, size_t size, size_t alignment);
  // Takes back what `allocate` returned for that size. Never called with null.
  void (*release)(void* self, void* pointer, size_t size);
} tern_allocator_t;
#endif

typedef struct tern_instance_t tern_instance_t;
struct tern_hal_driver_registry_t;

typedef struct tern_instance_desc_t {
  tern_allocator_t allocator;  // zeroed: the C library's heap
} tern_instance_desc_t;

// An allocator and the drivers that the program links. desc may be null.
TERN_API TERN_API_MUST_USE tern_status_t tern_instance_create(const tern_instance_desc_t* desc,
                                                              tern_instance_t** out_instance);
// All devices, modules and sessions of the instance must be gone. Null is fine.
TERN_API void tern_instance_destroy(tern_instance_t* instance);
// What driver registration functions take.
TERN_API struct tern_hal_driver_registry_t* tern_instance_drivers(tern_instance_t* instance);

// Adds a driver. Explicitly, so that a driver which is not named here is not linked. Call before any device
// is created.
TERN_API TERN_API_MUST_USE tern_status_t tern_cpu_driver_register(struct tern_hal_driver_registry_t* drivers);
TERN_API TERN_API_MUST_USE tern_status_t
tern_null_driver_register(struct tern_hal_driver_registry_t* drivers);
TERN_API TERN_API_MUST_USE tern_status_t
tern_cuda_driver_register(struct tern_hal_driver_registry_t* drivers);
// In libterns that were built with Vulkan's headers.
TERN_API TERN_API_MUST_USE tern_status_t
tern_vulkan_driver_register(struct tern_hal_driver_registry_t* drivers);
// Physical cores that this process may use (affinity and cgroup respected): a good thread_count.
TERN_API uint32_t tern_cpu_usable_core_count(void);

// ---- Devices
// ------------------------------------------------------------------------------------------------------------------

typedef struct tern_hal_device_t tern_device_t;

typedef struct tern_device_info_t {
  const char* driver;  // "cpu"
  char name[64];       // "AMD EPYC 9R45"
  uint32_t ordinal;
} tern_device_info_t;

// Stores up to `capacity` infos of the devices of all drivers, and how many there are in *out_count.
TERN_API TERN_API_MUST_USE tern_status_t tern_device_enumerate(tern_instance_t* instance,
                                                               tern_device_info_t* out_infos,
                                                               uint32_t capacity, uint32_t* out_count);

// The host's own thread pool. parallel_for must call body(body_self, i) once for each i in [0, count), on any
// threads, and return when all have returned. Fields as in hal/device.h.
typedef struct tern_host_executor_t {
  void* self;
  void (*parallel_for)(void* self, uint32_t count, void (*body)(void* body_self, uint32_t index),
                       void* body_self);
  uint32_t worker_count;  // how many bodies are worth asking for
} tern_host_executor_t;

typedef struct tern_device_desc_t {
  const char* driver;                    // null: the first one registered
  uint32_t ordinal;                      // which of the driver's devices
  uint32_t thread_count;                 // cpu: threads that run kernels, the calling one among them; 0: 1
  const tern_host_executor_t* executor;  // cpu: used instead of own threads; copied; must outlive the device
  uint64_t memory_limit;                 // most bytes of device memory; 0: no limit
  const void* driver_options;            // the driver's own struct (tern/driver_options.h), or null
} tern_device_desc_t;

// desc may be null.
TERN_API TERN_API_MUST_USE tern_status_t tern_device_create(tern_instance_t* instance,
                                                            const tern_device_desc_t* desc,
                                                            tern_device_t** out_device);
// Gives up the caller's reference. Null is fine.
TERN_API void tern_device_release(tern_device_t* device);

// The device's answer to a row of schemas/abi/capabilities.def; 0 when it lacks it or the row is not known.
TERN_API TERN_API_MUST_USE tern_status_t tern_device_query_capability(tern_device_t* device, uint32_t id,
                                                                      int64_t* out_value);

// ---- Buffers
// -----------------------------------------------------------------------------------------------------------------
// Memory of a device that inputs and outputs can lie in, so that nothing is copied between host and device:
// one session's output is another's input, or its own next one (a cache of keys and values). A buffer may be
// used by one invocation, read or write at a time; whoever writes it by other means (a kernel of the
// application's) has waited for that before the invocation begins.

typedef struct tern_hal_buffer_t tern_buffer_t;

// Tensors begin at multiples of this many bytes in a buffer.
#define TERN_BUFFER_ALIGNMENT 256

// Memory on the device, on a CPU memory of the host. Its contents are undefined. It counts towards the
// device's memory_limit and keeps the device alive.
TERN_API TERN_API_MUST_USE tern_status_t tern_buffer_create(tern_device_t* device, uint64_t size,
                                                            tern_buffer_t** out_buffer);

// Memory that the application has, without a copy: `address` is what the device's own API calls it (cuda: a
// CUdeviceptr, in the device's primary context, so also what the CUDA runtime and PyTorch allocate; cpu: a
// pointer). It must begin at a multiple of 16 bytes (cuda) or of its elements (cpu), and stay valid until the
// buffer is released. Vulkan has no such address: TERN_STATUS_INCOMPATIBLE.
TERN_API TERN_API_MUST_USE tern_status_t tern_buffer_import(tern_device_t* device, uint64_t address,
                                                            uint64_t size, tern_buffer_t** out_buffer);

// Null is fine. No invocation may be using it.
TERN_API void tern_buffer_release(tern_buffer_t* buffer);

TERN_API uint64_t tern_buffer_size(const tern_buffer_t* buffer);
// What the device's own API calls it (as for tern_buffer_import); 0 where it has no such address.
TERN_API uint64_t tern_buffer_address(const tern_buffer_t* buffer);

// Copies `size` bytes from or to host memory and returns when that is done. A range that is not inside the
// buffer is TERN_STATUS_OUT_OF_RANGE.
TERN_API TERN_API_MUST_USE tern_status_t tern_buffer_read(tern_buffer_t* buffer, uint64_t offset,
                                                          void* out_data, uint64_t size);
TERN_API TERN_API_MUST_USE tern_status_t tern_buffer_write(tern_buffer_t* buffer, uint64_t offset,
                                                           const void* data, uint64_t size);

// ---- Modules
// ------------------------------------------------------------------------------------------------------------------

typedef struct tern_module_t tern_module_t;

// What a module may make this process do. Everything else in a module is verified; machine code cannot be.
typedef enum tern_code_policy_e {
  TERN_CODE_REFUSE =
      0,  // sessions of programs with machine code (or PTX) fail with TERN_STATUS_PERMISSION_DENIED
  TERN_CODE_TRUSTED = 1,  // the caller knows where the module is from and vouches for it
} tern_code_policy_t;

typedef struct tern_module_desc_t {
  uint32_t code_policy;     // tern_code_policy_t
  uint32_t verify_weights;  // 1: check the hash of the weights too (reads all of them)
  // tern_module_load_memory: called when the module no longer needs the bytes; may be null.
  void (*release)(void* release_self, const void* data, size_t size);
  void* release_self;
} tern_module_desc_t;

// Maps the file, checks all of its metadata, code and bytecode. Weights stay mapped and are paged in when
// used: the file must not be changed while the module lives (replace it by renaming). desc may be null.
TERN_API TERN_API_MUST_USE tern_status_t tern_module_load_file(tern_instance_t* instance, const char* path,
                                                               const tern_module_desc_t* desc,
                                                               tern_module_t** out_module);
// The same from memory, which must stay unchanged until the module is gone (desc->release tells). data must
// be 64-byte aligned: weights are used in place.
TERN_API TERN_API_MUST_USE tern_status_t tern_module_load_memory(tern_instance_t* instance, const void* data,
                                                                 size_t size, const tern_module_desc_t* desc,
                                                                 tern_module_t** out_module);
// Gives up the caller's reference; sessions keep the module alive. Null is fine.
TERN_API void tern_module_release(tern_module_t* module);

// Whether the module has a program for the device, every kernel of which has a variant that the device can
// run, by what the module and the device say of themselves; nothing is loaded. TERN_STATUS_INCOMPATIBLE says
// what is missing.
TERN_API TERN_API_MUST_USE tern_status_t tern_module_check_device(const tern_module_t* module,
                                                                  tern_device_t* device);

// Compares the hash of every segment, weights included.
TERN_API TERN_API_MUST_USE tern_status_t tern_module_verify_segments(tern_module_t* module);

enum { TERN_MAX_DIMS = 16 };

typedef enum tern_dim_kind_e {
  TERN_DIM_STATIC = 0,    // value: the dimension
  TERN_DIM_SYMBOL = 1,    // value: index of a symbol, which all inputs of one call must agree on
  TERN_DIM_COMPUTED = 2,  // outputs: known after the invocation; value: an upper bound, or -1
} tern_dim_kind_t;

typedef struct tern_dim_info_t {
  int64_t value;
  tern_dim_kind_t kind;
  const char* text;  // as the compiler writes it ("2*N+1"), or null
} tern_dim_info_t;

typedef struct tern_tensor_info_t {
  const char* name;
  uint32_t dtype;  // tern_dtype_t
  uint32_t rank;
  tern_dim_info_t dims[TERN_MAX_DIMS];
  uint32_t optional;  // inputs: may be left out (data null, rank 0, dtype 0)
  int32_t donor;      // outputs: index of the input whose memory may be passed as this output's too; -1: none
} tern_tensor_info_t;

typedef struct tern_symbol_info_t {
  const char* name;
  int64_t min;
  int64_t max;   // inclusive
  int64_t hint;  // a usual value, or -1
  int64_t multiple_of;
} tern_symbol_info_t;

// "ternc 0.1.0"; "" when the module does not say.
TERN_API const char* tern_module_producer(const tern_module_t* module);
TERN_API uint32_t tern_module_function_count(const tern_module_t* module);
// Null if there is no such function.
TERN_API const char* tern_module_function_name(const tern_module_t* module, uint32_t function);
// The index of a function, or -1. Null asks for the first.
TERN_API int32_t tern_module_find_function(const tern_module_t* module, const char* name);
// 0 if there is no such function.
TERN_API uint32_t tern_module_input_count(const tern_module_t* module, uint32_t function);
TERN_API uint32_t tern_module_output_count(const tern_module_t* module, uint32_t function);
// Index of the input or output of that name, or -1.
TERN_API int32_t tern_module_find_input(const tern_module_t* module, uint32_t function, const char* name);
TERN_API int32_t tern_module_find_output(const tern_module_t* module, uint32_t function, const char* name);
// Fail with TERN_STATUS_OUT_OF_RANGE if there is no such function, input or output.
TERN_API TERN_API_MUST_USE tern_status_t tern_module_input_info(const tern_module_t* module,
                                                                uint32_t function, uint32_t input,
                                                                tern_tensor_info_t* out_info);
TERN_API TERN_API_MUST_USE tern_status_t tern_module_output_info(const tern_module_t* module,
                                                                 uint32_t function, uint32_t output,
                                                                 tern_tensor_info_t* out_info);
TERN_API uint32_t tern_module_symbol_count(const tern_module_t* module);
TERN_API TERN_API_MUST_USE tern_status_t tern_module_symbol_info(const tern_module_t* module, uint32_t symbol,
                                                                 tern_symbol_info_t* out_info);

// ---- Sessions
// -----------------------------------------------------------------------------------------------------------------

typedef struct tern_session_t tern_session_t;

// The largest value that a symbol will have: memory is reserved for it at creation.
typedef struct tern_dim_bound_t {
  const char* symbol;
  int64_t max;
} tern_dim_bound_t;

// A kernel linked into the program, for modules whose executables say so (boards without an operating system,
// tests). Its type is schemas/abi/kernel_abi.h's tern_kernel_fn_t.
struct tern_kernel_args_t;
typedef struct tern_static_kernel_t {
  const char* name;
  int32_t (*function)(const struct tern_kernel_args_t* args, int64_t tile_begin, int64_t tile_end,
                      void* scratch, int64_t scratch_size);
} tern_static_kernel_t;

typedef struct tern_session_desc_t {
  const char* function;  // null: the first
  const tern_dim_bound_t*
      bounds;  // symbols that are not named: their hint, else reserved when first met. Larger values stay
  uint32_t bound_count;       // allowed: they grow the arena, which allocates.
  uint32_t profile_capacity;  // commands to keep times of for each invocation; 0: no profiling
  uint64_t arena_limit;       // most bytes of the arena; 0: no limit but the device's
  uint64_t dynamic_limit;  // most bytes of buffers whose size depends on data; 0: no limit but the device's
  uint64_t step_limit;     // most loop iterations and calls of one invocation; 0: 2^40
  const tern_static_kernel_t* static_kernels;  // read at creation only
  uint32_t static_kernel_count;
} tern_session_desc_t;

// Chooses the program for the device, loads its code (the best that the device takes), binds the weights or
// copies them to it, reserves memory, records the commands. Fails with TERN_STATUS_INCOMPATIBLE if the module
// has no program for the device, naming what it has. desc may be null.
TERN_API TERN_API_MUST_USE tern_status_t tern_session_create(tern_module_t* module, tern_device_t* device,
                                                             const tern_session_desc_t* desc,
                                                             tern_session_t** out_session);
// Must not run. Memory of outputs that the session owns goes too. Null is fine.
TERN_API void tern_session_destroy(tern_session_t* session);

typedef enum tern_owner_e {
  TERN_OWNER_CALLER = 0,
  TERN_OWNER_SESSION = 1,
  // Of an input: its data and size are those of the invocation before, and so are its contents. A device with
  // memory of its own is not sent them again.
  TERN_OWNER_KEPT = 2,
} tern_owner_t;

// A tensor, dense, in ONNX's order: in host memory (`data`, aligned to its element type) or in a buffer.
typedef struct tern_tensor_t {
  void* data;      // ignored when there is a buffer, as are size and owner
  uint64_t size;   // bytes that data has; at least what dtype and dims need
  uint32_t dtype;  // tern_dtype_t
  uint32_t rank;
  uint32_t owner;  // tern_owner_t; see tern_session_invoke. Inputs: only TERN_OWNER_KEPT means anything
  int64_t dims[TERN_MAX_DIMS];
  tern_buffer_t* buffer;   // of the session's device; null: the tensor is in host memory
  uint64_t buffer_offset;  // where in the buffer it begins, a multiple of TERN_BUFFER_ALIGNMENT
} tern_tensor_t;

typedef struct tern_invoke_t {
  const tern_tensor_t* inputs;  // in the function's order; never written
  tern_tensor_t* outputs;       // in the function's order
  uint32_t input_count;         // must be the function's
  uint32_t output_count;        // must be the function's
  uint64_t timeout_ns;          // 0, or 2^62 and more: none. Looked at between dispatches and in loops.
} tern_invoke_t;

// Runs the function once and waits for it. Outputs: with data null (or owner TERN_OWNER_SESSION from an
// earlier call), the session provides the memory and sets data, size and owner; it is valid until the
// session's next invoke, reset or destroy. With data set, `size` bytes there receive the result; too few is
// TERN_STATUS_OUT_OF_RANGE with the size it needs. In both cases dtype, rank and dims are set on success. An
// output may share memory with an input only if its info names that input as donor, and then only exactly.
// With a buffer set, the result is left there and nothing is copied to the host; too few bytes from
// buffer_offset on is the same error. Inputs in buffers are not copied either.
// Shapes: dtype and rank as declared, static dimensions equal, symbols within their bounds and the same
// everywhere; else TERN_STATUS_INVALID_ARGUMENT naming the input, the shape given and the one expected. A
// failed invocation leaves output contents undefined and the session usable. An invocation at or below the
// bounds that the session reserved for allocates nothing.
TERN_API TERN_API_MUST_USE tern_status_t tern_session_invoke(tern_session_t* session,
                                                             const tern_invoke_t* invoke);

// Forgets what invocations left behind (cached buffers, persistent state) and runs the program's init again.
TERN_API TERN_API_MUST_USE tern_status_t tern_session_reset(tern_session_t* session);

// Any thread: the running invocation ends with TERN_STATUS_CANCELLED at its next dispatch or loop boundary.
// When none runs, nothing.
TERN_API void tern_session_cancel(tern_session_t* session);

typedef struct tern_session_stats_t {
  uint64_t arena_bytes;
  uint64_t constant_bytes;  // weights that the program uses: mapped on the cpu, copied to other devices
  uint64_t persistent_bytes;
  uint64_t dynamic_bytes;  // buffers sized by data: in use and cached
  uint64_t output_bytes;   // outputs that the session owns
  uint64_t invocations;
  uint64_t submissions;
  uint64_t transfer_ns;  // of the last invocation: copying inputs to the device and outputs from it; 0 where
                         // the device sees host memory
} tern_session_stats_t;
TERN_API tern_session_stats_t tern_session_stats(const tern_session_t* session);

// The executables whose code the session uses ("x86_64_v3", "cuda_sm_90a"); null when there are not so many.
TERN_API const char* tern_session_executable_name(const tern_session_t* session, uint32_t index);

// One command of the last invocation, when profile_capacity was set.
typedef struct tern_profile_event_t {
  const char* label;  // kernel and source nodes; "" when the module was stripped
  size_t label_size;
  int64_t begin_ns;  // differences mean something, the origin does not
  int64_t end_ns;
  uint32_t source;  // index into the module's sources (schemas/module/module.fbs); UINT32_MAX: none
} tern_profile_event_t;
TERN_API uint32_t tern_session_profile_count(const tern_session_t* session);
// Zeroed if there is no such event.
TERN_API tern_profile_event_t tern_session_profile_event(const tern_session_t* session, uint32_t index);

#ifdef __cplusplus
}  // extern "C"
#endif
