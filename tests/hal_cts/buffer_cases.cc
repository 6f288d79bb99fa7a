// Buffers: allocation, limits, mapping, host copies, imports.
#include <string.h>

#include <numeric>

#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

struct Released {
  int count = 0;
  void* pointer = nullptr;
  uint64_t size = 0;
};
void count_release(void* self, void* pointer, uint64_t size) {
  auto* released = static_cast<Released*>(self);
  ++released->count;
  released->pointer = pointer;
  released->size = size;
}

void has_the_size_asked_for(Context& c) {
  for (int64_t size : {0, 1, 63, 64, 65, 4096, 100000, 5000000}) {
    CTS_CHECK_EQ(tern_hal_buffer_size(c.buffer(size)), static_cast<uint64_t>(size));
  }
}

void is_aligned_for_vectors(Context& c) {
  for (int64_t size : {1, 64, 100, 4096, 5000000}) {
    void* pointer = nullptr;
    CTS_REQUIRE_OK(tern_hal_buffer_map(c.buffer(size), kRead, 0, size, &pointer));
    CTS_CHECK_EQ(reinterpret_cast<uintptr_t>(pointer) % 64, uintptr_t{0});
  }
}

void refuses_a_negative_size(Context& c) {
  tern_hal_buffer_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_device_allocate_buffer(c.device(), 0, -1, &made), OUT_OF_RANGE);
  CTS_CHECK(made == nullptr);
}

void refuses_a_size_that_no_machine_has(Context& c) {
  tern_hal_buffer_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_device_allocate_buffer(c.device(), 0, INT64_MAX, &made), OUT_OF_MEMORY);
  CTS_CHECK_CODE(tern_hal_device_allocate_buffer(c.device(), 0, INT64_MAX - 63, &made), OUT_OF_MEMORY);
  CTS_CHECK_EQ(tern_hal_device_memory_stats(c.device()).bytes_now, uint64_t{0});
}

void refuses_unknown_memory_flags(Context& c) {
  tern_hal_buffer_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_device_allocate_buffer(c.device(), 1u << 20, 16, &made), INVALID_ARGUMENT);
}

void refuses_to_allocate_read_only_memory(Context& c) {
  tern_hal_buffer_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_device_allocate_buffer(c.device(), TERN_HAL_MEMORY_READ_ONLY, 16, &made),
                 INVALID_ARGUMENT);
}

void is_host_visible_by_default(Context& c) {
  CTS_CHECK(tern_hal_buffer_memory(c.buffer(16)) & TERN_HAL_MEMORY_HOST_VISIBLE);
}

void comes_in_every_kind_of_memory(Context& c) {
  for (uint32_t memory : {1u, 2u, 3u}) {
    tern_hal_buffer_t* made = nullptr;
    CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(c.device(), memory, 64, &made));
    const uint32_t got = tern_hal_buffer_memory(made);
    int32_t value = 42, back = 0;
    CTS_CHECK_OK(tern_hal_buffer_write(made, 8, &value, 4));
    CTS_CHECK_OK(tern_hal_buffer_read(made, 8, &back, 4));
    tern_hal_buffer_release(made);
    CTS_CHECK_EQ(got & memory, memory);
    CTS_CHECK_EQ(back, 42);
  }
}

void reads_back_what_was_written(Context& c) {
  std::vector<int32_t> values(1000);
  std::iota(values.begin(), values.end(), -7);
  CTS_CHECK(c.values_of(c.buffer_of(values)) == values);
}

void writes_only_the_range(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer_of({1, 2, 3, 4});
  const int32_t values[2] = {20, 30};
  CTS_CHECK_OK(tern_hal_buffer_write(buffer, 4, values, 8));
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({1, 20, 30, 4}));
}

void reads_only_the_range(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer_of({1, 2, 3, 4});
  int32_t values[4] = {0, 0, 0, 99};
  CTS_CHECK_OK(tern_hal_buffer_read(buffer, 4, values, 12));
  CTS_CHECK_EQ(values[0], 2);
  CTS_CHECK_EQ(values[2], 4);
  CTS_CHECK_EQ(values[3], 99);
}

void moves_nothing_for_length_zero(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_OK(tern_hal_buffer_read(buffer, 16, nullptr, 0));
  CTS_CHECK_OK(tern_hal_buffer_write(buffer, 0, nullptr, 0));
}

void refuses_ranges_outside(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer(16);
  char bytes[32] = {};
  const int64_t bad[][2] = {{0, 17}, {16, 1},        {17, 0},        {-1, 1},
                            {0, -1}, {INT64_MAX, 1}, {1, INT64_MAX}, {INT64_MIN, 16}};
  for (auto& [offset, length] : bad) {
    CTS_CHECK_CODE(tern_hal_buffer_read(buffer, offset, bytes, length), OUT_OF_RANGE);
    CTS_CHECK_CODE(tern_hal_buffer_write(buffer, offset, bytes, length), OUT_OF_RANGE);
    void* pointer = bytes;
    CTS_CHECK_CODE(tern_hal_buffer_map(buffer, kRead, offset, length, &pointer), OUT_OF_RANGE);
    CTS_CHECK(pointer == nullptr);
    CTS_CHECK_CODE(tern_hal_buffer_unmap(buffer, offset, length), OUT_OF_RANGE);
  }
}

void names_the_range_in_its_message(Context& c) {
  char bytes[32];
  CTS_CHECK_EQ(
      text_of(tern_hal_buffer_read(c.buffer(16), 8, bytes, 9)),
      std::string(
          "OUT_OF_RANGE: The range at offset (8) of length (9) does not lie inside the buffer (16 bytes)."));
}

void refuses_null_data(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer(16);
  CTS_CHECK_CODE(tern_hal_buffer_read(buffer, 0, nullptr, 4), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_buffer_write(buffer, 0, nullptr, 4), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_buffer_map(buffer, kRead, 0, 4, nullptr), INVALID_ARGUMENT);
}

void maps_for_reading_and_writing(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer_of({1, 2, 3, 4});
  void* pointer = nullptr;
  CTS_REQUIRE_OK(tern_hal_buffer_map(buffer, kRead | kWrite, 4, 8, &pointer));
  auto* values = static_cast<int32_t*>(pointer);
  CTS_CHECK_EQ(values[0], 2);
  values[1] = 33;
  CTS_CHECK_OK(tern_hal_buffer_unmap(buffer, 4, 8));
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({1, 2, 33, 4}));
}

void refuses_a_mapping_without_access(Context& c) {
  void* pointer = nullptr;
  CTS_CHECK_CODE(tern_hal_buffer_map(c.buffer(16), 0, 0, 4, &pointer), INVALID_ARGUMENT);
  CTS_CHECK_CODE(tern_hal_buffer_map(c.buffer(16), 4, 0, 4, &pointer), INVALID_ARGUMENT);
}

void maps_disjoint_ranges_at_once(Context& c) {
  tern_hal_buffer_t* buffer = c.buffer_of({1, 2});
  void *first = nullptr, *second = nullptr;
  CTS_REQUIRE_OK(tern_hal_buffer_map(buffer, kWrite, 0, 4, &first));
  CTS_REQUIRE_OK(tern_hal_buffer_map(buffer, kWrite, 4, 4, &second));
  *static_cast<int32_t*>(first) = 10;
  *static_cast<int32_t*>(second) = 20;
  CTS_CHECK_OK(tern_hal_buffer_unmap(buffer, 4, 4));
  CTS_CHECK_OK(tern_hal_buffer_unmap(buffer, 0, 4));
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({10, 20}));
}

tern_hal_buffer_t* import(Context& c, void* pointer, int64_t size, uint32_t memory, Released* released) {
  const tern_hal_import_t desc = {pointer, size, memory, released ? count_release : nullptr, released};
  tern_hal_buffer_t* made = nullptr;
  const std::string text = text_of(tern_hal_device_import_buffer(c.device(), &desc, &made));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return made;
}

void imports_without_copying(Context& c) {
  int32_t memory[4] = {1, 2, 3, 4};
  tern_hal_buffer_t* buffer = import(c, memory, 16, 0, nullptr);
  CTS_REQUIRE(buffer);
  const int32_t value = 22;
  CTS_CHECK_OK(tern_hal_buffer_write(buffer, 4, &value, 4));
  memory[2] = 33;
  const std::vector<int32_t> seen = c.values_of(buffer);
  tern_hal_buffer_release(buffer);
  CTS_CHECK_EQ(memory[1], 22);
  CTS_CHECK(seen == std::vector<int32_t>({1, 22, 33, 4}));
}

void imports_at_any_address(Context& c) {
  char memory[64] = "0123456789";
  tern_hal_buffer_t* buffer = import(c, memory + 3, 5, 0, nullptr);
  CTS_REQUIRE(buffer);
  char bytes[6] = {};
  CTS_CHECK_OK(tern_hal_buffer_read(buffer, 1, bytes, 4));
  tern_hal_buffer_release(buffer);
  CTS_CHECK_EQ(std::string(bytes), std::string("4567"));
}

void releases_an_import_once_and_last(Context& c) {
  Released released;
  int32_t memory[4] = {};
  tern_hal_buffer_t* buffer = import(c, memory, 16, 0, &released);
  CTS_REQUIRE(buffer);
  tern_hal_buffer_retain(buffer);
  tern_hal_buffer_release(buffer);
  CTS_CHECK_EQ(released.count, 0);
  tern_hal_buffer_release(buffer);
  CTS_CHECK_EQ(released.count, 1);
  CTS_CHECK(released.pointer == memory);
  CTS_CHECK_EQ(released.size, uint64_t{16});
}

void does_not_release_a_failed_import(Context& c) {
  Released released;
  const tern_hal_import_t desc = {nullptr, 16, 0, count_release, &released};
  tern_hal_buffer_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_device_import_buffer(c.device(), &desc, &made), INVALID_ARGUMENT);
  CTS_CHECK(made == nullptr);
  CTS_CHECK_EQ(released.count, 0);
}

void refuses_a_negative_import(Context& c) {
  char memory[4];
  const tern_hal_import_t desc = {memory, -4, 0, nullptr, nullptr};
  tern_hal_buffer_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_device_import_buffer(c.device(), &desc, &made), OUT_OF_RANGE);
}

void imports_nothing(Context& c) {
  tern_hal_buffer_t* buffer = import(c, nullptr, 0, 0, nullptr);
  CTS_REQUIRE(buffer);
  CTS_CHECK_EQ(tern_hal_buffer_size(buffer), uint64_t{0});
  tern_hal_buffer_release(buffer);
}

void keeps_read_only_imports_from_writes(Context& c) {
  int32_t memory[2] = {1, 2};
  tern_hal_buffer_t* buffer = import(c, memory, 8, TERN_HAL_MEMORY_READ_ONLY, nullptr);
  CTS_REQUIRE(buffer);
  const int32_t value = 3;
  void* pointer = nullptr;
  CTS_CHECK_CODE(tern_hal_buffer_write(buffer, 0, &value, 4), PERMISSION_DENIED);
  CTS_CHECK_CODE(tern_hal_buffer_map(buffer, kWrite, 0, 4, &pointer), PERMISSION_DENIED);
  CTS_CHECK_OK(tern_hal_buffer_map(buffer, kRead, 0, 4, &pointer));
  CTS_CHECK_OK(tern_hal_buffer_unmap(buffer, 0, 4));
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({1, 2}));
  tern_hal_buffer_release(buffer);
}

// What a buffer is called by the device's own API, taken in again: the same memory.
void takes_an_address_of_the_device(Context& c) {
  tern_hal_buffer_t* whole = c.buffer_of({1, 2, 3, 4, 5, 6, 7, 8});
  const uint64_t address = tern_hal_buffer_device_address(whole);
  const tern_hal_import_t desc = {reinterpret_cast<void*>(static_cast<uintptr_t>(address + 16)), 16,
                                  TERN_HAL_MEMORY_DEVICE_LOCAL | TERN_HAL_MEMORY_DEVICE_ADDRESS, nullptr,
                                  nullptr};
  tern_hal_buffer_t* part = nullptr;
  if (!address) {  // it has none
    tern_hal_import_t other = desc;
    other.pointer = &part;
    CTS_CHECK_CODE(tern_hal_device_import_buffer(c.device(), &other, &part), INCOMPATIBLE);
    return;
  }
  CTS_REQUIRE_OK(tern_hal_device_import_buffer(c.device(), &desc, &part));
  const int32_t value = 60;
  CTS_CHECK_OK(tern_hal_buffer_write(part, 4, &value, 4));
  CTS_CHECK(c.values_of(part) == std::vector<int32_t>({5, 60, 7, 8}));
  tern_hal_buffer_release(part);
  CTS_CHECK(c.values_of(whole) == std::vector<int32_t>({1, 2, 3, 4, 5, 60, 7, 8}));
}

// Pages that the process itself cannot write, as those of a mapped file: NVIDIA's Vulkan driver takes none.
void takes_or_refuses_pages_that_nobody_writes(Context& c) {
  static const int32_t memory[2] = {1, 2};
  const tern_hal_import_t desc = {const_cast<int32_t*>(memory), 8, TERN_HAL_MEMORY_READ_ONLY, nullptr,
                                  nullptr};
  tern_hal_buffer_t* buffer = nullptr;
  const tern_status_t status = tern_hal_device_import_buffer(c.device(), &desc, &buffer);
  if (status != TERN_OK) {
    CTS_CHECK_CODE(status, INCOMPATIBLE);
    return;
  }
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({1, 2}));
  tern_hal_buffer_release(buffer);
}

void counts_bytes(Context& c) {
  tern_hal_device_t* device = c.device();
  tern_hal_buffer_t *first = nullptr, *second = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, 1000, &first));
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, 500, &second));
  tern_hal_buffer_release(first);
  char memory[64];
  tern_hal_buffer_t* imported = import(c, memory, 64, 0, nullptr);
  const tern_hal_allocator_stats_t stats = tern_hal_device_memory_stats(device);
  tern_hal_buffer_release(second);
  tern_hal_buffer_release(imported);
  CTS_CHECK_EQ(stats.bytes_now, uint64_t{500});
  CTS_CHECK_EQ(stats.bytes_peak, uint64_t{1500});
  CTS_CHECK_EQ(stats.bytes_imported, uint64_t{64});
  const tern_hal_allocator_stats_t after = tern_hal_device_memory_stats(device);
  CTS_CHECK_EQ(after.bytes_now, uint64_t{0});
  CTS_CHECK_EQ(after.bytes_imported, uint64_t{0});
  CTS_CHECK_EQ(after.bytes_peak, uint64_t{1500});
}

void keeps_to_the_memory_limit(Context& c) {
  tern_hal_device_desc_t desc = c.device_desc();
  desc.memory_limit = 1000;
  tern_hal_device_t* device = c.another_device(desc);
  tern_hal_buffer_t *first = nullptr, *second = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, 600, &first));
  CTS_CHECK_EQ(
      text_of(tern_hal_device_allocate_buffer(device, 0, 401, &second)),
      std::string(
          "OUT_OF_MEMORY: The buffer's size (401) and what is allocated already (600) are more than the "
          "device's limit (1000)."));
  CTS_CHECK(second == nullptr);
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, 400, &second));
  tern_hal_buffer_release(first);
  tern_hal_buffer_release(second);
  CTS_REQUIRE_OK(tern_hal_device_allocate_buffer(device, 0, 1000, &first));
  tern_hal_buffer_release(first);
}

void does_not_count_imports_to_the_limit(Context& c) {
  tern_hal_device_desc_t desc = c.device_desc();
  desc.memory_limit = 10;
  tern_hal_device_t* device = c.another_device(desc);
  char memory[64];
  const tern_hal_import_t import_desc = {memory, 64, 0, nullptr, nullptr};
  tern_hal_buffer_t* made = nullptr;
  CTS_REQUIRE_OK(tern_hal_device_import_buffer(device, &import_desc, &made));
  tern_hal_buffer_release(made);
}

}  // namespace

#define CASE(name) {"buffer." #name, name}
std::vector<Case> buffer_cases() {
  return {
      CASE(has_the_size_asked_for),
      CASE(is_aligned_for_vectors),
      CASE(refuses_a_negative_size),
      CASE(refuses_a_size_that_no_machine_has),
      CASE(refuses_unknown_memory_flags),
      CASE(refuses_to_allocate_read_only_memory),
      CASE(is_host_visible_by_default),
      CASE(comes_in_every_kind_of_memory),
      CASE(reads_back_what_was_written),
      CASE(writes_only_the_range),
      CASE(reads_only_the_range),
      CASE(moves_nothing_for_length_zero),
      CASE(refuses_ranges_outside),
      CASE(names_the_range_in_its_message),
      CASE(refuses_null_data),
      CASE(maps_for_reading_and_writing),
      CASE(refuses_a_mapping_without_access),
      CASE(maps_disjoint_ranges_at_once),
      CASE(imports_without_copying),
      CASE(imports_at_any_address),
      CASE(releases_an_import_once_and_last),
      CASE(does_not_release_a_failed_import),
      CASE(refuses_a_negative_import),
      CASE(imports_nothing),
      CASE(keeps_read_only_imports_from_writes),
      CASE(takes_an_address_of_the_device),
      CASE(takes_or_refuses_pages_that_nobody_writes),
      CASE(counts_bytes),
      CASE(keeps_to_the_memory_limit),
      CASE(does_not_count_imports_to_the_limit),
  };
}

}  // namespace tern::cts
