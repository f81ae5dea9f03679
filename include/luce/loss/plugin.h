// Losses in a shared object, which a config names under "plugins". It holds ordinary loss classes
// and one line:
//
//   void add_losses(luce::Registry& registry) { registry.add<MyLoss>(); }
//   LUCE_PLUGIN(add_losses);
//
// It links nothing of Luce: the program that loads it has all that it needs.
#pragma once

#include <torch/version.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "luce/version.h"

namespace luce {

class Registry;

/// What a plug-in says of itself. The program and the plug-in each compile this struct, so its
/// defaults are those of the build that they are compiled in; where they differ, C++ objects must
/// not pass between the two.
struct Plugin {
  uint64_t format = 0x4c756365'00000001;  // "Luce" and the number of this layout
  int32_t luce_major = LUCE_VERSION_MAJOR, luce_minor = LUCE_VERSION_MINOR;
  const char* torch = TORCH_VERSION;
  int32_t cxx_abi = __GXX_ABI_VERSION, cxx11_strings = _GLIBCXX_USE_CXX11_ABI;
  void (*add)(Registry&) = nullptr;
};

/// Adds the losses of a plug-in; `where` begins the sentences of all errors. The shared object
/// stays loaded for as long as the process lives. Throws MissingFileError where there is no file,
/// and UsageError where it cannot be loaded, was built for something else, or fails to add its
/// losses; the registry is then as it was.
void load_plugin(Registry& registry, const std::filesystem::path& path, const std::string& where);

}  // namespace luce

/// Makes a shared object a plug-in. `function` is a void(luce::Registry&) that adds its losses.
#define LUCE_PLUGIN(function)                                                       \
  extern "C" __attribute__((visibility("default"))) const luce::Plugin luce_plugin; \
  constinit const luce::Plugin luce_plugin = {.add = function}
