// Tensor maps from what an executable declares.
#include "drivers/cuda/cuda_command_buffer.h"

namespace tern::cuda {

tern_status_t cuda_tensor_encode(Device* device, const tern_hal_tensor_t& tensor, CUdeviceptr address,
                                 const uint64_t* params, CUtensorMap* out) {
  [[maybe_unused]] tern_allocator_t allocator = device->head.allocator;
  unsigned long long sizes[TERN_HAL_TENSOR_AXES] = {}, strides[TERN_HAL_TENSOR_AXES] = {};
  unsigned box[TERN_HAL_TENSOR_AXES] = {}, steps[TERN_HAL_TENSOR_AXES] = {};
  for (uint32_t i = 0; i < tensor.rank; ++i) {  // the API's axes go innermost first
    const tern_hal_tensor_axis_t& axis = tensor.axes[tensor.rank - 1 - i];
    const auto number = [params](int64_t value, bool is_param) {
      return is_param ? params[value] : static_cast<uint64_t>(value);
    };
    sizes[i] = number(axis.size, axis.flags & TERN_HAL_TENSOR_SIZE_PARAM);
    const uint64_t stride =
        number(axis.stride, axis.flags & TERN_HAL_TENSOR_STRIDE_PARAM) * tensor.element_size;
    if (i > 0) strides[i - 1] = stride;
    box[i] = axis.box;
    steps[i] = 1;
    if (sizes[i] == 0 || sizes[i] > INT32_MAX || (i > 0 && (stride % 16 || stride >> 40))) {
      return tern_status_make(
          allocator, TERN_STATUS_OUT_OF_RANGE,
          "Axis (%u) of the tensor of binding (%u) has (%llu) elements, (%llu) bytes apart; "
          "1 to 2^31 - 1 and multiples of 16 below 2^40 are possible.",
          tensor.rank - 1 - i, tensor.binding, sizes[i], (unsigned long long)stride);
    }
  }
  const int type = tensor.element_size == 1   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                   : tensor.element_size == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16
                   : tensor.element_size == 4 ? CU_TENSOR_MAP_DATA_TYPE_UINT32
                                              : CU_TENSOR_MAP_DATA_TYPE_UINT64;
  TERN_CUDA_TRY(device, TensorMapEncodeTiled, out, type, tensor.rank,
                reinterpret_cast<void*>(address + tensor.offset * tensor.element_size), sizes, strides, box,
                steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                tensor.swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return TERN_OK;
}

}  // namespace tern::cuda
