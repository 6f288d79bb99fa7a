// Statuses as text, for tests. Each function frees the status it looks at.
#pragma once

#include <string>

#include "hal/base/status.h"

namespace tern::test {

// "" for success, else "CODE: sentence" (only the code where the build has no sentences).
inline std::string take_text(tern_status_t status) {
  if (tern_status_is_ok(status)) return "";
  std::string text = tern_status_code_name(tern_status_code(status));
  const std::string message = tern_status_message(status);
  if (message != text) text += ": " + message;
  tern_status_free(status);
  return text;
}

inline tern_status_code_t take_code(tern_status_t status) {
  const tern_status_code_t code = tern_status_code(status);
  tern_status_free(status);
  return code;
}

}  // namespace tern::test
