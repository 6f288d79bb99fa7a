// The command line of tern. docs/tern-cli.md is the manual.
#include <csignal>
#include <new>

#include "tools/command_line/options.h"
#include "tools/tern/commands.h"

namespace {

using namespace tern::cli;
using tern::command_line::Options;
using tern::command_line::Problems;

constexpr long long kMostThreads = 256;  // what the cpu driver takes
constexpr long long kMostDevices = 64;

// What all commands are read into; their options point into it.
struct Commands {
  RunOptions run;
  BenchOptions bench;
  InspectOptions inspect;
  std::string verify_module;
  bool devices_json = false;
};

void add_module(Options& options, std::string& module) {
  options.required("module", module, "module", "The compiled model (.tern)");
}

void add_device_options(Options& options, DeviceOptions& device) {
  options.text("--driver", device.driver, "NAME",
               "Driver to run on: cpu, cuda, vulkan, null (computes nothing); auto takes the first GPU that "
               "the module has a program for, else the cpu");
  options.integer("--device", device.ordinal, 0, kMostDevices - 1,
                  "Which of the driver's devices (tern devices lists them); default: the first");
  options.integer("--threads", device.threads, 0, kMostThreads,
                  "Threads that run kernels; default, and 0: the usable physical cores");
}

void add_input_options(Options& options, InputOptions& inputs) {
  options.list(
      "-i,--input", inputs.files, "NAME=FILE",
      "An input as NAME=FILE (.npy, .pb: an ONNX tensor, .bin: plain bytes); or FILE.npz, or a folder with "
      "input_0.pb …, as ONNX's test data is. Inputs not given are random");
  options.list("--shape", inputs.shapes, "NAME=DIMS",
               "Dimensions of an input (NAME=1x3x224x224) or a symbolic dimension (SYMBOL=224)");
  options.integer("--seed", inputs.seed, 0, UINT64_MAX, "Seed of random inputs; default: 0");
}

CLI::App* add_run(CLI::App& app, RunOptions& run, Problems& problems) {
  CLI::App* command = app.add_subcommand("run", "Run a model once and show its outputs");
  Options options(command, &problems);
  add_module(options, run.module);
  add_input_options(options, run.inputs);
  options.text("-o,--output-dir", run.output_dir, "DIR", "Folder for the outputs, as NAME.npy");
  options.list("--expect", run.expected.files, "NAME=FILE",
               "What an output must be (files as for --input; folders with output_0.pb …); else exit code 1");
  options.number("--rtol", run.expected.tolerance.relative, 0, 1e6,
                 "With --expect: an output may differ by --atol + this * |expected|");
  options.number("--atol", run.expected.tolerance.absolute, 0, 1e30, "With --expect: see --rtol");
  options.text("--function", run.function, "NAME", "Function to run; default: the first");
  options.flag("--in-place", run.in_place,
               "Outputs that may lie in the memory of an input do: caches of keys and values grow in place");
  add_device_options(options, run.device);
  return command;
}

CLI::App* add_bench(CLI::App& app, BenchOptions& bench, Problems& problems) {
  CLI::App* command = app.add_subcommand("bench", "Measure load time, first run, steady runs and memory");
  Options options(command, &problems);
  add_module(options, bench.module);
  add_input_options(options, bench.inputs);
  options.text("--function", bench.function, "NAME", "Function to run; default: the first");
  add_device_options(options, bench.device);
  options.integer("--runs", bench.runs, 1, 1 << 30,
                  "Number of steady runs; default: as many as fit in --seconds, 5 at least");
  options.number("--seconds", bench.seconds, 0, 1e6, "Time for steady runs");
  options.flag("--json", bench.json,
               "JSON: median_ms, min_ms, p90_ms, load_ms, first_ms, peak_rss_mb and more");
  options.flag("--dispatches", bench.dispatches,
               "Also each dispatch: time, GFLOP/s, GB/s, share of the roofline, source nodes");
  options.flag("--in-place", bench.in_place,
               "Outputs that may lie in the memory of an input do: caches of keys and values grow in place");
  options.number("--peak-gflops", bench.peak_gflops, 1e-3, 1e9,
                 "With --dispatches: the device's most f32 GFLOP/s; default: measured on CPUs");
  options.number("--peak-gbs", bench.peak_gbs, 1e-3, 1e9,
                 "With --dispatches: the device's most GB/s from memory; default: measured on CPUs");
  return command;
}

CLI::App* add_inspect(CLI::App& app, InspectOptions& inspect, Problems& problems) {
  CLI::App* command =
      app.add_subcommand("inspect", "Show functions, dispatches, bytecode and sizes of a module");
  Options options(command, &problems);
  add_module(options, inspect.module);
  options.flag("--json", inspect.json, "As JSON");
  options.flag("--bytecode", inspect.bytecode, "With the disassembled bytecode");
  options.flag("--commands", inspect.commands, "With the whole module as text: slots, commands, bytecode");
  return command;
}

// The command that was called, with exceptions as exit codes.
template <typename Call>
int guarded(Call&& call) {
  try {
    return tern::command_line::finish("tern", call());
  } catch (const Failure& failure) {
    return tern::command_line::report("tern", failure.problems);
  } catch (const std::bad_alloc&) {
    return tern::command_line::report("tern", kFailed, "The machine has not enough memory for this.");
  }
}

}  // namespace

int tern::cli::command_line(int argc, char** argv) {
  signal(SIGXFSZ, SIG_IGN);  // a file at its limit (ulimit -f) is one that cannot be written
  CLI::App app(
      "tern runs models that ternc compiled.\n\n  tern run model.tern\n  tern run model.tern --input "
      "image=photo.npy --output-dir out\n  tern bench model.tern --threads 2\n",
      "tern");
  Problems problems;
  Commands commands;
  app.allow_extras();
  app.set_version_flag("--version", "tern " TERN_VERSION, "Print the version and exit");
  app.footer(
      "`tern COMMAND --help` shows a command's options.\nExit codes: 0 success, 1 the run failed, 2 wrong "
      "usage, 3 the module is damaged or for another target, 4 a file cannot be read or written.");
  const CLI::App* run = add_run(app, commands.run, problems);
  const CLI::App* bench = add_bench(app, commands.bench, problems);
  const CLI::App* inspect = add_inspect(app, commands.inspect, problems);
  CLI::App* verify =
      app.add_subcommand("verify", "Check a module: structure, bytecode, the hash of every segment");
  Options verify_options(verify, &problems);
  add_module(verify_options, commands.verify_module);
  CLI::App* devices = app.add_subcommand("devices", "List the devices that models can run on");
  Options devices_options(devices, &problems);
  devices_options.flag("--json", commands.devices_json, "As JSON");

  const int done = tern::command_line::parse(app, argc, argv, problems);
  if (done >= 0) return done;
  check_device_options(commands.run.device, problems);
  check_device_options(commands.bench.device, problems);
  if (!problems.empty()) return tern::command_line::report("tern", problems);
  return guarded([&] {
    if (run->parsed()) return run_command(commands.run);
    if (bench->parsed()) return bench_command(commands.bench);
    if (inspect->parsed()) return inspect_command(commands.inspect);
    if (verify->parsed()) return verify_command(commands.verify_module);
    return devices_command(commands.devices_json);
  });
}
