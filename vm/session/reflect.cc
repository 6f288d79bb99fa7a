// What a module says about itself: functions, inputs, outputs, symbols.
#include <string.h>

#include "tern/tern.h"
#include "vm/module/module.h"

static_assert(static_cast<int>(TERN_MAX_DIMS) == static_cast<int>(TERN_MAX_RANK));

namespace {

using namespace tern::vm;
using tern::module::Argument;
using tern::module::Function;
using Arguments = flatbuffers::Vector<flatbuffers::Offset<Argument>>;

const Function* function_at(const tern_module_t* module, uint32_t function) {
  return module && function < count(module->root->functions()) ? module->root->functions()->Get(function)
                                                               : nullptr;
}
const Arguments* inputs(const tern_module_t* module, uint32_t function) {
  const Function* f = function_at(module, function);
  return f ? f->inputs() : nullptr;
}
const Arguments* outputs(const tern_module_t* module, uint32_t function) {
  const Function* f = function_at(module, function);
  return f ? f->outputs() : nullptr;
}

int32_t find(const Arguments* arguments, const char* name) {
  for (uint32_t i = 0; name && i < count(arguments); ++i) {
    if (strcmp(text(arguments->Get(i)->name()), name) == 0) return static_cast<int32_t>(i);
  }
  return -1;
}

tern_status_t info(const tern_module_t* module, const Arguments* arguments, uint32_t index,
                   tern_tensor_info_t* out) {
  if (!module || !out) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  memset(out, 0, sizeof(*out));
  if (index >= count(arguments)) {
    return tern_status_make(module->allocator, TERN_STATUS_OUT_OF_RANGE,
                            "There is no input or output (%u): the function has %u.", index,
                            count(arguments));
  }
  const Argument* argument = arguments->Get(index);
  const Slice<tern::module::Dim> dims = slice(argument->dims());
  out->name = text(argument->name());
  out->dtype = argument->dtype();
  out->rank = dims.size;
  out->optional = argument->optional();
  out->donor = argument->donor();
  for (uint32_t i = 0; i < dims.size; ++i) {
    out->dims[i].value = dims[i].value();
    out->dims[i].kind = static_cast<tern_dim_kind_t>(dims[i].kind());
    if (i < count(argument->dim_text())) out->dims[i].text = text(argument->dim_text()->Get(i), nullptr);
  }
  return TERN_OK;
}

}  // namespace

const char* tern_module_producer(const tern_module_t* module) {
  return module ? text(module->root->producer()) : "";
}

uint32_t tern_module_function_count(const tern_module_t* module) {
  return module ? count(module->root->functions()) : 0;
}

const char* tern_module_function_name(const tern_module_t* module, uint32_t function) {
  const Function* f = function_at(module, function);
  return f ? text(f->name()) : nullptr;
}

int32_t tern_module_find_function(const tern_module_t* module, const char* name) {
  for (uint32_t i = 0; i < tern_module_function_count(module); ++i) {
    if (!name || strcmp(tern_module_function_name(module, i), name) == 0) return static_cast<int32_t>(i);
  }
  return -1;
}

uint32_t tern_module_input_count(const tern_module_t* module, uint32_t function) {
  return count(inputs(module, function));
}
uint32_t tern_module_output_count(const tern_module_t* module, uint32_t function) {
  return count(outputs(module, function));
}

int32_t tern_module_find_input(const tern_module_t* module, uint32_t function, const char* name) {
  return find(inputs(module, function), name);
}
int32_t tern_module_find_output(const tern_module_t* module, uint32_t function, const char* name) {
  return find(outputs(module, function), name);
}

tern_status_t tern_module_input_info(const tern_module_t* module, uint32_t function, uint32_t input,
                                     tern_tensor_info_t* out_info) {
  return info(module, inputs(module, function), input, out_info);
}
tern_status_t tern_module_output_info(const tern_module_t* module, uint32_t function, uint32_t output,
                                      tern_tensor_info_t* out_info) {
  return info(module, outputs(module, function), output, out_info);
}

uint32_t tern_module_symbol_count(const tern_module_t* module) {
  return module ? count(module->root->symbols()) : 0;
}

tern_status_t tern_module_symbol_info(const tern_module_t* module, uint32_t symbol,
                                      tern_symbol_info_t* out_info) {
  if (!module || !out_info) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  memset(out_info, 0, sizeof(*out_info));
  if (symbol >= tern_module_symbol_count(module)) {
    return tern_status_make(module->allocator, TERN_STATUS_OUT_OF_RANGE,
                            "There is no symbol (%u): the module has %u.", symbol,
                            tern_module_symbol_count(module));
  }
  const tern::module::Symbol* s = module->root->symbols()->Get(symbol);
  *out_info = {text(s->name()), s->min(), s->max(), s->hint(), s->multiple_of()};
  return TERN_OK;
}
