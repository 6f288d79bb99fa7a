// libFuzzer target: any bytes as each form of tensors that tern reads: .npy, .npz, .pb. Built with
// -DTERN_FUZZ=ON; run it as
//   build/…/bin/tensor_file_fuzzer -max_len=4096 CORPUS_DIR
// A corpus: what numpy.save, savez and savez_compressed write of small arrays, and ONNX's test data.
#include <cstdlib>

#include "schemas/abi/dtypes.h"
#include "tools/npy/archive.h"
#include "tools/npy/onnx_tensor.h"

namespace {

using tern::npy::Tensor;

// What was accepted is whole, what was not has a reason.
void check(bool good, const Tensor& tensor, const std::string& error) {
  if (good != error.empty()) std::abort();
  if (!good) return;
  const uint64_t bits = static_cast<uint64_t>(tensor.count()) * tern_dtype_bits(tensor.dtype);
  if (tensor.data.size() != (bits + 7) / 8) std::abort();
}

void check_npy(const std::vector<uint8_t>& bytes) {
  for (const uint32_t wanted : {0u, uint32_t{TERN_DTYPE_BF16}, uint32_t{TERN_DTYPE_I4}}) {
    Tensor tensor;
    std::string error;
    const bool good = tern::npy::decode(bytes, wanted, &tensor, &error);
    check(good, tensor, error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> bytes(data, data + size);
  check_npy(bytes);
  Tensor tensor;
  std::string error;
  const bool good = tern::npy::decode_onnx(bytes, &tensor, &error);
  check(good, tensor, error);
  std::vector<tern::npy::Member> members;
  error.clear();
  if (!tern::npy::read_archive(bytes, 64 << 20, &members, &error)) {
    if (error.empty()) std::abort();
    return 0;
  }
  for (const tern::npy::Member& member : members) check_npy(member.bytes);
  return 0;
}
