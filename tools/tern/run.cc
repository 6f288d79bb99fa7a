// tern run, verify.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "schemas/abi/dtypes.h"
#include "tools/npy/npy.h"
#include "tools/tern/commands.h"

namespace tern::cli {
namespace {

int64_t element_count(const tern_tensor_t& tensor) {
  int64_t count = 1;
  for (uint32_t i = 0; i < tensor.rank; ++i) count *= tensor.dims[i];
  return count;
}

// What would only be seen after the run.
void check_output_folder(const RunOptions& options) {
  const std::string& folder = options.output_dir;
  if (options.device.driver == "null" && !options.expected.files.empty())
    fail(kUsage, "The null driver computes nothing: there are no outputs for --expect.");
  if (folder.empty()) return;
  if (options.device.driver == "null")
    fail(kUsage, "The null driver computes nothing: there are no outputs for --output-dir '" + folder + "'.");
  const std::string problem = command_line::output_folder_problem("folder of --output-dir", folder);
  if (!problem.empty()) fail(kIo, problem);
}

}  // namespace

int run_command(const RunOptions& options) {
  check_output_folder(options);
  const Handle<tern_instance_t> instance = make_instance();
  const Handle<tern_module_t> module = load_module(instance.get(), options.module);
  const uint32_t function = find_function(module.get(), options.function);
  const Arguments arguments(module.get(), function, options.inputs);
  const Expectations expectations(module.get(), function, options.expected);
  for (const std::string& note : arguments.notes())
    std::fprintf(stderr, "%s\n", command_line::printable(note).c_str());
  tern_session_desc_t desc = {};
  desc.function = tern_module_function_name(module.get(), function);
  desc.bounds = arguments.bounds().data();
  desc.bound_count = static_cast<uint32_t>(arguments.bounds().size());
  const Placed placed =
      place(instance.get(), module.get(), options.device, [&](tern_device_t* device, tern_session_t** out) {
        return tern_session_create(module.get(), device, &desc, out);
      });
  std::vector<tern_tensor_t> outputs = arguments.outputs(arguments.inputs(), options.in_place);
  tern_invoke_t invoke = {};
  invoke.inputs = arguments.inputs().data();
  invoke.outputs = outputs.data();
  invoke.input_count = static_cast<uint32_t>(arguments.inputs().size());
  invoke.output_count = static_cast<uint32_t>(outputs.size());
  must(tern_session_invoke(placed.session.get(), &invoke));
  const bool computes = placed.driver != "null";
  if (!computes)
    std::fprintf(stderr, "The null driver computes nothing: outputs have types and shapes, but no values.\n");
  if (!options.output_dir.empty() && mkdir(options.output_dir.c_str(), 0777) != 0 && errno != EEXIST)
    fail(kIo, "The folder '" + options.output_dir + "' cannot be made: " + std::strerror(errno) + ".");
  for (uint32_t i = 0; i < outputs.size(); ++i) {
    tern_tensor_info_t info;
    must(tern_module_output_info(module.get(), function, i, &info));
    const tern_tensor_t& output = outputs[i];
    std::printf("%s %s[%s]%s\n", bold(info.name).c_str(), tern_dtype_name(output.dtype),
                shape_text(output.dims, output.rank).c_str(),
                computes ? summary(output.dtype, output.data, element_count(output)).c_str() : "");
    if (options.output_dir.empty()) continue;
    const std::string path = options.output_dir + "/" + file_name(info.name) + ".npy";
    std::string error;
    if (!npy::write(path, output.dtype, {output.dims, output.dims + output.rank}, output.data, &error))
      fail(kIo, error);
  }
  expectations.check(outputs);
  return kSuccess;
}

int verify_command(const std::string& path) {
  const Handle<tern_instance_t> instance = make_instance();
  const Handle<tern_module_t> module = load_module(instance.get(), path);
  must(tern_module_verify_segments(module.get()));
  std::printf("%s is sound: structure, bytecode and the hash of every segment.\n", path.c_str());
  return kSuccess;
}

}  // namespace tern::cli
