#include "hal/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct tern_status_record_t {
  tern_allocator_t allocator;
  size_t capacity;  // bytes of text, its terminator among them
  tern_status_code_t code;
  char text[1];  // really `capacity` bytes
};

namespace {

constexpr uintptr_t kMaxBareCode = 63;

bool is_record(tern_status_t status) {
  return reinterpret_cast<uintptr_t>(status) > kMaxBareCode;
}

size_t record_size(size_t capacity) {
  return offsetof(tern_status_record_t, text) + capacity;
}

[[maybe_unused]] tern_status_t make_record(tern_allocator_t allocator, tern_status_code_t code,
                                           size_t capacity) {
  void* memory = tern_allocate(allocator, record_size(capacity), alignof(tern_status_record_t));
  if (!memory) return nullptr;
  auto* record = static_cast<tern_status_record_t*>(memory);
  record->allocator = allocator;
  record->capacity = capacity;
  record->code = code;
  return record;
}

}  // namespace

extern "C" tern_status_code_t tern_status_code(tern_status_t status) {
  return is_record(status) ? status->code
                           : static_cast<tern_status_code_t>(reinterpret_cast<uintptr_t>(status));
}

extern "C" const char* tern_status_code_name(tern_status_code_t code) {
  switch (code) {
#define TERN_STATUS_CODE(id, name, meaning) \
  case id:                                  \
    return #name;
#include "hal/base/status_codes.def"
#undef TERN_STATUS_CODE
  }
  return "?";
}

extern "C" const char* tern_status_message(tern_status_t status) {
  if (is_record(status)) return status->text;
#if !TERN_STATUS_NO_MESSAGES
  switch (tern_status_code(status)) {
#define TERN_STATUS_CODE(id, name, meaning) \
  case id:                                  \
    return meaning;
#include "hal/base/status_codes.def"
#undef TERN_STATUS_CODE
  }
#endif
  return tern_status_code_name(tern_status_code(status));
}

extern "C" void tern_status_free(tern_status_t status) {
  if (is_record(status)) tern_release(status->allocator, status, record_size(status->capacity));
}

extern "C" tern_status_t tern_status_clone(tern_allocator_t allocator, tern_status_t status) {
  if (!is_record(status)) return status;
  tern_status_t copy = make_record(allocator, status->code, status->capacity);
  if (!copy) return tern_status_from_code(status->code);
  memcpy(copy->text, status->text, status->capacity);
  return copy;
}

#if !TERN_STATUS_NO_MESSAGES
extern "C" tern_status_t tern_status_make_(tern_allocator_t allocator, tern_status_code_t code,
                                           const char* format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int length = vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  tern_status_t status = length < 0 ? nullptr : make_record(allocator, code, static_cast<size_t>(length) + 1);
  if (status) {
    vsnprintf(status->text, status->capacity, format, again);
  } else {
    status = tern_status_from_code(code);
  }
  va_end(again);
  return status;
}

extern "C" tern_status_t tern_status_annotate_(tern_status_t status, const char* format, ...) {
  if (!is_record(status)) return status;
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int length = vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  tern_status_t longer = nullptr;
  if (length >= 0) {
    longer = make_record(status->allocator, status->code, status->capacity + static_cast<size_t>(length));
  }
  if (longer) {
    size_t before = strlen(status->text);
    memcpy(longer->text, status->text, before);
    vsnprintf(longer->text + before, longer->capacity - before, format, again);
    tern_status_free(status);
  }
  va_end(again);
  return longer ? longer : status;
}
#endif
