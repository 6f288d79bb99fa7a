#include "tools/npy/onnx_tensor.h"

#include <doctest/doctest.h>

#include "schemas/abi/dtypes.h"

namespace tern::npy {
namespace {

std::string problem(const std::vector<uint8_t>& bytes, Tensor* out) {
  std::string error;
  return decode_onnx(bytes, out, &error) ? "" : error;
}

TEST_CASE("ONNX tensors: raw bytes, typed fields packed or not, names passed over") {
  Tensor tensor;
  // dims 2 (packed), f32, name "x", raw_data
  CHECK(problem({0x0a, 1, 2, 0x10, 1, 0x42, 1, 'x', 0x4a, 8, 0, 0, 128, 63, 0, 0, 0, 64}, &tensor) == "");
  CHECK(tensor.dtype == TERN_DTYPE_F32);
  CHECK(tensor.shape == std::vector<int64_t>{2});
  CHECK(tensor.data == std::vector<uint8_t>{0, 0, 128, 63, 0, 0, 0, 64});
  // dims 3, i8 in int32_data, packed: 1, -1, 2
  CHECK(problem({0x08, 3, 0x10, 3, 0x2a, 12, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2},
                &tensor) == "");
  CHECK(tensor.data == std::vector<uint8_t>{1, 255, 2});
  // a scalar, i64, one by one
  CHECK(problem({0x10, 7, 0x38, 0x96, 1}, &tensor) == "");
  CHECK(tensor.shape.empty());
  CHECK(tensor.data == std::vector<uint8_t>{150, 0, 0, 0, 0, 0, 0, 0});
  // u4: two a byte
  CHECK(problem({0x08, 3, 0x10, 21, 0x28, 0x21, 0x28, 3}, &tensor) == "");
  CHECK(tensor.data == std::vector<uint8_t>{0x21, 3});
}

TEST_CASE("ONNX tensors: what they cannot be") {
  Tensor tensor;
  CHECK(problem({}, &tensor) == "it is no ONNX tensor (element type 0)");
  CHECK(problem({0x93, 'N', 'U', 'M', 'P', 'Y'}, &tensor) == "it is no ONNX tensor, or it is truncated");
  CHECK(problem({0x10, 8}, &tensor) == "it holds strings, which no input takes");
  CHECK(problem({0x10, 1, 0x70, 1}, &tensor) == "it keeps its data in another file");
  CHECK(problem({0x08, 2, 0x10, 15, 0x38, 1}, &tensor) ==
        "its shape asks for 32 bytes of data and it holds 16");
  CHECK(problem({0x08, 2, 0x10, 1, 0x4a, 4, 0, 0, 0, 0}, &tensor) ==
        "its shape asks for 8 bytes of data and it holds 4");
  CHECK(problem({0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x10, 1}, &tensor) ==
        "its shape is impossible");
  const std::vector<uint8_t> good = {0x0a, 1, 2, 0x10, 1, 0x42, 1, 'x', 0x4a, 8, 0, 0, 128, 63, 0, 0, 0, 64};
  for (size_t size = 0; size < good.size(); ++size)
    CHECK(problem({good.data(), good.data() + size}, &tensor) != "");
}

}  // namespace
}  // namespace tern::npy
