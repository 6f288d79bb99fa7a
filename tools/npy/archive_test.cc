#include "tools/npy/archive.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "tools/npy/inflate.h"

namespace tern::npy {
namespace {

std::string unpacked(const std::vector<uint8_t>& bytes, size_t size) {
  std::vector<uint8_t> out;
  if (!inflate(bytes.data(), bytes.size(), size, &out)) return "(damaged)";
  return {out.begin(), out.end()};
}

// What zlib makes: of a sentence with its fixed code, of bytes as they are, of a pattern with a code of its
// own.
const std::vector<uint8_t> kFixed = {43,  73,  45, 202, 211, 81,  40, 129, 147, 10,  137, 121, 41, 96,
                                     134, 181, 66, 73,  41,  140, 11, 102, 36,  229, 151, 150, 0,  0};
const std::vector<uint8_t> kPlain = {1, 8, 0, 247, 255, 97, 115, 32, 105, 116, 32, 105, 115};
const std::vector<uint8_t> kOwnCode = {
    173, 207, 89,  14,  5,   17,  20,  4,   80,  67,  104, 172, 196, 16,  218, 181, 18,  67,  104, 236, 127,
    33,  79,  39,  189, 132, 247, 95,  169, 83,  133, 116, 198, 182, 177, 123, 33,  55,  164, 29,  202, 77,
    114, 87,  225, 22,  51,  147, 217, 125, 249, 134, 245, 150, 113, 138, 184, 148, 46,  212, 63,  202, 118,
    97,  186, 252, 98,  155, 219, 197, 93,  150, 119, 167, 182, 32,  157, 145, 46,  196, 245, 11,  50,  13,
    139, 132, 77,  99,  189, 236, 164, 208, 113, 236, 36,  61,  204, 21,  148, 150, 56,  109, 176, 145, 57,
    232, 38,  126, 98,  191, 190, 88,  26,  4,   6,   213, 235, 160, 196, 228, 183, 205, 212, 35,  74,  221,
    56,  84,  158, 154, 176, 15,  137, 77,  250, 34,  124, 85,  71,  52,  89,  193, 25,  54,  101, 202, 248,
    160, 169, 178, 88,  24,  124, 49,  21,  170, 12,  13,  193, 65,  43,  126, 135, 253, 225, 230, 15};
const char kSentence[] = "tern, tern, tern and tern; turn and turn about";

std::string pattern() {
  std::string out;
  for (int i = 0; i < 300; ++i) out += static_cast<char>(i * i / 7 % 11 + i % 3 * 40);
  return out;
}

TEST_CASE("inflate: the three kinds of blocks") {
  CHECK(unpacked(kFixed, sizeof(kSentence) - 1) == kSentence);
  CHECK(unpacked(kPlain, 8) == "as it is");
  CHECK(unpacked(kOwnCode, 300) == pattern());
  CHECK(unpacked({3, 0}, 0) == "");
}

TEST_CASE("inflate: what is cut, too long or too short is refused") {
  for (const std::vector<uint8_t>* whole : {&kFixed, &kPlain, &kOwnCode}) {
    const size_t size = whole == &kFixed ? sizeof(kSentence) - 1 : whole == &kPlain ? 8 : 300;
    for (size_t length = 0; length < whole->size(); ++length)
      CHECK(unpacked({whole->begin(), whole->begin() + static_cast<std::ptrdiff_t>(length)}, size) ==
            "(damaged)");
    CHECK(unpacked(*whole, size + 1) == "(damaged)");
    CHECK(unpacked(*whole, size - 1) == "(damaged)");
    CHECK(unpacked(*whole, SIZE_MAX) == "(damaged)");
    // Whatever bits are turned: bytes that are others, or none, and no access outside.
    for (size_t bit = 0; bit < 8 * whole->size(); ++bit) {
      std::vector<uint8_t> other = *whole;
      other[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      unpacked(other, size);
    }
  }
  CHECK(unpacked({6, 0}, 0) == "(damaged)");  // the kind of block that there is not
}

TEST_CASE("crc32: zip's checksum") {
  const std::string digits = "123456789";
  CHECK(crc32(reinterpret_cast<const uint8_t*>(digits.data()), digits.size()) == 0xcbf43926);
}

// Python's zipfile, told that one byte is too many for a number of 32 bits: what it writes beyond 4 GB.
const std::vector<uint8_t> kZip64 = {
    80,  75,  3,   4,   45,  0,   0,   0,   0,   0,   0,   0,   33,  0,   55,  182, 6,   60,  255, 255, 255,
    255, 255, 255, 255, 255, 5,   0,   20,  0,   97,  46,  110, 112, 121, 1,   0,   16,  0,   4,   0,   0,
    0,   0,   0,   0,   0,   4,   0,   0,   0,   0,   0,   0,   0,   116, 101, 114, 110, 80,  75,  3,   4,
    45,  0,   0,   0,   0,   0,   0,   0,   33,  0,   71,  21,  32,  32,  255, 255, 255, 255, 255, 255, 255,
    255, 5,   0,   20,  0,   98,  46,  110, 112, 121, 1,   0,   16,  0,   4,   0,   0,   0,   0,   0,   0,
    0,   4,   0,   0,   0,   0,   0,   0,   0,   116, 117, 114, 110, 80,  75,  1,   2,   45,  0,   45,  0,
    0,   0,   0,   0,   0,   0,   33,  0,   55,  182, 6,   60,  255, 255, 255, 255, 255, 255, 255, 255, 5,
    0,   20,  0,   0,   0,   0,   0,   0,   0,   0,   0,   128, 1,   0,   0,   0,   0,   97,  46,  110, 112,
    121, 1,   0,   16,  0,   4,   0,   0,   0,   0,   0,   0,   0,   4,   0,   0,   0,   0,   0,   0,   0,
    80,  75,  1,   2,   45,  0,   45,  0,   0,   0,   0,   0,   0,   0,   33,  0,   71,  21,  32,  32,  255,
    255, 255, 255, 255, 255, 255, 255, 5,   0,   28,  0,   0,   0,   0,   0,   0,   0,   0,   0,   128, 1,
    255, 255, 255, 255, 98,  46,  110, 112, 121, 1,   0,   24,  0,   4,   0,   0,   0,   0,   0,   0,   0,
    4,   0,   0,   0,   0,   0,   0,   0,   59,  0,   0,   0,   0,   0,   0,   0,   80,  75,  6,   6,   44,
    0,   0,   0,   0,   0,   0,   0,   45,  0,   45,  0,   0,   0,   0,   0,   0,   0,   0,   0,   2,   0,
    0,   0,   0,   0,   0,   0,   2,   0,   0,   0,   0,   0,   0,   0,   150, 0,   0,   0,   0,   0,   0,
    0,   118, 0,   0,   0,   0,   0,   0,   0,   80,  75,  6,   7,   0,   0,   0,   0,   12,  1,   0,   0,
    0,   0,   0,   0,   1,   0,   0,   0,   80,  75,  5,   6,   0,   0,   0,   0,   255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 0,   0};

TEST_CASE("archives: numbers of 64 bits, for what is larger than 4 GB") {
  std::vector<Member> members;
  std::string error;
  REQUIRE(read_archive(kZip64, SIZE_MAX, &members, &error));
  REQUIRE(members.size() == 2);
  CHECK(members[0].name == "a");
  CHECK(std::string(members[0].bytes.begin(), members[0].bytes.end()) == "tern");
  CHECK(members[1].name == "b");
  CHECK(std::string(members[1].bytes.begin(), members[1].bytes.end()) == "turn");
  // Whatever bits are turned, or bytes cut: no access outside.
  for (size_t bit = 0; bit < 8 * kZip64.size(); ++bit) {
    std::vector<uint8_t> other = kZip64;
    other[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    members.clear();
    if (!read_archive(other, SIZE_MAX, &members, &error)) CHECK(!error.empty());
    other.resize(bit / 8);
    members.clear();
    read_archive(other, SIZE_MAX, &members, &error);
  }
}

TEST_CASE("archives: small ones of large arrays are refused before they fill the memory") {
  std::vector<Member> members;
  std::string error;
  CHECK(read_archive(kZip64, 8, &members, &error));
  CHECK_FALSE(read_archive(kZip64, 7, &members, &error));
  CHECK(error == "its arrays need more memory than may be used for them (from 'b.npy' on)");
}

TEST_CASE("archives: damaged ones are refused") {
  std::vector<Member> members;
  std::string error;
  CHECK_FALSE(read_archive({}, SIZE_MAX, &members, &error));
  std::vector<uint8_t> end(22);
  const uint8_t mark[] = {0x50, 0x4b, 5, 6};
  std::copy(mark, mark + 4, end.begin());
  CHECK(read_archive(end, SIZE_MAX, &members, &error));
  end[10] = 1;  // an entry that is not there
  CHECK_FALSE(read_archive(end, SIZE_MAX, &members, &error));
  CHECK(error == "it is no .npz file, or it is damaged");
}

}  // namespace
}  // namespace tern::npy
