// Handlers: parameter block, arena, buffers, slots, commands, lists, host functions.
#include <string.h>

#include "vm/session/interpreter.h"

namespace tern::vm {

OP(param_store) {
  s.block[in.bc()] = reg_i(s, in.a);
  return true;
}

OP(arena_reserve) {
  return proceed(s, reserve_arena(s, reg_i(s, in.a)));
}

OP(buffer_alloc) {
  Buffer* buffer = nullptr;
  if (!proceed(s, allocate_buffer(s, reg_i(s, in.b), &buffer))) return false;
  put_ref(s, in.a, buffer);
  return true;
}

OP(buffer_bytes) {
  const Buffer* buffer = buffer_in(s, in.b);
  if (!buffer) return false;
  reg_i(s, in.a) = buffer->bytes;
  return true;
}

OP(buffer_set_dims) {
  Buffer* buffer = buffer_in(s, in.a);
  if (!buffer) return false;
  const Slice<uint32_t> list = s.program->list(in.b);
  for (uint32_t i = 0; i < list.size; ++i) buffer->dims[i] = reg_i(s, static_cast<uint16_t>(list[i]));
  buffer->rank = list.size;
  buffer->dtype = in.c;
  uint64_t bytes = 0;
  if (!tensor_bytes(in.c, buffer->dims, buffer->rank, &bytes) ||
      bytes > static_cast<uint64_t>(buffer->bytes)) {
    return FAIL(OUT_OF_RANGE, "The dimensions of a tensor do not fit its buffer (%lld bytes).",
                static_cast<long long>(buffer->bytes));
  }
  return true;
}

OP(buffer_dim) {
  const Buffer* buffer = buffer_in(s, in.b);
  if (!buffer) return false;
  if (in.c >= buffer->rank)
    return FAIL(OUT_OF_RANGE, "A tensor of rank %u has no dimension (%u).", buffer->rank, in.c);
  reg_i(s, in.a) = buffer->dims[in.c];
  return true;
}

OP(buffer_rank) {
  const Buffer* buffer = buffer_in(s, in.b);
  if (!buffer) return false;
  reg_i(s, in.a) = buffer->rank;
  return true;
}

OP(buffer_copy_ref) {
  Buffer* buffer = buffer_in(s, in.b);
  if (!buffer) return false;
  ++buffer->count;
  put_ref(s, in.a, buffer);
  return true;
}

// Registers know what kind they refer to; references are moved and dropped alike.
OP(buffer_move) {
  Ref* ref = ref_in(s, in.b);
  if (!ref) return false;
  reg_r(s, in.b) = nullptr;
  put_ref(s, in.a, ref);
  return true;
}
OP(list_move) {
  return op_buffer_move(s, in);
}

OP(buffer_drop) {
  put_ref(s, in.a, nullptr);
  return true;
}
OP(list_drop) {
  return op_buffer_drop(s, in);
}

OP(slot_set) {
  Buffer* buffer = buffer_in(s, in.b);
  if (!buffer) return false;
  ++buffer->count;
  set_slot(s, in.a, buffer);
  return true;
}
OP(slot_get) {
  Buffer* buffer = s.slot_refs[in.b];
  if (!buffer) return FAIL(FAILED_PRECONDITION, "Slot (%u) is empty.", in.b);
  ++buffer->count;
  put_ref(s, in.a, buffer);
  return true;
}
OP(slot_clear) {
  set_slot(s, in.a, nullptr);
  return true;
}

OP(submit) {
  return proceed(s, submit_list(s, in.bc()));
}
OP(await) {
  return proceed(s, await_all(s));
}

template <typename T, typename To>
static bool read_to(Session& s, Instruction in, To* to) {
  T value;
  if (!proceed(s, read_slot(s, in.b, reg_i(s, in.c), &value, sizeof(value)))) return false;
  *to = static_cast<To>(value);
  return true;
}
OP(read_i) {
  return read_to<int64_t>(s, in, &reg_i(s, in.a));
}
OP(read_i32) {
  return read_to<int32_t>(s, in, &reg_i(s, in.a));
}
OP(read_i16) {
  return read_to<int16_t>(s, in, &reg_i(s, in.a));
}
OP(read_u8) {
  return read_to<uint8_t>(s, in, &reg_i(s, in.a));
}
OP(read_f32) {
  return read_to<float>(s, in, &reg_f(s, in.a));
}
OP(read_f64) {
  return read_to<double>(s, in, &reg_f(s, in.a));
}

OP(list_create) {
  List* list = nullptr;
  if (!proceed(s, create_list(s, &list))) return false;
  put_ref(s, in.a, list);
  return true;
}

OP(list_clone) {
  List* from = list_in(s, in.b);
  List* list = nullptr;
  if (!from || !proceed(s, create_list(s, &list))) return false;
  const tern_status_t status = list_reserve(s, list, from->size);
  if (status != TERN_OK) {
    release_ref(s, list);
    return fail(s, status);
  }
  for (uint32_t i = 0; i < from->size; ++i) {
    ++from->items[i]->count;
    list->items[i] = from->items[i];
  }
  list->size = from->size;
  put_ref(s, in.a, list);
  return true;
}

OP(list_length) {
  const List* list = list_in(s, in.b);
  if (!list) return false;
  reg_i(s, in.a) = list->size;
  return true;
}

// Whether 0 <= position < bound.
static bool position_fits(Session& s, int64_t position, uint32_t bound, [[maybe_unused]] const List* list) {
  if (position >= 0 && position < bound) return true;
  return FAIL(OUT_OF_RANGE, "Position (%lld) is not in the sequence of %u elements.",
              static_cast<long long>(position), list->size);
}

static bool insert(Session& s, List* list, Buffer* buffer, uint32_t position) {
  if (!proceed(s, list_reserve(s, list, list->size + 1))) return false;
  memmove(list->items + position + 1, list->items + position, (list->size - position) * sizeof(Buffer*));
  list->items[position] = buffer;
  ++buffer->count;
  ++list->size;
  return true;
}

OP(list_append) {
  List* list = list_in(s, in.a);
  Buffer* buffer = list ? buffer_in(s, in.b) : nullptr;
  return buffer && insert(s, list, buffer, list->size);
}
OP(list_insert) {
  List* list = list_in(s, in.a);
  Buffer* buffer = list ? buffer_in(s, in.b) : nullptr;
  const int64_t position = reg_i(s, in.c);
  return buffer && position_fits(s, position, list->size + 1, list) &&
         insert(s, list, buffer, static_cast<uint32_t>(position));
}
OP(list_erase) {
  List* list = list_in(s, in.a);
  const int64_t position = reg_i(s, in.b);
  if (!list || !position_fits(s, position, list->size, list)) return false;
  release_ref(s, list->items[position]);
  memmove(list->items + position, list->items + position + 1,
          (list->size - static_cast<uint32_t>(position) - 1) * sizeof(Buffer*));
  --list->size;
  return true;
}
OP(list_get) {
  List* list = list_in(s, in.b);
  const int64_t position = reg_i(s, in.c);
  if (!list || !position_fits(s, position, list->size, list)) return false;
  Buffer* buffer = list->items[position];
  ++buffer->count;
  put_ref(s, in.a, buffer);
  return true;
}

OP(host_call) {
  return FAIL(UNIMPLEMENTED, "The program calls the host function '%s', which this libtern does not have.",
              text(s.program->table->host_functions()->Get(in.a)));
}

}  // namespace tern::vm
