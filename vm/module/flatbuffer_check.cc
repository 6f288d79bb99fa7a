#include "vm/module/flatbuffer_check.h"

#include <string.h>

namespace tern::vm {
namespace {

using flatbuffers::TypeCode;
using flatbuffers::TypeTable;

constexpr int kMaxDepth = 8;  // module.fbs nests four tables deep
// So that a count of what it has, times what a host keeps for each, is no more than a size_t.
constexpr size_t kMostBytes = sizeof(size_t) < 8 ? size_t{1} << 24 : size_t{INT32_MAX};

struct Checker {
  const uint8_t* data;
  size_t size;    // below 2^31
  size_t budget;  // things that may still be visited
  const char* error = nullptr;

  bool fail(const char* what) {
    error = what;
    return false;
  }
  bool spend(size_t count) {
    if (count > budget) return fail("tables are shared too often");
    budget -= count;
    return true;
  }
  template <typename T>
  T read(size_t at) const {
    T value;
    memcpy(&value, data + at, sizeof(T));
    return value;
  }
  bool fits(size_t at, uint64_t length, size_t alignment) const {  // a length may be beyond 32 bits
    return at <= size && length <= size - at && at % alignment == 0;
  }

  static size_t scalar_size(unsigned base_type) {
    switch (base_type) {
      case flatbuffers::ET_UTYPE:
      case flatbuffers::ET_BOOL:
      case flatbuffers::ET_CHAR:
      case flatbuffers::ET_UCHAR:
        return 1;
      case flatbuffers::ET_SHORT:
      case flatbuffers::ET_USHORT:
        return 2;
      case flatbuffers::ET_INT:
      case flatbuffers::ET_UINT:
      case flatbuffers::ET_FLOAT:
        return 4;
      case flatbuffers::ET_LONG:
      case flatbuffers::ET_ULONG:
      case flatbuffers::ET_DOUBLE:
        return 8;
      default:
        return 4;  // offsets to strings and tables
    }
  }
  // Enumerations have a type table of their own, but are scalars here.
  static const TypeTable* sequence(const TypeTable* type, TypeCode code) {
    return code.base_type == flatbuffers::ET_SEQUENCE ? type->type_refs[code.sequence_ref]() : nullptr;
  }
  // Size and alignment of an element stored inline; tables and strings count as the offset to them.
  static void layout(const TypeTable* type, TypeCode code, size_t* out_size, size_t* out_alignment) {
    *out_size = *out_alignment = scalar_size(code.base_type);
    const TypeTable* element = sequence(type, code);
    if (!element || element->st != flatbuffers::ST_STRUCT) return;
    *out_size = static_cast<size_t>(element->values[element->num_elems]);
    *out_alignment = 1;
    for (size_t i = 0; i < element->num_elems; ++i) {
      const size_t field = scalar_size(element->type_codes[i].base_type);
      if (field > *out_alignment) *out_alignment = field;
    }
  }

  // Follows the offset stored at `at`.
  bool follow(size_t at, size_t* out_target) {
    const uint32_t offset = read<uint32_t>(at);
    if (offset == 0 || offset > size - at) return fail("an offset leads outside");
    *out_target = at + offset;
    return true;
  }

  bool string(size_t at) {
    size_t target;
    if (!follow(at, &target)) return false;
    if (!fits(target, 4, 4)) return fail("a string is cut off");
    const size_t length = read<uint32_t>(target);
    if (!fits(target, uint64_t{length} + 5, 4)) return fail("a string is cut off");
    return data[target + 4 + length] == 0 || fail("a string is not terminated");
  }

  bool vector(size_t at, const TypeTable* type, TypeCode code, int depth) {
    size_t target, element_size, alignment;
    if (!follow(at, &target)) return false;
    if (!fits(target, 4, 4)) return fail("a vector is cut off");
    const size_t count = read<uint32_t>(target);
    layout(type, code, &element_size, &alignment);
    if (!fits(target + 4, uint64_t{count} * element_size, alignment))
      return fail("a vector is cut off or misaligned");
    const TypeTable* element = sequence(type, code);
    const bool tables = element && element->st == flatbuffers::ST_TABLE;
    if (!tables && code.base_type != flatbuffers::ET_STRING) return true;
    if (!spend(count)) return false;
    for (size_t i = 0; i < count; ++i) {
      const size_t slot = target + 4 + 4 * i;
      if (tables ? !table_at(slot, element, depth) : !string(slot)) return false;
    }
    return true;
  }

  bool table_at(size_t at, const TypeTable* type, int depth) {
    size_t target;
    return follow(at, &target) && table(target, type, depth + 1);
  }

  bool table(size_t at, const TypeTable* type, int depth) {
    if (depth > kMaxDepth) return fail("tables are nested too deep");
    if (!spend(1 + type->num_elems / 4)) return false;
    if (!fits(at, 4, 4)) return fail("a table is cut off");
    const int64_t vtable = static_cast<int64_t>(at) - read<int32_t>(at);
    if (vtable < 0 || !fits(static_cast<size_t>(vtable), 4, 2)) return fail("a vtable lies outside");
    const size_t v = static_cast<size_t>(vtable);
    const size_t vtable_size = read<uint16_t>(v), table_size = read<uint16_t>(v + 2);
    if (vtable_size < 4 || vtable_size % 2 || !fits(v, vtable_size, 2)) return fail("a vtable is cut off");
    if (table_size < 4 || !fits(at, table_size, 4)) return fail("a table is cut off");
    for (size_t i = 0; i < type->num_elems && 6 + 2 * i <= vtable_size; ++i) {
      const size_t offset = read<uint16_t>(v + 4 + 2 * i);
      if (!offset) continue;
      if (!field(at, offset, table_size, type, type->type_codes[i], depth)) return false;
    }
    return true;
  }

  bool field(size_t at, size_t offset, size_t table_size, const TypeTable* type, TypeCode code, int depth) {
    size_t field_size = 4, alignment = 4;
    if (!code.is_repeating) layout(type, code, &field_size, &alignment);
    if (offset < 4 || offset + field_size > table_size || (at + offset) % alignment)
      return fail("a field lies outside its table");
    if (code.is_repeating) return vector(at + offset, type, code, depth);
    if (code.base_type == flatbuffers::ET_STRING) return string(at + offset);
    const TypeTable* element = sequence(type, code);
    if (element && element->st == flatbuffers::ST_TABLE) return table_at(at + offset, element, depth);
    return true;
  }
};

}  // namespace

const char* check_flatbuffer(const uint8_t* data, size_t size, const TypeTable* root) {
  if (size < 12 || size > kMostBytes) return "its length is impossible";
  Checker checker{data, size, size};
  if (checker.read<uint32_t>(0) != size - 4) return "its size prefix is wrong";
  checker.table_at(4, root, 0);
  return checker.error;
}

}  // namespace tern::vm
