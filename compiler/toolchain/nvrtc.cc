#include "compiler/toolchain/nvrtc.h"

#include <filesystem>

#include "compiler/support/write_text.h"
#include "compiler/toolchain/nvrtc_library.h"
#include "compiler/toolchain/object_cache.h"

namespace tern::toolchain {

namespace {

// Meaning: no contraction of products and sums, denormals kept, IEEE division and roots (the defaults, said
// once more).
constexpr std::string_view kFlags[] = {"-w",          "-std=c++17", "-default-device", "-device-int128",
                                       "-fmad=false", "-ftz=false", "-prec-div=true",  "-prec-sqrt=true"};

class Program {
 public:
  explicit Program(const NvrtcLibrary& library) : library_(library) {}
  ~Program() {
    if (program_ != nullptr) library_.destroy(&program_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  Status compile(const std::string& name, const std::string& source, const std::vector<std::string>& flags);
  Result<std::vector<uint8_t>> image(bool is_ptx);
  std::string log();

 private:
  Status check(int result, std::string_view what) {
    if (result == 0) return Ok{};
    return error("NVRTC fails in {} with '{}' (code {}).", what, library_.error_string(result), result);
  }

  const NvrtcLibrary& library_;
  NvrtcLibrary::Program program_ = nullptr;
};

std::string Program::log() {
  size_t bytes = 0;
  if (library_.log_size(program_, &bytes) != 0 || bytes <= 1) return "";
  std::string text(bytes, 0);
  if (library_.log(program_, text.data()) != 0) return "";
  text.resize(bytes - 1);
  return text;
}

Status Program::compile(const std::string& name, const std::string& source,
                        const std::vector<std::string>& flags) {
  TERN_TRY(check(library_.create(&program_, source.c_str(), name.c_str(), 0, nullptr, nullptr),
                 "nvrtcCreateProgram"));
  std::vector<const char*> options;
  for (const std::string& flag : flags) options.push_back(flag.c_str());
  int result = library_.compile(program_, static_cast<int>(options.size()), options.data());
  if (result == 0) return Ok{};
  return error("NVRTC ('{}') refuses the generated code of '{}' with '{}' (code {}):\n{}", library_.path,
               name, library_.error_string(result), result, log());
}

Result<std::vector<uint8_t>> Program::image(bool is_ptx) {
  size_t bytes = 0;
  TERN_TRY(check((is_ptx ? library_.ptx_size : library_.cubin_size)(program_, &bytes),
                 "asking for the image's size"));
  std::vector<uint8_t> out(bytes);
  TERN_TRY(check((is_ptx ? library_.ptx : library_.cubin)(program_, reinterpret_cast<char*>(out.data())),
                 "asking for the image"));
  return out;
}

std::vector<std::string> flags_for(std::string_view architecture) {
  std::vector<std::string> flags = {fmt::format("-arch={}", architecture)};
  for (std::string_view flag : kFlags) flags.emplace_back(flag);
  return flags;
}

std::string text_of(const std::vector<uint8_t>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.empty() ? 0 : bytes.size() - 1);
}

// NAME.cu, NAME.ptx, and what the assembler says of registers and spills.
Status dump(const NvrtcLibrary& library, const std::string& stem, std::string_view architecture, bool is_ptx,
            const std::string& source) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(stem).parent_path(), ignored);
  std::vector<std::string> flags = flags_for(architecture);
  if (!is_ptx) flags.push_back("--ptxas-options=-v");
  Program program(library);
  TERN_TRY(write_text(stem + ".cu", source));
  TERN_TRY(program.compile(stem, source, flags));
  TERN_ASSIGN(std::vector<uint8_t> ptx, program.image(true));
  TERN_TRY(write_text(stem + ".ptx", text_of(ptx)));
  return write_text(stem + ".log", program.log());
}

}  // namespace

Result<CudaImage> compile_cuda(std::string_view name, std::string_view architecture,
                               const std::string& source, const CompileOptions& options) {
  TERN_ASSIGN(const NvrtcLibrary* library, nvrtc_library());
  const bool is_ptx = architecture.starts_with("compute_");
  const std::vector<std::string> flags = flags_for(architecture);
  if (!options.dump_dir.empty()) {
    TERN_TRY(dump(*library, fmt::format("{}/{}", options.dump_dir, name), architecture, is_ptx, source));
  }
  std::string recipe = library->release + "\n";
  for (const std::string& flag : flags) recipe += flag + "\n";
  const ObjectCache cache(options.use_cache ? ObjectCache::default_directory() : "");
  const std::string key = content_hash(recipe + source);
  if (auto hit = cache.find(key)) return CudaImage{std::move(*hit), true};
  Program program(*library);
  TERN_TRY(program.compile(std::string(name), source, flags));
  CudaImage out;
  TERN_ASSIGN(out.bytes, program.image(is_ptx));
  cache.keep(key, out.bytes);
  return out;
}

std::string why_no_nvrtc() {
  auto library = nvrtc_library();
  return library.ok() ? "" : library.error().message;
}

}  // namespace tern::toolchain
