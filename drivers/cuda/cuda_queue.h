// What was submitted to a device and how far it is: submissions have serial numbers, and an event marks the
// end of each on the stream.
//
// Nothing runs on its own: whoever wants to know (a semaphore's query or wait, a later submission, wait_idle)
// looks at the events and so moves `completed` on. A submission that fails (a kernel reported a fault, or one
// that it depended on failed) leaves its serial and code in `failures`.
#pragma once

#include "drivers/cuda/cuda_api.h"
#include "hal/base/host_sync.h"
#include "hal/device.h"

namespace tern::cuda {

struct Device;
struct CommandBuffer;

constexpr uint32_t kInFlight = 64;  // submissions on the stream at once; one more waits
constexpr uint32_t kFailures = 64;  // failed submissions that are remembered
constexpr uint32_t kDependencies = 4;

struct InFlight {
  CUevent polled, slept_on;  // the second one raises an interrupt, which costs a run 1 us
  CUevent event;             // the one that was recorded
  CommandBuffer*
      recording;  // whose fault words are to be read; null: none. It drains the queue before it goes
  uint64_t depends[kDependencies];  // serials on this device whose failure is this submission's too
  uint32_t depends_count;
};

struct Failure {
  uint64_t serial;
  tern_status_t status;  // with a sentence, if a kernel said what was wrong
};

struct Queue {
  tern_mutex_t mutex;             // guards all below, and the order of launches on the stream
  uint64_t submitted;             // serial of the last submission; the first is 1
  uint64_t completed;             // all up to this one have ended
  uint64_t failure_count;         // ever
  int32_t sleeps;                 // atomic: the last wait outlasted its spinning, the next one may sleep
  InFlight in_flight[kInFlight];  // serial % kInFlight
  Failure failures[kFailures];    // failure number % kFailures
};

TERN_MUST_USE tern_status_t cuda_queue_create(Device* device);
void cuda_queue_destroy(Device* device);

TERN_MUST_USE tern_status_t cuda_queue_submit(tern_hal_device_t* device, const tern_hal_submit_t* submit,
                                              uint32_t changed);

// Whether the submission has ended; if so, *out_code is OK or why it failed. Fails if the device is lost.
TERN_MUST_USE tern_status_t cuda_queue_poll(Device* device, uint64_t serial, bool* out_done,
                                            tern_status_code_t* out_code);

// Waits for it until `deadline` (tern_hal_now's clock); *out_done says whether it ended.
TERN_MUST_USE tern_status_t cuda_queue_wait(Device* device, uint64_t serial, int64_t deadline, bool* out_done,
                                            tern_status_code_t* out_code);

// Waits for the recording's submissions and forgets it; it may go then.
void cuda_queue_forget(Device* device, CommandBuffer* commands);

// Waits for everything submitted.
TERN_MUST_USE tern_status_t cuda_queue_drain(Device* device);

}  // namespace tern::cuda
