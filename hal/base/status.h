// The result of every runtime call that can fail: a code always, a sentence where the build keeps it.
//
// A status is one machine word: null is success, a small number is a bare code, anything else is a record in
// memory that came from the allocator it was made with and must be freed once (tern_status_free; propagating
// it passes that duty on). When memory for the sentence is short, the bare code remains: making a status
// never fails.
//
// Sentences say what is wrong in the present tense with the value in parentheses after its name, given and
// limit: "The length (12) of binding (1) is larger than the buffer (8)." Callers add lines: "\n - While
// dispatching 'conv1' (Conv)".
//
// TERN_STATUS_NO_MESSAGES=1 removes all sentences (and printf) from the program: the macros below drop their
// text.
#pragma once

#include <stdint.h>

#include "hal/base/allocator.h"
#include "hal/base/span.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef TERN_STATUS_CODES_DEFINED
#define TERN_STATUS_CODES_DEFINED
typedef enum tern_status_code_e {
#define TERN_STATUS_CODE(id, name, meaning) TERN_STATUS_##name = id,
#include "hal/base/status_codes.def"
#undef TERN_STATUS_CODE
} tern_status_code_t;
#endif

// tern/tern.h repeats these declarations.
typedef struct tern_status_record_t* tern_status_t;

#define TERN_OK ((tern_status_t)0)
#define TERN_MUST_USE __attribute__((warn_unused_result))
#define TERN_PUBLIC __attribute__((visibility("default")))  // what tern/tern.h declares: libtern.so exports it

static inline int tern_status_is_ok(tern_status_t status) {
  return status == TERN_OK;
}

// A status without a sentence.
static inline tern_status_t tern_status_from_code(tern_status_code_t code) {
  return (tern_status_t)(uintptr_t)code;
}

TERN_PUBLIC tern_status_code_t tern_status_code(tern_status_t status);

// The sentence and its lines, terminated; without one, the code's meaning. Valid until the status is freed.
TERN_PUBLIC const char* tern_status_message(tern_status_t status);

// The code's name ("OUT_OF_RANGE"); "?" for a number that is no code.
const char* tern_status_code_name(tern_status_code_t code);

// Frees the record, if there is one. Freeing a success or a bare code is fine.
TERN_PUBLIC void tern_status_free(tern_status_t status);

// A second status with the same code and text, from `allocator`.
tern_status_t tern_status_clone(tern_allocator_t allocator, tern_status_t status);

// tern_status_make(allocator, code, format, …): a failure with a printf-formatted sentence.
// tern_status_annotate(status, format, …): appends a line to a failure's text (nothing to a bare code) and
// returns the status.
#if TERN_STATUS_NO_MESSAGES
#define tern_status_make(allocator, code, ...) ((void)(allocator), tern_status_from_code(code))
#define tern_status_annotate(status, ...) (status)
#else
tern_status_t tern_status_make_(tern_allocator_t allocator, tern_status_code_t code, const char* format, ...)
    __attribute__((format(printf, 3, 4), cold));
tern_status_t tern_status_annotate_(tern_status_t status, const char* format, ...)
    __attribute__((format(printf, 2, 3), cold));
#define tern_status_make(allocator, code, ...) tern_status_make_(allocator, code, __VA_ARGS__)
#define tern_status_annotate(status, ...) tern_status_annotate_(status, __VA_ARGS__)
#endif

// Returns from the calling function if `expression` is a failure.
#define TERN_RETURN_IF_ERROR(expression)                         \
  do {                                                           \
    tern_status_t status_ = (expression);                        \
    if (__builtin_expect(status_ != TERN_OK, 0)) return status_; \
  } while (0)

// The same, adding a line of context.
#define TERN_RETURN_IF_ERROR_CONTEXT(expression, ...)                                               \
  do {                                                                                              \
    tern_status_t status_ = (expression);                                                           \
    if (__builtin_expect(status_ != TERN_OK, 0)) return tern_status_annotate(status_, __VA_ARGS__); \
  } while (0)

#ifdef __cplusplus
}  // extern "C"
#endif
