// Work on several threads whose result does not depend on how many there are: each job writes to a place of
// its own.
#pragma once

#include <cstddef>
#include <functional>

namespace tern {

// Calls job(0) to job(count - 1), each once and beginning in that order, on at most `threads` threads, of
// which the caller's is one, and returns when all have ended. What a job throws is thrown here (of several,
// the one of the first job), after the others.
void parallel_for(size_t count, int threads, const std::function<void(size_t)>& job);

}  // namespace tern
