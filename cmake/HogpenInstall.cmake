# `cmake --install`: the command, and a package for `find_package(hogpen)` with the targets hogpen::kernels,
# hogpen::base, hogpen::runtime and hogpen::models, and hogpen::frame and hogpen::tables where Arrow is. Headers keep
# their places below include/hogpen, so that a consumer writes #include "runtime/memory/arena.h" as hogpen itself does.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(hogpen_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hogpen)

set(hogpen_parts kernels base runtime models)
if(HOGPEN_HAS_FRAME)
  list(APPEND hogpen_parts frame tables)
endif()
foreach(part IN LISTS hogpen_parts)
  set_target_properties(hogpen_${part} PROPERTIES EXPORT_NAME ${part})
  target_compile_features(hogpen_${part} PUBLIC cxx_std_20)
  install(TARGETS hogpen_${part} EXPORT hogpen_targets
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hogpen)
endforeach()
foreach(part IN ITEMS kernels runtime models)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${part} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hogpen
          FILES_MATCHING PATTERN "*.h")
endforeach()

# LibTorch and Arrow stay where they are: the command finds them there. (INSTALL_RPATH_USE_LINK_PATH would leave out .venv, which lies
# below the source tree.)
cmake_path(GET LibTorch_CPU_LIBRARY PARENT_PATH hogpen_torch_lib)
set(hogpen_libraries ${hogpen_torch_lib})
set(hogpen_arrow_root "")
if(HOGPEN_HAS_FRAME)
  cmake_path(GET Arrow_arrow_LIBRARY PARENT_PATH hogpen_arrow_lib)
  list(APPEND hogpen_libraries ${hogpen_arrow_lib})
  set(hogpen_arrow_root ${Arrow_ROOT_FOUND})
endif()
set(hogpen_programs hogpen_command)
if(TARGET hogpen_frame_command)
  list(APPEND hogpen_programs hogpen_frame_command)
endif()
set_target_properties(${hogpen_programs} PROPERTIES INSTALL_RPATH "${hogpen_libraries}")
install(TARGETS ${hogpen_programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

install(EXPORT hogpen_targets NAMESPACE hogpen:: FILE hogpenTargets.cmake DESTINATION ${hogpen_package_dir})
cmake_path(GET hogpen_torch_lib PARENT_PATH hogpen_torch_root)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/hogpenConfig.cmake.in
  ${PROJECT_BINARY_DIR}/hogpenConfig.cmake INSTALL_DESTINATION ${hogpen_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hogpenConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/hogpenConfig.cmake ${PROJECT_BINARY_DIR}/hogpenConfigVersion.cmake
              ${CMAKE_CURRENT_LIST_DIR}/FindLibTorch.cmake ${CMAKE_CURRENT_LIST_DIR}/FindArrow.cmake
              ${CMAKE_CURRENT_LIST_DIR}/PythonPackage.cmake
        DESTINATION ${hogpen_package_dir})
