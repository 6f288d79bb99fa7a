#include "tools/npy/npy.h"

#include <doctest/doctest.h>

#include <cstring>

#include "schemas/abi/dtypes.h"

namespace tern::npy {
namespace {

std::vector<uint8_t> file(const std::string& header, const std::vector<uint8_t>& data) {
  std::vector<uint8_t> out = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<uint8_t>(header.size()), 0};
  out.insert(out.end(), header.begin(), header.end());
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

TEST_CASE("every type that has a form survives a round trip") {
  for (uint32_t dtype = 1; dtype <= TERN_DTYPE_I2; ++dtype) {
    const uint32_t bits = tern_dtype_bits(dtype);
    if (bits == 0) continue;
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {7}, {3, 5}, {2, 0, 3}}) {
      CAPTURE(tern_dtype_name(dtype));
      Tensor tensor;
      tensor.shape = shape;
      const size_t size = (static_cast<size_t>(tensor.count()) * bits + 7) / 8;
      std::vector<uint8_t> data(size);
      for (size_t i = 0; i < size; ++i) data[i] = static_cast<uint8_t>(i * 37 + 11);
      if (bits < 8 && size) {  // bits past the last element are 0
        const uint32_t used = static_cast<uint32_t>(tensor.count()) * bits % 8;
        if (used) data.back() &= static_cast<uint8_t>((1u << used) - 1);
      }
      std::vector<uint8_t> bytes;
      REQUIRE(encode(dtype, shape, data.data(), &bytes));
      CHECK((bytes.size() - (bits < 8 ? static_cast<size_t>(tensor.count()) : size)) % 64 == 0);
      Tensor back;
      std::string error;
      REQUIRE_MESSAGE(decode(bytes, dtype, &back, &error), error);
      CHECK(back.dtype == dtype);
      CHECK(back.shape == shape);
      CHECK(back.data == data);
    }
  }
}

TEST_CASE("Fortran order and big-endian files are turned round") {
  Tensor tensor;
  std::string error;
  const auto fortran = file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n",
                            {0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6});
  REQUIRE(decode(fortran, 0, &tensor, &error));
  int16_t values[6];
  std::memcpy(values, tensor.data.data(), sizeof(values));
  for (int i = 0; i < 6; ++i) CHECK(values[i] == i + 1);
}

TEST_CASE("8-bit floats under ml_dtypes' own code are read as the type that is wanted") {
  Tensor tensor;
  std::string error;
  REQUIRE(decode(file("{'descr': '<f1', 'fortran_order': False, 'shape': (2,), }\n", {0x3c, 0xbc}),
                 TERN_DTYPE_F8E5M2, &tensor, &error));
  CHECK(tensor.dtype == TERN_DTYPE_F8E5M2);
  CHECK(tensor.data == std::vector<uint8_t>{0x3c, 0xbc});
}

TEST_CASE("damaged files are refused with a reason") {
  Tensor tensor;
  std::string error;
  CHECK_FALSE(decode({1, 2, 3}, 0, &tensor, &error));
  CHECK(error == "it does not begin as a .npy file does");
  for (size_t size : {10, 11}) {  // the length of the header has four bytes from version 2 on
    std::vector<uint8_t> cut = {0x93, 'N', 'U', 'M', 'P', 'Y', 3, 0, 0, 0, 0};
    cut.resize(size);
    CHECK_FALSE(decode(cut, 0, &tensor, &error));
    CHECK(error == "it is truncated");
  }
  CHECK_FALSE(
      decode(file("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", {0, 0}), 0, &tensor, &error));
  CHECK(error == "it is truncated: 16 bytes of data expected, 2 there");
  tensor = {};
  CHECK_FALSE(
      decode(file("{'descr': '<U3', 'fortran_order': False, 'shape': (0,), }", {}), 0, &tensor, &error));
  CHECK(error == "its element type ('<U3') is not supported");
  tensor = {};
  CHECK_FALSE(
      decode(file("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", {}), 0,
             &tensor, &error));
  CHECK(error == "its shape is impossible");
}

}  // namespace
}  // namespace tern::npy
