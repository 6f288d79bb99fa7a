# `cmake --install`: the tools, libtern as archive and as shared library, its headers, and what finds them:
# find_package(tern) with the targets tern::tern (the archive) and tern::shared, and tern.pc for pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(libraries libtern)
if(TARGET libtern_shared)
  list(APPEND libraries libtern_shared)
  set_target_properties(libtern_shared PROPERTIES EXPORT_NAME shared)
endif()
set_target_properties(libtern PROPERTIES EXPORT_NAME tern)
install(TARGETS ${libraries} EXPORT tern
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT tern NAMESPACE tern:: FILE ternTargets.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tern)
install(DIRECTORY vm/include/tern DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# The rows that tern_device_query_capability answers.
install(FILES schemas/abi/capabilities.def DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tern)
# What drivers take as tern_device_desc_t::driver_options.
install(FILES schemas/abi/driver_options.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tern)
install(FILES drivers/vulkan/quirks.def DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tern RENAME vulkan_quirks.def)

set(programs tern)
if(TARGET ternc)
  list(APPEND programs ternc)
endif()
install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/ternConfig.cmake
  "include(\${CMAKE_CURRENT_LIST_DIR}/ternTargets.cmake)\n")
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/ternConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ternConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/ternConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tern)

# Paths from the file's own place: an installed folder may be moved. Static linking: pkg-config --static.
configure_file(cmake/tern.pc.in tern.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/tern.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
