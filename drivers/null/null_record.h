// Writes the null driver's record: one line an event, through the sink that the device was created with.
//
// (Skeleton: a real driver has no such file.)
#pragma once

#include "hal/base/span.h"

namespace tern::null {

// Where lines go; write may be null.
struct Sink {
  void (*write)(void* self, tern_string_view_t line);
  void* self;
};

// One line, built piece by piece and sent when it goes out of scope. What does not fit is cut and marked "…".
class Line {
 public:
  explicit Line(const Sink& sink) : sink_(sink) {}
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  __attribute__((format(printf, 2, 3))) Line& add(const char* format, ...);

 private:
  const Sink& sink_;
  size_t size_ = 0;
  char text_[1024];
};

}  // namespace tern::null
