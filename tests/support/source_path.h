// Files of the source tree, for tests that read them.
#pragma once

#include <string>

namespace tern::test {

// The path of a file or folder, given as it is called from the root of the sources. The root is compiled into
// one object alone (doctest_main.cc), so that every other one is the same wherever the sources lie, and
// ccache has it.
std::string source_path(const std::string& relative);

}  // namespace tern::test
