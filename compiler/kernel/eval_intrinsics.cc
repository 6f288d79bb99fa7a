#include "compiler/kernel/eval_intrinsics.h"

namespace tern::kernel {

namespace {

EvalValue dot4(const std::vector<EvalValue>& args, VType type) {
  EvalValue out{type, {}};
  for (size_t n = 0; n < args[0].lanes.size(); ++n) {
    int64_t sum = args[0].lanes[n].i;
    for (size_t k = 4 * n; k < 4 * n + 4; ++k) sum += args[1].lanes[k].i * args[2].lanes[k].i;
    out.lanes.push_back(
        scalar::scalar_from_int(type.dtype, static_cast<int32_t>(static_cast<uint32_t>(sum))));
  }
  return out;
}

EvalValue dot2_bf16(const std::vector<EvalValue>& args, VType type) {
  EvalValue out{type, {}};
  for (size_t n = 0; n < args[0].lanes.size(); ++n) {
    // A product of two bf16 is exact in f32; the sums are rounded to f32 one after the other.
    auto sum = static_cast<float>(args[0].lanes[n].f);
    for (size_t k = 2 * n; k < 2 * n + 2; ++k) {
      sum += static_cast<float>(args[1].lanes[k].f * args[2].lanes[k].f);
    }
    out.lanes.push_back(scalar::scalar_from_double(type.dtype, sum));
  }
  return out;
}

}  // namespace

EvalValue eval_intrinsic(Intrinsic which, const std::vector<EvalValue>& args, VType type) {
  switch (which) {
    case Intrinsic::kDot4U8I8:
    case Intrinsic::kDot4I8I8:
      return dot4(args, type);
    case Intrinsic::kDot2BF16:
      return dot2_bf16(args, type);
    case Intrinsic::kCount:
      break;
  }
  TERN_UNREACHABLE("intrinsic {}", static_cast<int>(which));
}

}  // namespace tern::kernel
