// Views of bytes and text that somebody else owns. Passed by value. A zeroed view is empty.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifndef TERN_SPAN_DEFINED
#define TERN_SPAN_DEFINED
typedef struct tern_const_bytes_t {
  const uint8_t* data;
  size_t size;
} tern_const_bytes_t;

typedef struct tern_bytes_t {
  uint8_t* data;
  size_t size;
} tern_bytes_t;

// Text, not terminated.
typedef struct tern_string_view_t {
  const char* data;
  size_t size;
} tern_string_view_t;
#endif

static inline tern_const_bytes_t tern_const_bytes(const void* data, size_t size) {
  tern_const_bytes_t bytes = {(const uint8_t*)data, size};
  return bytes;
}

// A view of a terminated string; null gives the empty view.
static inline tern_string_view_t tern_string_view(const char* text) {
  size_t size = 0;
  if (text) {
    while (text[size]) ++size;
  }
  tern_string_view_t view = {text, size};
  return view;
}

// For printf's "%.*s": TERN_SV_ARG(view) gives both arguments.
#define TERN_SV_ARG(view) (int)((view).size > 256 ? 256 : (view).size), ((view).data ? (view).data : "")

static inline int tern_string_view_equal(tern_string_view_t a, tern_string_view_t b) {
  if (a.size != b.size) return 0;
  for (size_t i = 0; i < a.size; ++i) {
    if (a.data[i] != b.data[i]) return 0;
  }
  return 1;
}
