#include "luce/loss/plugin.h"

#include <dlfcn.h>

#include <cstring>

#include "luce/base/error.h"
#include "luce/loss/registry.h"

namespace luce {
namespace {

/// Throws where a plug-in of that description and this program would misread each other's objects.
void check_build(const Plugin& plugin, const std::string& refusal) {
  constexpr Plugin kThis;
  const auto fail = [&](const auto&... sentence) { throw UsageError(cat(refusal, sentence...)); };
  if (plugin.format != kThis.format)
    fail("describes itself in another form: build it again against Luce ", kVersion);
  const auto version = [](const Plugin& p) { return cat(p.luce_major, ".", p.luce_minor); };
  if (version(plugin) != version(kThis))
    fail("was built for Luce ", version(plugin), "; this is Luce ", version(kThis),
         ": build it again against this version");
  if (std::strcmp(plugin.torch, kThis.torch) != 0)
    fail("was built for LibTorch ", plugin.torch, "; this Luce has LibTorch ", kThis.torch,
         ": build it again against this version");
  const auto abi = [](const Plugin& p) {
    return cat("__GXX_ABI_VERSION ", p.cxx_abi, ", _GLIBCXX_USE_CXX11_ABI ", p.cxx11_strings);
  };
  if (abi(plugin) != abi(kThis))
    fail("was built by a compiler with another ABI (", abi(plugin), "); this Luce has ", abi(kThis),
         ": build it again with the compiler that built this Luce");
}

}  // namespace

void load_plugin(Registry& registry, const std::filesystem::path& path, const std::string& where) {
  const std::string name = path.string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    throw MissingFileError(cat(where, ": there is no plug-in ", name));
  // An absolute path, because dlopen looks for a bare name among the system's libraries. All of its
  // symbols are looked up now, so that none is found missing in the middle of a run.
  void* library = ::dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw UsageError(cat(where, ": the plug-in ", name, " cannot be loaded: ", ::dlerror(),
                         "\nA plug-in is built by luce_add_plugin against Luce ", kVersion,
                         "; the program that loads it is `luce`, or one made ready by "
                         "luce_allow_plugins"));
  const auto* plugin = static_cast<const Plugin*>(::dlsym(library, "luce_plugin"));
  if (plugin == nullptr)
    throw UsageError(cat(where, ": ", name,
                         " is a shared object but no plug-in of Luce: it has no LUCE_PLUGIN(…)"));
  check_build(*plugin, cat(where, ": the plug-in ", name, " "));
  Registry with_plugin = registry;
  try {
    plugin->add(with_plugin);
  } catch (const std::exception& failure) {
    throw UsageError(
        cat(where, ": the plug-in ", name, " cannot add its losses: ", failure.what()));
  }
  registry = std::move(with_plugin);
}

}  // namespace luce
