// Runs the .tvm files of this folder: modules as text, with what they must do as comments.
//
//   ; run: 1 2 3 4 | 7        values of each input, f32, in order; shapes are the inputs' with symbols solved
//   from the count ; -> y [2x2] 1 2 3 4      expected outputs, one a line, or ; -> error: …             the
//   first line of the failure (a load failure too)
//
// Each file is also assembled, disassembled, assembled again: both texts must be equal. TERN_BLESS=1 rewrites
// the expected lines.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "tests/support/source_path.h"
#include "tests/support/vm_fixture.h"

using namespace tern::test;

namespace {

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::vector<std::vector<float>> parse_inputs(std::string_view text) {
  std::vector<std::vector<float>> inputs;
  if (text.find_first_not_of(" ") == std::string_view::npos) return inputs;
  inputs.emplace_back();
  std::istringstream stream{std::string(text)};
  for (std::string word; stream >> word;) {
    if (word == "|") {
      inputs.emplace_back();
    } else {
      inputs.back().push_back(std::stof(word));
    }
  }
  return inputs;
}

// The input's shape; its first symbol takes what the count leaves.
std::vector<int64_t> solve_shape(const tern_module_t* module, uint32_t input, int64_t count) {
  tern_tensor_info_t info;
  std::vector<int64_t> dims;
  if (tern_module_input_info(module, 0, input, &info)) return dims;
  int64_t known = 1;
  for (uint32_t i = 0; i < info.rank; ++i)
    known *= info.dims[i].kind == TERN_DIM_STATIC ? info.dims[i].value : 1;
  for (uint32_t i = 0; i < info.rank; ++i) {
    dims.push_back(info.dims[i].kind == TERN_DIM_STATIC ? info.dims[i].value : known ? count / known : 0);
    if (info.dims[i].kind != TERN_DIM_STATIC) known = count;
  }
  return dims;
}

std::string describe(const char* name, const tern_tensor_t& tensor) {
  std::string out = std::string(name) + " [";
  int64_t count = 1;
  for (uint32_t i = 0; i < tensor.rank; ++i) {
    out += (i ? "x" : "") + std::to_string(tensor.dims[i]);
    count *= tensor.dims[i];
  }
  out += "]";
  for (int64_t i = 0; i < count; ++i) {
    std::ostringstream value;
    value << (tensor.dtype == TERN_DTYPE_F32
                  ? static_cast<double>(static_cast<const float*>(tensor.data)[i])
                  : static_cast<double>(static_cast<const int32_t*>(tensor.data)[i]));
    out += " " + value.str();
  }
  return out;
}

struct Session {
  Runtime runtime;
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;
  AlignedBytes bytes;
  std::string error;

  explicit Session(const std::vector<uint8_t>& packed) : bytes(packed) {
    tern_status_t status =
        tern_module_load_memory(runtime.instance, bytes.data(), bytes.size(), nullptr, &module);
    tern_session_desc_t desc = {};
    desc.static_kernels = kTestKernels;
    desc.static_kernel_count = kTestKernelCount;
    desc.step_limit = 1000;
    if (!status) status = tern_session_create(module, runtime.device, &desc, &session);
    if (status) error = first_line(Outcome(status).message);
  }
  ~Session() {
    tern_session_destroy(session);
    tern_module_release(module);
  }

  std::vector<std::string> run(std::string_view arguments) {
    if (!error.empty()) return {"error: " + error};
    std::vector<std::vector<float>> values = parse_inputs(arguments);
    std::vector<tern_tensor_t> inputs;
    for (size_t i = 0; i < values.size(); ++i) {
      inputs.push_back(tensor_of(
          values[i], solve_shape(module, static_cast<uint32_t>(i), static_cast<int64_t>(values[i].size()))));
    }
    std::vector<tern_tensor_t> outputs(tern_module_output_count(module, 0));
    const tern_invoke_t args = {inputs.data(), outputs.data(), static_cast<uint32_t>(inputs.size()),
                                static_cast<uint32_t>(outputs.size()), 0};
    if (tern_status_t status = tern_session_invoke(session, &args))
      return {"error: " + first_line(Outcome(status).message)};
    std::vector<std::string> lines;
    for (size_t i = 0; i < outputs.size(); ++i) {
      tern_tensor_info_t info;
      if (tern_module_output_info(module, 0, static_cast<uint32_t>(i), &info)) continue;
      lines.push_back(describe(info.name, outputs[i]));
    }
    return lines;
  }
};

void run_file(const std::filesystem::path& path) {
  std::ifstream stream(path);
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  tern::vm::ModuleFile file, again;
  std::string error;
  REQUIRE_MESSAGE(tern::vm::assemble_module(text, &file, &error), path.string() << ": " << error);
  const std::vector<uint8_t> packed = tern::vm::pack_module(file);
  const std::string printed = tern::vm::disassemble_module(file);
  REQUIRE_MESSAGE(tern::vm::assemble_module(printed, &again, &error), path.string()
                                                                          << " disassembled: " << error);
  CHECK(tern::vm::disassemble_module(again) == printed);
  REQUIRE_MESSAGE(tern::vm::unpack_module(packed.data(), packed.size(), &again, &error), error);
  CHECK(tern::vm::disassemble_module(again) == printed);

  Session session(packed);
  std::string blessed, expected, actual;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("; ->", 0) == 0) {
      expected += line + "\n";
      continue;
    }
    blessed += line + "\n";
    if (line.rfind("; run:", 0) != 0) continue;
    expected += line + "\n";
    actual += line + "\n";
    for (const std::string& got : session.run(line.substr(6))) {
      actual += "; -> " + got + "\n";
      blessed += "; -> " + got + "\n";
    }
  }
  CHECK_MESSAGE(!actual.empty(), path.string() << " runs nothing");
  if (std::getenv("TERN_BLESS")) {
    std::ofstream(path) << blessed;
  } else {
    INFO(path.string());
    CHECK(actual == expected);
  }
}

}  // namespace

TEST_CASE("the .tvm files do what they say") {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/filetests/vm"))) {
    if (entry.path().extension() == ".tvm") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  CHECK(paths.size() >= 10);
  for (const auto& path : paths) {
    CAPTURE(path.string());
    run_file(path);
  }
}

TEST_CASE("vm/OPCODES.md is the opcode table") {
  std::ifstream stream(source_path("vm/OPCODES.md"));
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  INFO("write it anew: tern-as --opcodes -o vm/OPCODES.md");
  CHECK(text == tern::vm::opcode_document());
}

TEST_CASE("each opcode stands in a file test") {
  std::string all;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/filetests/vm"))) {
    if (entry.path().extension() != ".tvm") continue;
    std::ifstream stream(entry.path());
    for (std::string line; std::getline(stream, line);) {
      std::istringstream words(line);
      std::string word;
      if (words >> word) all += " " + word + " ";
    }
  }
  std::istringstream rows(tern::vm::opcode_document());
  for (std::string line; std::getline(rows, line);) {
    const size_t begin = line.find('`');
    if (line.rfind("| 0x", 0) != 0) continue;
    const std::string name = line.substr(begin + 1, line.find('`', begin + 1) - begin - 1);
    CHECK_MESSAGE(all.find(" " + name + " ") != std::string::npos,
                  name << " has no test in tests/filetests/vm");
  }
}
