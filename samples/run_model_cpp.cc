// The C++ wrapper: runs a model whose input is f32, twice at once from two threads, each with a session of
// its own.
//
//   run_model_cpp model.tern
#include <cstdio>
#include <thread>

#include "tern/tern.hpp"

int main(int argc, char** argv) try {
  if (argc != 2) throw std::invalid_argument("usage: run_model_cpp model.tern");
  tern::Instance instance = tern::Instance::create();
  tern::check(tern_cpu_driver_register(instance.drivers()));
  tern::Device device = tern::Device::create(instance);
  tern::Module module = tern::Module::load(instance, argv[1], {TERN_CODE_TRUSTED, 0, nullptr, nullptr});
  const tern_tensor_info_t info = module.input(0, 0);
  std::vector<int64_t> dims;
  size_t count = 1;
  for (uint32_t i = 0; i < info.rank; ++i) {
    dims.push_back(info.dims[i].kind == TERN_DIM_STATIC ? info.dims[i].value : 2);
    count *= static_cast<size_t>(dims.back());
  }
  float first[2] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      tern::Session session = tern::Session::create(module, device);
      std::vector<float> values(count, static_cast<float>(t));
      std::vector<tern_tensor_t> outputs(tern_module_output_count(module, 0));
      for (int i = 0; i < 100; ++i)
        session.invoke({tern::tensor(values.data(), TERN_DTYPE_F32, 4, dims)}, outputs);
      first[t] = *static_cast<const float*>(outputs[0].data);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("inputs of 0: %g, inputs of 1: %g\n", static_cast<double>(first[0]),
              static_cast<double>(first[1]));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "run_model_cpp: %s\n", error.what());
  return 1;
}
