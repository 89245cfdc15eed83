# Finds Apache Arrow C++ as the pyarrow package carries it, headers and libraries, and makes three imported targets:
#   Arrow::arrow    columns, CSV, IPC
#   Arrow::compute  the functions on columns
#   Arrow::parquet
# Looked for in this order:
#   HOGPEN_ARROW_ROOT  (cache or environment) a directory with include/ and the libraries, or lib/
#   the pyarrow package of HOGPEN_PYTHON
#
# Arrow's own ArrowConfig.cmake is not in the package, whose libraries have no names without a version either.
include(${CMAKE_CURRENT_LIST_DIR}/PythonPackage.cmake)
if(NOT HOGPEN_ARROW_ROOT)
  set(HOGPEN_ARROW_ROOT "$ENV{HOGPEN_ARROW_ROOT}" CACHE PATH "An Arrow C++ with include/ and lib/")
endif()
set(Arrow_ROOT_FOUND "${HOGPEN_ARROW_ROOT}")
if(NOT Arrow_ROOT_FOUND)
  hogpen_python_package(pyarrow Arrow_ROOT_FOUND)
endif()

find_path(Arrow_INCLUDE_DIR arrow/util/config.h HINTS "${Arrow_ROOT_FOUND}/include" NO_DEFAULT_PATH NO_CACHE)
foreach(part IN ITEMS arrow arrow_compute parquet)
  file(GLOB found "${Arrow_ROOT_FOUND}/lib${part}.so*" "${Arrow_ROOT_FOUND}/lib/lib${part}.so*")
  list(SORT found)
  set(Arrow_${part}_LIBRARY "")
  if(found)
    list(GET found 0 Arrow_${part}_LIBRARY)
  endif()
endforeach()
set(Arrow_VERSION "")
if(Arrow_INCLUDE_DIR)
  file(STRINGS "${Arrow_INCLUDE_DIR}/arrow/util/config.h" version_line REGEX "define ARROW_VERSION_STRING ")
  string(REGEX REPLACE ".*\"([0-9.]+).*\"" "\\1" Arrow_VERSION "${version_line}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Arrow
  REQUIRED_VARS Arrow_arrow_LIBRARY Arrow_arrow_compute_LIBRARY Arrow_parquet_LIBRARY Arrow_INCLUDE_DIR
  VERSION_VAR Arrow_VERSION
  REASON_FAILURE_MESSAGE "install the pyarrow package into the Python of HOGPEN_PYTHON, or set HOGPEN_ARROW_ROOT")

if(Arrow_FOUND AND NOT TARGET Arrow::arrow)
  foreach(part IN ITEMS arrow arrow_compute parquet)
    string(REPLACE arrow_ "" name ${part})
    add_library(Arrow::${name} SHARED IMPORTED)
    set_target_properties(Arrow::${name} PROPERTIES
      IMPORTED_LOCATION "${Arrow_${part}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${Arrow_INCLUDE_DIR}"
      INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
  endforeach()
  set_property(TARGET Arrow::compute Arrow::parquet APPEND PROPERTY INTERFACE_LINK_LIBRARIES Arrow::arrow)
endif()
