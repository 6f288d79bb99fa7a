// An instance: the allocator that everything is made with, and the program's drivers. Nothing else is shared.
#pragma once

#include "hal/driver_registry.h"
#include "tern/tern.h"

struct tern_instance_t {
  tern_allocator_t allocator;
  tern_hal_driver_registry_t drivers;
};
