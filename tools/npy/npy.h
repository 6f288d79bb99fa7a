// NumPy's .npy files: tensors on the command line.
//
// Types that NumPy has are read and written as they are. Types that it has not travel as ml_dtypes saves
// them: bfloat16 as 2-byte void, 8-bit floats as 1-byte void, sub-byte types as one byte an element. Tensors
// in memory are as libtern has them: little-endian, dense, sub-byte types packed. Files in Fortran order or
// of the other byte order are turned round on reading.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tern::npy {

struct Tensor {
  uint32_t dtype = 0;  // schemas/abi/dtypes.def
  std::vector<int64_t> shape;
  std::vector<uint8_t> data;
  int64_t count() const;
};

// Reads a file. `wanted` (0: none) is the dtype that void and byte elements are taken as when they have its
// width. False with a sentence that names the file.
bool read(const std::string& path, uint32_t wanted, Tensor* out, std::string* error);
bool decode(const std::vector<uint8_t>& bytes, uint32_t wanted, Tensor* out, std::string* error);
// How many bytes are read at most: half of this machine's memory, since a tensor is there twice, as the file
// has it and as its numbers, and more would have the process killed.
uint64_t most_bytes();
// The plain bytes of any file.
bool read_bytes(const std::string& path, std::vector<uint8_t>* out, std::string* error);

// The file is there whole or not at all: it is written beside its place and renamed.
bool write(const std::string& path, uint32_t dtype, const std::vector<int64_t>& shape, const void* data,
           std::string* error);
// False for types that have no form (strings).
bool encode(uint32_t dtype, const std::vector<int64_t>& shape, const void* data, std::vector<uint8_t>* out);

}  // namespace tern::npy
