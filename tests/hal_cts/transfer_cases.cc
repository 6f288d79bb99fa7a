// Copies and fills.
#include <string.h>

#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

std::vector<uint8_t> bytes_of(Context& c, tern_hal_buffer_t* buffer) {
  std::vector<uint8_t> bytes(tern_hal_buffer_size(buffer));
  const std::string text =
      text_of(tern_hal_buffer_read(buffer, 0, bytes.data(), static_cast<int64_t>(bytes.size())));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return bytes;
}

tern_hal_buffer_t* buffer_of_bytes(Context& c, const std::vector<uint8_t>& bytes) {
  tern_hal_buffer_t* buffer = c.buffer(static_cast<int64_t>(bytes.size()));
  const std::string text =
      text_of(tern_hal_buffer_write(buffer, 0, bytes.data(), static_cast<int64_t>(bytes.size())));
  if (!text.empty()) c.fail(__FILE__, __LINE__, text);
  return buffer;
}

std::vector<uint8_t> pattern_bytes(size_t size, unsigned seed) {
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i * 31 + seed + i / 256);
  return bytes;
}

// Copies between two slots and compares with memcpy.
void check_copy(Context& c, size_t size, int64_t from, int64_t to, int64_t length) {
  auto* commands = c.recording({kExternal, kExternal});
  const tern_hal_binding_t source = bind(0, kRead, from, length), target = bind(1, kWrite, to, length);
  CTS_REQUIRE_OK(tern_hal_command_buffer_copy(commands, &source, &target));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  const std::vector<uint8_t> input = pattern_bytes(size, 1);
  std::vector<uint8_t> expected = pattern_bytes(size, 99);
  tern_hal_buffer_t* output = buffer_of_bytes(c, expected);
  CTS_REQUIRE_OK(submit(commands, {whole(buffer_of_bytes(c, input)), whole(output)}));
  memcpy(expected.data() + to, input.data() + from, static_cast<size_t>(length));
  CTS_CHECK(bytes_of(c, output) == expected);
}

void copies_bytes(Context& c) {
  check_copy(c, 16, 0, 0, 16);
  check_copy(c, 16, 1, 3, 5);
  check_copy(c, 16, 15, 0, 1);
}
void copies_nothing(Context& c) {
  check_copy(c, 16, 16, 16, 0);
}
void copies_megabytes(Context& c) {
  check_copy(c, 3000001, 7, 100, 2999900);
}

void copies_at_every_offset(Context& c) {
  for (int64_t from = 0; from < 6; ++from) {
    for (int64_t to = 0; to < 6; ++to) check_copy(c, 40, from, to, 29 + (from + to) % 5);
  }
}

// Bytes of one word, from several commands that nothing orders.
void copies_side_by_side(Context& c) {
  auto* commands = c.recording({kExternal, kExternal});
  for (int64_t i = 0; i < 33; ++i) {
    const tern_hal_binding_t source = bind(0, kRead, i, 1), target = bind(1, kWrite, 32 - i, 1);
    CTS_REQUIRE_OK(tern_hal_command_buffer_copy(commands, &source, &target));
  }
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  std::vector<uint8_t> input = pattern_bytes(33, 5);
  tern_hal_buffer_t* output = buffer_of_bytes(c, std::vector<uint8_t>(33));
  CTS_REQUIRE_OK(submit(commands, {whole(buffer_of_bytes(c, input)), whole(output)}));
  CTS_CHECK(bytes_of(c, output) == std::vector<uint8_t>(input.rbegin(), input.rend()));
}

void copies_inside_one_slot(Context& c) {
  auto* commands = c.recording({kExternal});
  const tern_hal_binding_t source = bind(0, kRead, 0, 4), target = bind(0, kWrite, 8, 4);
  CTS_REQUIRE_OK(tern_hal_command_buffer_copy(commands, &source, &target));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = c.buffer_of({1, 2, 3});
  CTS_REQUIRE_OK(submit(commands, {whole(buffer)}));
  CTS_CHECK(c.values_of(buffer) == std::vector<int32_t>({1, 2, 1}));
}

void copies_what_the_block_says(Context& c) {
  auto* commands = c.recording({kExternal, kExternal}, 3);
  const tern_hal_binding_t source = bind(0, kRead, param(0), param(2)),
                           target = bind(1, kWrite, param(1), param(2));
  CTS_REQUIRE_OK(tern_hal_command_buffer_copy(commands, &source, &target));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t *input = c.buffer_of({1, 2, 3, 4}), *output = c.buffer_of({0, 0, 0, 0});
  CTS_REQUIRE_OK(submit(commands, {whole(input), whole(output)}, {0, 12, 4}));
  CTS_REQUIRE_OK(submit(commands, {whole(input), whole(output)}, {8, 0, 8}));
  CTS_REQUIRE_OK(submit(commands, {whole(input), whole(output)}, {8, 4, 0}));
  CTS_CHECK(c.values_of(output) == std::vector<int32_t>({3, 4, 0, 1}));
  CTS_CHECK_CODE(submit(commands, {whole(input), whole(output)}, {12, 0, 8}), OUT_OF_RANGE);
  CTS_CHECK_CODE(submit(commands, {whole(input), whole(output)}, {0, 12, 8}), OUT_OF_RANGE);
}

void check_fill(Context& c, size_t size, int64_t offset, int64_t length, uint32_t pattern,
                uint32_t pattern_size) {
  auto* commands = c.recording({kExternal});
  const tern_hal_binding_t target = bind(0, kWrite, offset, length);
  CTS_REQUIRE_OK(tern_hal_command_buffer_fill(commands, &target, pattern, pattern_size));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  std::vector<uint8_t> expected = pattern_bytes(size, 3);
  tern_hal_buffer_t* buffer = buffer_of_bytes(c, expected);
  CTS_REQUIRE_OK(submit(commands, {whole(buffer)}));
  for (int64_t i = 0; i < length; ++i) {
    expected[static_cast<size_t>(offset + i)] = static_cast<uint8_t>(pattern >> (i % pattern_size * 8));
  }
  CTS_CHECK(bytes_of(c, buffer) == expected);
}

void fills_bytes(Context& c) {
  check_fill(c, 17, 3, 11, 0xa5, 1);
  check_fill(c, 17, 0, 17, 0xffffff00, 1);
}
void fills_pairs(Context& c) {
  check_fill(c, 20, 2, 14, 0x1234, 2);
  check_fill(c, 20, 0, 20, 0xdead1234, 2);
}
void fills_at_every_offset(Context& c) {
  for (uint32_t size : {1u, 2u, 4u}) {
    for (int64_t offset = 0; offset < 9; offset += size) {
      for (int64_t length = 0; length < 11; length += size) {
        check_fill(c, 20, offset, length, 0x87654321, size);
      }
    }
  }
}
void fills_words(Context& c) {
  check_fill(c, 24, 4, 16, 0xdeadbeef, 4);
}
void fills_nothing(Context& c) {
  check_fill(c, 8, 8, 0, 1, 4);
}
void fills_megabytes(Context& c) {
  check_fill(c, 2000002, 2, 1999998, 0x0102, 2);
  check_fill(c, 1000003, 1, 1000002, 0x77, 1);
}

void orders_copies_and_dispatches(Context& c) {
  auto* commands = c.recording({kExternal, kArena});
  CTS_REQUIRE_OK(tern_hal_command_buffer_bind(commands, 1, whole(c.buffer(64))));
  const tern_hal_binding_t arena = bind(1, kRead | kWrite, 0, 64), output = bind(0, kWrite, 0, 64);
  Dispatch mark = {c.kernels(), CTS_KERNEL_mark, {arena}, {}};
  mark.grid = {constant(64)};
  CTS_REQUIRE_OK(tern_hal_command_buffer_fill(commands, &arena, 5, 1));
  for (int i = 0; i < 3; ++i) {
    CTS_REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
    CTS_REQUIRE_OK(mark.record(commands));
  }
  CTS_REQUIRE_OK(tern_hal_command_buffer_barrier(commands));
  CTS_REQUIRE_OK(tern_hal_command_buffer_copy(commands, &arena, &output));
  CTS_REQUIRE_OK(tern_hal_command_buffer_end(commands));
  tern_hal_buffer_t* buffer = c.buffer(64);
  for (int i = 0; i < 10; ++i) CTS_REQUIRE_OK(submit(commands, {whole(buffer), {}}));
  CTS_CHECK(bytes_of(c, buffer) == std::vector<uint8_t>(64, 8));
}

}  // namespace

#define CASE(name) {"transfer." #name, name}
std::vector<Case> transfer_cases() {
  return {
      CASE(copies_bytes),
      CASE(copies_nothing),
      CASE(copies_megabytes),
      CASE(copies_at_every_offset),
      CASE(copies_side_by_side),
      CASE(copies_inside_one_slot),
      CASE(copies_what_the_block_says),
      CASE(fills_bytes),
      CASE(fills_pairs),
      CASE(fills_at_every_offset),
      CASE(fills_words),
      CASE(fills_nothing),
      CASE(fills_megabytes),
      CASE(orders_copies_and_dispatches),
  };
}

}  // namespace tern::cts
