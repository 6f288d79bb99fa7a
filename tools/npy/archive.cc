#include "tools/npy/archive.h"

#include <initializer_list>

#include "tools/npy/inflate.h"

namespace tern::npy {
namespace {

constexpr uint32_t kEndMark = 0x06054b50, kEntryMark = 0x02014b50, kLocalMark = 0x04034b50;
constexpr size_t kEndSize = 22, kEntrySize = 46, kLocalSize = 30, kMostComment = 65535;
// Zip64: a number that 16 or 32 bits cannot hold has all its bits set, and stands in 64 bits elsewhere.
constexpr uint32_t kFarEndMark = 0x06064b50, kLocatorMark = 0x07064b50, kFarExtra = 1;
constexpr uint32_t kElsewhere16 = 0xffff, kElsewhere = 0xffffffff;
constexpr size_t kFarEndSize = 56, kLocatorSize = 20;
constexpr uint32_t kStored = 0, kDeflated = 8;

// Little-endian numbers at checked places.
class Bytes {
 public:
  explicit Bytes(const std::vector<uint8_t>& bytes) : bytes_(bytes) {}
  size_t size() const { return bytes_.size(); }
  bool has(size_t at, size_t count) const { return at <= size() && count <= size() - at; }
  uint32_t u16(size_t at) const { return bytes_[at] | uint32_t{bytes_[at + 1]} << 8; }
  uint32_t u32(size_t at) const { return u16(at) | u16(at + 2) << 16; }
  uint64_t u64(size_t at) const { return u32(at) | uint64_t{u32(at + 4)} << 32; }
  std::string text(size_t at, size_t count) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + at, count};
  }
  const uint8_t* part(size_t at) const { return bytes_.data() + at; }

 private:
  const std::vector<uint8_t>& bytes_;
};

// Where the record is that ends the zip; its comment may follow.
bool find_end(const Bytes& zip, size_t* out) {
  if (zip.size() < kEndSize) return false;
  const size_t last = zip.size() - kEndSize;
  for (size_t back = 0; back <= last && back <= kMostComment; ++back) {
    *out = last - back;
    if (zip.u32(*out) == kEndMark) return true;
  }
  return false;
}

// Where the entries begin and how many there are, as the record at `end` says, or the one before it of 64
// bits.
bool read_end(const Bytes& zip, size_t end, size_t* out_entries, uint64_t* out_count) {
  *out_entries = zip.u32(end + 16);
  *out_count = zip.u16(end + 10);
  if (*out_entries != kElsewhere && *out_count != kElsewhere16) return true;
  if (end < kLocatorSize || zip.u32(end - kLocatorSize) != kLocatorMark) return true;  // just so many
  const size_t far = zip.u64(end - kLocatorSize + 8);
  if (!zip.has(far, kFarEndSize) || zip.u32(far) != kFarEndMark) return false;
  *out_count = zip.u64(far + 32);
  *out_entries = zip.u64(far + 48);
  return true;
}

// The entry's numbers that stand in its extra field, which has those, in this order, that 32 bits cannot
// hold.
bool read_far_numbers(const Bytes& zip, size_t extra, size_t size, std::initializer_list<uint64_t*> numbers) {
  if (!zip.has(extra, size)) return false;
  const size_t end = extra + size;
  for (size_t next = extra; end - next >= 4;) {
    const uint32_t id = zip.u16(next), length = zip.u16(next + 2);
    size_t at = next + 4;
    if (length > end - at) return false;
    next = at + length;
    if (id != kFarExtra) continue;
    for (uint64_t* number : numbers) {
      if (*number != kElsewhere) continue;
      if (next - at < 8) return false;
      *number = zip.u64(at);
      at += 8;
    }
    return true;
  }
  return true;
}

// The member whose entry is at `at`, which moves on to the next.
// *left: bytes that it may have. Without `out` only these are counted.
bool read_member(const Bytes& zip, size_t* at, uint64_t* left, Member* out, std::string* error) {
  const size_t entry = *at;
  *error = "it is no .npz file, or it is damaged";
  if (!zip.has(entry, kEntrySize) || zip.u32(entry) != kEntryMark) return false;
  const uint32_t method = zip.u16(entry + 10), crc = zip.u32(entry + 16), name_size = zip.u16(entry + 28),
                 extra_size = zip.u16(entry + 30);
  uint64_t stored = zip.u32(entry + 20), size = zip.u32(entry + 24), local = zip.u32(entry + 42);
  if (!zip.has(entry + kEntrySize, name_size) ||
      !read_far_numbers(zip, entry + kEntrySize + name_size, extra_size, {&size, &stored, &local}) ||
      !zip.has(local, kLocalSize) || zip.u32(local) != kLocalMark)
    return false;
  const size_t data = local + kLocalSize + zip.u16(local + 26) + zip.u16(local + 28);
  if (!zip.has(data, stored)) return false;
  const std::string name = zip.text(entry + kEntrySize, name_size);
  *at += kEntrySize + name_size + extra_size + zip.u16(entry + 32);
  // A few bytes can stand for many, and any number of arrays for the same ones.
  const uint64_t needed = method == kStored ? stored : size;
  if (!out && needed > *left) {
    *error = "its arrays need more memory than may be used for them (from '" + name + "' on)";
    return false;
  }
  if (!out) {
    *left -= needed;
    return true;
  }
  out->name = name;
  if (method == kStored) {
    out->bytes.assign(zip.part(data), zip.part(data) + stored);
  } else if (method != kDeflated) {
    *error = "its array '" + out->name + "' is compressed by a method (" + std::to_string(method) +
             ") that NumPy does not use";
    return false;
  } else if (!inflate(zip.part(data), stored, size, &out->bytes)) {
    out->bytes.clear();
  }
  if (out->bytes.size() != size || crc32(out->bytes.data(), size) != crc) {
    *error = "its array '" + out->name + "' is damaged";
    return false;
  }
  if (out->name.ends_with(".npy")) out->name.resize(out->name.size() - 4);
  return true;
}

}  // namespace

bool read_archive(const std::vector<uint8_t>& bytes, uint64_t most, std::vector<Member>* out,
                  std::string* error) {
  const Bytes zip(bytes);
  size_t end = 0;
  *error = "it is no .npz file, or it is damaged";
  if (!find_end(zip, &end)) return false;
  size_t at = 0;
  uint64_t count = 0;
  if (!read_end(zip, end, &at, &count)) return false;
  for (size_t next = at, i = 0; i < count; ++i) {
    if (!read_member(zip, &next, &most, nullptr, error)) return false;
  }
  for (uint64_t i = 0; i < count; ++i) {
    Member member;
    if (!read_member(zip, &at, &most, &member, error)) return false;
    out->push_back(std::move(member));
  }
  error->clear();
  return true;
}

}  // namespace tern::npy
