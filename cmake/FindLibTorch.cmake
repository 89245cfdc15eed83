# Finds LibTorch without importing torch and without a CUDA toolkit, and makes three imported targets:
#   LibTorch::fmt    the headers of the {fmt} that LibTorch carries (Debian's would be shadowed by it); what they declare
#                    is compiled in runtime/core/fmt.cpp
#   LibTorch::c10    c10 alone
#   LibTorch::torch  torch_cpu with the C++ frontend (torch/torch.h)
# Looked for in this order:
#   HOGPEN_TORCH_ROOT  (cache or environment) a directory with include/ and lib/: a user's own LibTorch
#   the torch package of HOGPEN_PYTHON (default: .venv/bin/python of the source tree, else python3)
#
# find_package(Torch) of LibTorch itself is not used: it wants a CUDA toolkit, leaks flags into its caller and asks
# nvcc 13 for an architecture that it no longer knows.
if(NOT HOGPEN_TORCH_ROOT)
  set(HOGPEN_TORCH_ROOT "$ENV{HOGPEN_TORCH_ROOT}" CACHE PATH "A LibTorch with include/ and lib/")
endif()
include(${CMAKE_CURRENT_LIST_DIR}/PythonPackage.cmake)
set(LibTorch_ROOT_FOUND "${HOGPEN_TORCH_ROOT}")
if(NOT LibTorch_ROOT_FOUND)
  hogpen_python_package(torch LibTorch_ROOT_FOUND)
endif()

find_path(LibTorch_INCLUDE_DIR c10/core/TensorImpl.h
          HINTS "${LibTorch_ROOT_FOUND}/include" NO_DEFAULT_PATH NO_CACHE)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS "${LibTorch_ROOT_FOUND}/lib" NO_DEFAULT_PATH NO_CACHE)
find_library(LibTorch_C10_LIBRARY c10 HINTS "${LibTorch_ROOT_FOUND}/lib" NO_DEFAULT_PATH NO_CACHE)
set(LibTorch_VERSION "")
set(version_header "${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h")  # absent before 2.9
if(EXISTS "${version_header}")
  file(STRINGS "${version_header}" version_lines REGEX "TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9]+([0-9]+)" ".\\1" LibTorch_VERSION "${version_lines}")
  string(REGEX REPLACE "^\\.|;" "" LibTorch_VERSION "${LibTorch_VERSION}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run ./quickstart.sh, or set HOGPEN_TORCH_ROOT to a LibTorch, \
or HOGPEN_PYTHON to a Python that has the torch package")

if(LibTorch_FOUND AND NOT TARGET LibTorch::torch)
  add_library(LibTorch::fmt INTERFACE IMPORTED)
  set_target_properties(LibTorch::fmt PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_INCLUDE_DIR}")
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES
    IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${LibTorch_INCLUDE_DIR}")
  add_library(LibTorch::torch SHARED IMPORTED)
  set(torch_include "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include")
  # The libraries that torch_cpu itself needs (libcudart, libcupti, libgomp of the wheel) are found at run time by its
  # own RPATH; the linker needs no look at them.
  set_target_properties(LibTorch::torch PROPERTIES
    IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${torch_include}"
    INTERFACE_LINK_LIBRARIES LibTorch::c10
    INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
endif()
