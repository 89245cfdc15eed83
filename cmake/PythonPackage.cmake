# HOGPEN_PYTHON, and where its packages are.
if(EXISTS "${PROJECT_SOURCE_DIR}/.venv/bin/python")
  set(hogpen_default_python "${PROJECT_SOURCE_DIR}/.venv/bin/python")
else()
  set(hogpen_default_python python3)
endif()
set(HOGPEN_PYTHON "${hogpen_default_python}" CACHE STRING "The Python whose torch and pyarrow packages are used")

# hogpen_python_package(NAME VARIABLE): sets VARIABLE to the folder of that package, without importing it; empty for none.
function(hogpen_python_package name variable)
  execute_process(
    COMMAND ${HOGPEN_PYTHON} -c
      "import importlib.util as util
spec = util.find_spec('${name}')
print(spec.submodule_search_locations[0] if spec else '', end='')"
    OUTPUT_VARIABLE folder ERROR_QUIET)
  set(${variable} "${folder}" PARENT_SCOPE)
endfunction()
