// Text that came with a model (names of nodes), where it stands in a line of generated code or in a string
// without escapes. Nothing in it may end the comment or the string: what a kernel does is the compiler's word
// alone.
#pragma once

#include <string>

namespace tern::kernel {

// Control characters (a line's end), quotes and backslashes (which in C continue a comment) become '?'.
inline std::string plain_text(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '"' || c == '\\') c = '?';
  }
  return text;
}

}  // namespace tern::kernel
