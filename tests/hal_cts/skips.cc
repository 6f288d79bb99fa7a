// What a driver cannot pass, and why. The cases are run all the same: one that passes fails the suite.
#include "tests/hal_cts/cts.h"

namespace tern::cts {

std::vector<Skip> skips() {
  const std::string computes_nothing = "the null driver records commands and computes nothing";
  return {
      {"null", "executable.refuses_an_unknown_format", "the null driver takes executables of every format"},
      {"null", "submit.refuses_scratch_that_no_machine_has", "the null driver allocates no scratch"},
      {"null", "dispatch.*", computes_nothing},
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
      {"cuda*", "executable.copies_its_entries",
       "it makes an executable of linked functions, which no GPU takes"},
  };
}

}  // namespace tern::cts
