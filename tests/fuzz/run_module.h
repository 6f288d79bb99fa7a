// Loads bytes as a module, makes a session, runs it: whatever the bytes are, the outcome is a status.
#pragma once

#include <cstdlib>
#include <vector>

#include "tests/support/vm_fixture.h"

namespace tern::test {

// Without `kernels` no kernel can run: they trust what modules say of their bindings, as machine code does.
// Which steps the bytes got through: 0 refused at load, 1 loaded, 2 session made, 3 ran, 4 ran with success.
inline int run_hostile_module(tern_instance_t* instance, tern_device_t* device,
                              const std::vector<uint8_t>& file, bool kernels = false) {
  AlignedBytes bytes(file);
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;
  int reached = 0;
  tern_status_t status = tern_module_load_memory(instance, bytes.data(), bytes.size(), nullptr, &module);
  tern_session_desc_t desc = {};
  desc.static_kernels = kTestKernels;
  desc.static_kernel_count = kernels ? kTestKernelCount : 0;
  desc.arena_limit = desc.dynamic_limit = 1 << 20;
  desc.step_limit = 200;
  if (!status) {
    reached = 1;
    status = tern_session_create(module, device, &desc, &session);
  }
  std::vector<tern_tensor_t> inputs, outputs;
  std::vector<std::vector<uint8_t>> memory;
  if (!status) {
    reached = 2;
    const uint32_t input_count = tern_module_input_count(module, 0);
    for (uint32_t i = 0; i < input_count && i < 64; ++i) {
      tern_tensor_info_t info;
      if (tern_status_t failed = tern_module_input_info(module, 0, i, &info)) {
        tern_status_free(failed);
        continue;
      }
      tern_tensor_t tensor = {};
      tensor.size = 4096;
      tensor.dtype = info.dtype;
      tensor.rank = info.rank;
      for (uint32_t k = 0; k < info.rank; ++k) {
        tensor.dims[k] = info.dims[k].kind == TERN_DIM_STATIC ? info.dims[k].value : 4;
      }
      memory.emplace_back(4096);
      tensor.data = memory.back().data();
      inputs.push_back(tensor);
    }
    outputs.resize(tern_module_output_count(module, 0) < 64 ? tern_module_output_count(module, 0) : 0);
    const tern_invoke_t invoke = {inputs.data(), outputs.data(), static_cast<uint32_t>(inputs.size()),
                                  static_cast<uint32_t>(outputs.size()), 100000000};
    reached = 3;
    status = tern_session_invoke(session, &invoke);
    if (!status) reached = 4;
  }
  if (status && tern_status_message(status)[0] == 0) std::abort();  // every failure is a sentence
  tern_status_free(status);
  tern_session_destroy(session);
  tern_module_release(module);
  return reached;
}

}  // namespace tern::test
