# luce_warnings(TARGET): the warnings that every file of the project compiles without.
function(luce_warnings target)
  set(flags -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough)
  # Options are aggregates whose members have defaults: leaving some out is how they are meant to be used.
  list(APPEND flags -Wno-missing-field-initializers)
  if(LUCE_WERROR)
    list(APPEND flags -Werror)
  endif()
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${flags}>)
endfunction()
