// Options of one's own, read as Luce reads its own: from a JSON file with comments, with overrides
// from the command line, and with errors that name line and key.
//
//   my_options [FILE] [key=value ...]
#include <cstdint>
#include <iostream>
#include <optional>
#include <string>

#include "luce/base/error.h"
#include "luce/base/json.h"
#include "luce/base/schema.h"

struct MyOptions {
  double beta = 0.1;
  int64_t steps = 100;
  std::optional<std::string> note;
};

void describe(luce::Schema& s, MyOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference").above(0);
  s.field("steps", o.steps, "optimizer steps").at_least(1);
  s.field("note", o.note, "anything worth remembering about the run");
}

int main(int argc, char** argv) {
  try {
    luce::Document document;
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (argument.find('=') == std::string::npos) {
        document = luce::Document::read(argument);
      } else {
        document.override_with(argument);
      }
    }
    auto options = luce::parse_options<MyOptions>(document);
    luce::Schema schema;
    describe(schema, options);
    std::cout << schema.dump().dump(2) << '\n';
    return 0;
  } catch (const luce::Error& error) {
    std::cerr << error.what() << '\n';
    return static_cast<int>(error.code());
  }
}
