#include "tools/npy/archive.h"

namespace tern::npy {
namespace {

constexpr uint32_t kEndMark = 0x06054b50, kEntryMark = 0x02014b50, kLocalMark = 0x04034b50;
constexpr size_t kEndSize = 22, kEntrySize = 46, kLocalSize = 30, kMostComment = 65535;

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
  std::vector<uint8_t> part(size_t at, size_t count) const {
    return {bytes_.data() + at, bytes_.data() + at + count};
  }

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

}  // namespace

bool read_archive(const std::vector<uint8_t>& bytes, std::vector<Member>* out, std::string* error) {
  const Bytes zip(bytes);
  size_t end = 0;
  *error = "it is no .npz file, or it is damaged";
  if (!find_end(zip, &end)) return false;
  size_t at = zip.u32(end + 16);
  const uint32_t count = zip.u16(end + 10);
  for (uint32_t i = 0; i < count; ++i) {
    if (!zip.has(at, kEntrySize) || zip.u32(at) != kEntryMark) return false;
    const uint32_t method = zip.u16(at + 10), size = zip.u32(at + 24), name_size = zip.u16(at + 28);
    const size_t local = zip.u32(at + 42);
    if (!zip.has(at + kEntrySize, name_size) || !zip.has(local, kLocalSize) || zip.u32(local) != kLocalMark)
      return false;
    std::string name = zip.text(at + kEntrySize, name_size);
    if (method != 0) {
      *error = "its array '" + name + "' is compressed; numpy.savez writes arrays as they are";
      return false;
    }
    const size_t data = local + kLocalSize + zip.u16(local + 26) + zip.u16(local + 28);
    if (!zip.has(data, size)) return false;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    out->push_back({std::move(name), zip.part(data, size)});
    at += kEntrySize + name_size + zip.u16(at + 30) + zip.u16(at + 32);
  }
  error->clear();
  return true;
}

}  // namespace tern::npy
