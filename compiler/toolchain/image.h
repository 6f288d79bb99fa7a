// The packer's checks on a linked image, and its final form. An image may hold code and constants, nothing
// else: no undefined symbol (clang's silent memcpy among them), no relocation, no thread-local or writable
// data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/support/result.h"
#include "compiler/toolchain/toolchain.h"

namespace tern::toolchain {

// `linked`: ld.lld's output with its symbol table. The result has only loadable read-only segments, and the
// entries' addresses in the order asked for.
Result<KernelImage> finish_image(const std::vector<uint8_t>& linked, const std::vector<std::string>& entries);

}  // namespace tern::toolchain
