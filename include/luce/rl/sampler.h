// Where the samples of an online run come from: the engine in this process, or a server.
#pragma once

#include <memory>
#include <vector>

#include "luce/model/engine.h"

namespace luce {

class Sampler {
 public:
  virtual ~Sampler() = default;
  /// The samples of every request, in the order of the requests. `step` counts the rollouts of a
  /// run: with the seed, a sample's number and the position it decides what is drawn. An entry of
  /// fewer samples than asked for means that the rest could not be had.
  virtual std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                                      uint64_t step) = 0;
};

/// The engine with fixed options.
class EngineSampler : public Sampler {
 public:
  EngineSampler(std::shared_ptr<const CausalLM> model, SampleOptions options, Mixture mixture = {})
      : engine_(std::move(model), std::move(mixture)), options_(std::move(options)) {}

  std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                              uint64_t step) override {
    SampleOptions options = options_;
    options.step = step;
    return engine_(requests, options);
  }

 private:
  Engine engine_;
  SampleOptions options_;
};

}  // namespace luce
