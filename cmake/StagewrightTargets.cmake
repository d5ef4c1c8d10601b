# How targets of this project are declared: one function, so that the include rule is enforced in one place.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(STAGEWRIGHT_CCACHE ccache)
if(STAGEWRIGHT_CCACHE)
  # Precompiled headers need sloppiness; base_dir lets a second clone hit.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${STAGEWRIGHT_CCACHE})
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Xclang$<SEMICOLON>-fno-pch-timestamp>)
endif()

# -ffp-contract=off everywhere: a product and a sum are fused only where the source says fma.
add_compile_options(-ffp-contract=off)
if(STAGEWRIGHT_SANITIZE)
  add_compile_options(-fsanitize=${STAGEWRIGHT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${STAGEWRIGHT_SANITIZE})
endif()
if(EXISTS /usr/lib/llvm-22/bin/ld.lld AND CMAKE_CXX_COMPILER_ID STREQUAL Clang)
  add_link_options(-B/usr/lib/llvm-22/bin -fuse-ld=lld)
endif()

# Strict warnings for our own sources (generated and MLIR-heavy code included).
add_library(stagewright_warnings INTERFACE)
target_compile_options(stagewright_warnings INTERFACE -Wall -Wextra -Werror -Wno-unused-parameter
                                                      -Wno-missing-field-initializers)

# stagewright_include_root(target scope prefix directory)
#   Lets users of `target` write #include "prefix/..." for headers in `directory`. Each target has an include root
#   of its own that holds only a link named after the prefix, so what is not linked cannot be included.
#   Generated headers are found by their own path instead, since ninja must know them by the name under which it makes
#   them: their directory then ends in the prefix.
function(stagewright_include_root target scope prefix directory)
  cmake_path(IS_PREFIX CMAKE_BINARY_DIR ${directory} generated)
  if(generated)
    string(REGEX REPLACE "/${prefix}$" "" root ${directory})
  else()
    set(root ${CMAKE_BINARY_DIR}/include_roots/${target})
    cmake_path(GET prefix PARENT_PATH parent)
    file(MAKE_DIRECTORY ${root}/${parent})
    file(CREATE_LINK ${directory} ${root}/${prefix} SYMBOLIC)
  endif()
  target_include_directories(${target} ${scope} ${root})
endfunction()

# stagewright_library(target PREFIX p [DIRECTORY d] SOURCES ... [DEPENDS ...] [PRIVATE_DEPENDS ...])
#   A static library whose headers are included as "p/...", found in DIRECTORY (default: the current one).
function(stagewright_library target)
  cmake_parse_arguments(arg "" "PREFIX;DIRECTORY" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  if(NOT arg_DIRECTORY)
    set(arg_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  if(arg_SOURCES)
    add_library(${target} STATIC ${arg_SOURCES})
    target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE ${arg_PRIVATE_DEPENDS} stagewright_warnings)
    stagewright_include_root(${target} PUBLIC ${arg_PREFIX} ${arg_DIRECTORY})
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${arg_DEPENDS})
    stagewright_include_root(${target} INTERFACE ${arg_PREFIX} ${arg_DIRECTORY})
  endif()
endfunction()

# stagewright_test(name SOURCES ... DEPENDS ... [LABELS ...] [TIMEOUT seconds] [TIMES])
#   A GoogleTest program registered with CTest as one test. With TIMES, what it says about durations (suites whose name
#   ends in "Times") is a test of its own, NAME_times, which is long, runs alone and not under sanitizers.
function(stagewright_test name)
  cmake_parse_arguments(arg "TIMES" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPENDS} GTest::gtest GTest::gtest_main stagewright_warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  set(tests ${name})
  if(arg_TIMES)
    add_test(NAME ${name} COMMAND ${name} --gtest_filter=-*Times.* WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
    add_test(NAME ${name}_times COMMAND ${name} --gtest_filter=*Times.* WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
    set_tests_properties(${name}_times PROPERTIES RUN_SERIAL ON)
    list(APPEND tests ${name}_times)
  else()
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  endif()
  if(arg_LABELS)
    set_tests_properties(${tests} PROPERTIES LABELS "${arg_LABELS}")
  endif()
  if(arg_TIMES)
    set_tests_properties(${name}_times PROPERTIES LABELS "${arg_LABELS};measured;long")
  endif()
  if(arg_TIMEOUT)
    set_tests_properties(${tests} PROPERTIES TIMEOUT ${arg_TIMEOUT})
  endif()
endfunction()
