#include "drivers/null/null_record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

namespace tern::null {
namespace {
constexpr char kCut[] = "\xe2\x80\xa6";  // …
}

Line& Line::add(const char* format, ...) {
  if (!sink_.write || size_ >= sizeof(text_)) return *this;
  const size_t room = sizeof(text_) - size_;
  va_list arguments;
  va_start(arguments, format);
  const int added = vsnprintf(text_ + size_, room, format, arguments);
  va_end(arguments);
  if (added >= 0 && static_cast<size_t>(added) < room) {
    size_ += static_cast<size_t>(added);
  } else {
    memcpy(text_ + sizeof(text_) - sizeof(kCut), kCut, sizeof(kCut));
    size_ = sizeof(text_);
  }
  return *this;
}

Line::~Line() {
  if (!sink_.write) return;
  sink_.write(sink_.self, {text_, size_ == sizeof(text_) ? size_ - 1 : size_});
}

}  // namespace tern::null
