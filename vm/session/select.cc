#include "vm/session/select.h"

#include <string.h>

#include "vm/module/verify.h"

namespace tern::vm {

using namespace module;

namespace {

constexpr uint32_t kCapabilityCount = 0
#define TERN_CAPABILITY(id, name, meaning) +1
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
    ;
#define TERN_CAPABILITY(id, name, meaning) \
  static_assert(id < kCapabilityCount, "rows are numbered without gaps");
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY

bool is_driver(tern_hal_device_t* device, const char* name) {
  return tern_string_view_equal(tern_hal_device_driver_name(device), tern_string_view(name));
}

#if !TERN_STATUS_NO_MESSAGES
const char* capability_name(uint32_t id) {
  const char* name =
#define TERN_CAPABILITY(row, name, meaning) #name "\0"
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
      ;
  for (; id; --id) name += strlen(name) + 1;
  return name;
}

const char* relation(ConditionOp op) {
  return op == ConditionOp::AtLeast  ? "at least"
         : op == ConditionOp::Equal  ? "exactly"
         : op == ConditionOp::AtMost ? "at most"
                                     : "(in a way unknown here)";
}
#endif

}  // namespace

// The null driver computes nothing, so it takes any program and the baseline (last) variant of each kernel.
bool Selector::takes_anything() const {
  return is_driver(device_, "null");
}

bool Selector::target_fits(TargetClass target) const {
  if (target == TargetClass::Any || takes_anything()) return true;
  if (target == TargetClass::Cuda) return is_driver(device_, "cuda");
  if (target == TargetClass::Vulkan) return is_driver(device_, "vulkan");
  int64_t cpu_arch = 0;
  tern_status_free(tern_hal_device_query_capability(device_, 0, &cpu_arch));  // 0 then: no CPU
  return cpu_arch != 0 && static_cast<int64_t>(target) == cpu_arch;
}

tern_status_t Selector::find_unmet(Slice<Condition> conditions, const Condition** out_unmet,
                                   int64_t* out_value) const {
  *out_unmet = nullptr;
  for (const Condition& condition : conditions) {
    int64_t value = 0;
    TERN_RETURN_IF_ERROR(tern_hal_device_query_capability(device_, condition.capability(), &value));
    const bool holds = condition.op() == ConditionOp::AtLeast  ? value >= condition.value()
                       : condition.op() == ConditionOp::Equal  ? value == condition.value()
                       : condition.op() == ConditionOp::AtMost ? value <= condition.value()
                                                               : false;
    // Rows that this build does not know are absent, and nothing is at most what is absent.
    if (holds && condition.capability() < kCapabilityCount) continue;
    *out_unmet = &condition;
    *out_value = value;
    return TERN_OK;
  }
  return TERN_OK;
}

tern_status_t Selector::explain(tern_status_t status, [[maybe_unused]] Slice<Condition> conditions) const {
#if !TERN_STATUS_NO_MESSAGES
  const Condition* unmet = nullptr;
  int64_t value = 0;
  const tern_status_t asked = find_unmet(conditions, &unmet, &value);
  tern_status_free(asked);
  if (asked == TERN_OK && unmet) {
    const bool known = unmet->capability() < kCapabilityCount;
    status = tern_status_annotate(status, " needs %s to be %s %lld; it is %lld",
                                  known ? capability_name(unmet->capability()) : "a newer capability",
                                  relation(unmet->op()), static_cast<long long>(unmet->value()),
                                  static_cast<long long>(value));
  }
#endif
  return status;
}

tern_status_t Selector::no_program() const {
#if TERN_STATUS_NO_MESSAGES
  return tern_status_from_code(TERN_STATUS_INCOMPATIBLE);
#else
  const tern_string_view_t driver = tern_hal_device_driver_name(device_);
  tern_status_t status =
      tern_status_make(allocator_, TERN_STATUS_INCOMPATIBLE,
                       "The module has no program for this device (driver '%.*s').", TERN_SV_ARG(driver));
  for (uint32_t i = 0; i < module_->program_count; ++i) {
    const ProgramView& program = module_->programs[i];
    status =
        tern_status_annotate(status, "\n - It has one for %s%s", EnumNameTargetClass(program.table->target()),
                             program.unusable != TERN_STATUS_OK ? " that needs a newer libtern" : "");
    if (target_fits(program.table->target())) {
      status = tern_status_annotate(status, ", which");
      status = explain(status, slice(program.table->conditions()));
    }
  }
  return status;
#endif
}

tern_status_t Selector::test_executables() {
  for (uint32_t i = 0; i < count(module_->root->executables()); ++i) {
    const Condition* unmet = nullptr;
    int64_t value = 0;
    TERN_RETURN_IF_ERROR(
        find_unmet(slice(module_->root->executables()->Get(i)->conditions()), &unmet, &value));
    usable_[i] = unmet ? kUnmet : kUsable;
  }
  return TERN_OK;
}

tern_status_t Selector::fits(const ProgramView& program, bool* out_fits) const {
  *out_fits = false;
  if (program.unusable != TERN_STATUS_OK || !target_fits(program.table->target())) return TERN_OK;
  const Condition* unmet = nullptr;
  int64_t value = 0;
  TERN_RETURN_IF_ERROR(find_unmet(slice(program.table->conditions()), &unmet, &value));
  *out_fits = !unmet || takes_anything();
  return TERN_OK;
}

tern_status_t Selector::choose(const ProgramView& program, uint8_t* out_variants) const {
  const auto* kernels = program.table->kernels();
  for (uint32_t i = 0; i < count(kernels); ++i) {
    const Slice<Variant> variants = slice(kernels->Get(i)->variants());
    uint32_t chosen = 0;
    while (chosen < variants.size && usable_[variants[chosen].executable()] != kUsable) ++chosen;
    if (chosen == variants.size && takes_anything() &&
        usable_[variants[chosen - 1].executable()] != kFailed) {
      --chosen;
    }
    out_variants[i] = static_cast<uint8_t>(chosen);
    if (chosen < variants.size) continue;
    tern_status_t status = tern_status_make(allocator_, TERN_STATUS_INCOMPATIBLE,
                                            "Kernel '%s' has no variant that this device can run.",
                                            text(kernels->Get(i)->name()));
    for (const Variant& variant : variants) {
      const Executable* executable = module_->root->executables()->Get(variant.executable());
      status = tern_status_annotate(status, "\n - Executable '%s'", text(executable->name()));
      status = usable_[variant.executable()] == kFailed ? tern_status_annotate(status, " cannot be loaded")
                                                        : explain(status, slice(executable->conditions()));
    }
    return status;
  }
  return TERN_OK;
}

}  // namespace tern::vm

using namespace tern::vm;

tern_status_t tern_module_check_device(const tern_module_t* module, tern_device_t* device) {
  if (!module || !device) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  const tern_allocator_t allocator = module->allocator;
  // One block: usable executables, then a kernel's variant each.
  const size_t executables = count(module->root->executables());
  size_t kernels = 0;
  for (uint32_t i = 0; i < module->program_count; ++i) {
    const size_t own = count(module->programs[i].table->kernels());
    if (own > kernels) kernels = own;
  }
  const size_t size = executables + kernels + 1;
  uint8_t* memory = static_cast<uint8_t*>(tern_allocate(allocator, size, 1));
  if (!memory) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  Selector selector(allocator, module, device, memory);
  tern_status_t status = selector.test_executables();
  tern_status_t reason = TERN_OK;  // of the first program that fits and has a kernel too few
  bool found = false;
  for (uint32_t i = 0; status == TERN_OK && !found && i < module->program_count; ++i) {
    bool fits = false;
    status = selector.fits(module->programs[i], &fits);
    if (status != TERN_OK || !fits) continue;
    tern_status_t chosen = selector.choose(module->programs[i], memory + executables);
    found = chosen == TERN_OK;
    if (reason == TERN_OK) {
      reason = chosen;
    } else {
      tern_status_free(chosen);
    }
  }
  if (status == TERN_OK && !found) {
    status = reason != TERN_OK ? reason : selector.no_program();
  } else {
    tern_status_free(reason);
  }
  tern_release(allocator, memory, size);
  return status;
}
