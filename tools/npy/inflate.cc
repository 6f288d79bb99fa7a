#include "tools/npy/inflate.h"

#include <algorithm>
#include <array>

namespace tern::npy {
namespace {

constexpr int kMostBits = 15;  // of a code
constexpr size_t kMostLiterals = 288, kMostDistances = 30;
constexpr size_t kMostGrowth = 1032;  // 258 bytes of two bits

// Bits from the lowest of each byte on. Behind the end are zeros, and `good` says that some were taken.
class Bits {
 public:
  Bits(const uint8_t* in, size_t size) : at_(in), end_(in + size) {}

  uint32_t take(int count) {
    while (held_ < count) {
      good_ = good_ && at_ < end_;
      bits_ |= uint32_t{at_ < end_ ? *at_++ : uint8_t{0}} << held_;
      held_ += 8;
    }
    const uint32_t value = bits_ & ((1u << count) - 1);
    bits_ >>= count;
    held_ -= count;
    return value;
  }
  bool good() const { return good_; }

  // What is left from the next whole byte on.
  bool bytes(size_t count, const uint8_t** out) {
    bits_ = 0, held_ = 0;  // fewer than 8 are held between symbols
    if (!good_ || count > static_cast<size_t>(end_ - at_)) return false;
    *out = at_;
    at_ += count;
    return true;
  }

 private:
  const uint8_t *at_, *end_;
  uint32_t bits_ = 0;
  int held_ = 0;
  bool good_ = true;
};

// A canonical Huffman code: how many codes each length has, and the symbols in their order.
class Code {
 public:
  // False if the lengths are more than a code has room for, or fewer than make it whole; one code alone may
  // be.
  bool make(const uint8_t* lengths, size_t count) {
    counts_.fill(0);
    for (size_t i = 0; i < count; ++i) ++counts_[lengths[i]];
    int room = 1;
    for (int bits = 1; bits <= kMostBits; ++bits) {
      room = 2 * room - counts_[static_cast<size_t>(bits)];
      if (room < 0) return false;
    }
    std::array<uint16_t, kMostBits + 2> begins = {};
    for (size_t bits = 1; bits <= kMostBits; ++bits)
      begins[bits + 1] = static_cast<uint16_t>(begins[bits] + counts_[bits]);
    for (size_t i = 0; i < count; ++i) {
      if (lengths[i]) symbols_[begins[lengths[i]]++] = static_cast<uint16_t>(i);
    }
    return room == 0 || count - counts_[0] <= 1;
  }

  // The next symbol; -1 where the bits are none.
  int decode(Bits& in) const {
    int code = 0, first = 0, index = 0;
    for (size_t bits = 1; bits <= kMostBits; ++bits) {
      code |= static_cast<int>(in.take(1));
      const int count = counts_[bits];
      if (code - first < count) return symbols_[static_cast<size_t>(index + code - first)];
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    return -1;
  }

 private:
  std::array<uint16_t, kMostBits + 1> counts_ = {};
  std::array<uint16_t, kMostLiterals> symbols_ = {};
};

constexpr uint16_t kLengthBase[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                    31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr uint8_t kLengthBits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                   2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr uint16_t kDistanceBase[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                      33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                      1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr uint8_t kDistanceBits[] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                     6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

class Inflater {
 public:
  Inflater(Bits in, size_t out_size, std::vector<uint8_t>* out) : in_(in), size_(out_size), out_(*out) {}

  bool run() {
    for (bool last = false; !last;) {
      last = in_.take(1) != 0;
      const uint32_t kind = in_.take(2);
      const bool good = kind == 0 ? stored() : kind == 1 ? fixed() : kind == 2 && dynamic();
      if (!good || !in_.good()) return false;
    }
    return out_.size() == size_;
  }

 private:
  bool stored() {
    const uint8_t* head = nullptr;
    const uint8_t* bytes = nullptr;
    if (!in_.bytes(4, &head)) return false;
    const size_t count = head[0] | size_t{head[1]} << 8;
    const size_t inverse = head[2] | size_t{head[3]} << 8;
    if (inverse != (count ^ 0xffff) || count > size_ - out_.size() || !in_.bytes(count, &bytes)) return false;
    out_.insert(out_.end(), bytes, bytes + count);
    return true;
  }

  bool fixed() {
    std::array<uint8_t, kMostLiterals> lengths = {};
    for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    std::array<uint8_t, 32> distances = {};
    distances.fill(5);  // the last two stand for nothing
    return literals_.make(lengths.data(), lengths.size()) && distances_.make(distances.data(), 32) &&
           symbols();
  }

  bool dynamic() {
    static constexpr uint8_t kOrder[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const size_t literals = in_.take(5) + 257, distances = in_.take(5) + 1, written = in_.take(4) + 4;
    if (literals > kMostLiterals - 2 || distances > kMostDistances) return false;
    std::array<uint8_t, kMostLiterals + kMostDistances> lengths = {};
    for (size_t i = 0; i < written; ++i) lengths[kOrder[i]] = static_cast<uint8_t>(in_.take(3));
    if (!literals_.make(lengths.data(), std::size(kOrder))) return false;
    lengths.fill(0);
    for (size_t i = 0; i < literals + distances;) {
      const int symbol = literals_.decode(in_);
      if (symbol < 0 || !in_.good()) return false;
      if (symbol < 16) {
        lengths[i++] = static_cast<uint8_t>(symbol);
        continue;
      }
      if (symbol == 16 && i == 0) return false;
      const uint8_t value = symbol == 16 ? lengths[i - 1] : uint8_t{0};
      const size_t count = symbol == 16 ? 3 + in_.take(2) : symbol == 17 ? 3 + in_.take(3) : 11 + in_.take(7);
      if (count > literals + distances - i) return false;
      std::fill_n(lengths.begin() + static_cast<std::ptrdiff_t>(i), count, value);
      i += count;
    }
    return literals_.make(lengths.data(), literals) &&
           distances_.make(lengths.data() + literals, distances) && symbols();
  }

  bool symbols() {
    constexpr int kEnd = 256;
    for (;;) {
      const int symbol = literals_.decode(in_);
      if (symbol < 0 || !in_.good()) return false;
      if (symbol == kEnd) return true;
      if (symbol < kEnd) {
        if (out_.size() == size_) return false;
        out_.push_back(static_cast<uint8_t>(symbol));
      } else if (!copy(static_cast<size_t>(symbol - kEnd - 1))) {
        return false;
      }
    }
  }

  bool copy(size_t row) {
    if (row >= std::size(kLengthBase)) return false;
    const size_t length = kLengthBase[row] + in_.take(kLengthBits[row]);
    const int code = distances_.decode(in_);
    if (code < 0 || static_cast<size_t>(code) >= std::size(kDistanceBase)) return false;
    const size_t distance = kDistanceBase[code] + in_.take(kDistanceBits[code]);
    if (distance > out_.size() || length > size_ - out_.size()) return false;
    // Byte by byte: what is copied may begin within itself.
    for (size_t i = 0; i < length; ++i) out_.push_back(out_[out_.size() - distance]);
    return true;
  }

  Bits in_;
  size_t size_;
  std::vector<uint8_t>& out_;
  Code literals_, distances_;
};

}  // namespace

bool inflate(const uint8_t* in, size_t in_size, size_t out_size, std::vector<uint8_t>* out) {
  out->clear();
  if (out_size / kMostGrowth > in_size) return false;
  out->reserve(out_size);
  return Inflater(Bits(in, in_size), out_size, out).run();
}

uint32_t crc32(const uint8_t* bytes, size_t size) {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table = {};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
      table[i] = value;
    }
    return table;
  }();
  uint32_t sum = ~0u;
  for (size_t i = 0; i < size; ++i) sum = sum >> 8 ^ kTable[(sum ^ bytes[i]) & 0xff];
  return ~sum;
}

}  // namespace tern::npy
