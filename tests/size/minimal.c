// The smallest useful program: load a module, run it once on the CPU with f32 inputs of ones, say how its
// first output begins.
#include <stdio.h>
#include <stdlib.h>

#include "tern/tern.h"

static int failed(tern_status_t status) {
  if (status) fprintf(stderr, "minimal: %s\n", tern_status_message(status));
  return status != 0;
}

int main(int argc, char** argv) {
  tern_instance_t* instance = NULL;
  tern_device_t* device = NULL;
  tern_module_t* module = NULL;
  tern_session_t* session = NULL;
  const tern_module_desc_t trusted = {.code_policy = TERN_CODE_TRUSTED};
  if (argc != 2 || failed(tern_instance_create(NULL, &instance)) ||
      failed(tern_cpu_driver_register(tern_instance_drivers(instance))) ||
      failed(tern_device_create(instance, NULL, &device)) ||
      failed(tern_module_load_file(instance, argv[1], &trusted, &module)) ||
      failed(tern_session_create(module, device, NULL, &session))) {
    return 1;
  }
  tern_tensor_info_t info;
  if (failed(tern_module_input_info(module, 0, 0, &info))) return 1;
  tern_tensor_t input = {.dtype = info.dtype, .rank = info.rank}, output = {0};
  size_t count = 1;
  for (uint32_t i = 0; i < info.rank; ++i)
    count *= (size_t)(input.dims[i] = info.dims[i].kind == TERN_DIM_STATIC ? info.dims[i].value : 2);
  float* values = malloc(count * sizeof(float));
  for (size_t i = 0; i < count; ++i) values[i] = 1;
  input.data = values;
  input.size = count * sizeof(float);
  const tern_invoke_t invoke = {.inputs = &input, .outputs = &output, .input_count = 1, .output_count = 1};
  if (failed(tern_session_invoke(session, &invoke))) return 1;
  printf("%g\n", ((const float*)output.data)[0]);
  return 0;
}
