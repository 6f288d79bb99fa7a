// tern.hpp: tern.h for C++17 programs. Handles that release themselves, failures as exceptions or as values.
//
//   tern::Instance instance = tern::Instance::create();
//   tern::check(tern_cpu_driver_register(instance.drivers()));
//   tern::Device device = tern::Device::create(instance);
//   tern::Module module = tern::Module::load(instance, "model.tern", {TERN_CODE_TRUSTED});
//   tern::Session session = tern::Session::create(module, device);
//   session.invoke(inputs, outputs);
//
// Header only; adds nothing to libtern. Each handle converts to its C pointer, so all of tern.h stays usable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tern/tern.h"

namespace tern {

class Error : public std::runtime_error {
 public:
  explicit Error(tern_status_t status)
      : std::runtime_error(tern_status_message(status)), code_(tern_status_code(status)) {
    tern_status_free(status);
  }
  tern_status_code_t code() const { return code_; }

 private:
  tern_status_code_t code_;
};

// Throws a failure.
inline void check(tern_status_t status) {
  if (status) throw Error(status);
}

// A pointer with the function that gives it up.
template <typename T, void (*kRelease)(T*)>
class Handle {
 public:
  Handle() = default;
  explicit Handle(T* pointer) : pointer_(pointer) {}
  Handle(Handle&& other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      kRelease(pointer_);
      pointer_ = std::exchange(other.pointer_, nullptr);
    }
    return *this;
  }
  ~Handle() { kRelease(pointer_); }
  operator T*() const { return pointer_; }

 protected:
  T* pointer_ = nullptr;
};

struct Instance : Handle<tern_instance_t, tern_instance_destroy> {
  using Handle::Handle;
  static Instance create(const tern_instance_desc_t* desc = nullptr) {
    tern_instance_t* out = nullptr;
    check(tern_instance_create(desc, &out));
    return Instance(out);
  }
  struct tern_hal_driver_registry_t* drivers() const { return tern_instance_drivers(pointer_); }
};

struct Device : Handle<tern_device_t, tern_device_release> {
  using Handle::Handle;
  static Device create(tern_instance_t* instance, const tern_device_desc_t& desc = {}) {
    tern_device_t* out = nullptr;
    check(tern_device_create(instance, &desc, &out));
    return Device(out);
  }
};

// Memory of a device for inputs and outputs (see tern.h).
struct Buffer : Handle<tern_buffer_t, tern_buffer_release> {
  using Handle::Handle;
  static Buffer create(tern_device_t* device, uint64_t size) {
    tern_buffer_t* out = nullptr;
    check(tern_buffer_create(device, size, &out));
    return Buffer(out);
  }
  static Buffer import_address(tern_device_t* device, uint64_t address, uint64_t size) {
    tern_buffer_t* out = nullptr;
    check(tern_buffer_import(device, address, size, &out));
    return Buffer(out);
  }
  void read(uint64_t offset, void* out_data, uint64_t size) const {
    check(tern_buffer_read(pointer_, offset, out_data, size));
  }
  void write(uint64_t offset, const void* data, uint64_t size) const {
    check(tern_buffer_write(pointer_, offset, data, size));
  }
};

struct Module : Handle<tern_module_t, tern_module_release> {
  using Handle::Handle;
  static Module load(tern_instance_t* instance, const std::string& path,
                     const tern_module_desc_t& desc = {}) {
    tern_module_t* out = nullptr;
    check(tern_module_load_file(instance, path.c_str(), &desc, &out));
    return Module(out);
  }
  // The bytes stay the caller's and must outlive the module and its sessions.
  static Module load(tern_instance_t* instance, const void* data, size_t size,
                     const tern_module_desc_t& desc = {}) {
    tern_module_t* out = nullptr;
    check(tern_module_load_memory(instance, data, size, &desc, &out));
    return Module(out);
  }
  tern_tensor_info_t input(uint32_t function, uint32_t index) const {
    tern_tensor_info_t info;
    check(tern_module_input_info(pointer_, function, index, &info));
    return info;
  }
  tern_tensor_info_t output(uint32_t function, uint32_t index) const {
    tern_tensor_info_t info;
    check(tern_module_output_info(pointer_, function, index, &info));
    return info;
  }
};

struct Session : Handle<tern_session_t, tern_session_destroy> {
  using Handle::Handle;
  static Session create(tern_module_t* module, tern_device_t* device, const tern_session_desc_t& desc = {}) {
    tern_session_t* out = nullptr;
    check(tern_session_create(module, device, &desc, &out));
    return Session(out);
  }
  void invoke(const std::vector<tern_tensor_t>& inputs, std::vector<tern_tensor_t>& outputs,
              uint64_t timeout_ns = 0) {
    const tern_invoke_t args = {inputs.data(), outputs.data(), static_cast<uint32_t>(inputs.size()),
                                static_cast<uint32_t>(outputs.size()), timeout_ns};
    check(tern_session_invoke(pointer_, &args));
  }
};

// A view of dense values as a tensor: tern::tensor(values.data(), TERN_DTYPE_F32, 4, {2, 3}).
inline tern_tensor_t tensor(void* data, tern_dtype_t dtype, size_t element_bytes,
                            const std::vector<int64_t>& dims) {
  tern_tensor_t out = {};
  out.data = data;
  out.size = element_bytes;
  out.dtype = dtype;
  out.rank = static_cast<uint32_t>(dims.size());
  for (size_t i = 0; i < dims.size() && i < TERN_MAX_DIMS; ++i) {
    out.dims[i] = dims[i];
    out.size *= static_cast<uint64_t>(dims[i]);
  }
  return out;
}

// A tensor in a buffer; as an output, {} for the dimensions.
inline tern_tensor_t tensor(tern_buffer_t* buffer, uint64_t offset, tern_dtype_t dtype,
                            const std::vector<int64_t>& dims) {
  tern_tensor_t out = tensor(nullptr, dtype, 0, dims);
  out.buffer = buffer;
  out.buffer_offset = offset;
  return out;
}

}  // namespace tern
