#include "vm/module/module.h"

#include <string.h>

#include <new>

#include "hal/base/atomic.h"
#include "tern/tern.h"
#include "vm/module/flatbuffer_check.h"
#include "vm/module/hash.h"
#include "vm/module/verify.h"

namespace tern::vm {
namespace {

using namespace module;

tern_status_t check_header(tern_module_t* m) {
  const tern_allocator_t allocator = m->allocator;
  const tern_file_header_t& header = m->header;
  if (m->file_size < sizeof(header)) {
    return MALFORMED("The file (%zu bytes) is too short to be a tern module.", m->file_size);
  }
  memcpy(&m->header, m->file, sizeof(header));
  if (memcmp(header.magic, TERN_FILE_MAGIC, 4) != 0)
    return MALFORMED("The file is no tern module: it does not begin with 'TERN'.");
  if (header.format_major != TERN_FORMAT_MAJOR) {
    return tern_status_make(
        allocator, TERN_STATUS_INCOMPATIBLE,
        "The module's format version (%u.%u) cannot be read: this libtern reads version %d.",
        header.format_major, header.format_minor, TERN_FORMAT_MAJOR);
  }
  if (header.file_length != m->file_size) {
    return MALFORMED("The file is %s: it has %zu bytes and says %llu.",
                     m->file_size < header.file_length ? "cut off" : "too long", m->file_size,
                     static_cast<unsigned long long>(header.file_length));
  }
  if (header.metadata_length < 12 || header.metadata_length > INT32_MAX ||
      header.bulk_offset > m->file_size || header.bulk_offset % TERN_CONSTANTS_ALIGNMENT ||
      header.bulk_offset < TERN_FILE_METADATA_OFFSET ||
      header.metadata_length > header.bulk_offset - TERN_FILE_METADATA_OFFSET) {
    return MALFORMED("The file's header is damaged: its lengths are impossible.");
  }
  return TERN_OK;
}

tern_status_t check_metadata(tern_module_t* m) {
  const tern_allocator_t allocator = m->allocator;
  const size_t length = m->header.metadata_length;
  m->metadata = static_cast<uint8_t*>(tern_allocate(allocator, length, 64));
  if (!m->metadata) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memcpy(m->metadata, m->file + TERN_FILE_METADATA_OFFSET, length);
  if (xxh64(m->metadata, length) != m->header.metadata_hash)
    return MALFORMED("The module's metadata is damaged: its hash differs.");
  if ([[maybe_unused]] const char* error = check_flatbuffer(m->metadata, length, ModuleTypeTable())) {
    return MALFORMED("The module's metadata is damaged: %s.", error);
  }
  m->root = flatbuffers::GetSizePrefixedRoot<Module>(m->metadata);
  return verify_module(allocator, m->root, m->file_size - m->header.bulk_offset);
}

tern_status_t check_programs(tern_module_t* m) {
  const auto* programs = m->root->programs();
  const tern_allocator_t allocator = m->allocator;
  const uint32_t wanted = count(programs);
  if (wanted > kMaxPrograms)
    return MALFORMED("The module has %u programs; at most %d are possible.", wanted, kMaxPrograms);
  m->program_count = wanted;
  uint64_t words = 0;
  for (uint32_t i = 0; i < wanted; ++i) {
    m->fact_count += count(programs->Get(i)->routines());
    words += count(programs->Get(i)->code());
  }
  if (words > m->header.metadata_length / 8) return MALFORMED("Programs share code.");
  m->code_size = words * 8;
  m->code = static_cast<uint64_t*>(tern_allocate(allocator, m->code_size, 8));
  m->programs =
      static_cast<ProgramView*>(tern_allocate(allocator, wanted * sizeof(ProgramView), alignof(ProgramView)));
  m->facts = static_cast<RoutineFacts*>(
      tern_allocate(allocator, m->fact_count * sizeof(RoutineFacts), alignof(RoutineFacts)));
  if ((wanted && !m->programs) || (m->fact_count && !m->facts) || (words && !m->code))
    return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  RoutineFacts* facts = m->facts;
  uint64_t* code = m->code;
  for (uint32_t i = 0; i < wanted; ++i) {
    ProgramView* program = new (&m->programs[i]) ProgramView(programs->Get(i));
    program->facts = facts;
    facts += program->routines.size;
    // Verification rewrites the code, so it gets memory of its own: in the metadata it may overlap other,
    // verified, things.
    if (program->code.size) memcpy(code, program->code.data, program->code.size * 8);
    program->code.data = code;
    code += program->code.size;
    tern_status_t status = verify_program(allocator, m->root, *program);
    if (status == TERN_OK) status = verify_code(allocator, m->root, *program);
    if (status == TERN_OK) continue;
    // Newer than this reader: the module's other programs may still be run.
    if (tern_status_code(status) != TERN_STATUS_INCOMPATIBLE) return status;
    program->unusable = TERN_STATUS_INCOMPATIBLE;
    tern_status_free(status);
  }
  return TERN_OK;
}

tern_status_t check(tern_module_t* m, bool verify_weights) {
  if (reinterpret_cast<uintptr_t>(m->file) % 64) {
    return tern_status_make(m->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The module's bytes are not 64-byte aligned.");
  }
  TERN_RETURN_IF_ERROR(check_header(m));
  TERN_RETURN_IF_ERROR(check_metadata(m));
  TERN_RETURN_IF_ERROR(check_programs(m));
  return verify_weights ? tern_module_verify_segments(m) : TERN_OK;
}

}  // namespace

tern_status_t load_module(tern_allocator_t allocator, const void* data, size_t size, uint32_t code_policy,
                          bool verify_weights, void (*release)(void*, const void*, size_t),
                          void* release_self, tern_module_t** out_module) {
  *out_module = nullptr;
  tern_module_t* m =
      static_cast<tern_module_t*>(tern_allocate(allocator, sizeof(tern_module_t), alignof(tern_module_t)));
  if (!m) {
    if (release) release(release_self, data, size);
    return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  }
  memset(static_cast<void*>(m), 0, sizeof(*m));
  m->ref_count = 1;
  m->trusted = code_policy;
  m->allocator = allocator;
  m->file = static_cast<const uint8_t*>(data);
  m->file_size = size;
  m->release = release;
  m->release_self = release_self;
  const tern_status_t status =
      code_policy <= 1 ? check(m, verify_weights)
                       : tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                                          "The code policy (%u) is neither to refuse (0) nor to trust (1) "
                                          "machine code.",
                                          code_policy);
  if (status != TERN_OK) {
    tern_module_release(m);
    return status;
  }
  *out_module = m;
  return TERN_OK;
}

void retain_module(tern_module_t* module) {
  tern_ref_retain(&module->ref_count);
}

tern_const_bytes_t segment_bytes(const tern_module_t* module, uint32_t segment) {
  const Segment& s = *module->root->segments()->Get(segment);
  return {module->file + module->header.bulk_offset + s.offset(), static_cast<size_t>(s.length())};
}

tern_status_t check_segment(const tern_module_t* module, uint32_t segment, tern_const_bytes_t bytes) {
  if (xxh64(bytes.data, bytes.size) == module->root->segments()->Get(segment)->hash()) return TERN_OK;
  return tern_status_make(module->allocator, TERN_STATUS_MALFORMED,
                          "Segment (%u) of the module is damaged: its hash differs.", segment);
}

}  // namespace tern::vm

tern_status_t tern_module_verify_segments(tern_module_t* module) {
  if (!module) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  for (uint32_t i = 0; i < tern::vm::count(module->root->segments()); ++i) {
    TERN_RETURN_IF_ERROR(tern::vm::check_segment(module, i, tern::vm::segment_bytes(module, i)));
  }
  return TERN_OK;
}

void tern_module_release(tern_module_t* module) {
  if (!module || !tern_ref_release(&module->ref_count)) return;
  const tern_allocator_t allocator = module->allocator;
  tern_release(allocator, module->metadata, module->header.metadata_length);
  tern_release(allocator, module->programs, module->program_count * sizeof(tern::vm::ProgramView));
  tern_release(allocator, module->code, module->code_size);
  tern_release(allocator, module->facts, module->fact_count * sizeof(tern::vm::RoutineFacts));
  if (module->release) module->release(module->release_self, module->file, module->file_size);
  tern_release(allocator, module, sizeof(*module));
}
