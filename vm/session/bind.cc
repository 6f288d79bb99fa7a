// The caller's tensors: checked against the signature, imported without a copy or copied to the device, bound
// to their slots.
#include <string.h>

#include "hal/base/checked_math.h"
#include "schemas/abi/dtypes.h"
#include "vm/session/bind_check.h"
#include "vm/session/session.h"

namespace tern::vm {
namespace {

using namespace module;

#define INVALID(...) tern_status_make(s.allocator, TERN_STATUS_INVALID_ARGUMENT, __VA_ARGS__)

// What zero-sized tensors point to.
alignas(64) uint8_t empty_tensor[64];

// The cheap way to other memory; false where the device does not have it.
bool reimport(External& external, void* pointer, uint64_t size) {
  const tern_status_t status = tern_hal_buffer_reimport(external.buffer, pointer, static_cast<int64_t>(size));
  tern_status_free(status);
  return status == TERN_OK;
}

// Leaves external.buffer null where the device has memory of its own.
tern_status_t import_external(Session& s, External& external, void* pointer, uint64_t size, bool read_only) {
  if (size == 0) {
    pointer = empty_tensor;
    size = sizeof(empty_tensor);
  }
  if (external.buffer && external.pointer == pointer && external.size == size) return TERN_OK;
  const bool kept = external.buffer && reimport(external, pointer, size);
  if (!kept) {
    tern_hal_buffer_release(external.buffer);
    external = {};
    TERN_RETURN_IF_ERROR(import_memory(s, pointer, size, read_only, &external.buffer));
  }
  external.pointer = pointer;
  external.size = size;
  return TERN_OK;
}

bool is_import(const tern_hal_buffer_t* buffer) {
  return buffer->import_pointer != nullptr;
}

// Device memory of at least `bytes`, kept between invocations.
tern_status_t reserve_device(Session& s, uint64_t bytes, tern_hal_buffer_t** buffer) {
  if (*buffer && tern_hal_buffer_size(*buffer) >= bytes) return TERN_OK;
  tern_hal_buffer_release(*buffer);
  *buffer = nullptr;
  return tern_hal_device_allocate_buffer(s.device, TERN_HAL_MEMORY_DEVICE_LOCAL,
                                         static_cast<int64_t>(tern_align_up(bytes ? bytes : 1, 64)), buffer);
}

// Where the host sees an output of the session, if not where the device has it.
tern_status_t reserve_host(Session& s, Output& output) {
  if (tern_hal_buffer_host_pointer(output.owned) || output.host_size >= output.owned_size) return TERN_OK;
  tern_release(s.allocator, output.host, output.host_size);
  output.host_size = 0;
  output.host = tern_allocate(s.allocator, output.owned_size, 64);
  if (!output.host) return out_of_memory();
  output.host_size = output.owned_size;
  return TERN_OK;
}

// What the invocation spends on copies between host and device.
class TransferTime {
 public:
  explicit TransferTime(Session& s) : s_(s), begin_(tern_hal_now()) {}
  ~TransferTime() { s_.stats.transfer_ns += static_cast<uint64_t>(tern_hal_now() - begin_); }
  TransferTime(const TransferTime&) = delete;
  TransferTime& operator=(const TransferTime&) = delete;

 private:
  Session& s_;
  int64_t begin_;
};

tern_status_t copy_in(Session& s, External& external, const void* data, uint64_t bytes, bool kept) {
  if (kept && external.buffer && !is_import(external.buffer) && external.pointer == data &&
      external.size == bytes)
    return TERN_OK;
  if (external.buffer && is_import(external.buffer)) {
    tern_hal_buffer_release(external.buffer);
    external.buffer = nullptr;
  }
  TERN_RETURN_IF_ERROR(reserve_device(s, bytes, &external.buffer));
  external.pointer = const_cast<void*>(data);
  external.size = bytes;
  const TransferTime time(s);
  return tern_hal_buffer_write(external.buffer, 0, data, static_cast<int64_t>(bytes));
}

tern_hal_range_t buffer_range(const tern_tensor_t& tensor, uint64_t bytes) {
  return {tensor.buffer, static_cast<int64_t>(tensor.buffer_offset), static_cast<int64_t>(bytes)};
}

void bind_range(Session& s, SlotKind kind, uint32_t index, tern_hal_range_t range) {
  for (uint32_t i = 0; i < s.program->slots.size; ++i) {
    if (s.program->slots[i].kind() == kind && s.program->slots[i].index() == index) s.ranges[i] = range;
  }
}

tern_status_t bind_input(Session& s, uint32_t index, const tern_tensor_t& tensor) {
  const Argument* argument = s.function->inputs()->Get(index);
  Input& input = s.inputs[index];
  input.tensor = nullptr;
  bind_range(s, SlotKind::Input, index, {});
  if (argument->optional() && !tensor.data && !tensor.buffer && !tensor.rank && !tensor.dtype) return TERN_OK;
  uint64_t bytes = 0;
  TERN_RETURN_IF_ERROR(check_input(s, argument, tensor, &bytes));
  input.bytes = bytes;
  if (tensor.buffer) {
    if (s.device_memory)
      input.external.pointer = nullptr;  // a copy made before is not of the last invocation
    input.tensor = &tensor;
    bind_range(s, SlotKind::Input, index, buffer_range(tensor, bytes));
    return TERN_OK;
  }
  TERN_RETURN_IF_ERROR(check_alignment(s, argument, tensor.data));
  tern_status_t status = TERN_OK;
  if (!s.device_memory) status = import_external(s, input.external, tensor.data, bytes, true);
  if (status == TERN_OK && s.device_memory)
    status = copy_in(s, input.external, tensor.data, bytes, tensor.owner == TERN_OWNER_KEPT);
  TERN_RETURN_IF_ERROR_CONTEXT(status, "\n - While binding input '%s'", text(argument->name()));
  input.tensor = &tensor;
  bind_range(s, SlotKind::Input, index, {input.external.buffer, 0, static_cast<int64_t>(bytes)});
  return TERN_OK;
}

tern_status_t provide_output(Session& s, Output& output, uint64_t bytes) {
  s.stats.output_bytes -= output.owned_size;
  const tern_status_t status = reserve_device(s, bytes, &output.owned);
  output.owned_size = output.owned ? tern_hal_buffer_size(output.owned) : 0;
  s.stats.output_bytes += output.owned_size;
  return status;
}

// Dimensions that the signature and the inputs give; true if that is all of them.
bool known_dims(const Session& s, const Argument* argument, int64_t* out_dims) {
  const Slice<Dim> dims = slice(argument->dims());
  bool all = true;
  for (uint32_t i = 0; i < dims.size; ++i) {
    const Dim& dim = dims[i];
    out_dims[i] = dim.kind() == DimKind::Static   ? dim.value()
                  : dim.kind() == DimKind::Symbol ? s.symbols[dim.value()]
                                                  : -1;
    if (out_dims[i] < 0) all = false;
  }
  return all;
}

tern_status_t bind_output(Session& s, uint32_t index, tern_tensor_t& tensor) {
  const Argument* argument = s.function->outputs()->Get(index);
  Output& output = s.outputs[index];
  output.tensor = &tensor;
  output.bound = output.donated = false;
  output.reserved = 0;
  bind_range(s, SlotKind::Output, index, {});
  if (argument->dtype() == TERN_DTYPE_String) {
    return tern_status_make(s.allocator, TERN_STATUS_UNIMPLEMENTED,
                            "Output '%s' is a string tensor: libtern cannot pass these yet.",
                            text(argument->name()));
  }
  uint64_t bytes = 0;
  if (!known_dims(s, argument, output.dims)) return TERN_OK;
  if (!tensor_bytes(argument->dtype(), output.dims, count(argument->dims()), &bytes)) {
    return INVALID("The size of output '%s' overflows.", text(argument->name()));
  }
  return reserve_output(s, index, bytes);
}

}  // namespace

bool tensor_bytes(uint32_t dtype, const int64_t* dims, uint32_t rank, uint64_t* out_bytes) {
  int64_t bits = tern_dtype_bits(dtype);
  bool zero = false;
  for (uint32_t i = 0; i < rank; ++i) {
    if (dims[i] < 0) return false;
    zero |= dims[i] == 0;
  }
  for (uint32_t i = 0; !zero && i < rank; ++i) {
    if (!tern_mul_i64(bits, dims[i], &bits)) return false;
  }
  *out_bytes = zero ? 0 : static_cast<uint64_t>(bits) / 8 + (bits % 8 != 0);
  return true;
}

tern_status_t reserve_output(Session& s, uint32_t index, uint64_t bytes) {
  Output& output = s.outputs[index];
  const Argument* argument = s.function->outputs()->Get(index);
  tern_tensor_t& tensor = *output.tensor;
  tern_status_t status = TERN_OK;
  output.source = nullptr;
  if (tensor.buffer) {
    TERN_RETURN_IF_ERROR(check_buffer(s, "Output", argument, tensor, bytes));
    TERN_RETURN_IF_ERROR(check_overlap(s, index, bytes));
    output.source = tensor.buffer;
  } else if (tensor.data && tensor.owner == TERN_OWNER_CALLER) {
    if (tensor.size < bytes) {
      return tern_status_make(s.allocator, TERN_STATUS_OUT_OF_RANGE,
                              "Output '%s' needs %llu bytes; %llu were given.", text(argument->name()),
                              static_cast<unsigned long long>(bytes),
                              static_cast<unsigned long long>(tensor.size));
    }
    TERN_RETURN_IF_ERROR(check_alignment(s, argument, tensor.data));
    TERN_RETURN_IF_ERROR(check_overlap(s, index, bytes));
    if (!s.device_memory) status = import_external(s, output.external, tensor.data, bytes, false);
    if (!s.device_memory) output.source = output.external.buffer;
    if (s.device_memory && output.donated) {  // the input's copy is the donor, if there is one
      tern_hal_buffer_t* copy = s.inputs[argument->donor()].external.buffer;
      output.donated = !is_import(copy) && tern_hal_buffer_size(copy) >= bytes;
      if (output.donated) output.source = copy;
      if (output.donated) s.inputs[argument->donor()].external.pointer = nullptr;  // no longer what was given
    }
  }
  if (status == TERN_OK && !output.source) {
    status = provide_output(s, output, bytes);
    output.source = output.owned;
  }
  TERN_RETURN_IF_ERROR_CONTEXT(status, "\n - While providing memory for output '%s'", text(argument->name()));
  output.bound = true;
  output.reserved = bytes;
  const int64_t offset = tensor.buffer ? static_cast<int64_t>(tensor.buffer_offset) : 0;
  bind_range(s, SlotKind::Output, index, {output.source, offset, static_cast<int64_t>(bytes)});
  return TERN_OK;
}

tern_status_t bind_arguments(Session& s, const tern_invoke_t& invoke) {
  if (invoke.input_count != s.input_count || invoke.output_count != s.output_count ||
      (s.input_count && !invoke.inputs) || (s.output_count && !invoke.outputs)) {
    return INVALID("Function '%s' takes %u inputs and %u outputs; %u and %u were given.",
                   text(s.function->name()), s.input_count, s.output_count, invoke.input_count,
                   invoke.output_count);
  }
  s.stats.transfer_ns = 0;
  for (uint32_t i = 0; i < count(s.module->root->symbols()); ++i) s.symbols[i] = -1;
  for (uint32_t i = 0; i < s.output_count; ++i) s.outputs[i].bound = false;
  for (uint32_t i = 0; i < s.input_count; ++i) TERN_RETURN_IF_ERROR(bind_input(s, i, invoke.inputs[i]));
  for (uint32_t i = 0; i < s.output_count; ++i) TERN_RETURN_IF_ERROR(bind_output(s, i, invoke.outputs[i]));
  return TERN_OK;
}

static tern_status_t finish_output(Session& s, uint32_t index) {
  Output& output = s.outputs[index];
  const Argument* argument = s.function->outputs()->Get(index);
  const uint32_t rank = count(argument->dims());
  uint64_t bytes = 0;
  if (!output.bound || !tensor_bytes(argument->dtype(), output.dims, rank, &bytes) ||
      bytes > output.reserved) {
    return tern_status_make(s.allocator, TERN_STATUS_MALFORMED,
                            "The program left output '%s' without memory or dimensions that fit it.",
                            text(argument->name()));
  }
  tern_tensor_t& tensor = *output.tensor;
  void* copy_to = nullptr;  // null: the device wrote where the caller reads
  if (tensor.buffer) {
    tensor.size = bytes;
  } else if (tensor.data && tensor.owner == TERN_OWNER_CALLER) {
    if (s.device_memory) copy_to = tensor.data;
  } else {
    TERN_RETURN_IF_ERROR(reserve_host(s, output));
    tensor.data = tern_hal_buffer_host_pointer(output.owned);
    if (!tensor.data) tensor.data = copy_to = output.host;
    tensor.size = bytes;
    tensor.owner = TERN_OWNER_SESSION;
  }
  if (copy_to) {
    const TransferTime time(s);
    TERN_RETURN_IF_ERROR(tern_hal_buffer_read(output.source, 0, copy_to, static_cast<int64_t>(bytes)));
  }
  tensor.dtype = argument->dtype();
  tensor.rank = rank;
  memcpy(tensor.dims, output.dims, sizeof(tensor.dims));
  return TERN_OK;
}

tern_status_t finish_outputs(Session& s) {
  for (uint32_t i = 0; i < s.output_count; ++i) TERN_RETURN_IF_ERROR(finish_output(s, i));
  return TERN_OK;
}

void release_arguments(Session& s) {
  for (uint32_t i = 0; s.inputs && i < s.input_count; ++i)
    tern_hal_buffer_release(s.inputs[i].external.buffer);
  for (uint32_t i = 0; s.outputs && i < s.output_count; ++i) {
    tern_hal_buffer_release(s.outputs[i].external.buffer);
    tern_hal_buffer_release(s.outputs[i].owned);
    tern_release(s.allocator, s.outputs[i].host, s.outputs[i].host_size);
  }
}

tern_status_t reserve_arguments(Session& s) {
  if (s.program->table->target() >= TargetClass::Cuda) {
    // A program without weights has not asked the device yet.
    tern_hal_buffer_t* probe = nullptr;
    TERN_RETURN_IF_ERROR(import_memory(s, empty_tensor, sizeof(empty_tensor), true, &probe));
    tern_hal_buffer_release(probe);
  }
  if (!s.device_memory) return TERN_OK;
  int64_t dims[TERN_MAX_RANK];
  for (uint32_t i = 0; i < s.input_count; ++i) {
    const Argument* argument = s.function->inputs()->Get(i);
    uint64_t bytes = 0;
    if (known_dims(s, argument, dims) &&
        tensor_bytes(argument->dtype(), dims, count(argument->dims()), &bytes)) {
      TERN_RETURN_IF_ERROR(reserve_device(s, bytes, &s.inputs[i].external.buffer));
    }
  }
  for (uint32_t i = 0; i < s.output_count; ++i) {
    const Argument* argument = s.function->outputs()->Get(i);
    uint64_t bytes = 0;
    if (known_dims(s, argument, dims) &&
        tensor_bytes(argument->dtype(), dims, count(argument->dims()), &bytes)) {
      TERN_RETURN_IF_ERROR(provide_output(s, s.outputs[i], bytes));
      TERN_RETURN_IF_ERROR(reserve_host(s, s.outputs[i]));
    }
  }
  return TERN_OK;
}

}  // namespace tern::vm
