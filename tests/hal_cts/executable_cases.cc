// Executables: trust, formats, entries.
#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

void has_its_entries(Context& c) {
  CTS_CHECK_EQ(tern_hal_executable_entry_count(c.kernels()), static_cast<uint32_t>(CTS_KERNEL_COUNT));
}

tern_hal_executable_desc_t linked(const tern_hal_entry_t* entries, uint32_t count) {
  return {TERN_HAL_EXECUTABLE_FUNCTIONS, 1, {}, entries, count, nullptr, 0};
}

void is_refused_without_trust(Context& c) {
  const tern_hal_entry_t entry = {tern_string_view("mark"), 0, cts_mark, 1, 0, {}};
  tern_hal_executable_desc_t desc = linked(&entry, 1);
  desc.trusted = 0;
  tern_hal_executable_t* made = nullptr;
  CTS_CHECK_EQ(text_of(tern_hal_executable_create(c.device(), &desc, &made)),
               std::string("PERMISSION_DENIED: The executable holds machine code, and the caller's policy "
                           "does not trust it."));
  CTS_CHECK(made == nullptr);
}

void refuses_an_unknown_format(Context& c) {
  tern_hal_executable_desc_t desc = linked(nullptr, 0);
  desc.format = 999;
  tern_hal_executable_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_executable_create(c.device(), &desc, &made), INCOMPATIBLE);
  CTS_CHECK(made == nullptr);
  tern_hal_executable_release(made);
}

void refuses_entries_that_are_not_there(Context& c) {
  const tern_hal_executable_desc_t desc = linked(nullptr, 2);
  tern_hal_executable_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_executable_create(c.device(), &desc, &made), INVALID_ARGUMENT);
}

void refuses_code_that_is_not_there(Context& c) {
  tern_hal_executable_desc_t desc = linked(nullptr, 0);
  desc.code = {nullptr, 100};
  tern_hal_executable_t* made = nullptr;
  CTS_CHECK_CODE(tern_hal_executable_create(c.device(), &desc, &made), INVALID_ARGUMENT);
}

void may_be_made_more_than_once(Context& c) {
  tern_hal_executable_t* first = c.kernels_of(c.device());
  tern_hal_executable_t* second = c.kernels_of(c.device());
  CTS_CHECK(first != second);
}

void is_kept_by_a_recording(Context& c) {
  const tern_hal_entry_t* entries = c.kernels()->entries;
  tern_hal_executable_t* own = c.kernels_of(c.device());
  tern_hal_executable_retain(own);
  tern_hal_executable_release(own);
  auto* commands = c.recording({kExternal});
  CTS_REQUIRE_OK((Dispatch{own, CTS_KERNEL_mark, {bind(0, kWrite | kRead, 0, 1)}, {}}.record(commands)));
  CTS_CHECK_EQ(own->ref_count, 2);
  CTS_CHECK(entries[CTS_KERNEL_mark].binding_count == 1);
}

void copies_its_entries(Context& c) {
  tern_hal_entry_t entry = {
      tern_string_view("mark"), c.kernels()->entries[CTS_KERNEL_mark].offset, cts_mark, 1, 0, {}};
  const tern_hal_executable_desc_t desc = linked(&entry, 1);
  tern_hal_executable_t* made = nullptr;
  CTS_REQUIRE_OK(tern_hal_executable_create(c.device(), &desc, &made));
  entry.binding_count = 99;
  CTS_CHECK_EQ(made->entries[0].binding_count, 1u);
  tern_hal_executable_release(made);
}

}  // namespace

#define CASE(name) {"executable." #name, name}
std::vector<Case> executable_cases() {
  return {
      CASE(has_its_entries),
      CASE(is_refused_without_trust),
      CASE(refuses_an_unknown_format),
      CASE(refuses_entries_that_are_not_there),
      CASE(refuses_code_that_is_not_there),
      CASE(may_be_made_more_than_once),
      CASE(is_kept_by_a_recording),
      CASE(copies_its_entries),
  };
}

}  // namespace tern::cts
