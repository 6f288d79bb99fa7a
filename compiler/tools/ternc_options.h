// The command line of ternc, as what compile() takes. docs/ternc.md is the manual.
#pragma once

#include <string>
#include <vector>

#include "compiler/pipeline.h"
#include "tools/command_line/problems.h"

namespace tern {

struct TerncOptions {
  std::string input, output;
  std::string explain;  // "-": standard output; a file; empty: not asked for
  CompileOptions compile;
  bool verbose = false, quiet = false;
};

// -1: go on where `problems` stayed empty; else --help or --version was asked for and is done, with this exit
// code.
int read_command_line(int argc, const char* const* argv, TerncOptions& out, command_line::Problems& problems);

}  // namespace tern
