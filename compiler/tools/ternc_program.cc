#include "compiler/tools/ternc.h"

int main(int argc, char** argv) {
  return tern::ternc_command_line(argc, argv);
}
