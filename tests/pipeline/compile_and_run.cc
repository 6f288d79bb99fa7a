#include "tests/pipeline/compile_and_run.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "tern/tern.h"

namespace tern {
namespace {

void must(tern_status_t status) {
  const std::string text = status ? tern_status_message(status) : "";
  tern_status_free(status);
  REQUIRE_MESSAGE(text.empty(), text);
}

}  // namespace

CompileResult compile_text(const std::string& text, const RunSettings& settings, Diagnostics& diagnostics) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("pipeline_test_{}.tg", getpid());
  std::ofstream(path) << "graph \"g\" {\n" << text << "\n}\n";
  CompileOptions options;
  options.input = path.string();
  options.targets = lower::parse_targets(settings.targets).value();
  options.disabled_passes = settings.disabled;
  options.jobs = 1;
  CompileResult result = compile(options, diagnostics);
  std::filesystem::remove(path);
  return result;
}

struct Runner::State {
  // Aligned as a mapped file is.
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> bytes;
  tern_instance_t* instance = nullptr;
  tern_device_t* device = nullptr;
  tern_module_t* module = nullptr;
  tern_session_t* session = nullptr;
};

Runner::Runner(std::vector<uint8_t> module, uint32_t threads) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.bytes.reset(std::aligned_alloc(4096, (module.size() + 4095) / 4096 * 4096));
  std::memcpy(s.bytes.get(), module.data(), module.size());
  must(tern_instance_create(nullptr, &s.instance));
  must(tern_cpu_driver_register(tern_instance_drivers(s.instance)));
  tern_device_desc_t device = {};
  device.thread_count = threads;
  must(tern_device_create(s.instance, &device, &s.device));
  tern_module_desc_t desc = {};
  desc.code_policy = TERN_CODE_TRUSTED;
  desc.verify_weights = 1;
  must(tern_module_load_memory(s.instance, s.bytes.get(), module.size(), &desc, &s.module));
  must(tern_session_create(s.module, s.device, nullptr, &s.session));
}

Runner::~Runner() {
  tern_session_destroy(state_->session);
  tern_module_release(state_->module);
  tern_device_release(state_->device);
  tern_instance_destroy(state_->instance);
}

Result<std::vector<TensorDataPtr>> Runner::run(const std::vector<TensorDataPtr>& inputs) {
  std::vector<tern_tensor_t> in(inputs.size()), out(tern_module_output_count(state_->module, 0));
  for (size_t i = 0; i < inputs.size(); ++i) {
    in[i].data = const_cast<uint8_t*>(inputs[i]->bytes().data());
    in[i].size = inputs[i]->bytes().size();
    in[i].dtype = static_cast<uint32_t>(inputs[i]->dtype());
    in[i].rank = static_cast<uint32_t>(inputs[i]->shape().size());
    for (size_t axis = 0; axis < inputs[i]->shape().size(); ++axis)
      in[i].dims[axis] = inputs[i]->shape()[axis];
  }
  tern_invoke_t invoke = {};
  invoke.inputs = in.data();
  invoke.outputs = out.data();
  invoke.input_count = static_cast<uint32_t>(in.size());
  invoke.output_count = static_cast<uint32_t>(out.size());
  if (tern_status_t status = tern_session_invoke(state_->session, &invoke)) {
    Error failed{tern_status_message(status), {}};
    tern_status_free(status);
    return failed;
  }
  std::vector<TensorDataPtr> outputs;
  for (const tern_tensor_t& tensor : out) {
    auto data = TensorData::make(static_cast<DType>(tensor.dtype), {tensor.dims, tensor.dims + tensor.rank});
    if (!data->bytes().empty()) std::memcpy(data->mutable_bytes().data(), tensor.data, data->bytes().size());
    outputs.push_back(std::move(data));
  }
  return outputs;
}

TensorDataPtr make_input(DType dtype, const std::vector<int64_t>& shape, uint64_t seed) {
  auto data = TensorData::make(dtype, shape);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (int64_t i = 0; i < data->count(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const int64_t value = static_cast<int64_t>((state >> 40) % 9);
    if (is_float(dtype)) {
      data->set_float(i, static_cast<double>(value - 4) / 2);
    } else {
      data->set_int(i, dtype == DType::kBool ? value % 2 : value);
    }
  }
  return data;
}

void check_whole_path(const std::string& text, const std::vector<std::map<std::string, int64_t>>& sizes,
                      const RunSettings& settings) {
  CAPTURE(text);
  Diagnostics diagnostics;
  const CompileResult compiled = compile_text(text, settings, diagnostics);
  REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
  REQUIRE(compiled.file);
  Runner runner(compiled.file->bytes(), settings.threads);
  const auto graph = graph::parse_graph("graph \"g\" {\n" + text + "\n}").value();
  uint64_t seed = 0;
  for (const auto& symbols : sizes) {
    std::vector<TensorDataPtr> inputs;
    std::vector<graph::EvalValue> eval_inputs;
    for (const graph::Value* argument : graph->body.args) {
      std::vector<int64_t> shape;
      for (const Dim& dim : argument->type.shape)
        shape.push_back(
            dim.evaluate([&](const std::string& name) { return std::optional(symbols.at(name)); }).value());
      inputs.push_back(make_input(argument->type.dtype, shape, ++seed));
      eval_inputs.push_back({inputs.back(), nullptr});
    }
    auto wanted = graph::evaluate(*graph, eval_inputs);
    REQUIRE_MESSAGE(wanted.ok(), wanted.error().text());
    auto got = runner.run(inputs);
    REQUIRE_MESSAGE(got.ok(), got.error().text());
    REQUIRE(got->size() == wanted->size());
    for (size_t i = 0; i < got->size(); ++i) {
      const TensorData &a = *(*got)[i], &b = *(*wanted)[i].tensor;
      REQUIRE(a.shape() == b.shape());
      REQUIRE(a.dtype() == b.dtype());
      for (int64_t e = 0; e < a.count(); ++e) {
        if (is_float(a.dtype())) {
          const double limit = 1e-5 * (1 + std::abs(b.float_at(e)));
          CHECK(std::abs(a.float_at(e) - b.float_at(e)) <= limit);
        } else {
          CHECK(a.int_at(e) == b.int_at(e));
        }
      }
    }
  }
}

}  // namespace tern
