// The drivers of a program, added by name in its main(): tern_cpu_driver_register(&registry). What is not
// added is not linked.
#pragma once

#include "hal/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_hal_device_info_t {
  char name[64];  // "AMD EPYC 9R45", terminated
  uint32_t ordinal;
} tern_hal_device_info_t;

// One static constant a driver.
struct tern_hal_driver_t {
  const char* name;         // "cpu"
  const char* description;  // a line for `tern devices`
  // Stores up to `capacity` infos and the number of devices there are; none is no failure.
  tern_status_t (*enumerate)(tern_allocator_t allocator, tern_hal_device_info_t* out_infos, uint32_t capacity,
                             uint32_t* out_count);
  tern_status_t (*create_device)(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                 tern_hal_device_t** out_device);
};

enum { TERN_HAL_MAX_DRIVERS = 8 };

// Zero-initialised by its owner, who passes it to whatever needs it; there is no global one.
typedef struct tern_hal_driver_registry_t {
  const tern_hal_driver_t* drivers[TERN_HAL_MAX_DRIVERS];
  uint32_t count;
} tern_hal_driver_registry_t;

// Fails when the registry is full or has the name already.
TERN_MUST_USE tern_status_t tern_hal_driver_registry_add(tern_hal_driver_registry_t* registry,
                                                         const tern_hal_driver_t* driver);

// Null when there is none of that name.
const tern_hal_driver_t* tern_hal_driver_registry_find(const tern_hal_driver_registry_t* registry,
                                                       tern_string_view_t name);

// Creates a device of a driver; `desc` may be null for the defaults. The allocator must outlive the device
// and is used by all its objects, from any thread.
TERN_MUST_USE tern_status_t tern_hal_driver_create_device(const tern_hal_driver_t* driver,
                                                          const tern_hal_device_desc_t* desc,
                                                          tern_allocator_t allocator,
                                                          tern_hal_device_t** out_device);

#ifdef __cplusplus
}  // extern "C"
#endif
