#include "compiler/support/result.h"

namespace tern {

std::string Error::text() const {
  std::string out = message;
  for (const std::string& n : notes) out += "\n - " + n;
  return out;
}

std::string Diagnostics::text() const {
  std::string out;
  for (const Error& e : errors_) {
    if (!out.empty()) out += '\n';
    out += e.text();
  }
  return out;
}

}  // namespace tern
