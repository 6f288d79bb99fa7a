#include "hal/base/status.h"

#include <string>

#include "hal/base/checked_math.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_allocator.h"

using tern::test::TestAllocator;

TEST_CASE("success is null and has no record") {
  CHECK(tern_status_is_ok(TERN_OK));
  CHECK(tern_status_code(TERN_OK) == TERN_STATUS_OK);
  CHECK(std::string(tern_status_message(TERN_OK)) == "success");
  tern_status_free(TERN_OK);
}

TEST_CASE("a bare code has the code's meaning for a message") {
  tern_status_t status = tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  CHECK_FALSE(tern_status_is_ok(status));
  CHECK(tern_status_code(status) == TERN_STATUS_DEVICE_LOST);
  CHECK(std::string(tern_status_message(status)) == "the device is gone: make a new one");
  CHECK(std::string(tern_status_code_name(TERN_STATUS_DEVICE_LOST)) == "DEVICE_LOST");
  CHECK(tern_status_annotate(status, "\n - While %s", "testing") == status);
  tern_status_free(status);
}

TEST_CASE("a made status keeps its sentence and its lines") {
  TestAllocator allocator;
  tern_status_t status = tern_status_make(allocator.get(), TERN_STATUS_OUT_OF_RANGE,
                                          "The length (%d) is larger than the limit (%d).", 12, 8);
  status = tern_status_annotate(status, "\n - While dispatching '%s'", "conv1");
  status = tern_status_annotate(status, "\n - While running '%s'", "main");
  CHECK(tern_status_code(status) == TERN_STATUS_OUT_OF_RANGE);
  CHECK(
      std::string(tern_status_message(status)) ==
      "The length (12) is larger than the limit (8).\n - While dispatching 'conv1'\n - While running 'main'");
  CHECK(allocator.live_count() == 1);
  tern_status_free(status);
}

TEST_CASE("a clone lives on its own") {
  TestAllocator allocator;
  tern_status_t status = tern_status_make(allocator.get(), TERN_STATUS_MALFORMED, "The module is %s.", "bad");
  tern_status_t copy = tern_status_clone(allocator.get(), status);
  tern_status_free(status);
  CHECK(tern::test::take_text(copy) == "MALFORMED: The module is bad.");
  CHECK(tern_status_clone(allocator.get(), TERN_OK) == TERN_OK);
}

TEST_CASE("without memory the code remains") {
  TestAllocator allocator;
  allocator.fail_at(1, true);
  tern_status_t status = tern_status_make(allocator.get(), TERN_STATUS_MALFORMED, "The module is %s.", "bad");
  CHECK(status == tern_status_from_code(TERN_STATUS_MALFORMED));
  allocator.fail_at(0);
  status = tern_status_make(allocator.get(), TERN_STATUS_MALFORMED, "The module is %s.", "bad");
  allocator.fail_at(1, true);
  CHECK(tern_status_code(tern_status_clone(allocator.get(), status)) == TERN_STATUS_MALFORMED);
  status = tern_status_annotate(status, "\n - While %s", "loading");
  CHECK(tern::test::take_text(status) == "MALFORMED: The module is bad.");
}

TEST_CASE("ranges from outside are checked without overflow") {
  CHECK(tern_range_fits(0, 0, 0));
  CHECK(tern_range_fits(3, 5, 8));
  CHECK_FALSE(tern_range_fits(4, 5, 8));
  CHECK_FALSE(tern_range_fits(-1, 1, 8));
  CHECK_FALSE(tern_range_fits(1, -1, 8));
  CHECK_FALSE(tern_range_fits(INT64_MAX, INT64_MAX, UINT64_MAX / 2));
  CHECK(tern_range_fits(INT64_MAX, 1, UINT64_MAX));
  CHECK(tern_align_up(0, 64) == 0);
  CHECK(tern_align_up(65, 64) == 128);
}
