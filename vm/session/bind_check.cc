// What is asked of the caller's tensors before they are bound: types, shapes, sizes, places.
#include "vm/session/bind_check.h"

#include "schemas/abi/dtypes.h"
#include "vm/session/shape_text.h"

namespace tern::vm {
namespace {

using namespace module;

#define INVALID(...) tern_status_make(s.allocator, TERN_STATUS_INVALID_ARGUMENT, __VA_ARGS__)

tern_status_t wrong_shape([[maybe_unused]] Session& s, [[maybe_unused]] const Argument* argument,
                          [[maybe_unused]] const tern_tensor_t& tensor) {
  return INVALID("Input '%s' has the shape %s; the model expects %s.", text(argument->name()),
                 shape_text(tensor.dims, tensor.rank).text, expected_text(s.module->root, argument).text);
}

// Checks one dimension and binds its symbol.
tern_status_t check_dim(Session& s, const Argument* argument, const Dim& dim, int64_t value,
                        const tern_tensor_t& tensor) {
  if (dim.kind() == DimKind::Static) return value == dim.value() ? TERN_OK : wrong_shape(s, argument, tensor);
  int64_t& bound = s.symbols[dim.value()];
  if (bound == value) return TERN_OK;
  const Symbol* symbol = s.module->root->symbols()->Get(static_cast<uint32_t>(dim.value()));
  if (bound >= 0) {
    return INVALID("Input '%s' has the shape %s, where %s is %lld; an earlier input has %s = %lld.",
                   text(argument->name()), shape_text(tensor.dims, tensor.rank).text, text(symbol->name()),
                   static_cast<long long>(value), text(symbol->name()), static_cast<long long>(bound));
  }
  if (value < symbol->min() || value > symbol->max() || value % symbol->multiple_of())
    return wrong_shape(s, argument, tensor);
  bound = value;
  return TERN_OK;
}

// Where the caller's tensor lies: in the host's memory or another space of addresses.
struct Place {
  const void* space;  // null: the host's
  uint64_t begin;
};
Place place_of(const tern_tensor_t& tensor) {
  const tern_hal_buffer_t* buffer = tensor.buffer;
  if (!buffer) return {nullptr, reinterpret_cast<uintptr_t>(tensor.data)};
  const uint64_t offset = tensor.buffer_offset;
  if (buffer->host_pointer) return {nullptr, reinterpret_cast<uintptr_t>(buffer->host_pointer) + offset};
  if (buffer->device_address) return {buffer->device, buffer->device_address + offset};
  return {buffer, offset};
}

bool overlap(Place a, uint64_t a_bytes, Place b, uint64_t b_bytes) {
  return a.space == b.space && a.begin < b.begin + b_bytes && b.begin < a.begin + a_bytes;
}

}  // namespace

tern_status_t check_alignment([[maybe_unused]] Session& s, const Argument* argument, const void* data) {
  const uint32_t bytes = tern_dtype_bits(argument->dtype()) / 8;
  const uint32_t alignment = bytes > 8 ? 8 : bytes;
  if (alignment < 2 || reinterpret_cast<uintptr_t>(data) % alignment == 0) return TERN_OK;
  return INVALID("The data of '%s' is not aligned to its element (%u bytes).", text(argument->name()),
                 alignment);
}

tern_status_t check_buffer(Session& s, [[maybe_unused]] const char* what, const Argument* argument,
                           const tern_tensor_t& tensor, uint64_t bytes) {
  const uint64_t size = tern_hal_buffer_size(tensor.buffer);
  if (tensor.buffer->device != s.device) {
    return INVALID("%s '%s' lies in a buffer of another device than the session's.", what,
                   text(argument->name()));
  }
  if (tensor.buffer_offset % TERN_BUFFER_ALIGNMENT) {
    return INVALID("%s '%s' begins at byte (%llu) of its buffer, which is not a multiple of %d.", what,
                   text(argument->name()), static_cast<unsigned long long>(tensor.buffer_offset),
                   TERN_BUFFER_ALIGNMENT);
  }
  if (tensor.buffer_offset > size || size - tensor.buffer_offset < bytes) {
    return tern_status_make(
        s.allocator, TERN_STATUS_OUT_OF_RANGE,
        "%s '%s' needs %llu bytes; its buffer of (%llu) bytes has fewer from byte (%llu) on.", what,
        text(argument->name()), static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(size),
        static_cast<unsigned long long>(tensor.buffer_offset));
  }
  return check_alignment(s, argument, tern_hal_buffer_host_pointer(tensor.buffer));
}

tern_status_t check_input(Session& s, const Argument* argument, const tern_tensor_t& tensor,
                          uint64_t* out_bytes) {
  if (argument->dtype() == TERN_DTYPE_String) {
    return tern_status_make(s.allocator, TERN_STATUS_UNIMPLEMENTED,
                            "Input '%s' is a string tensor: libtern cannot pass these yet.",
                            text(argument->name()));
  }
  const Slice<Dim> dims = slice(argument->dims());
  if (tensor.dtype != argument->dtype()) {
    return INVALID("Input '%s' has the type %s; the model expects %s.", text(argument->name()),
                   tern_dtype_name(tensor.dtype), tern_dtype_name(argument->dtype()));
  }
  if (tensor.rank != dims.size) return wrong_shape(s, argument, tensor);
  for (uint32_t i = 0; i < dims.size; ++i)
    TERN_RETURN_IF_ERROR(check_dim(s, argument, dims[i], tensor.dims[i], tensor));
  if (!tensor_bytes(tensor.dtype, tensor.dims, tensor.rank, out_bytes))
    return wrong_shape(s, argument, tensor);
  if (tensor.buffer) return check_buffer(s, "Input", argument, tensor, *out_bytes);
  if (tensor.size < *out_bytes) {
    return INVALID("Input '%s' of shape %s needs %llu bytes; %llu were given.", text(argument->name()),
                   shape_text(tensor.dims, tensor.rank).text, static_cast<unsigned long long>(*out_bytes),
                   static_cast<unsigned long long>(tensor.size));
  }
  if (*out_bytes && !tensor.data) return INVALID("Input '%s' has no data.", text(argument->name()));
  return TERN_OK;
}

tern_status_t check_overlap(Session& s, uint32_t index, uint64_t bytes) {
  Output& output = s.outputs[index];
  const Argument* argument = s.function->outputs()->Get(index);
  const Place place = place_of(*output.tensor);
  for (uint32_t i = 0; i < s.input_count; ++i) {
    const Input& input = s.inputs[i];
    if (!input.tensor || (!input.tensor->data && !input.tensor->buffer)) continue;
    const Place other = place_of(*input.tensor);
    if (place.space == other.space && place.begin == other.begin &&
        argument->donor() == static_cast<int32_t>(i)) {
      output.donated = true;
    } else if (overlap(place, bytes, other, input.bytes)) {
      return INVALID("Output '%s' lies in the memory of input '%s'.", text(argument->name()),
                     text(s.function->inputs()->Get(i)->name()));
    }
  }
  for (uint32_t i = 0; i < s.output_count; ++i) {
    const Output& other = s.outputs[i];
    if (i == index || !other.bound || !is_callers(*other.tensor)) continue;
    if (overlap(place, bytes, place_of(*other.tensor), other.reserved)) {
      return INVALID("Outputs '%s' and '%s' share memory.", text(argument->name()),
                     text(s.function->outputs()->Get(i)->name()));
    }
  }
  return TERN_OK;
}

}  // namespace tern::vm
