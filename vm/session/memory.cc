// The arena, and the buffers and lists that bytecode makes. Buffers are cached by the session: a loop that
// frees and allocates the same sizes, and the next invocation, allocate nothing. Reuse needs no wait:
// submissions of a session run in order.
#include <string.h>

#include "hal/base/checked_math.h"
#include "vm/session/session.h"

namespace tern::vm {

tern_status_t import_memory(Session& s, const void* pointer, uint64_t size, bool read_only,
                            tern_hal_buffer_t** out_buffer) {
  if (s.device_memory) return TERN_OK;
  tern_hal_import_t import = {};
  import.pointer = const_cast<void*>(pointer);
  import.size = static_cast<int64_t>(size);
  // Memory that a kernel reads over a bus again and again is better copied once.
  import.memory = TERN_HAL_MEMORY_DEVICE_LOCAL | (read_only ? TERN_HAL_MEMORY_READ_ONLY : 0);
  tern_hal_buffer_t* buffer = nullptr;
  tern_status_t status = tern_hal_device_import_buffer(s.device, &import, &buffer);
  if (status == TERN_OK) {
    *out_buffer = buffer;
  } else if (tern_status_code(status) == TERN_STATUS_INCOMPATIBLE) {
    tern_status_free(status);
    status = TERN_OK;
    s.device_memory = true;
  }
  return status;
}

tern_status_t reserve_arena(Session& s, int64_t bytes) {
  if (s.arena_slot == kNone32) {
    return tern_status_make(s.allocator, TERN_STATUS_MALFORMED,
                            "The program reserves an arena and has no slot for one.");
  }
  if (bytes < 0) {
    return tern_status_make(
        s.allocator, TERN_STATUS_OUT_OF_RANGE,
        "The arena's size is negative (%lld bytes): the model cannot take dimensions this small.",
        static_cast<long long>(bytes));
  }
  if (s.arena_limit && static_cast<uint64_t>(bytes) > s.arena_limit) {
    return tern_status_make(
        s.allocator, TERN_STATUS_OUT_OF_MEMORY,
        "The arena this invocation needs (%lld bytes) is over the session's limit (%llu).",
        static_cast<long long>(bytes), static_cast<unsigned long long>(s.arena_limit));
  }
  if (s.arena && static_cast<uint64_t>(bytes) <= s.arena_size) return TERN_OK;
  // Sequences that grow step by step should not re-record at each step: at least a quarter more, as far as
  // the limit lets it.
  const uint64_t roomy = s.arena_size + s.arena_size / 4;
  if (roomy > static_cast<uint64_t>(bytes) && (!s.arena_limit || roomy <= s.arena_limit))
    bytes = static_cast<int64_t>(roomy);
  TERN_RETURN_IF_ERROR(await_all(s));
  // Not in place: the old arena goes first, so that growth does not need both at once, and the recordings
  // with it.
  tern_hal_buffer_release(s.arena);
  s.arena = nullptr;
  s.arena_size = s.stats.arena_bytes = 0;
  s.ranges[s.arena_slot] = {};
  const bool rebind = s.recorded;
  if (rebind) release_recordings(s);
  TERN_RETURN_IF_ERROR_CONTEXT(
      tern_hal_device_allocate_buffer(s.device, TERN_HAL_MEMORY_DEVICE_LOCAL, bytes, &s.arena),
      "\n - While reserving the arena (%lld bytes)", static_cast<long long>(bytes));
  s.arena_size = s.stats.arena_bytes = static_cast<uint64_t>(bytes);
  s.ranges[s.arena_slot] = {s.arena, 0, TERN_HAL_WHOLE};
  s.arena_known = true;
  return TERN_OK;
}

// The smallest cached buffer that holds `bytes` without wasting more than half.
static Buffer* take_cached(Session& s, uint64_t bytes) {
  Buffer** best = nullptr;
  for (Buffer** at = &s.free_buffers; *at; at = &(*at)->next_free) {
    const uint64_t size = tern_hal_buffer_size((*at)->hal);
    if (size >= bytes && size <= 2 * bytes + 4096 && (!best || size < tern_hal_buffer_size((*best)->hal)))
      best = at;
  }
  if (!best) return nullptr;
  Buffer* buffer = *best;
  *best = buffer->next_free;
  return buffer;
}

tern_status_t allocate_buffer(Session& s, int64_t bytes, Buffer** out_buffer) {
  if (bytes < 0 || bytes > INT64_MAX / 4) {
    return tern_status_make(s.allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The size of a buffer (%lld bytes) is impossible.",
                            static_cast<long long>(bytes));
  }
  Buffer* buffer = take_cached(s, static_cast<uint64_t>(bytes));
  if (!buffer) {
    const uint64_t size = tern_align_up(static_cast<uint64_t>(bytes) + 1, 256);
    if (s.dynamic_limit && s.dynamic_bytes + size > s.dynamic_limit) release_free_buffers(s);
    if (s.dynamic_limit && s.dynamic_bytes + size > s.dynamic_limit) {
      return tern_status_make(s.allocator, TERN_STATUS_OUT_OF_MEMORY,
                              "Buffers whose size depends on data (%llu bytes and %lld more) are over the "
                              "session's limit (%llu).",
                              static_cast<unsigned long long>(s.dynamic_bytes), static_cast<long long>(bytes),
                              static_cast<unsigned long long>(s.dynamic_limit));
    }
    buffer = static_cast<Buffer*>(tern_allocate(s.allocator, sizeof(Buffer), alignof(Buffer)));
    if (!buffer) return out_of_memory();
    memset(static_cast<void*>(buffer), 0, sizeof(*buffer));
    tern_status_t status = tern_hal_device_allocate_buffer(s.device, TERN_HAL_MEMORY_DEVICE_LOCAL,
                                                           static_cast<int64_t>(size), &buffer->hal);
    if (tern_status_code(status) == TERN_STATUS_OUT_OF_MEMORY && s.free_buffers) {
      tern_status_free(status);
      release_free_buffers(s);
      status = tern_hal_device_allocate_buffer(s.device, TERN_HAL_MEMORY_DEVICE_LOCAL,
                                               static_cast<int64_t>(size), &buffer->hal);
    }
    if (status != TERN_OK) {
      tern_release(s.allocator, buffer, sizeof(*buffer));
      return status;
    }
    s.dynamic_bytes += size;
  }
  buffer->count = 1;
  buffer->type = module::RefType::Buffer;
  buffer->bytes = bytes;
  buffer->dtype = buffer->rank = 0;
  buffer->next_free = nullptr;
  *out_buffer = buffer;
  return TERN_OK;
}

void release_free_buffers(Session& s) {
  while (Buffer* buffer = s.free_buffers) {
    s.free_buffers = buffer->next_free;
    s.dynamic_bytes -= tern_hal_buffer_size(buffer->hal);
    tern_hal_buffer_release(buffer->hal);
    tern_release(s.allocator, buffer, sizeof(*buffer));
  }
}

tern_status_t create_list(Session& s, List** out_list) {
  List* list = s.spare_list;
  s.spare_list = nullptr;
  if (!list) {
    list = static_cast<List*>(tern_allocate(s.allocator, sizeof(List), alignof(List)));
    if (!list) return out_of_memory();
    memset(static_cast<void*>(list), 0, sizeof(*list));
  }
  list->count = 1;
  list->type = module::RefType::List;
  *out_list = list;
  return TERN_OK;
}

tern_status_t list_reserve(Session& s, List* list, uint32_t capacity) {
  if (capacity <= list->capacity) return TERN_OK;
  // Of all lists together: so many references to a buffer cannot wrap its count either.
  enum { kMaxListItems = 1 << 24 };
  if (s.list_items - list->capacity + capacity > kMaxListItems) {
    return tern_status_make(s.allocator, TERN_STATUS_OUT_OF_MEMORY,
                            "The sequences of a session have more than %d elements.", kMaxListItems);
  }
  const uint32_t grown = capacity < 8 ? 8 : capacity + capacity / 2;
  Buffer** items =
      static_cast<Buffer**>(tern_allocate(s.allocator, grown * sizeof(Buffer*), alignof(Buffer*)));
  if (!items) return out_of_memory();
  if (list->size) memcpy(items, list->items, list->size * sizeof(Buffer*));
  tern_release(s.allocator, list->items, list->capacity * sizeof(Buffer*));
  list->items = items;
  s.list_items += grown - list->capacity;
  list->capacity = grown;
  return TERN_OK;
}

static void free_list(Session& s, List* list) {
  s.list_items -= list->capacity;
  tern_release(s.allocator, list->items, list->capacity * sizeof(Buffer*));
  tern_release(s.allocator, list, sizeof(*list));
}

void release_ref(Session& s, Ref* ref) {
  if (!ref || --ref->count) return;
  if (ref->type == module::RefType::Buffer) {
    Buffer* buffer = static_cast<Buffer*>(ref);
    buffer->next_free = s.free_buffers;
    s.free_buffers = buffer;
    return;
  }
  List* list = static_cast<List*>(ref);
  for (uint32_t i = 0; i < list->size; ++i) release_ref(s, list->items[i]);
  list->size = 0;
  if (s.spare_list) {
    free_list(s, list);
  } else {
    s.spare_list = list;  // one is kept: the usual loop makes one list
  }
}

void release_spare_list(Session& s) {
  if (s.spare_list) free_list(s, s.spare_list);
  s.spare_list = nullptr;
}

void set_slot(Session& s, uint32_t slot, Buffer* buffer) {
  release_ref(s, s.slot_refs[slot]);
  s.slot_refs[slot] = buffer;
  s.ranges[slot] = buffer ? tern_hal_range_t{buffer->hal, 0, buffer->bytes} : tern_hal_range_t{};
}

}  // namespace tern::vm
