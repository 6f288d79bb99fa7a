// The tensors that options name: `NAME=FILE` (.npy, .pb as ONNX writes test data, .bin: the plain bytes), a
// .npz with arrays by name, or a folder with PREFIX_0.pb, PREFIX_1.pb, …, as ONNX's test data sets are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/command_line/problems.h"
#include "tools/npy/npy.h"

namespace tern::cli {

struct TensorFile {
  enum class Form { kNpy, kOnnx, kBytes };
  uint32_t index;    // of the input or output
  std::string what;  // "the file 'x.npy'", "'x' of the file 'all.npz'"
  Form form;
  std::vector<uint8_t> bytes;
};

struct TensorFileOptions {
  const char* flag;                // "--input"
  const char* kind;                // "input"
  const char* prefix;              // of a folder's files: "input"
  std::vector<std::string> names;  // of the inputs or outputs
};

// At most one for each name; what is wrong goes to `problems`.
std::vector<TensorFile> read_tensor_files(const std::vector<std::string>& given,
                                          const TensorFileOptions& options, command_line::Problems& problems);

// Of kNpy or kOnnx; `wanted` as for npy::read. False with the problem said.
bool decode(const TensorFile& file, uint32_t wanted, npy::Tensor* out, command_line::Problems& problems);

}  // namespace tern::cli
