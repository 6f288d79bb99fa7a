// Tokens of .tk text: words (with dots: cast.f16), numbers, strings, punctuation. `# …` is a comment
// statement, kept;
// `; …` to the end of the line is skipped (test directives).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/support/result.h"

namespace tern::kernel {

enum class TokenKind : uint8_t { kWord, kNumber, kString, kPunctuation, kComment, kEnd };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int line = 1;
};

Result<std::vector<Token>> tokenize(std::string_view text);

}  // namespace tern::kernel
