// Samples from a server that speaks OpenAI's completions with token ids, as vLLM does.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "luce/base/http.h"
#include "luce/base/schema.h"
#include "luce/rl/sampler.h"

namespace luce {

struct HttpSamplerOptions {
  std::string url;    // of the server, "http://localhost:8000"; paths are put behind it
  std::string model;  // its name there
  std::string path = "/v1/completions";
  double timeout = 600;  // seconds, of a request with all that is repeated of it
  int64_t retries = 3, max_in_flight = 64, max_reply = int64_t{64} << 20;
  std::string token_file;
  double max_failed = 0.1;  // share of a call's samples that may be missing
  Json updates = Json::array(
      {{{"path", "/collective_rpc"},
        {"body", {{"method", "reload_weights"}, {"kwargs", {{"weights_path", "{folder}"}}}}}},
       {{"path", "/reset_prefix_cache"}, {"body", Json::object()}}});
};
void describe(Schema& s, HttpSamplerOptions& o);

/// Posts every request's prompt as token ids and takes the ids and log-probs of its samples from
/// the reply ("token_id:7", which return_tokens_as_token_ids asks for). Log-probs become
/// Sample::drawn; logps and tempered stay empty, for the trainer to compute. A sample that could
/// not be had is left out of its request's.
class HttpSampler : public Sampler {
 public:
  /// `vocabulary`: ids from there on are taken for a faulty reply; 0: any are taken. Throws
  /// UsageError on options that cannot be used, and what HttpClient throws.
  HttpSampler(const HttpSamplerOptions& server, SampleOptions options, int64_t vocabulary = 0);

  /// Throws an Error of Exit::service where more samples are missing than max_failed allows.
  std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                              uint64_t step) override;

  /// Has the server take the weights in `folder`, which it must see under the same path: posts the
  /// options' updates in order, "{folder}" and "{version}" filled in. Samples count as drawn by
  /// this version from then on, unless the server says its own. Throws an Error of Exit::service
  /// where the server does not do it.
  void update(const std::filesystem::path& folder, int64_t version);

 private:
  std::string body_of(const SampleRequest& request, uint64_t step) const;
  std::vector<Sample> samples_of(const HttpReply& reply, const SampleRequest& request,
                                 std::string& problem) const;
  Sample sample_of(const Json& choice, const SampleRequest& request) const;

  HttpSamplerOptions server_;
  SampleOptions options_;
  int64_t vocabulary_;
  HttpClient client_;
  int64_t version_ = 0;  // of the weights that the server was last given
};

}  // namespace luce
