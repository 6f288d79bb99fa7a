# lib/libtern.a: the whole runtime in one archive, for programs that embed it. Users need also -lm, -lpthread and, before
# glibc 2.34, -ldl.
set(parts)
set(targets tern_hal_base tern_hal tern_driver_cpu tern_driver_cuda tern_driver_null tern_vm_module tern_vm)
if(TARGET tern_driver_vulkan)
  list(APPEND targets tern_driver_vulkan)
endif()
foreach(part ${targets})
  get_target_property(type ${part} TYPE)
  if(NOT type STREQUAL INTERFACE_LIBRARY)
    list(APPEND parts $<TARGET_OBJECTS:${part}>)
  endif()
endforeach()
add_library(libtern STATIC ${parts})
set_target_properties(libtern PROPERTIES OUTPUT_NAME tern LINKER_LANGUAGE CXX)
target_include_directories(libtern INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/vm/include>)
target_link_libraries(libtern INTERFACE m pthread ${CMAKE_DL_LIBS})

# lib/libtern.so: the same for programs that load it, from C or from another language. It exports what tern.h declares.
# With sanitizers it could be loaded only by programs that have them too.
if(NOT TERN_SANITIZE AND NOT TERN_SANITIZE_THREADS)
  add_library(libtern_shared SHARED ${parts})
  set_target_properties(libtern_shared PROPERTIES OUTPUT_NAME tern LINKER_LANGUAGE C
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
  target_include_directories(libtern_shared INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/vm/include>)
  target_link_libraries(libtern_shared PRIVATE m pthread ${CMAKE_DL_LIBS})
  target_link_options(libtern_shared PRIVATE -Wl,--no-undefined -Wl,--as-needed)
endif()
