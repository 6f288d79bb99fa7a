// tern: runs, measures and looks into compiled models.
#include "tools/tern/commands.h"

int main(int argc, char** argv) {
  return tern::cli::command_line(argc, argv);
}
