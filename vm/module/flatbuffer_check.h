// Proves that bytes are a well-formed FlatBuffer of a given schema type, so that generated accessors stay
// inside them.
//
// Driven by the type tables that flatc makes from module.fbs (--reflect-types): a new field needs no change
// here. FlatBuffers' own verifier can be made to visit shared tables exponentially often; this one carries a
// budget of a small multiple of the buffer's size, so it is linear whatever the bytes say.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "flatbuffers/flatbuffers.h"

namespace tern::vm {

// data: a size-prefixed FlatBuffer at a 16-byte aligned address, of exactly `size` bytes. Null when well
// formed, else what is wrong.
const char* check_flatbuffer(const uint8_t* data, size_t size, const flatbuffers::TypeTable* root);

}  // namespace tern::vm
