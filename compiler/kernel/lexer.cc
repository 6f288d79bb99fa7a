#include "compiler/kernel/lexer.h"

#include <cctype>

namespace tern::kernel {

namespace {

bool is_word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
}

std::string_view two_character_sign(std::string_view rest) {
  for (std::string_view sign : {"..", "<=", ">=", "==", "!="}) {
    if (rest.starts_with(sign)) return sign;
  }
  return "";
}

size_t number_end(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() &&
         (is_word_char(text[end]) || ((text[end] == '+' || text[end] == '-') && text[end - 1] == 'e'))) {
    if (text[end] == '.' && end + 1 < text.size() && text[end + 1] == '.') break;
    ++end;
  }
  return end;
}

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view text) {
  std::vector<Token> out;
  int line = 1;
  bool line_start = true;
  for (size_t k = 0; k < text.size();) {
    char c = text[k];
    if (c == '\n') {
      ++line;
      line_start = true;
      ++k;
      continue;
    }
    if (c == ' ' || c == '\t' || c == '\r') {
      ++k;
      continue;
    }
    if (c == '#' || (c == ';' && line_start)) {
      const size_t end_of_line = std::min(text.find('\n', k), text.size());
      if (c == '#') {
        size_t from = k + 1 < end_of_line && text[k + 1] == ' ' ? k + 2 : k + 1;
        out.push_back({TokenKind::kComment, std::string(text.substr(from, end_of_line - from)), line});
      }
      k = end_of_line;
      continue;
    }
    line_start = false;
    if (c == '"') {
      size_t end = text.find('"', k + 1);
      if (end == std::string_view::npos) return error("Line {} has a string without an end.", line);
      out.push_back({TokenKind::kString, std::string(text.substr(k + 1, end - k - 1)), line});
      k = end + 1;
    } else if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      size_t end = number_end(text, k);
      out.push_back({TokenKind::kNumber, std::string(text.substr(k, end - k)), line});
      k = end;
    } else if (is_word_char(c) && c != '.') {
      size_t end = k;
      while (end < text.size() && is_word_char(text[end])) ++end;
      out.push_back({TokenKind::kWord, std::string(text.substr(k, end - k)), line});
      k = end;
    } else {
      std::string_view two = two_character_sign(text.substr(k));
      std::string sign = two.empty() ? std::string(1, c) : std::string(two);
      out.push_back({TokenKind::kPunctuation, sign, line});
      k += sign.size();
    }
  }
  out.push_back({TokenKind::kEnd, "end of text", line});
  return out;
}

}  // namespace tern::kernel
