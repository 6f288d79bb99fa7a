// ONNX's tensors as files (.pb: one TensorProto each), as ONNX's test data sets have them. Read without
// protobuf: the runtime's tools are built without it.
#pragma once

#include "tools/npy/npy.h"

namespace tern::npy {

// False with what is wrong: the file is damaged, holds strings, or keeps its data in another file.
bool decode_onnx(const std::vector<uint8_t>& bytes, Tensor* out, std::string* error);

}  // namespace tern::npy
