// Runs every case on every driver:  hal_cts [--driver=NAME] [--case=PREFIX] [--list]
// A name may end in '*'. 77: the driver has no device here.
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <exception>
#include <iterator>

#include "tests/hal_cts/cts.h"

namespace tern::cts {
namespace {

// Drivers whose devices a machine may lack.
constexpr const char* kMaybeAbsent[] = {"cuda", "vulkan"};

bool matches(const std::string& pattern, const std::string& name) {
  if (pattern.empty()) return true;
  if (pattern.back() == '*') return name.compare(0, pattern.size() - 1, pattern, 0, pattern.size() - 1) == 0;
  return pattern == name;
}

const Skip* find_skip(const std::vector<Skip>& rows, const std::string& driver, const std::string& test) {
  for (const Skip& row : rows) {
    if (matches(row.driver, driver) && matches(row.test, test)) return &row;
  }
  return nullptr;
}

std::string run_case(const DriverUnderTest& driver, const Case& test) {
  std::string failures;
  test::TestAllocator allocator;
  {
    Context context(driver, allocator);
    try {
      test.run(context);
      failures = context.failures();
    } catch (const std::exception& error) {
      failures = context.failures() + "setting up: " + error.what() + "\n";
    }
  }
  return failures + allocator.take_errors();
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (auto table :
       {device_cases, buffer_cases, executable_cases, recording_cases, submit_cases, dispatch_cases,
        transfer_cases, reuse_cases, semaphore_cases, profiling_cases, hostile_cases}) {
    for (Case& test : table()) cases.push_back(test);
  }
  return cases;
}

struct Totals {
  int passed = 0, failed = 0, skipped = 0;
};

void run_on(const DriverUnderTest& driver, const std::vector<Case>& cases, const std::string& prefix,
            Totals& totals) {
  const std::vector<Skip> rows = skips();
  for (const Case& test : cases) {
    if (test.name.rfind(prefix, 0) != 0) continue;
    const Skip* skip = find_skip(rows, driver.name, test.name);
    const std::string failures = run_case(driver, test);
    if (skip && failures.empty()) {
      ++totals.failed;
      printf("FAILED %s on %s: it passes; take its row out of skips.cc (%s)\n", test.name.c_str(),
             driver.name.c_str(), skip->reason.c_str());
    } else if (skip) {
      ++totals.skipped;
    } else if (failures.empty()) {
      ++totals.passed;
    } else {
      ++totals.failed;
      printf("FAILED %s on %s:\n%s", test.name.c_str(), driver.name.c_str(), failures.c_str());
    }
  }
}

}  // namespace
}  // namespace tern::cts

int main(int argc, char** argv) {
  using namespace tern::cts;
  std::string only_driver, prefix;
  const std::vector<Case> cases = all_cases();
  for (int i = 1; i < argc; ++i) {
    if (strncmp(argv[i], "--driver=", 9) == 0) {
      only_driver = argv[i] + 9;
    } else if (strncmp(argv[i], "--case=", 7) == 0) {
      prefix = argv[i] + 7;
    } else if (strcmp(argv[i], "--list") == 0) {
      for (const Case& test : cases) printf("%s\n", test.name.c_str());
      return 0;
    } else {
      fprintf(stderr, "usage: %s [--driver=NAME] [--case=PREFIX] [--list]\n", argv[0]);
      return 2;
    }
  }
  if (std::none_of(cases.begin(), cases.end(),
                   [&](const Case& test) { return test.name.rfind(prefix, 0) == 0; })) {
    fprintf(stderr, "%s: no case begins with '%s'; --list shows them.\n", argv[0], prefix.c_str());
    return 2;
  }
  Totals totals;
  bool found = only_driver.empty();
  for (const DriverUnderTest& driver : drivers_under_test()) {
    if (!only_driver.empty() && !matches(only_driver, driver.name)) continue;
    found = true;
    run_on(driver, cases, prefix, totals);
  }
  const bool may_be_absent = std::any_of(std::begin(kMaybeAbsent), std::end(kMaybeAbsent),
                                         [&](const char* name) { return only_driver.rfind(name, 0) == 0; });
  if (!found && !may_be_absent) {
    fprintf(stderr, "%s: there is no driver '%s' (rows of drivers.cc).\n", argv[0], only_driver.c_str());
    return 2;
  }
  if (!found) {
    printf("skipped: there is no device for the driver '%s' on this machine\n", only_driver.c_str());
    return 77;
  }
  printf("%zu cases: %d passed, %d failed, %d skipped\n", cases.size(), totals.passed, totals.failed,
         totals.skipped);
  return totals.failed == 0 && totals.passed > 0 ? 0 : 1;
}
