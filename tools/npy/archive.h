// NumPy's .npz: arrays by name, as numpy.savez writes them (a zip without compression).
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

// False with what is wrong: no zip, compressed (numpy.savez_compressed), damaged.
bool read_archive(const std::vector<uint8_t>& bytes, std::vector<Member>* out, std::string* error);

}  // namespace tern::npy
