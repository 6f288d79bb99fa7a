#include "vm/text/lexer.h"

#include <cctype>
#include <cstdlib>
#include <cstring>

namespace tern::vm {
namespace {

bool starts_word(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_';
}
bool in_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
}

bool read_string(std::string_view line, size_t* at, Token* token, std::string* error) {
  token->kind = Token::kString;
  for (++*at; *at < line.size() && line[*at] != '"'; ++*at) {
    if (line[*at] != '\\') {
      token->text += line[*at];
      continue;
    }
    const char escape = ++*at < line.size() ? line[*at] : '?';
    if (escape == 'n') {
      token->text += '\n';
    } else if (escape == 'x' && *at + 2 < line.size()) {
      token->text +=
          static_cast<char>(std::strtol(std::string(line.substr(*at + 1, 2)).c_str(), nullptr, 16));
      *at += 2;
    } else {
      token->text += escape;
    }
  }
  if (*at >= line.size()) {
    *error = "a string is not closed";
    return false;
  }
  ++*at;
  return true;
}

bool read_number(std::string_view line, size_t* at, Token* token, std::string* error) {
  size_t end = *at + 1;
  while (end < line.size() &&
         (in_word(line[end]) || ((line[end] == '-' || line[end] == '+') && (line[end - 1] == 'e'))))
    ++end;
  const std::string text(line.substr(*at, end - *at));
  *at = end;
  token->kind = Token::kNumber;
  char* rest = nullptr;
  const bool hex = text.find("0x") != std::string::npos;
  if (!hex && text.find_first_of(".en") != std::string::npos) {
    const double value = std::strtod(text.c_str(), &rest);
    std::memcpy(&token->number, &value, sizeof(value));
    token->is_float = true;
  } else if (hex) {
    token->number = static_cast<int64_t>(std::strtoull(text.c_str(), &rest, 16));
  } else {
    token->number = std::strtoll(text.c_str(), &rest, 10);
  }
  token->text = text;
  if (*rest == 0) return true;
  *error = "'" + text + "' is no number";
  return false;
}

}  // namespace

bool tokenize(std::string_view line, std::vector<Token>* out, std::string* error) {
  out->clear();
  size_t at = 0;
  while (at < line.size() && line[at] != ';') {
    const char c = line[at];
    if (c == ' ' || c == '\t' || c == '\r' || c == ',') {
      ++at;
      continue;
    }
    Token token;
    if (c == '"') {
      if (!read_string(line, &at, &token, error)) return false;
    } else if (std::isdigit(static_cast<unsigned char>(c)) ||
               (c == '-' && at + 1 < line.size() && std::isdigit(static_cast<unsigned char>(line[at + 1])))) {
      if (!read_number(line, &at, &token, error)) return false;
    } else if (starts_word(c)) {
      const size_t begin = at;
      while (at < line.size() && in_word(line[at])) ++at;
      token.kind = Token::kWord;
      token.text = line.substr(begin, at - begin);
    } else {
      token.kind = Token::kMark;
      token.text = c;
      ++at;
    }
    out->push_back(std::move(token));
  }
  return true;
}

std::string quoted(std::string_view text) {
  static const char* const digits = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 32) {
      out += "\\x";
      out += digits[c >> 4];
      out += digits[c & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string word_or_quoted(std::string_view text) {
  bool word = !text.empty() && starts_word(text[0]);
  for (char c : text) word = word && in_word(c);
  return word ? std::string(text) : quoted(text);
}

}  // namespace tern::vm
