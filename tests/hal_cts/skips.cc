// What a driver cannot pass, and why. The cases are run all the same: one that passes fails the suite.
#include "tests/hal_cts/cts.h"

namespace tern::cts {

std::vector<Skip> skips() {
  const std::string computes_nothing = "the null driver records commands and computes nothing";
  const std::string no_scratch =
      "it wants 90,000 bytes of scratch and more, which is workgroup memory: 32 KiB on lavapipe";
  const std::string no_import = "the quirk turns imports off, and the case imports";
  return {
      {"null", "executable.refuses_an_unknown_format", "the null driver takes executables of every format"},
      {"null", "submit.refuses_scratch_that_no_machine_has", "the null driver allocates no scratch"},
      {"null", "dispatch.*", computes_nothing},
      {"null", "reuse.*", computes_nothing},
      {"null", "transfer.copies_at_every_offset", computes_nothing},
      {"null", "transfer.fills_at_every_offset", computes_nothing},
      {"null", "transfer.copies_side_by_side", computes_nothing},
      {"null", "transfer.copies_bytes", computes_nothing},
      {"null", "transfer.copies_megabytes", computes_nothing},
      {"null", "transfer.copies_inside_one_slot", computes_nothing},
      {"null", "transfer.copies_what_the_block_says", computes_nothing},
      {"null", "transfer.fills_bytes", computes_nothing},
      {"null", "transfer.fills_pairs", computes_nothing},
      {"null", "transfer.fills_words", computes_nothing},
      {"null", "transfer.fills_megabytes", computes_nothing},
      {"null", "transfer.orders_copies_and_dispatches", computes_nothing},
      {"null", "semaphore.orders_submissions_of_two_threads", computes_nothing},
      {"null", "profiling.measures_time", "the null driver runs nothing: its events take no time"},
      {"null", "profiling.logging_changes_no_result", computes_nothing},
      {"cuda*", "buffer.imports_at_any_address",
       "kernels access up to 16 bytes at once, so host memory is imported at multiples of 16 bytes only"},
      {"cuda*", "executable.copies_its_entries",
       "it makes an executable of linked functions, which no GPU takes"},
      {"vulkan*", "executable.copies_its_entries",
       "it makes an executable of linked functions, which no GPU takes"},
      {"vulkan*", "submit.checks_dynamic_scratch", no_scratch},
      {"vulkan*", "dispatch.takes_scratch_from_the_block", no_scratch},
      {"vulkan*", "hostile.recording_and_submission", no_scratch},
      {"vulkan*", "submit.allocates_nothing_when_replayed",
       "its offsets begin at 0; the first that the device cannot take makes memory for an aligned copy"},
      {"vulkan-no_host_import", "buffer.imports_*", no_import},
      {"vulkan-no_host_import", "buffer.releases_an_import_once_and_last", no_import},
      {"vulkan-no_host_import", "buffer.keeps_read_only_imports_from_writes", no_import},
      {"vulkan-no_host_import", "buffer.counts_bytes", no_import},
      {"vulkan-no_host_import", "buffer.does_not_count_imports_to_the_limit", no_import},
      {"vulkan-no_host_import", "recording.refuses_writes_to_a_read_only_arena", no_import},
      {"vulkan-no_host_import", "submit.refuses_to_write_a_read_only_buffer", no_import},
      {"vulkan-no_host_import", "hostile.buffer_import", no_import},
  };
}

}  // namespace tern::cts
