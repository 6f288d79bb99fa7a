// Constants into slots, command lists into command buffers.
#include <stdio.h>
#include <string.h>

#include "vm/module/verify.h"
#include "vm/session/session.h"

namespace tern::vm {
namespace {

using namespace module;

tern_status_t bind_constants(Session& s, uint32_t index, const Slot& slot) {
  const tern_const_bytes_t bytes = segment_bytes(s.module, slot.index());
  s.stats.constant_bytes += bytes.size;
  TERN_RETURN_IF_ERROR(import_memory(s, bytes.data, bytes.size, true, &s.slot_held[index]));
  if (s.slot_held[index]) return TERN_OK;
  // From the mapping straight to the device: the driver's staging is the only other copy.
  const int64_t size = static_cast<int64_t>(bytes.size);
  TERN_RETURN_IF_ERROR_CONTEXT(
      tern_hal_device_allocate_buffer(s.device, TERN_HAL_MEMORY_DEVICE_LOCAL, size, &s.slot_held[index]),
      "\n - While copying weights to the device (%lld bytes)", static_cast<long long>(size));
  return tern_hal_buffer_write(s.slot_held[index], 0, bytes.data, size);
}

tern_hal_operand_t operand(const Session& s, uint32_t code) {
  return code >> 31 ? tern_hal_parameter(code & 0x7fffffffu) : tern_hal_constant(s.program->numbers[code]);
}

tern_hal_binding_t binding(const Session& s, const Binding& from) {
  tern_hal_binding_t to = {};
  to.slot = from.slot();
  to.access = static_cast<uint32_t>(from.access());
  to.offset = operand(s, from.offset());
  to.length = operand(s, from.length());
  return to;
}

bool is_constant_one(const Session& s, uint32_t code) {
  return !(code >> 31) && s.program->numbers[code] == 1;
}

tern_status_t record_dispatch(Session& s, tern_hal_command_buffer_t* recording, const Command& command,
                              const tern_hal_binding_t* bindings, tern_hal_operand_t* params,
                              tern_string_view_t label) {
  const Kernel* kernel = s.program->table->kernels()->Get(command.kernel());
  const uint32_t chosen = s.variants[command.kernel()];
  const Variant& variant = slice(kernel->variants())[chosen];
  const Launch& launch = s.program->launches[command.first_launch() + chosen];
  tern_hal_dispatch_t dispatch = {};
  dispatch.executable = s.executables[variant.executable()];
  dispatch.entry = variant.entry();
  dispatch.binding_count = command.binding_count();
  dispatch.bindings = bindings;
  dispatch.params = params;
  dispatch.param_count = command.param_count();
  dispatch.grid[0] = operand(s, launch.grid_x());
  dispatch.grid[1] = operand(s, launch.grid_y());
  dispatch.grid[2] = operand(s, launch.grid_z());
  dispatch.grid_rank = !is_constant_one(s, launch.grid_z())   ? 3
                       : !is_constant_one(s, launch.grid_y()) ? 2
                                                              : 1;
  dispatch.scratch = operand(s, launch.scratch());
  dispatch.label = label.size ? label : view(kernel->name());
  return tern_hal_command_buffer_dispatch(recording, &dispatch);
}

// params: room for the largest command's parameters.
tern_status_t record_command(Session& s, tern_hal_command_buffer_t* recording, const Command& command,
                             tern_hal_operand_t* params, tern_string_view_t label) {
  tern_hal_binding_t bindings[kMaxBindings];
  for (uint32_t i = 0; i < command.binding_count(); ++i) {
    bindings[i] = binding(s, s.program->bindings[command.first_binding() + i]);
  }
  for (uint32_t i = 0; i < command.param_count(); ++i)
    params[i] = operand(s, s.program->params[command.first_param() + i]);
  switch (command.kind()) {
    case CommandKind::Dispatch:
      return record_dispatch(s, recording, command, bindings, params, label);
    case CommandKind::Copy:
      return tern_hal_command_buffer_copy(recording, &bindings[0], &bindings[1]);
    case CommandKind::Fill:
      return tern_hal_command_buffer_fill(recording, &bindings[0], static_cast<uint32_t>(params[0].value),
                                          command.pattern_bytes());
    case CommandKind::Barrier:
      return tern_hal_command_buffer_barrier(recording);
  }
  return TERN_OK;
}

#if TERN_STATUS_NO_MESSAGES
tern_status_t make_labels(Session&) {
  return TERN_OK;
}
tern_string_view_t label_of(Session&, const Command&) {
  return {};
}
#else
enum { kLabelNodes = 3 };

// "conv1 (Conv), relu1 (Relu)", at most kLabelNodes of them. Terminated; returns its length.
size_t write_label(const Source* source, char* out) {
  size_t length = 0;
  out[0] = 0;
  const uint32_t nodes = count(source->nodes());
  if (nodes == 0) {
    const int wrote = snprintf(out, kLabelSize, "%.80s", text(source->note()));
    return static_cast<size_t>(wrote > 0 ? wrote : 0);
  }
  for (uint32_t i = 0; i < nodes && i < kLabelNodes && length < kLabelSize; ++i) {
    const char* op = i < count(source->ops()) ? text(source->ops()->Get(i)) : "";
    const int wrote = snprintf(out + length, kLabelSize - length, "%s%.80s (%.30s)", i ? ", " : "",
                               text(source->nodes()->Get(i)), op);
    length += static_cast<size_t>(wrote > 0 ? wrote : 0);
  }
  if (nodes > kLabelNodes && length < kLabelSize) {
    length +=
        static_cast<size_t>(snprintf(out + length, kLabelSize - length, " and %u more", nodes - kLabelNodes));
  }
  return length < kLabelSize ? length : kLabelSize - 1;
}

// One fixed-size text a source: a label's place follows from its number.
tern_status_t make_labels(Session& s) {
  const uint32_t sources = count(s.module->root->sources());
  if (s.labels || !sources) return TERN_OK;
  if (!session_array(s, size_t{sources} * kLabelSize, &s.labels)) return out_of_memory();
  for (uint32_t i = 0; i < sources; ++i)
    write_label(s.module->root->sources()->Get(i), s.labels + size_t{i} * kLabelSize);
  return TERN_OK;
}

tern_string_view_t label_of(Session& s, const Command& command) {
  if (command.source() >= count(s.module->root->sources())) return {};
  return tern_string_view(s.labels + size_t{command.source()} * kLabelSize);
}
#endif

tern_status_t record_list(Session& s, const CommandList& list, const uint8_t* classes,
                          tern_hal_operand_t* params, tern_hal_command_buffer_t** out) {
  const tern_hal_command_buffer_desc_t desc = {classes, s.program->slots.size,
                                               s.program->table->block_size()};
  TERN_RETURN_IF_ERROR(tern_hal_command_buffer_create(s.device, &desc, out));
  for (uint32_t i = 0; i < s.program->slots.size; ++i) {
    if (classes[i] != TERN_HAL_SLOT_EXTERNAL)
      TERN_RETURN_IF_ERROR(tern_hal_command_buffer_bind(*out, i, s.ranges[i]));
  }
  for (uint32_t i = 0; i < list.command_count(); ++i) {
    const Command& command = s.program->commands[list.first_command() + i];
    const tern_string_view_t label = label_of(s, command);
    TERN_RETURN_IF_ERROR_CONTEXT(record_command(s, *out, command, params, label),
                                 "\n - While recording command %u '%.*s'", list.first_command() + i,
                                 TERN_SV_ARG(label));
  }
  return tern_hal_command_buffer_end(*out);
}

constexpr uint32_t bit(SlotKind kind) {
  return 1u << static_cast<uint32_t>(kind);
}

// The kinds of slots that a list's commands bind, as bits.
uint32_t bound_kinds(const Session& s, const CommandList& list) {
  uint32_t kinds = 0;
  for (uint32_t i = 0; i < list.command_count(); ++i) {
    const Command& command = s.program->commands[list.first_command() + i];
    for (uint32_t b = 0; b < command.binding_count(); ++b)
      kinds |= bit(s.program->slots[s.program->bindings[command.first_binding() + b].slot()].kind());
  }
  return kinds;
}

// While init runs: lists that need nothing else than it has. Else all but init's own.
bool is_recorded_now(const Session& s, const CommandList& list) {
  constexpr uint32_t kOwn = bit(SlotKind::InitConstants);
  constexpr uint32_t kHas = kOwn | bit(SlotKind::Constants) | bit(SlotKind::Persistent);
  const uint32_t kinds = bound_kinds(s, list);
  return s.initializing ? (kinds & ~kHas) == 0 : (kinds & kOwn) == 0;
}

}  // namespace

tern_status_t bind_slots(Session& s) {
  const Slice<Slot> slots = s.program->slots;
  s.arena_slot = kNone32;
  s.arena_known = true;
  if (!session_array(s, slots.size, &s.ranges) || !session_array(s, slots.size, &s.slot_held) ||
      !session_array(s, slots.size, &s.slot_refs)) {
    return out_of_memory();
  }
  for (uint32_t i = 0; i < slots.size; ++i) {
    switch (slots[i].kind()) {
      case SlotKind::Arena:
        s.arena_slot = i;
        s.arena_known = false;
        if (slots[i].bytes() >= 0) TERN_RETURN_IF_ERROR(reserve_arena(s, slots[i].bytes()));
        break;
      case SlotKind::Constants:
        TERN_RETURN_IF_ERROR(bind_constants(s, i, slots[i]));
        break;
      case SlotKind::Persistent:
        TERN_RETURN_IF_ERROR(tern_hal_device_allocate_buffer(s.device, TERN_HAL_MEMORY_DEVICE_LOCAL,
                                                             slots[i].bytes(), &s.slot_held[i]));
        s.stats.persistent_bytes += static_cast<uint64_t>(slots[i].bytes());
        break;
      default:
        continue;
    }
    if (s.slot_held[i]) s.ranges[i] = {s.slot_held[i], 0, TERN_HAL_WHOLE};
  }
  return TERN_OK;
}

tern_status_t record_lists(Session& s) {
  const Slice<Slot> slots = s.program->slots;
  uint8_t* classes = static_cast<uint8_t*>(tern_allocate(s.allocator, slots.size + 1, 1));
  const size_t params_size = kMaxParams * sizeof(tern_hal_operand_t);
  tern_hal_operand_t* params =
      static_cast<tern_hal_operand_t*>(tern_allocate(s.allocator, params_size, alignof(tern_hal_operand_t)));
  tern_status_t status = classes && params ? make_labels(s) : out_of_memory();
  for (uint32_t i = 0; status == TERN_OK && i < slots.size; ++i) {
    const SlotKind kind = slots[i].kind();
    const bool constant = kind == SlotKind::Constants || (kind == SlotKind::InitConstants && s.initializing);
    // Init's lists do not bind the arena, which may have no memory yet.
    const bool fixed = kind == SlotKind::Persistent || (kind == SlotKind::Arena && !s.initializing);
    classes[i] = constant ? TERN_HAL_SLOT_CONSTANT : fixed ? TERN_HAL_SLOT_ARENA : TERN_HAL_SLOT_EXTERNAL;
  }
  for (uint32_t i = 0; status == TERN_OK && i < s.program->lists.size; ++i) {
    if (s.recordings[i] || !is_recorded_now(s, s.program->lists[i])) continue;
    status = record_list(s, s.program->lists[i], classes, params, &s.recordings[i]);
  }
  tern_release(s.allocator, classes, slots.size + 1);
  tern_release(s.allocator, params, params_size);
  if (!s.initializing) s.recorded = status == TERN_OK;
  if (status != TERN_OK) release_recordings(s);
  return status;
}

tern_status_t run_init(Session& s) {
  const uint32_t routine = s.program->table->init();
  if (routine == kNone32) return TERN_OK;
  const Slice<Slot> slots = s.program->slots;
  s.initializing = true;
  tern_status_t status = TERN_OK;
  for (uint32_t i = 0; status == TERN_OK && i < slots.size; ++i) {
    if (slots[i].kind() != SlotKind::InitConstants) continue;
    status = bind_constants(s, i, slots[i]);
    s.stats.constant_bytes -= segment_bytes(s.module, slots[i].index()).size;
    if (s.slot_held[i]) s.ranges[i] = {s.slot_held[i], 0, TERN_HAL_WHOLE};
  }
  if (status == TERN_OK) status = record_lists(s);
  if (status == TERN_OK) status = run_routine(s, routine);
  s.initializing = false;
  for (uint32_t i = 0; i < s.program->lists.size; ++i) {
    if (!(bound_kinds(s, s.program->lists[i]) & bit(SlotKind::InitConstants))) continue;
    tern_hal_command_buffer_release(s.recordings[i]);
    s.recordings[i] = nullptr;
  }
  for (uint32_t i = 0; i < slots.size; ++i) {
    if (slots[i].kind() != SlotKind::InitConstants) continue;
    tern_hal_buffer_release(s.slot_held[i]);
    s.slot_held[i] = nullptr;
    s.ranges[i] = {};
  }
  TERN_RETURN_IF_ERROR_CONTEXT(status, "\n - While running the program's init");
  return TERN_OK;
}

void release_recordings(Session& s) {
  for (uint32_t i = 0; s.recordings && i < s.program->lists.size; ++i) {
    tern_hal_command_buffer_release(s.recordings[i]);
    s.recordings[i] = nullptr;
  }
  s.recorded = false;
}

}  // namespace tern::vm
