// Maps a module file (POSIX).
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm/module/module.h"
#include "vm/session/instance.h"

namespace {

void unmap(void*, const void* data, size_t size) {
  munmap(const_cast<void*>(data), size);
}

tern_status_t io_error([[maybe_unused]] tern_instance_t* instance, [[maybe_unused]] const char* doing,
                       [[maybe_unused]] const char* path) {
  const int error = errno;
  return tern_status_make(instance->allocator, error == ENOENT ? TERN_STATUS_NOT_FOUND : TERN_STATUS_IO_ERROR,
                          "Cannot %s '%s': %s.", doing, path, strerror(error));
}

}  // namespace

tern_status_t tern_module_load_file(tern_instance_t* instance, const char* path,
                                    const tern_module_desc_t* desc, tern_module_t** out_module) {
  if (!instance || !path || !out_module) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_module = nullptr;
  const tern_module_desc_t defaults = {};
  if (!desc) desc = &defaults;
  const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe without a writer is no wait
  if (file < 0) return io_error(instance, "open", path);
  struct stat info;
  tern_status_t status = TERN_OK;
  void* data = MAP_FAILED;
  size_t size = 0;
  if (fstat(file, &info) != 0) {
    status = io_error(instance, "look at", path);
  } else if (!S_ISREG(info.st_mode) || info.st_size <= 0) {
    status = tern_status_make(instance->allocator, TERN_STATUS_MALFORMED,
                              "'%s' is no tern module: it is empty or no regular file.", path);
  } else {
    size = static_cast<size_t>(info.st_size);
    data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) status = io_error(instance, "map", path);
  }
  close(file);
  if (status != TERN_OK) return status;
  return TERN_OK == (status = tern::vm::load_module(instance->allocator, data, size, desc->code_policy,
                                                    desc->verify_weights != 0, unmap, nullptr, out_module))
             ? TERN_OK
             : tern_status_annotate(status, "\n - While loading '%s'", path);
}
