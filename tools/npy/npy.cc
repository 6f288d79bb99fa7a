#include "tools/npy/npy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

#include "schemas/abi/dtypes.h"

namespace tern::npy {
namespace {

struct Row {
  uint32_t dtype;
  const char* code;   // NumPy's kind and width
  const char* other;  // another code that is read as this type, or null
};
constexpr Row kRows[] = {
    {TERN_DTYPE_F32, "f4", nullptr},     {TERN_DTYPE_F64, "f8", nullptr},
    {TERN_DTYPE_F16, "f2", nullptr},     {TERN_DTYPE_I8, "i1", nullptr},
    {TERN_DTYPE_I16, "i2", nullptr},     {TERN_DTYPE_I32, "i4", nullptr},
    {TERN_DTYPE_I64, "i8", nullptr},     {TERN_DTYPE_U8, "u1", nullptr},
    {TERN_DTYPE_U16, "u2", nullptr},     {TERN_DTYPE_U32, "u4", nullptr},
    {TERN_DTYPE_U64, "u8", nullptr},     {TERN_DTYPE_Bool, "b1", nullptr},
    {TERN_DTYPE_C64, "c8", nullptr},     {TERN_DTYPE_C128, "c16", nullptr},
    {TERN_DTYPE_BF16, "V2", "u2"},       {TERN_DTYPE_F8E4M3FN, "V1", "u1"},
    {TERN_DTYPE_F8E4M3FNUZ, "V1", "u1"}, {TERN_DTYPE_F8E5M2, "V1", "u1"},
    {TERN_DTYPE_F8E5M2FNUZ, "V1", "u1"}, {TERN_DTYPE_F8E8M0, "V1", "u1"},
    {TERN_DTYPE_U4, "V1", "u1"},         {TERN_DTYPE_I4, "V1", "i1"},
    {TERN_DTYPE_F4E2M1, "V1", "u1"},     {TERN_DTYPE_U2, "V1", "u1"},
    {TERN_DTYPE_I2, "V1", "i1"},
};

bool fail(std::string* error, std::string text) {
  *error = std::move(text);
  return false;
}

const Row* find_row(uint32_t dtype) {
  for (const Row& row : kRows) {
    if (row.dtype == dtype) return &row;
  }
  return nullptr;
}

int64_t code_width(std::string_view code) {
  int64_t width = 0;
  for (char c : code.substr(1)) width = width * 10 + (c - '0');
  return width;
}

// The value of a key of the header's Python dictionary: text up to the comma that ends it.
bool header_value(std::string_view header, std::string_view key, std::string_view* out) {
  const std::string quoted = "'" + std::string(key) + "'";
  size_t at = header.find(quoted);
  if (at == std::string_view::npos) return false;
  at = header.find(':', at + quoted.size());
  if (at == std::string_view::npos) return false;
  at = header.find_first_not_of(' ', at + 1);
  if (at == std::string_view::npos) return false;
  const char close = header[at] == '(' ? ')' : header[at] == '\'' ? '\'' : ',';
  const size_t end = header.find(close, at + 1);
  if (end == std::string_view::npos) return false;
  *out = header.substr(at, end - at + (close == ',' ? 0 : 1));
  return true;
}

bool parse_shape(std::string_view text, std::vector<int64_t>* shape) {
  int64_t value = -1;
  for (char c : text) {
    if (c >= '0' && c <= '9') {
      if (value > INT64_MAX / 16) return false;
      value = (value < 0 ? 0 : value) * 10 + (c - '0');
    } else if (value >= 0) {
      shape->push_back(value);
      value = -1;
    }
  }
  return shape->size() <= 64;
}

uint32_t choose_dtype(std::string_view code, uint32_t wanted) {
  const Row* row = find_row(wanted);
  if (row && (code == row->code || (row->other && code == row->other))) return wanted;
  // ml_dtypes calls some of its 8-bit floats "f1".
  if (row && code == "f1" && std::string_view(row->code) == "V1") return wanted;
  for (const Row& candidate : kRows) {
    if (code[0] != 'V' && code == candidate.code) return candidate.dtype;
  }
  return TERN_DTYPE_NONE;
}

void swap_bytes(std::vector<uint8_t>& data, int64_t width, bool is_complex) {
  const size_t unit = static_cast<size_t>(is_complex ? width / 2 : width);
  for (size_t at = 0; at + unit <= data.size(); at += unit) {
    for (size_t i = 0; i < unit / 2; ++i) std::swap(data[at + i], data[at + unit - 1 - i]);
  }
}

void from_fortran_order(Tensor* tensor, size_t width) {
  const std::vector<uint8_t> source = tensor->data;
  std::vector<int64_t> index(tensor->shape.size());
  for (size_t at = 0; at < source.size(); at += width) {
    size_t position = 0, stride = 1;
    for (size_t axis = 0; axis < index.size(); ++axis) {
      position += static_cast<size_t>(index[axis]) * stride;
      stride *= static_cast<size_t>(tensor->shape[axis]);
    }
    std::memcpy(tensor->data.data() + at, source.data() + position * width, width);
    for (size_t axis = index.size(); axis-- > 0;) {
      if (++index[axis] < tensor->shape[axis]) break;
      index[axis] = 0;
    }
  }
}

void pack_bits(std::vector<uint8_t>& data, uint32_t bits) {
  std::vector<uint8_t> packed((data.size() * bits + 7) / 8);
  const uint32_t mask = (1u << bits) - 1;
  for (size_t i = 0; i < data.size(); ++i)
    packed[i * bits / 8] |= static_cast<uint8_t>((data[i] & mask) << (i * bits % 8));
  data = std::move(packed);
}

std::vector<uint8_t> unpack_bits(const uint8_t* data, int64_t count, uint32_t bits, bool is_signed) {
  std::vector<uint8_t> out(static_cast<size_t>(count));
  const uint32_t mask = (1u << bits) - 1, sign = 1u << (bits - 1);
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t value = data[i * bits / 8] >> (i * bits % 8) & mask;
    if (is_signed && (value & sign)) value |= ~mask;
    out[i] = static_cast<uint8_t>(value);
  }
  return out;
}

struct Closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Closer>;

}  // namespace

int64_t Tensor::count() const {
  int64_t product = 1;
  for (int64_t dim : shape) product *= dim;
  return product;
}

bool decode(const std::vector<uint8_t>& bytes, uint32_t wanted, Tensor* out, std::string* error) {
  if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0)
    return fail(error, "it does not begin as a .npy file does");
  const int major = bytes[6];
  if (major < 1 || major > 3) return fail(error, "its format version is not 1, 2 or 3");
  const size_t length_bytes = major == 1 ? 2 : 4;
  if (bytes.size() < 8 + length_bytes) return fail(error, "it is truncated");
  size_t header_size = 0;
  for (size_t i = length_bytes; i-- > 0;) header_size = header_size << 8 | bytes[8 + i];
  const size_t begin = 8 + length_bytes;
  if (header_size > bytes.size() - begin) return fail(error, "it is truncated");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + begin, header_size);
  std::string_view descr, order, shape;
  if (!header_value(header, "descr", &descr) || !header_value(header, "fortran_order", &order) ||
      !header_value(header, "shape", &shape) || descr.size() < 5 || !parse_shape(shape, &out->shape))
    return fail(error, "its header cannot be understood (structured types are not supported)");
  const char byte_order = descr[1];
  const std::string_view code = descr.substr(2, descr.size() - 3);
  out->dtype = choose_dtype(code, wanted);
  if (out->dtype == TERN_DTYPE_NONE)
    return fail(error, "its element type ('" + std::string(descr.substr(1, descr.size() - 2)) +
                           "') is not supported" + (code[0] == 'V' ? " for this input" : ""));
  const int64_t width = code_width(code);
  int64_t size = width;
  for (int64_t dim : out->shape) {
    if (dim && size > INT64_MAX / dim) return fail(error, "its shape is impossible");
    size *= dim;
  }
  const size_t have = bytes.size() - begin - header_size;
  if (static_cast<size_t>(size) > have)
    return fail(error, "it is truncated: " + std::to_string(size) + " bytes of data expected, " +
                           std::to_string(have) + " there");
  const uint8_t* data = bytes.data() + begin + header_size;
  out->data.assign(data, data + size);
  if (byte_order == '>') swap_bytes(out->data, width, code[0] == 'c');
  if (order.substr(0, 4) == "True") from_fortran_order(out, static_cast<size_t>(width));
  if (tern_dtype_bits(out->dtype) < 8) pack_bits(out->data, tern_dtype_bits(out->dtype));
  return true;
}

uint64_t most_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) / 2 * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

bool read_bytes(const std::string& path, std::vector<uint8_t>* out, std::string* error) {
  const File file(std::fopen(path.c_str(), "rb"));
  out->clear();
  struct stat info;
  const bool known = file && fstat(fileno(file.get()), &info) == 0;
  if (known && (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)))
    return fail(error, "The file '" + path + "' is a device, which may have no end.");
  const uint64_t most = most_bytes();
  if (known && S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) > most)
    return fail(error, "The file '" + path + "' has " + std::to_string(info.st_size) +
                           " bytes; at most half of this machine's memory (" + std::to_string(most) +
                           " bytes) can be read.");
  if (known && S_ISREG(info.st_mode)) out->reserve(static_cast<size_t>(info.st_size));
  uint8_t chunk[65536];
  while (const size_t got = file ? std::fread(chunk, 1, sizeof(chunk), file.get()) : 0)
    out->insert(out->end(), chunk, chunk + got);
  if (file && !std::ferror(file.get())) return true;
  return fail(error, "The file '" + path + "' cannot be read: " + std::strerror(errno) + ".");
}

bool read(const std::string& path, uint32_t wanted, Tensor* out, std::string* error) {
  std::vector<uint8_t> bytes;
  std::string why;
  if (!read_bytes(path, &bytes, error)) return false;
  if (!decode(bytes, wanted, out, &why))
    return fail(error, "The file '" + path + "' cannot be used: " + why + ".");
  return true;
}

bool encode(uint32_t dtype, const std::vector<int64_t>& shape, const void* data, std::vector<uint8_t>* out) {
  const Row* row = find_row(dtype);
  if (!row) return false;
  const int64_t width = code_width(row->code);
  const bool ordered = width > 1 && row->code[0] != 'V';
  std::string header = std::string("{'descr': '") + (ordered ? '<' : '|') + row->code +
                       "', 'fortran_order': False, 'shape': (";
  int64_t count = 1;
  for (int64_t dim : shape) {
    header += std::to_string(dim) + ", ";
    count *= dim;
  }
  if (shape.size() > 1) header.resize(header.size() - 2);
  if (shape.size() == 1) header.pop_back();
  header += "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const uint8_t magic[8] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  out->assign(magic, magic + 8);
  out->push_back(static_cast<uint8_t>(header.size() & 0xff));
  out->push_back(static_cast<uint8_t>(header.size() >> 8));
  out->insert(out->end(), header.begin(), header.end());
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  const uint32_t bits = tern_dtype_bits(dtype);
  if (bits < 8) {
    const bool is_signed = dtype == TERN_DTYPE_I4 || dtype == TERN_DTYPE_I2;
    const std::vector<uint8_t> wide = unpack_bits(bytes, count, bits, is_signed);
    out->insert(out->end(), wide.begin(), wide.end());
  } else {
    out->insert(out->end(), bytes, bytes + count * width);
  }
  return true;
}

namespace {

// Closes the descriptor, which may be -1.
bool write_all(int descriptor, const std::vector<uint8_t>& bytes, const char* name = nullptr) {
  bool good = descriptor >= 0;
  for (size_t done = 0; good && done < bytes.size();) {
    const ssize_t now = ::write(descriptor, bytes.data() + done, bytes.size() - done);
    good = now > 0 || (now < 0 && errno == EINTR);
    done += now > 0 ? static_cast<size_t>(now) : 0;
  }
  const std::string itself = "/proc/self/fd/" + std::to_string(descriptor);
  if (good && name) good = linkat(AT_FDCWD, itself.c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0;
  const int why = errno;
  if (descriptor >= 0 && close(descriptor) != 0) return false;
  errno = why;
  return good;
}

// A new file of that name. Where the system can, it has its name when it is whole: a process that is killed
// meanwhile leaves nothing.
bool write_beside(const std::string& beside, const std::vector<uint8_t>& bytes) {
  std::remove(beside.c_str());  // of a process that had this one's number
  const size_t slash = beside.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : beside.substr(0, slash + 1);
  if (write_all(open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666), bytes, beside.c_str()))
    return true;
  return write_all(open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), bytes);
}

}  // namespace

bool write(const std::string& path, uint32_t dtype, const std::vector<int64_t>& shape, const void* data,
           std::string* error) {
  std::vector<uint8_t> bytes;
  if (!encode(dtype, shape, data, &bytes))
    return fail(error, std::string("Tensors of type ") + tern_dtype_name(dtype) + " have no .npy form.");
  const std::string beside = path + "." + std::to_string(getpid()) + ".part";
  if (write_beside(beside, bytes) && std::rename(beside.c_str(), path.c_str()) == 0) return true;
  const std::string why = std::strerror(errno);
  std::remove(beside.c_str());  // half a file helps nobody
  return fail(error, "The file '" + path + "' cannot be written: " + why + ".");
}

}  // namespace tern::npy
