// NumPy's .npz: arrays by name, as numpy.savez and numpy.savez_compressed write them (a zip).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tern::npy {

struct Member {
  std::string name;  // without .npy
  std::vector<uint8_t> bytes;
};

// False with what is wrong: no zip, damaged, compressed by what NumPy does not use, more than `most` bytes.
bool read_archive(const std::vector<uint8_t>& bytes, uint64_t most, std::vector<Member>* out,
                  std::string* error);

}  // namespace tern::npy
