// The files that --dump-dir asks for.
#pragma once

#include <string>
#include <string_view>

#include "compiler/support/result.h"

namespace tern {

// The file holds the text, or an error says which file and why ("No space left on device").
Status write_text(const std::string& path, std::string_view text);

}  // namespace tern
