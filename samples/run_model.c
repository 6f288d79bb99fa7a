// Loads a compiled model, gives it inputs of ones, runs it, prints the first numbers of each output.
//
//   run_model model.tern
//
// This is all a program needs to embed tern: link libtern.a, include tern/tern.h.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tern/tern.h"

enum { kMaxTensors = 16 };

static void check(tern_status_t status) {
  if (!status) return;
  fprintf(stderr, "run_model: %s\n", tern_status_message(status));
  tern_status_free(status);
  exit(1);
}

// A tensor of the input's shape; symbolic dimensions take their usual value, else the smallest. f32 elements
// are 1, others 0.
static tern_tensor_t make_input(const tern_module_t* module, uint32_t input) {
  tern_tensor_info_t info;
  check(tern_module_input_info(module, 0, input, &info));
  tern_tensor_t tensor = {.dtype = info.dtype, .rank = info.rank};
  size_t count = 1;
  for (uint32_t i = 0; i < info.rank; ++i) {
    tensor.dims[i] = info.dims[i].value;
    if (info.dims[i].kind == TERN_DIM_SYMBOL) {
      tern_symbol_info_t symbol;
      check(tern_module_symbol_info(module, (uint32_t)info.dims[i].value, &symbol));
      tensor.dims[i] = symbol.hint > 0 ? symbol.hint : symbol.min > 0 ? symbol.min : symbol.multiple_of;
    }
    count *= (size_t)tensor.dims[i];
  }
  tensor.size = count * 16;  // as much as the widest type needs
  tensor.data = calloc(count + 1, 16);
  for (size_t i = 0; info.dtype == TERN_DTYPE_F32 && i < count; ++i) ((float*)tensor.data)[i] = 1.0f;
  return tensor;
}

static void print_output(const char* name, const tern_tensor_t* tensor) {
  printf("%s [", name);
  int64_t count = 1;
  for (uint32_t i = 0; i < tensor->rank; count *= tensor->dims[i++])
    printf("%s%" PRId64, i ? "x" : "", tensor->dims[i]);
  printf("]");
  for (int64_t i = 0; tensor->dtype == TERN_DTYPE_F32 && i < count && i < 8; ++i)
    printf(" %g", ((const float*)tensor->data)[i]);
  printf("\n");
}

int main(int argc, char** argv) {
  if (argc != 2) return fprintf(stderr, "usage: run_model model.tern\n"), 2;
  tern_instance_t* instance = NULL;
  tern_device_t* device = NULL;
  tern_module_t* module = NULL;
  tern_session_t* session = NULL;
  const tern_module_desc_t trusted = {.code_policy = TERN_CODE_TRUSTED};  // we were told to run this file
  check(tern_instance_create(NULL, &instance));
  check(tern_cpu_driver_register(tern_instance_drivers(instance)));
  check(tern_device_create(instance, NULL, &device));
  check(tern_module_load_file(instance, argv[1], &trusted, &module));
  check(tern_session_create(module, device, NULL, &session));

  tern_tensor_t inputs[kMaxTensors] = {{0}},
                outputs[kMaxTensors] = {{0}};  // outputs without memory: the session provides it
  tern_invoke_t invoke = {.inputs = inputs, .outputs = outputs};
  invoke.input_count = tern_module_input_count(module, 0);
  invoke.output_count = tern_module_output_count(module, 0);
  if (invoke.input_count > kMaxTensors || invoke.output_count > kMaxTensors)
    return fprintf(stderr, "run_model: too many tensors\n"), 1;
  for (uint32_t i = 0; i < invoke.input_count; ++i) inputs[i] = make_input(module, i);
  check(tern_session_invoke(session, &invoke));
  for (uint32_t i = 0; i < invoke.output_count; ++i) {
    tern_tensor_info_t info;
    check(tern_module_output_info(module, 0, i, &info));
    print_output(info.name, &outputs[i]);
  }

  for (uint32_t i = 0; i < invoke.input_count; ++i) free(inputs[i].data);
  tern_session_destroy(session);
  tern_module_release(module);
  tern_device_release(device);
  tern_instance_destroy(instance);
  return 0;
}
