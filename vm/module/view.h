// A module's tables as plain spans, made once at load: what verifier and sessions read.
//
// Spans point into the private, structurally checked copy of the metadata. FlatBuffers' structs are
// little-endian C structs, so on the (little-endian) machines that tern runs on they are read in place.
#pragma once

#include <stdint.h>

#include "hal/base/allocator.h"
#include "hal/base/span.h"
#include "hal/base/status.h"
#include "schemas/module/module_generated.h"
#include "vm/module/opcodes.h"

namespace tern::vm {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "module structs are read in place");

template <typename T>
struct Slice {
  const T* data = nullptr;
  uint32_t size = 0;
  const T& operator[](size_t i) const { return data[i]; }
  const T* begin() const { return data; }
  const T* end() const { return data + size; }
  bool holds(uint32_t first, uint32_t count) const { return first <= size && count <= size - first; }
};

// A vector of structs or scalars; an absent one is empty.
template <typename T>
Slice<T> slice(const flatbuffers::Vector<const T*>* vector) {
  return vector ? Slice<T>{reinterpret_cast<const T*>(vector->Data()), vector->size()} : Slice<T>{};
}
template <typename T>
Slice<T> slice(const flatbuffers::Vector<T>* vector) {
  return vector ? Slice<T>{reinterpret_cast<const T*>(vector->Data()), vector->size()} : Slice<T>{};
}

template <typename T>
uint32_t count(const flatbuffers::Vector<T>* vector) {
  return vector ? vector->size() : 0;
}

inline const char* text(const flatbuffers::String* string, const char* otherwise = "") {
  return string ? string->c_str() : otherwise;
}
inline tern_string_view_t view(const flatbuffers::String* string) {
  return string ? tern_string_view_t{string->c_str(), string->size()} : tern_string_view_t{"", 0};
}

// How many kernels an executable has.
inline uint32_t entry_count(const module::Executable* executable) {
  const uint32_t names = count(executable->entry_names()), offsets = count(executable->entry_offsets());
  const bool by_name = executable->format() == module::ExecutableFormat::Cubin ||
                       executable->format() == module::ExecutableFormat::Ptx ||
                       executable->format() == module::ExecutableFormat::Spirv;
  return by_name || !executable->entry_offsets() ? names : offsets;
}

// What the verifier found out about a routine and those it calls: bounds of what a session must provide.
struct RoutineFacts {
  uint32_t stack_i, stack_f, stack_r;  // registers of the deepest chain of calls
  uint32_t depth;                      // frames of the deepest chain; at least 1
  uint32_t inputs, outputs;            // 1 + the largest index used; 0: none
  bool submits;                        // submits, awaits or reads back
};

struct ProgramView {
  const module::Program* table = nullptr;
  Slice<module::Slot> slots;
  Slice<int64_t> numbers;
  Slice<module::Binding> bindings;
  Slice<uint32_t> params;
  Slice<module::Launch> launches;
  Slice<module::Command> commands;
  Slice<module::CommandList> lists;
  Slice<uint64_t> code;  // after verification: opcodes are dense (OpIndex)
  Slice<module::List> bytecode_lists;
  Slice<uint32_t> list_items;
  Slice<module::RefType> ref_types;
  Slice<module::Routine> routines;
  Slice<module::Entry> entries;
  RoutineFacts* facts = nullptr;                 // one a routine
  tern_status_code_t unusable = TERN_STATUS_OK;  // why this program cannot be chosen (newer than this reader)

  explicit ProgramView(const module::Program* program);
  // The items of a bytecode list; kNone16 and lists out of range are empty.
  Slice<uint32_t> list(uint16_t index) const {
    if (index >= bytecode_lists.size) return {};
    const module::List& list = bytecode_lists[index];
    return {list_items.data + list.first(), list.count()};
  }
  bool operand_in_block(uint32_t operand) const { return operand >> 31; }
};

}  // namespace tern::vm
