# lib/libtern.a: the whole runtime in one archive, for programs that embed it. Users need also -lm, -lpthread and, before
# glibc 2.34, -ldl.
set(parts)
foreach(part tern_hal_base tern_hal tern_driver_cpu tern_driver_cuda tern_driver_null tern_vm_module tern_vm)
  get_target_property(type ${part} TYPE)
  if(NOT type STREQUAL INTERFACE_LIBRARY)
    list(APPEND parts $<TARGET_OBJECTS:${part}>)
  endif()
endforeach()
add_library(libtern STATIC ${parts})
set_target_properties(libtern PROPERTIES OUTPUT_NAME tern LINKER_LANGUAGE CXX)
target_include_directories(libtern INTERFACE ${PROJECT_SOURCE_DIR}/vm/include)
target_link_libraries(libtern INTERFACE m pthread ${CMAKE_DL_LIBS})
