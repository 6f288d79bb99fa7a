// Which program of a module, and which variant of each kernel, a device can run: by target class and by
// conditions over capabilities. Knows no session, so that a program may ask before it makes one.
#pragma once

#include "hal/device.h"
#include "tern/tern.h"
#include "vm/module/module.h"

namespace tern::vm {

class Selector {
 public:
  enum Usable : uint8_t { kUnmet = 0, kUsable = 1, kFailed = 2 };  // kFailed: the device did not take it
  // usable: a Usable an executable of the module, which test_executables sets and the caller may change.
  Selector(tern_allocator_t allocator, const tern_module_t* module, tern_hal_device_t* device,
           uint8_t* usable)
      : allocator_(allocator), module_(module), device_(device), usable_(usable) {}

  tern_status_t test_executables();
  // Whether the program is for this device. Failures are those of the device.
  tern_status_t fits(const ProgramView& program, bool* out_fits) const;
  // Chooses the first variant of each kernel whose executable is usable. INCOMPATIBLE if a kernel has none,
  // saying what each of its executables lacks.
  tern_status_t choose(const ProgramView& program, uint8_t* out_variants) const;
  // That there is no program, with the programs there are.
  tern_status_t no_program() const;

 private:
  tern_allocator_t allocator_;
  const tern_module_t* module_;
  tern_hal_device_t* device_;
  uint8_t* usable_;

  // The first condition that does not hold, or null; its capability's value on the device.
  tern_status_t find_unmet(Slice<module::Condition> conditions, const module::Condition** out_unmet,
                           int64_t* out_value) const;
  tern_status_t explain(tern_status_t status, Slice<module::Condition> conditions) const;
  bool target_fits(module::TargetClass target) const;
  bool takes_anything() const;
};

}  // namespace tern::vm
