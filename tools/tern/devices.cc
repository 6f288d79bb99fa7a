#include "tools/tern/devices.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "tools/tern/commands.h"

namespace tern::cli {
namespace {

struct Capability {
  uint32_t id;
  const char* name;
  const char* meaning;
};
constexpr Capability kCapabilities[] = {
#define TERN_CAPABILITY(id, name, meaning) {id, #name, meaning},
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};

std::vector<tern_device_info_t> list(tern_instance_t* instance) {
  std::array<tern_device_info_t, 64> infos;
  uint32_t count = 0;
  must(tern_device_enumerate(instance, infos.data(), infos.size(), &count));
  return {infos.begin(), infos.begin() + std::min<size_t>(count, infos.size())};
}

tern_status_t create(tern_instance_t* instance, const char* driver, uint32_t ordinal,
                     const DeviceOptions& options, Handle<tern_device_t>& out) {
  tern_device_desc_t desc = {};
  desc.driver = driver;
  desc.ordinal = ordinal;
  desc.thread_count = static_cast<uint32_t>(cpu_threads(options));
  tern_device_t* device = nullptr;
  const tern_status_t status = tern_device_create(instance, &desc, &device);
  out.reset(device);
  return status;
}

int64_t capability(tern_device_t* device, uint32_t id) {
  int64_t value = 0;
  must(tern_device_query_capability(device, id, &value));
  return value;
}

// GPUs before CPUs; what computes nothing never.
constexpr std::string_view kOrder[] = {"cuda", "vulkan", "cpu"};
int rank(const tern_device_info_t& info) {
  const auto at = std::find(std::begin(kOrder), std::end(kOrder), std::string_view(info.driver));
  return at == std::end(kOrder) ? -1 : static_cast<int>(at - std::begin(kOrder));
}

std::string first_sentence(tern_status_t status) {
  std::string text = tern_status_message(status);
  tern_status_free(status);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Whether the device is a GPU's driver computing on the processor.
bool is_software(tern_device_t* device) {
  for (const Capability& row : kCapabilities) {
    if (std::string_view(row.name) == "vulkan_software") return capability(device, row.id) != 0;
  }
  return false;
}

// *out_deferred: the device is software, and `software` does not say that such will do.
tern_status_t try_device(tern_instance_t* instance, const tern_module_t* module,
                         const tern_device_info_t& info, const DeviceOptions& options, bool software,
                         const MakeSession& make_session, Placed& placed, bool* out_deferred) {
  if (tern_status_t status = create(instance, info.driver, info.ordinal, options, placed.device))
    return status;
  *out_deferred = !software && is_software(placed.device.get());
  if (*out_deferred) return nullptr;
  // Cheap, and before weights are copied.
  if (tern_status_t status = tern_module_check_device(module, placed.device.get())) return status;
  tern_session_t* session = nullptr;
  const tern_status_t status = make_session(placed.device.get(), &session);
  placed.session.reset(session);
  placed.driver = info.driver;
  placed.ordinal = info.ordinal;
  return status;
}

// "cuda:0 (NVIDIA H100), code cuda_sm_90a"
std::string describe(const tern_device_info_t& info, const tern_session_t* session) {
  std::string out = std::string(info.driver) + ":" + std::to_string(info.ordinal) + " (" + info.name + ")";
  for (uint32_t i = 0; const char* name = tern_session_executable_name(session, i); ++i)
    out += (i ? ", " : ", code ") + std::string(name);
  return out;
}

Placed place_automatically(tern_instance_t* instance, const tern_module_t* module,
                           const DeviceOptions& options, const MakeSession& make_session) {
  std::vector<tern_device_info_t> infos = list(instance);
  std::erase_if(infos, [&](const tern_device_info_t& info) {
    return rank(info) < 0 || (options.ordinal >= 0 && static_cast<uint32_t>(options.ordinal) != info.ordinal);
  });
  std::sort(infos.begin(), infos.end(), [](const auto& a, const auto& b) {
    return std::pair(rank(a), a.ordinal) < std::pair(rank(b), b.ordinal);
  });
  std::string passed_over;
  for (std::string_view driver : kOrder) {
    if (std::none_of(infos.begin(), infos.end(), [&](const auto& info) { return driver == info.driver; }))
      passed_over += "; no " + std::string(driver) + " device";
  }
  // Software that stands in for a GPU comes behind the cpu.
  const size_t count = infos.size();
  for (size_t i = 0; i < infos.size(); ++i) {
    const tern_device_info_t info = infos[i];
    Placed placed;
    bool deferred = false;
    const tern_status_t status =
        try_device(instance, module, info, options, i >= count, make_session, placed, &deferred);
    if (deferred) {
      infos.push_back(info);
      continue;
    }
    if (!status) {
      std::fprintf(stderr, "on %s%s\n", describe(info, placed.session.get()).c_str(), passed_over.c_str());
      return placed;
    }
    passed_over += "; not on " + std::string(info.driver) + ":" + std::to_string(info.ordinal) + ": " +
                   first_sentence(status);
    placed.session.reset();
  }
  fail(kBadModule, "No device of this machine takes the module" + passed_over);
}

std::vector<const Capability*> nonzero(tern_device_t* device) {
  std::vector<const Capability*> rows;
  for (const Capability& row : kCapabilities) {
    if (capability(device, row.id)) rows.push_back(&row);
  }
  return rows;
}

}  // namespace

Handle<tern_instance_t> make_instance() {
  tern_instance_t* instance = nullptr;
  must(tern_instance_create(nullptr, &instance));
  Handle<tern_instance_t> owned(instance);
  must(tern_cpu_driver_register(tern_instance_drivers(instance)));
  must(tern_cuda_driver_register(tern_instance_drivers(instance)));
#if TERN_HAS_VULKAN
  must(tern_vulkan_driver_register(tern_instance_drivers(instance)));
#endif
  must(tern_null_driver_register(tern_instance_drivers(instance)));
  return owned;
}

void check_device_options(const DeviceOptions& options, command_line::Problems& problems) {
  constexpr std::string_view kNames[] = {"cpu", "cuda", "vulkan", "null", "auto"};
  if (std::find(std::begin(kNames), std::end(kNames), options.driver) == std::end(kNames))
    problems.add("--driver is cpu, cuda, vulkan, null or auto, not '" + options.driver + "'.");
}

int cpu_threads(const DeviceOptions& options) {
  return options.threads > 0 ? options.threads : static_cast<int>(tern_cpu_usable_core_count());
}

Placed place(tern_instance_t* instance, const tern_module_t* module, const DeviceOptions& options,
             const MakeSession& make_session) {
  if (options.driver == "auto") return place_automatically(instance, module, options, make_session);
  Placed placed;
  placed.driver = options.driver;
  placed.ordinal = static_cast<uint32_t>(std::max(options.ordinal, 0));
  must(create(instance, options.driver.c_str(), placed.ordinal, options, placed.device));
  tern_session_t* session = nullptr;
  must(make_session(placed.device.get(), &session));
  placed.session.reset(session);
  return placed;
}

std::string device_name(tern_instance_t* instance, const Placed& placed) {
  for (const tern_device_info_t& info : list(instance))
    if (placed.driver == info.driver && placed.ordinal == info.ordinal) return info.name;
  return {};
}

int devices_command(bool json) {
  const Handle<tern_instance_t> instance = make_instance();
  Json out;
  if (json) out.open('[');
  for (const tern_device_info_t& info : list(instance.get())) {
    const bool is_cpu = std::string_view(info.driver) == "cpu";
    Handle<tern_device_t> device;
    const tern_status_t status = create(instance.get(), info.driver, info.ordinal, {}, device);
    const std::string problem = status ? first_sentence(status) : "";
    if (json) {
      out.open('{').text("driver", info.driver).integer("ordinal", info.ordinal).text("name", info.name);
      if (is_cpu) out.integer("cores", tern_cpu_usable_core_count());
      if (!problem.empty()) out.text("problem", problem);
      out.open('{', "capabilities");
      for (const Capability& row : kCapabilities) {
        if (device) out.integer(row.name, capability(device.get(), row.id));
      }
      out.close().close();
      continue;
    }
    std::printf("%s:%u  %s", bold(info.driver).c_str(), info.ordinal, info.name);
    if (is_cpu)
      std::printf(", %s",
                  command_line::counted(tern_cpu_usable_core_count(), "usable core", "usable cores").c_str());
    std::printf("\n");
    if (!problem.empty()) std::printf("  cannot be used: %s\n", problem.c_str());
    if (!device) continue;
    for (const Capability* row : nonzero(device.get()))
      std::printf("  %-28s %lld\n", row->name, static_cast<long long>(capability(device.get(), row->id)));
  }
  if (json) std::fputs(out.take().c_str(), stdout);
  return kSuccess;
}

}  // namespace tern::cli
