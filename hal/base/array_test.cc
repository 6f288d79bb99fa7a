#include "hal/base/array.h"

#include "tests/support/test_allocator.h"

#define DOCTEST_CONFIG_SUPER_FAST_ASSERTS
#include <doctest/doctest.h>

TEST_CASE("an array grows, keeps its elements and gives its memory back") {
  tern::test::TestAllocator allocator;
  {
    tern::Array<int> array(allocator.get());
    CHECK(array.empty());
    for (int i = 0; i < 1000; ++i) REQUIRE(array.push(i));
    CHECK(array.size() == 1000);
    for (int i = 0; i < 1000; ++i) REQUIRE(array[static_cast<size_t>(i)] == i);
    int* zeros = array.grow(5);
    REQUIRE(zeros);
    CHECK(zeros[4] == 0);
    CHECK(array.back() == 0);
    array.truncate(3);
    CHECK(array.size() == 3);
    REQUIRE(array.push(array[2]));
    CHECK(array[3] == 2);
  }
  CHECK(allocator.live_count() == 0);
}

TEST_CASE("a failed growth leaves an array as it was") {
  tern::test::TestAllocator allocator;
  tern::Array<int> array(allocator.get());
  REQUIRE(array.push(7));
  allocator.fail_at(1, true);
  CHECK_FALSE(array.reserve(100));
  CHECK(array.grow(100) == nullptr);
  CHECK_FALSE(array.reserve(SIZE_MAX));
  CHECK(array.grow(SIZE_MAX) == nullptr);
  CHECK(array.size() == 1);
  CHECK(array[0] == 7);
}
