// ternc: compiles an ONNX model to a module. docs/ternc.md is the manual.
#pragma once

namespace tern {

// Its command line; the exit code.
int ternc_command_line(int argc, char** argv);

}  // namespace tern
