#include <filesystem>
#include <limits>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/data/tokenizer.h"
#include "luce/model/causal_lm.h"
#include "verbs.h"

namespace luce::cli {
namespace {

namespace fs = std::filesystem;

struct Args {
  std::string config, out, tokenizer;
  uint64_t seed = 42;
};

void init(const Args& args) {
  std::error_code ignored;
  if (fs::exists(args.out, ignored) && !fs::is_empty(args.out, ignored))
    throw WriteError(
        cat(args.out, " is there already; a new model goes into a new or an empty folder"));
  const ModelConfig config =
      parse_model_config(parse_json(read_file(args.config, 1 << 24), args.config), args.config);
  const auto model = CausalLM::init(config, args.seed);
  write_folder_atomic(args.out, [&](const fs::path& folder) {
    model->save(folder);
    if (args.tokenizer.empty()) return;
    write_file_atomic(folder / "tokenizer.model", read_file(args.tokenizer, 64 << 20));
    const fs::path beside = fs::path(args.tokenizer).parent_path() / "tokenizer_config.json";
    write_file_atomic(folder / "tokenizer_config.json",
                      fs::exists(beside)
                          ? read_file(beside, 1 << 24)
                          : std::string("{\n  \"tokenizer_class\": \"LlamaTokenizer\",\n"
                                        "  \"add_bos_token\": true,\n  \"add_eos_token\": false,\n"
                                        "  \"bos_token\": \"<s>\",\n  \"eos_token\": \"</s>\",\n"
                                        "  \"unk_token\": \"<unk>\"\n}\n"));
    const auto tokenizer = Tokenizer::load(folder);
    if (tokenizer->vocab_size() > config.vocab_size)
      throw UsageError(cat(args.tokenizer, " has ", tokenizer->vocab_size(), " entries; ",
                           args.config, " says vocab_size ", config.vocab_size,
                           ", which must be at least that"));
  });
  log::info("a new model of ", model->num_parameters(), " parameters is in ", args.out);
}

}  // namespace

void add_init(CLI::App& app, Context&) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("init", "Make a new model with random weights");
  verb->add_option("CONFIG", args->config, "A config.json of a supported architecture")->required();
  verb->add_option("OUT", args->out, "The folder to write")->required();
  verb->add_option("--tokenizer", args->tokenizer, "A tokenizer.model to put beside the weights");
  verb->add_option("--seed", args->seed, "Seed of the weights")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  verb->callback([args] { init(*args); });
}

}  // namespace luce::cli
