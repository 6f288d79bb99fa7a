#include "vm/module/hash.h"

#include <doctest/doctest.h>

#include <string>

using tern::vm::xxh64;

// Reference values of the xxHash project's XXH64 (its own test vectors and well-known strings).
TEST_CASE("XXH64 of known inputs") {
  CHECK(xxh64("", 0) == 0xEF46DB3751D8E999u);
  CHECK(xxh64("a", 1) == 0xD24EC4F1A98C6E5Bu);
  CHECK(xxh64("abc", 3) == 0x44BC2CF5AD770999u);
  const std::string longer = "Nobody inspects the spammish repetition";
  CHECK(xxh64(longer.data(), longer.size()) == 0xFBCEA83C8A378BF1u);
}
