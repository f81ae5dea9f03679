// A plug-in that describes itself as the build says: FAKE holds the members that are not as they
// should be, and what adds the losses. Without FAKE it is no plug-in.
#include <stdexcept>

#include "luce/loss/plugin.h"

namespace luce {
void nowhere(Registry&);  // declared and not defined
}

#ifdef FAKE
[[maybe_unused]] static void fail(luce::Registry&) {
  throw std::runtime_error("a table is missing");
}

// NOLINTNEXTLINE(readability-identifier-naming): what LUCE_PLUGIN calls it
extern "C" const luce::Plugin luce_plugin;
constinit const luce::Plugin luce_plugin = {FAKE};
#endif
