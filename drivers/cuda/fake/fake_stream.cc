// Streams (one order for all of them) and events. Work waits in a queue until somebody wants its result.
#include <time.h>

#include <deque>

#include "drivers/cuda/fake/fake_cuda.h"

struct tern::cuda::CUevent_st {
  bool pending = false;
  double time = 0;
  bool timed = false;
};

namespace tern::cuda {
namespace fake {
namespace {

std::deque<std::function<void()>> queue;
int stream_count = 0;

bool run_one() {
  if (queue.empty()) return false;
  auto work = std::move(queue.front());
  queue.pop_front();
  work();
  return true;
}

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

}  // namespace

long long live_streams_and_events = 0;

void enqueue(std::function<void()> work) {
  queue.push_back(std::move(work));
}

}  // namespace fake

using namespace fake;

CUresult cuStreamCreate(CUstream* stream, unsigned) {
  FAKE_ENTER("cuStreamCreate");
  ++live_streams_and_events;
  *stream = reinterpret_cast<CUstream>(&stream_count);
  return CUDA_SUCCESS;
}
CUresult cuStreamDestroy_v2(CUstream) {
  FAKE_ENTER("cuStreamDestroy");
  while (run_one()) {
  }
  --live_streams_and_events;
  return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream) {
  {
    FAKE_ENTER("cuStreamSynchronize");
    while (run_one()) {
    }
  }
  FAKE_ENTER("cuStreamSynchronize (end)");  // what ran may have failed
  return CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent* event, unsigned flags) {
  FAKE_ENTER("cuEventCreate");
  ++live_streams_and_events;
  *event = new CUevent_st;
  (*event)->timed = !(flags & CU_EVENT_DISABLE_TIMING);
  return CUDA_SUCCESS;
}
CUresult cuEventDestroy_v2(CUevent event) {
  FAKE_ENTER("cuEventDestroy");
  while (event->pending && run_one()) {
  }
  --live_streams_and_events;
  delete event;
  return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream) {
  FAKE_ENTER("cuEventRecord");
  while (event->pending && run_one()) {  // one recording at a time is all that the fake follows
  }
  event->pending = true;
  enqueue([event] {
    event->pending = false;
    event->time = now();
  });
  return CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent event) {
  {
    FAKE_ENTER("cuEventQuery");
    if (event->pending) run_one();
    if (event->pending) return CUDA_ERROR_NOT_READY;
  }
  FAKE_ENTER("cuEventQuery (end)");
  return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent event) {
  {
    FAKE_ENTER("cuEventSynchronize");
    while (event->pending && run_one()) {
    }
  }
  FAKE_ENTER("cuEventSynchronize (end)");
  return CUDA_SUCCESS;
}
CUresult cuEventElapsedTime(float* milliseconds, CUevent begin, CUevent end) {
  FAKE_ENTER("cuEventElapsedTime");
  if (begin->pending || end->pending) return CUDA_ERROR_NOT_READY;
  if (!begin->timed || !end->timed) return CUDA_ERROR_INVALID_VALUE;
  *milliseconds = static_cast<float>(end->time - begin->time);
  return CUDA_SUCCESS;
}

}  // namespace tern::cuda
