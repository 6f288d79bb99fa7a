// tern-as: module text (.tvm) to module file and back. For tests and for looking into modules; ternc makes
// the real ones.
//
//   tern-as in.tvm [--files DIR] -o out.tern     assemble
//   tern-as -d in.tern [-o out.tvm]              disassemble
//   tern-as --opcodes [-o OPCODES.md]            the opcode table as Markdown
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "vm/text/text.h"

namespace {

int fail(const std::string& what) {
  std::fprintf(stderr, "tern-as: %s\n", what.c_str());
  return 1;
}

bool write(const char* path, const void* data, size_t size) {
  if (!path) return std::fwrite(data, 1, size, stdout) == size;
  std::ofstream stream(path, std::ios::binary);
  stream.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  return static_cast<bool>(stream.flush());
}

}  // namespace

int main(int argc, char** argv) {
  const char* in = nullptr;
  const char* out = nullptr;
  const char* usage =
      "usage: tern-as in.tvm [--files DIR] -o out.tern | -d in.tern [-o out.tvm] | --opcodes [-o out.md]";
  tern::vm::AssembleOptions options;
  bool disassemble = false, opcodes = false;
  for (int i = 1; i < argc; ++i) {
    const bool more = i + 1 < argc;
    if (!std::strcmp(argv[i], "-o") && more) {
      out = argv[++i];
    } else if (!std::strcmp(argv[i], "--files") && more) {
      options.files = argv[++i];
    } else if (!std::strcmp(argv[i], "-d")) {
      disassemble = true;
    } else if (!std::strcmp(argv[i], "--opcodes")) {
      opcodes = true;
    } else if (argv[i][0] != '-' && !in) {
      in = argv[i];
    } else if (!std::strcmp(argv[i], "--help")) {
      return std::printf("%s\n", usage) < 0;
    } else {
      return fail(usage);
    }
  }
  std::string text;
  if (opcodes) {
    text = tern::vm::opcode_document();
    return write(out, text.data(), text.size()) ? 0 : fail("the output cannot be written");
  }
  if (!in) return fail("no input file (tern-as in.tvm -o out.tern)");
  std::ifstream stream(in, std::ios::binary);
  if (!stream) return fail(std::string("cannot read '") + in + "'");
  const std::string bytes(std::istreambuf_iterator<char>(stream), {});
  tern::vm::ModuleFile file;
  std::string error;
  if (disassemble) {
    if (!tern::vm::unpack_module(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &file, &error))
      return fail(error);
    text = tern::vm::disassemble_module(file);
    return write(out, text.data(), text.size()) ? 0 : fail("the output cannot be written");
  }
  if (!tern::vm::assemble_module(bytes, &file, &error, options)) return fail(std::string(in) + ": " + error);
  if (!out) return fail("no output file (-o out.tern)");
  const std::vector<uint8_t> module = tern::vm::pack_module(file);
  return write(out, module.data(), module.size()) ? 0 : fail("the output cannot be written");
}
