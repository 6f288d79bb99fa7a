// main() of the doctest programs: doctest's own, and a filter that no test case passes is a failure (a
// misspelt -tc would otherwise pass).
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/support/source_path.h"

namespace {

unsigned cases_run = 0;

struct CaseCounter : doctest::IReporter {
  explicit CaseCounter(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    cases_run = stats.numTestCasesPassingFilters;
  }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("case_counter", 1, CaseCounter);

}  // namespace

std::string tern::test::source_path(const std::string& relative) {
  return TERN_SOURCE_DIR "/" + relative;
}

int main(int argc, char** argv) {
  setenv("TERN_STRICT", "1",
         0);  // mistakes that users need not see are failures (compiler/graph/passes/rewrite.h)
  doctest::Context context(argc, argv);
  const int result = context.run();
  if (context.shouldExit() || argc == 1 || cases_run > 0) return result;
  std::fprintf(stderr, "%s: no test case passes the filters on the command line.\n", argv[0]);
  return 1;
}
