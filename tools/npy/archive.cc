#include "tools/npy/archive.h"

#include "tools/npy/inflate.h"

namespace tern::npy {
namespace {

constexpr uint32_t kEndMark = 0x06054b50, kEntryMark = 0x02014b50, kLocalMark = 0x04034b50;
constexpr size_t kEndSize = 22, kEntrySize = 46, kLocalSize = 30, kMostComment = 65535;
constexpr uint32_t kStored = 0, kDeflated = 8;

// Little-endian numbers at checked places.
class Bytes {
 public:
  explicit Bytes(const std::vector<uint8_t>& bytes) : bytes_(bytes) {}
  size_t size() const { return bytes_.size(); }
  bool has(size_t at, size_t count) const { return at <= size() && count <= size() - at; }
  uint32_t u16(size_t at) const { return bytes_[at] | uint32_t{bytes_[at + 1]} << 8; }
  uint32_t u32(size_t at) const { return u16(at) | u16(at + 2) << 16; }
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

// The member whose entry is at `at`, which moves on to the next.
bool read_member(const Bytes& zip, size_t* at, Member* out, std::string* error) {
  const size_t entry = *at;
  *error = "it is no .npz file, or it is damaged";
  if (!zip.has(entry, kEntrySize) || zip.u32(entry) != kEntryMark) return false;
  const uint32_t method = zip.u16(entry + 10), crc = zip.u32(entry + 16), stored = zip.u32(entry + 20),
                 size = zip.u32(entry + 24), name_size = zip.u16(entry + 28);
  const size_t local = zip.u32(entry + 42);
  if (!zip.has(entry + kEntrySize, name_size) || !zip.has(local, kLocalSize) || zip.u32(local) != kLocalMark)
    return false;
  const size_t data = local + kLocalSize + zip.u16(local + 26) + zip.u16(local + 28);
  if (!zip.has(data, stored)) return false;
  out->name = zip.text(entry + kEntrySize, name_size);
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
  *at += kEntrySize + name_size + zip.u16(entry + 30) + zip.u16(entry + 32);
  return true;
}

}  // namespace

bool read_archive(const std::vector<uint8_t>& bytes, std::vector<Member>* out, std::string* error) {
  const Bytes zip(bytes);
  size_t end = 0;
  *error = "it is no .npz file, or it is damaged";
  if (!find_end(zip, &end)) return false;
  size_t at = zip.u32(end + 16);
  const uint32_t count = zip.u16(end + 10);
  for (uint32_t i = 0; i < count; ++i) {
    Member member;
    if (!read_member(zip, &at, &member, error)) return false;
    out->push_back(std::move(member));
  }
  error->clear();
  return true;
}

}  // namespace tern::npy
