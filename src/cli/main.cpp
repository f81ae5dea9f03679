#include <iostream>

#include "luce/base/error.h"
#include "luce/cli.h"
#include "luce/ops/device.h"

int main(int argc, char** argv) {
  try {
    luce::set_up_process();
  } catch (const luce::Error& error) {
    std::cerr << "luce: " << error.what() << "\n";
    return static_cast<int>(error.code());
  }
  return luce::run_cli(argc, argv, luce::Registry::with_builtins());
}
