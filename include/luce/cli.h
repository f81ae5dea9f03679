// The command line, as a function: a program with losses of its own makes a registry, adds them and
// gets every verb of `luce` for them.
#pragma once

#include "luce/loss/registry.h"

namespace luce {

/// Runs `luce VERB …` and returns the exit code. Results go to stdout, everything else to stderr.
int run_cli(int argc, const char* const* argv, const Registry& registry);

}  // namespace luce
