// Text that a user names: graphs (.tg), device files.
#pragma once

#include <cstdint>
#include <string>

#include "compiler/support/result.h"

namespace tern {

// The whole file, or an error that says which file and why. `what`: "graph as text"; a longer file than
// `most` bytes is none (a sparse file has a terabyte at once).
Result<std::string> read_text(const std::string& path, const char* what, int64_t most);

}  // namespace tern
