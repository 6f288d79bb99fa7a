// libFuzzer target: any bytes as an ONNX model, read and made a graph. Built with -DTERN_FUZZ=ON; run it as
//   build/…/bin/onnx_fuzzer -max_len=16384 -rss_limit_mb=4096 -timeout=30 CORPUS_DIR
// A corpus: the models of ONNX's node tests (onnx/backend/test/data/node/*/model.onnx).
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "compiler/onnx/import.h"
#include "compiler/support/dim_overflow.h"

namespace {

// A folder of its own: external data must lie beside the model.
std::string model_path() {
  std::string folder = "/tmp/tern-onnx-fuzzer-XXXXXX";
  if (!mkdtemp(folder.data())) std::abort();
  static std::string to_remove = folder;
  std::atexit([] {
    std::remove((to_remove + "/m.onnx").c_str());
    rmdir(to_remove.c_str());
  });
  return folder + "/m.onnx";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string path = model_path();
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (!file || std::fwrite(data, 1, size, file) != size || std::fclose(file) != 0) std::abort();
  // As compiler/pipeline.cc does.
  try {
    tern::Diagnostics diagnostics;
    const auto graph = tern::onnx::import_model(path, {}, diagnostics);
    if (graph ? !tern::graph::verify(*graph).empty() : diagnostics.ok()) std::abort();
  } catch (const tern::DimOverflow&) {
  } catch (const std::bad_alloc&) {
  }
  return 0;
}
