#include "vm/session/session.h"

#include <string.h>

namespace tern::vm {

bool session_array(Session& s, size_t elements, size_t element, void** out) {
  const size_t size = elements * element;
  *out = nullptr;
  if (size == 0) return true;
  if (s.owned_count == sizeof(s.owned) / sizeof(s.owned[0])) return false;
  void* memory = tern_allocate(s.allocator, size, alignof(max_align_t));
  if (!memory) return false;
  memset(memory, 0, size);
  s.owned[s.owned_count++] = {memory, size};
  *out = memory;
  return true;
}

namespace {

using namespace module;

tern_status_t find_function(Session& s, const char* name) {
  const int32_t index = tern_module_find_function(s.module, name);
  if (index < 0) {
    return tern_status_make(s.allocator, TERN_STATUS_NOT_FOUND, "The module has no function '%s'.",
                            name ? name : "(first)");
  }
  s.function_index = static_cast<uint32_t>(index);
  s.function = s.module->root->functions()->Get(s.function_index);
  s.input_count = count(s.function->inputs());
  s.output_count = count(s.function->outputs());
  return TERN_OK;
}

// Runs the program's reserve routine with each symbol at its bound. Without a bound or hint for one, memory
// is reserved when an invocation first needs it.
tern_status_t reserve_for_bounds(Session& s, const tern_session_desc_t& desc) {
  const auto* symbols = s.module->root->symbols();
  bool all = true;
  for (uint32_t i = 0; i < count(symbols); ++i) s.symbols[i] = symbols->Get(i)->hint();
  for (uint32_t k = 0; k < desc.bound_count; ++k) {
    if (!desc.bounds[k].symbol) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
    uint32_t i = 0;
    while (i < count(symbols) && strcmp(text(symbols->Get(i)->name()), desc.bounds[k].symbol) != 0) ++i;
    if (i == count(symbols)) {
      return tern_status_make(s.allocator, TERN_STATUS_NOT_FOUND, "The module has no symbol '%s' to bound.",
                              desc.bounds[k].symbol);
    }
    const Symbol* symbol = symbols->Get(i);
    if (desc.bounds[k].max < symbol->min() || desc.bounds[k].max > symbol->max()) {
      return tern_status_make(s.allocator, TERN_STATUS_OUT_OF_RANGE,
                              "The bound (%lld) of symbol '%s' is not between %lld and %lld.",
                              static_cast<long long>(desc.bounds[k].max), desc.bounds[k].symbol,
                              static_cast<long long>(symbol->min()), static_cast<long long>(symbol->max()));
    }
    s.symbols[i] = desc.bounds[k].max;
  }
  for (uint32_t i = 0; i < count(symbols); ++i) all = all && s.symbols[i] >= 0;
  const uint32_t routine = s.program->entries[s.function_index].reserve();
  tern_status_t status = reserve_arguments(s);
  if (status == TERN_OK && all && routine != kNone32) status = run_routine(s, routine);
  if (status == TERN_OK) return status;
  if (desc.bound_count)
    return tern_status_annotate(status, "\n - While reserving memory for the session's bounds");
  tern_status_free(status);  // hints are no promise: memory is reserved when an invocation needs it
  return TERN_OK;
}

tern_status_t create(Session& s, const tern_session_desc_t& desc) {
  TERN_RETURN_IF_ERROR(find_function(s, desc.function));
  TERN_RETURN_IF_ERROR(select_code(s));
  if (s.program->entries[s.function_index].main() == kNone32) {
    return tern_status_make(s.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The program for this device does not have function '%s'.",
                            text(s.function->name()));
  }
  if (!session_array(s, s.program->lists.size, &s.recordings) ||
      !session_array(s, s.program->table->block_size(), &s.block) ||
      !session_array(s, count(s.module->root->symbols()), &s.symbols) ||
      !session_array(s, s.input_count, &s.inputs) || !session_array(s, s.output_count, &s.outputs)) {
    return out_of_memory();
  }
  TERN_RETURN_IF_ERROR(make_machine(s));
  TERN_RETURN_IF_ERROR(tern_hal_semaphore_create(s.device, 0, &s.semaphore));
  if (desc.profile_capacity)
    TERN_RETURN_IF_ERROR(tern_hal_event_log_create(s.allocator, desc.profile_capacity, &s.event_log));
  TERN_RETURN_IF_ERROR(bind_slots(s));
  TERN_RETURN_IF_ERROR(reserve_for_bounds(s, desc));
  if (s.arena_known) TERN_RETURN_IF_ERROR(record_lists(s));
  return run_init(s);
}

// A semaphore that failed stays failed: the next invocation gets a new one.
tern_status_t renew_semaphore(Session& s) {
  tern_hal_semaphore_release(s.semaphore);
  s.semaphore = nullptr;
  s.timeline = 0;
  return tern_hal_semaphore_create(s.device, 0, &s.semaphore);
}

tern_status_t invoke(Session& s, const tern_invoke_t& args) {
  if (!s.semaphore) TERN_RETURN_IF_ERROR(renew_semaphore(s));
  TERN_RETURN_IF_ERROR(bind_arguments(s, args));
  // 2^62 ns are 146 years.
  s.deadline = args.timeout_ns >> 62 ? TERN_HAL_NEVER
               : args.timeout_ns     ? tern_hal_now() + static_cast<int64_t>(args.timeout_ns)
                                     : 0;
  if (s.event_log) tern_hal_event_log_clear(s.event_log);
  tern_status_t status = run_routine(s, s.program->entries[s.function_index].main());
  s.deadline = 0;
  if (status == TERN_OK) return finish_outputs(s);
  tern_status_t renewed = renew_semaphore(s);
  tern_status_free(renewed);  // tried again by the next invocation
  return tern_status_annotate(status, "\n - While running function '%s'", text(s.function->name()));
}

}  // namespace
}  // namespace tern::vm

using namespace tern::vm;

tern_status_t tern_session_create(tern_module_t* module, tern_device_t* device,
                                  const tern_session_desc_t* desc, tern_session_t** out_session) {
  if (out_session) *out_session = nullptr;
  const tern_session_desc_t defaults = {};
  if (!desc) desc = &defaults;
  if (!module || !device || !out_session || (desc->bound_count && !desc->bounds) ||
      (desc->static_kernel_count && !desc->static_kernels)) {
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  const tern_allocator_t allocator = module->allocator;
  tern_session_t* s =
      static_cast<tern_session_t*>(tern_allocate(allocator, sizeof(tern_session_t), alignof(tern_session_t)));
  if (!s) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(s), 0, sizeof(*s));
  s->allocator = allocator;
  s->module = module;
  s->device = device;
  retain_module(module);
  tern_hal_device_retain(device);
  s->arena_limit = desc->arena_limit;
  s->dynamic_limit = desc->dynamic_limit;
  s->step_limit = desc->step_limit ? desc->step_limit : uint64_t{1} << 40;
  s->static_kernels = desc->static_kernels;
  s->static_kernel_count = desc->static_kernel_count;
  const tern_status_t status = create(*s, *desc);
  s->static_kernels = nullptr;
  s->static_kernel_count = 0;
  if (status != TERN_OK) {
    tern_session_destroy(s);
    return status;
  }
  *out_session = s;
  return TERN_OK;
}

void tern_session_destroy(tern_session_t* session) {
  if (!session) return;
  tern_session_t& s = *session;
  if (s.program) release_recordings(s);
  release_arguments(s);
  release_free_buffers(s);
  release_spare_list(s);
  for (uint32_t i = 0; s.program && s.slot_held && i < s.program->slots.size; ++i)
    tern_hal_buffer_release(s.slot_held[i]);
  tern_hal_buffer_release(s.arena);
  for (uint32_t i = 0; s.executables && i < s.executable_count; ++i)
    tern_hal_executable_release(s.executables[i]);
  tern_hal_semaphore_release(s.semaphore);
  tern_hal_event_log_destroy(s.event_log);
  for (uint32_t i = 0; i < s.owned_count; ++i) tern_release(s.allocator, s.owned[i].memory, s.owned[i].size);
  tern_hal_device_release(s.device);
  tern_module_release(s.module);
  const tern_allocator_t allocator = s.allocator;
  tern_release(allocator, session, sizeof(*session));
}

tern_status_t tern_session_invoke(tern_session_t* session, const tern_invoke_t* args) {
  if (!session || !args || (args->input_count && !args->inputs) || (args->output_count && !args->outputs))
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  tern_hal_cancel_reset(&session->cancel);
  ++session->stats.invocations;
  return invoke(*session, *args);
}

void tern_session_cancel(tern_session_t* session) {
  if (session) tern_hal_cancel_request(&session->cancel);
}

tern_status_t tern_session_reset(tern_session_t* session) {
  if (!session) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  tern_session_t& s = *session;
  release_free_buffers(s);
  release_spare_list(s);
  if (!s.semaphore) TERN_RETURN_IF_ERROR(renew_semaphore(s));
  tern_hal_cancel_reset(&s.cancel);
  return run_init(s);
}

const char* tern_session_executable_name(const tern_session_t* session, uint32_t index) {
  for (uint32_t i = 0; session && i < session->executable_count; ++i) {
    if (session->executables[i] && index-- == 0)
      return text(session->module->root->executables()->Get(i)->name());
  }
  return nullptr;
}

tern_session_stats_t tern_session_stats(const tern_session_t* session) {
  if (!session) return {};
  tern_session_stats_t stats = session->stats;
  stats.dynamic_bytes = session->dynamic_bytes;
  return stats;
}

uint32_t tern_session_profile_count(const tern_session_t* session) {
  return session && session->event_log ? tern_hal_event_log_count(session->event_log) : 0;
}

tern_profile_event_t tern_session_profile_event(const tern_session_t* session, uint32_t index) {
  tern_profile_event_t out = {};
  if (index >= tern_session_profile_count(session)) return out;
  const tern_hal_event_t& event = tern_hal_event_log_events(session->event_log)[index];
  out.label = event.label.data;
  out.label_size = event.label.size;
  out.begin_ns = event.begin_ns;
  out.end_ns = event.end_ns;
  // A label's place in the session's array says whose it is; kernels' own names lie elsewhere.
  const uintptr_t at =
      reinterpret_cast<uintptr_t>(event.label.data) - reinterpret_cast<uintptr_t>(session->labels);
  const uint32_t source = static_cast<uint32_t>(at / kLabelSize < kNone32 ? at / kLabelSize : kNone32);
  out.source = session->labels && source < count(session->module->root->sources()) ? source : kNone32;
  return out;
}
