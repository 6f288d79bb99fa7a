// The command line of tern. docs/tern-cli.md is the manual.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "tools/tern/commands.h"

namespace {

using namespace tern::cli;

// CLI::Range lets NaN pass.
CLI::Validator number_between(double least, double most) {
  const auto check = [least, most](const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (end != text.c_str() && *end == 0 && value >= least && value <= most) return std::string();
    char problem[160];
    std::snprintf(problem, sizeof problem, "'%.60s' is no number between %g and %g.", text.c_str(), least,
                  most);
    return std::string(problem);
  };
  return {check, "NUMBER"};
}

void add_device_options(CLI::App* command, DeviceOptions& device) {
  command
      ->add_option(
          "--driver", device.driver,
          "Driver to run on: cpu, cuda, vulkan, null; auto takes the first GPU that the module has a program "
          "for, else the cpu")
      ->capture_default_str();
  command->add_option("--device", device.ordinal, "Which of the driver's devices (tern devices lists them)")
      ->check(CLI::Range(0, 63));
  command
      ->add_option("--threads", device.threads,
                   "Threads that run kernels; default: the usable physical cores")
      ->check(CLI::Range(0, 1024));
}

void add_input_options(CLI::App* command, InputOptions& inputs) {
  command->add_option("--input,-i", inputs.files, "An input as NAME=FILE.npy; inputs not given are random")
      ->type_name("NAME=FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--shape", inputs.shapes,
                   "Dimensions of a random input (NAME=1x3x224x224) or a symbolic dimension (SYMBOL=224)")
      ->type_name("NAME=DIMS")
      ->allow_extra_args(false);
  command->add_option("--seed", inputs.seed, "Seed of random inputs")->capture_default_str();
}

int report(const Failure& failure) {
  const bool color = color_enabled(STDERR_FILENO);
  std::fflush(stdout);
  std::fprintf(stderr, "%stern:%s %s\n", color ? "\033[1;31m" : "", color ? "\033[0m" : "",
               failure.text.c_str());
  return failure.code;
}

}  // namespace

int tern::cli::command_line(int argc, char** argv) {
  CLI::App app(
      "tern runs models that ternc compiled.\n\n  tern run model.tern\n  tern run model.tern --input "
      "image=photo.npy --output-dir out\n  tern bench model.tern --threads 2\n",
      "tern");
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 success, 1 the run failed, 2 wrong usage, 3 the module is damaged or for another "
      "target, "
      "4 a file cannot be read or written.");

  RunOptions run;
  CLI::App* run_app = app.add_subcommand("run", "Run a model once and show its outputs");
  run_app->add_option("module", run.module, "The compiled model (.tern)")->required();
  add_input_options(run_app, run.inputs);
  run_app->add_option("--output-dir,-o", run.output_dir, "Folder for the outputs, as NAME.npy");
  run_app->add_option("--function", run.function, "Function to run; default: the first");
  add_device_options(run_app, run.device);

  BenchOptions bench;
  CLI::App* bench_app = app.add_subcommand("bench", "Measure load time, first run, steady runs and memory");
  bench_app->add_option("module", bench.module, "The compiled model (.tern)")->required();
  add_input_options(bench_app, bench.inputs);
  bench_app->add_option("--function", bench.function, "Function to run; default: the first");
  add_device_options(bench_app, bench.device);
  bench_app->add_option("--runs", bench.runs, "Number of steady runs; default: as many as fit in --seconds")
      ->check(CLI::Range(1, 1 << 30));
  bench_app->add_option("--seconds", bench.seconds, "Time for steady runs")
      ->check(number_between(0, 1e6))
      ->capture_default_str();
  bench_app->add_flag("--json", bench.json,
                      "JSON: median_ms, min_ms, p90_ms, load_ms, first_ms, peak_rss_mb and more");
  bench_app->add_flag("--dispatches", bench.dispatches,
                      "Also each dispatch: time, GFLOP/s, GB/s, share of the roofline, source nodes");
  bench_app
      ->add_option("--peak-gflops", bench.peak_gflops,
                   "With --dispatches: the device's most f32 GFLOP/s; default: measured on CPUs")
      ->check(number_between(1e-3, 1e9));
  bench_app
      ->add_option("--peak-gbs", bench.peak_gbs,
                   "With --dispatches: the device's most GB/s from memory; default: measured on CPUs")
      ->check(number_between(1e-3, 1e9));

  InspectOptions inspect;
  CLI::App* inspect_app =
      app.add_subcommand("inspect", "Show functions, dispatches, bytecode and sizes of a module");
  inspect_app->add_option("module", inspect.module, "The compiled model (.tern)")->required();
  inspect_app->add_flag("--json", inspect.json, "As JSON");
  inspect_app->add_flag("--bytecode", inspect.bytecode, "With the disassembled bytecode");
  inspect_app->add_flag("--commands", inspect.commands,
                        "With the whole module as text: slots, commands, bytecode");

  std::string verify_module;
  CLI::App* verify_app =
      app.add_subcommand("verify", "Check a module: structure, bytecode, the hash of every segment");
  verify_app->add_option("module", verify_module, "The compiled model (.tern)")->required();

  bool devices_json = false;
  CLI::App* devices_app = app.add_subcommand("devices", "List the devices that models can run on");
  devices_app->add_flag("--json", devices_json, "As JSON");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kSuccess : kUsage;
  }
  try {
    if (run_app->parsed()) return run_command(run);
    if (bench_app->parsed()) return bench_command(bench);
    if (inspect_app->parsed()) return inspect_command(inspect);
    if (verify_app->parsed()) return verify_command(verify_module);
    if (devices_app->parsed()) return devices_command(devices_json);
  } catch (const Failure& failure) {
    return report(failure);
  } catch (const std::bad_alloc&) {
    return report({kFailed, "The machine has not enough memory for this."});
  }
  return kUsage;
}
