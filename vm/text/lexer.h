// Tokens of one line of .tvm text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tern::vm {

struct Token {
  enum Kind { kEnd, kWord, kNumber, kString, kMark } kind = kEnd;
  std::string text;    // words: letters, digits, _ and .; strings: unescaped; marks: one character
  int64_t number = 0;  // kNumber: the integer, or the bits of the double when is_float
  bool is_float = false;
};

// False with a sentence when the line is no sequence of tokens.
bool tokenize(std::string_view line, std::vector<Token>* out, std::string* error);

// A name as text: bare if it is a plain word, else quoted.
std::string quoted(std::string_view text);
std::string word_or_quoted(std::string_view text);

}  // namespace tern::vm
