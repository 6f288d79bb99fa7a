// Between the files of hal/; not for drivers or callers.
#pragma once

#include "hal/command_buffer.h"

// Checks a range against what the recorded commands need of the slot and stores it there; a failure changes
// nothing.
extern "C" TERN_MUST_USE tern_status_t tern_hal_command_buffer_check_slot(tern_hal_command_buffer_t* commands,
                                                                          uint32_t index,
                                                                          tern_hal_range_t range);
