# stagewright_cudnn(result): include directories of cuDNN (from the system) and of NVIDIA's header-only cudnn-frontend, or an
# empty list and a message when one cannot be had: the plug-in is then built without cuDNN.
#   STAGEWRIGHT_CUDNN=OFF                  without cuDNN
#   STAGEWRIGHT_CUDNN_FRONTEND=FOLDER      its headers lie there already (the folder with cudnn_frontend.h)
# Else the wheel that cmake/cudnn-frontend.txt pins by its hash is fetched from PyPI with pip once for each build tree. Nothing
# of it is installed or run: a wheel is a zip archive.
option(STAGEWRIGHT_CUDNN "Convolutions and attention by cuDNN where it is installed" ON)
set(STAGEWRIGHT_CUDNN_FRONTEND "" CACHE PATH "Folder with cudnn_frontend.h; empty: fetched from PyPI")

function(stagewright_fetch_cudnn_frontend folder)
  set(pinned ${PROJECT_SOURCE_DIR}/cmake/cudnn-frontend.txt)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${pinned})
  file(SHA256 ${pinned} version)
  set(stamp ${folder}/${version})
  if(EXISTS ${stamp})
    return()
  endif()
  file(REMOVE_RECURSE ${folder})
  # Whatever Python this is: the wheel of one, so that there is one hash.
  execute_process(
    COMMAND python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --require-hashes
            --implementation cp --python-version 3.11 --abi cp311 --platform manylinux_2_28_x86_64 -r ${pinned} -d ${folder}
    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE why)
  file(GLOB wheel ${folder}/*.whl)
  if(failed OR NOT wheel)
    string(REGEX REPLACE "\n.*" "" why "${why}")
    message(WARNING "cudnn-frontend cannot be fetched from PyPI (${why}); -DSTAGEWRIGHT_CUDNN_FRONTEND=FOLDER names its headers")
    return()
  endif()
  file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${folder} PATTERNS "include/*" "*/licenses/*")
  file(REMOVE ${wheel})
  file(TOUCH ${stamp})
endfunction()

function(stagewright_cudnn result)
  set(${result} "" PARENT_SCOPE)
  if(NOT STAGEWRIGHT_CUDNN)
    return()
  endif()
  find_path(STAGEWRIGHT_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  set(frontend ${STAGEWRIGHT_CUDNN_FRONTEND})
  if(STAGEWRIGHT_CUDNN_INCLUDE AND NOT frontend)
    set(folder ${CMAKE_BINARY_DIR}/cudnn-frontend)
    stagewright_fetch_cudnn_frontend(${folder})
    set(frontend ${folder}/include)
  endif()
  if(STAGEWRIGHT_CUDNN_INCLUDE AND EXISTS ${frontend}/cudnn_frontend.h)
    set(${result} ${frontend} ${STAGEWRIGHT_CUDNN_INCLUDE} PARENT_SCOPE)
    return()
  endif()
  set(what "cudnn_frontend.h")
  if(NOT STAGEWRIGHT_CUDNN_INCLUDE)
    set(what "cudnn.h (cuDNN 9 for CUDA 13)")
  endif()
  message(NOTICE "-- No ${what}: convolutions and attention on NVIDIA GPUs are built without cuDNN and run by kernels of ours")
endfunction()
