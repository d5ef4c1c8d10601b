# Fails when an object compiled for one instruction set defines a symbol outside of that set's namespace.
#   cmake -DNM=... -DISA=avx2 "-DOBJECTS=a.o;b.o" -P IsaSymbols.cmake
foreach(object ${OBJECTS})
  execute_process(COMMAND ${NM} --demangle --defined-only --extern-only ${object}
                  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE ";" "," symbols "${symbols}")
  string(REPLACE "\n" ";" symbols "${symbols}")
  foreach(symbol ${symbols})
    math(EXPR seen "${seen} + 1")
    if(NOT symbol MATCHES "stagewright::kernels::${ISA}::")
      message(SEND_ERROR "${object} defines ${symbol}")
    endif()
  endforeach()
endforeach()
if(NOT seen)
  message(FATAL_ERROR "no symbols were read")
endif()
