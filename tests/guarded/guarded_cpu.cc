// The cpu driver with a guard around everything that a kernel is given. A program that links this library
// registers it in the place of the cpu driver (-Wl,--wrap=tern_cpu_driver_register), and nothing else about
// the program changes.
//
// Each dispatch runs twice, on copies of its bindings and with scratch of just the size that it asks for, all
// between guard pages: once whole, flush with the guards behind; once in pieces, the last one first, flush
// with those in front. What a kernel only writes holds another pattern in each run, and so does its scratch.
// Bytes that differ between the runs depend on memory that nobody wrote, or on how the tiles are split. What
// a kernel only reads is write-protected.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "drivers/cpu/cpu_command_buffer.h"
#include "drivers/cpu/cpu_device.h"
#include "drivers/cpu/float_environment.h"
#include "tests/guarded/guarded_memory.h"

extern "C" tern_status_t __real_tern_cpu_driver_register(tern_hal_driver_registry_t* registry);

namespace tern::test {
namespace {

constexpr uint8_t kPatterns[2] = {0xff, 0x7f};  // NaN and a huge number, or -1 and a large integer
// Others, so that a copy of them is told from what was not written.
constexpr uint8_t kScratchPatterns[2] = {0xfb, 0x7e};
// Of a last byte, which elements of 2 or 4 bits may fill in part: each bit says whether it was written.
constexpr uint8_t kLastPatterns[2] = {0xff, 0x00};
constexpr int64_t kPieces = 24;

// Bindings whose bytes overlap: they must overlap in their copy as well.
struct Group {
  uint8_t* begin;
  int64_t size;
  bool read, written, external;
  std::vector<uint32_t> bindings;
  std::vector<uint8_t> results[2];
};

std::vector<Group> groups_of(const tern_hal_command_buffer_t& head, const tern_hal_command_t& command,
                             void* const* addresses) {
  std::vector<Group> groups;
  for (uint32_t i = 0; i < command.binding_count; ++i) {
    const tern_hal_binding_t& binding = head.bindings[command.first_binding + i];
    Group next{static_cast<uint8_t*>(addresses[i]),
               tern_hal_operand_value(binding.length, head.last_params),
               (binding.access & TERN_HAL_ACCESS_READ) != 0,
               (binding.access & TERN_HAL_ACCESS_WRITE) != 0,
               head.slots[binding.slot].slot_class == TERN_HAL_SLOT_EXTERNAL,
               {i},
               {}};
    for (size_t k = 0; k < groups.size();) {
      Group& g = groups[k];
      if (g.begin >= next.begin + next.size || next.begin >= g.begin + g.size) {
        ++k;
        continue;
      }
      uint8_t* end = std::max(g.begin + g.size, next.begin + next.size);
      next.begin = std::min(g.begin, next.begin);
      next.size = end - next.begin;
      next.read |= g.read, next.written |= g.written, next.external |= g.external;
      next.bindings.insert(next.bindings.end(), g.bindings.begin(), g.bindings.end());
      groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(k));
      k = 0;
    }
    groups.push_back(std::move(next));
  }
  return groups;
}

class GuardedDispatch {
 public:
  GuardedDispatch(const cpu::CommandBuffer* commands, const cpu::Command& call)
      : head_(commands->head), command_(head_.commands[call.index]), call_(call) {}

  // The kernel's code; what it did wrong stands in `problem`.
  int32_t run(std::string* problem) {
    groups_ = groups_of(head_, command_, call_.args.bindings);
    for (int number = 0; number < 2; ++number) {
      const int32_t code = run_once(number, problem);
      if (code != TERN_KERNEL_OK || !problem->empty()) return code;
    }
    *problem = write_back();
    return TERN_KERNEL_OK;
  }

 private:
  int32_t run_once(int number, std::string* problem) {
    const auto side = number == 0 ? GuardedMemory::kBack : GuardedMemory::kFront;
    std::vector<GuardedMemory> memories;
    std::vector<void*> pointers(command_.binding_count);
    for (const Group& g : groups_) {
      // Kernels take memory of any alignment behind an element's, so that an end may touch the guard.
      const int64_t alignment = number == 0 ? 1 : 64,
                    remainder = number == 0 ? 0 : reinterpret_cast<uintptr_t>(g.begin) % 64;
      GuardedMemory& memory = memories.emplace_back(g.size, side, alignment, remainder);
      if (g.written && !g.read) {
        memset(memory.data(), kPatterns[number], static_cast<size_t>(g.size));
        memset(memory.data() + g.size - 1, kLastPatterns[number], g.size ? 1 : 0);
      } else if (g.size) {
        memcpy(memory.data(), g.begin, static_cast<size_t>(g.size));
      }
      for (uint32_t b : g.bindings)
        pointers[b] = memory.data() + (static_cast<uint8_t*>(call_.args.bindings[b]) - g.begin);
    }
    GuardedMemory scratch(call_.scratch, side, 64);
    const tern_kernel_args_t args = {pointers.data(), call_.args.params};
    for (size_t k = 0; k < groups_.size(); ++k) {
      if (!groups_[k].written) memories[k].make_read_only();
    }
    const int32_t code = run_pieces(number, args, scratch, memories, problem);
    for (size_t k = 0; k < groups_.size() && problem->empty(); ++k) {
      const std::string damage = groups_[k].written ? memories[k].damage() : "";
      if (!damage.empty()) *problem = damage + " of " + name_of(groups_[k]);
      if (groups_[k].written)
        groups_[k].results[number].assign(memories[k].data(), memories[k].data() + groups_[k].size);
    }
    return code;
  }

  int32_t run_pieces(int number, const tern_kernel_args_t& args, GuardedMemory& scratch,
                     const std::vector<GuardedMemory>& memories, std::string* problem) {
    const int64_t pieces = number == 0 ? 1 : std::min(call_.tiles, kPieces);
    int32_t code = TERN_KERNEL_OK;
    for (int64_t p = pieces - 1; p >= 0 && code == TERN_KERNEL_OK && problem->empty(); --p) {
      const int64_t begin = call_.tiles * p / pieces, end = call_.tiles * (p + 1) / pieces;
      memset(scratch.data(), kScratchPatterns[number], static_cast<size_t>(call_.scratch));
      const Fault fault =
          call_guarded([&] { code = call_.function(&args, begin, end, scratch.data(), call_.scratch); });
      if (fault.happened) *problem = text_of(fault, scratch, memories);
      const std::string damage = scratch.damage();
      if (problem->empty() && !damage.empty())
        *problem = damage + " of its scratch of " + std::to_string(call_.scratch) + " bytes";
      if (!problem->empty())
        *problem += " (tiles " + std::to_string(begin) + " to " + std::to_string(end) + ")";
    }
    return code;
  }

  std::string name_of(const Group& g) const {
    std::string text = "binding";
    for (uint32_t b : g.bindings) text += " " + std::to_string(b);
    return text + " of " + std::to_string(g.size) + " bytes";
  }

  std::string text_of(const Fault& fault, const GuardedMemory& scratch,
                      const std::vector<GuardedMemory>& memories) const {
    if (!fault.address) return "an access at an address that is not aligned";
    if (scratch.holds(fault.address))
      return scratch.describe(fault.address, fault.store) + " of its scratch of " +
             std::to_string(call_.scratch) + " bytes";
    for (size_t k = 0; k < memories.size(); ++k) {
      if (memories[k].holds(fault.address))
        return memories[k].describe(fault.address, fault.store) + " of " + name_of(groups_[k]);
    }
    return "an access to memory far from all that it is given";
  }

  // Bytes that both runs agree on are results; a byte that kept both patterns was not written.
  std::string write_back() {
    for (Group& g : groups_) {
      if (!g.written) continue;
      const bool patterns = !g.read;
      for (size_t i = 0; i < static_cast<size_t>(g.size); ++i) {
        const uint8_t a = g.results[0][i], b = g.results[1][i];
        if (a == b) {
          g.begin[i] = a;
        } else if (patterns && i + 1 == static_cast<size_t>(g.size)) {
          g.begin[i] = static_cast<uint8_t>((a & ~(a ^ b)) | (g.begin[i] & (a ^ b)));
        } else if (!patterns || a != kPatterns[0] || b != kPatterns[1]) {
          return "byte " + std::to_string(i) + " of " + name_of(g) +
                 " depends on memory that nobody wrote, or on how tiles are split";
        }
      }
    }
    return "";
  }

  const tern_hal_command_buffer_t& head_;
  const tern_hal_command_t& command_;
  const cpu::Command& call_;
  std::vector<Group> groups_;
};

tern_status_t run_command(const cpu::CommandBuffer* commands, const cpu::Command& call) {
  const tern_hal_command_t& command = commands->head.commands[call.index];
  if (call.tiles == 0) return TERN_OK;
  int32_t code = TERN_KERNEL_OK;
  std::string problem;
  if (command.kind == TERN_HAL_COMMAND_DISPATCH) {
    code = GuardedDispatch(commands, call).run(&problem);
  } else {
    code = call.function(&call.args, 0, call.tiles, nullptr, 0);
  }
  if (!problem.empty()) {
    const tern_string_view_t name = command.executable->entries[command.entry].name;
    return tern_status_make(commands->head.device->allocator, TERN_STATUS_INTERNAL,
                            "Guarded memory: the kernel '%.*s' makes %s.\n - While dispatching '%.*s'",
                            TERN_SV_ARG(name), problem.c_str(), TERN_SV_ARG(command.label));
  }
  return code == TERN_KERNEL_OK ? TERN_OK : tern_hal_kernel_failure(&commands->head, code, call.index);
}

tern_status_t submit(tern_hal_device_t*, const tern_hal_submit_t* submit, uint32_t changed) {
  auto* commands = reinterpret_cast<cpu::CommandBuffer*>(submit->command_buffer);
  if (submit->wait_count) TERN_RETURN_IF_ERROR(tern_hal_host_wait_all(submit));
  if (changed) TERN_RETURN_IF_ERROR(cpu::cpu_command_buffer_patch(commands, changed));
  const cpu::DefaultFloatEnvironment environment;
  for (uint32_t i = 0; i < commands->command_count; ++i) {
    TERN_RETURN_IF_ERROR(run_command(commands, commands->commands[i]));
  }
  return submit->signal_count ? tern_hal_host_signal_all(submit) : TERN_OK;
}

tern_status_t create_device(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                            tern_hal_device_t** out_device) {
  static tern_hal_device_vtable_t guarded;
  TERN_RETURN_IF_ERROR(cpu::cpu_device_create(desc, allocator, out_device));
  guarded = *(*out_device)->vtable;
  guarded.submit = submit;
  (*out_device)->vtable = &guarded;
  return TERN_OK;
}

}  // namespace
}  // namespace tern::test

extern "C" tern_status_t __wrap_tern_cpu_driver_register(tern_hal_driver_registry_t* registry) {
  static tern_hal_driver_t driver;
  TERN_RETURN_IF_ERROR(__real_tern_cpu_driver_register(registry));
  const tern_hal_driver_t*& last = registry->drivers[registry->count - 1];
  driver = *last;
  driver.create_device = tern::test::create_device;
  last = &driver;
  return TERN_OK;
}
