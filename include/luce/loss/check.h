// An examination of any loss on made-up rows: what a test of it would find, without writing one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "luce/loss/loss.h"

namespace luce {

/// What became of one check.
struct LossCheck {
  std::string name;
  bool passed = false;
  std::string what;  // what was found, or what failed: one sentence, a table below it at most
};

struct CheckOptions {
  uint64_t seed = 1;  // of the made-up rows and log-probs
  /// The loss holds a part of its value constant on purpose, so that its gradient is not that of
  /// its value and is not compared with it.
  bool holds_constants = false;
};

/// Tries the losses that `make` gives, a fresh one each time, on random rows of the kind they want:
///
///   terms               are there, are numbers, and read nothing that needs() does not declare
///   finite differences  of the value equal its gradient, to 1e-6
///   micro-batches       the step cut wherever needs().couples allows gives the same, to 1e-12
///   order               groups that change places change nothing, to 1e-12
///   neighbours          groups beside a group do not change its gradient, to 1e-12
///   f32                 log-probs in f32 give the same as in f64, to 1e-5
///   extremes            value and gradient stay finite in f32
///   state               a loss that was saved and loaded goes on as the one that was not
///   gradient weights, metrics, divergences      are told, and divergences are in range
///
/// All differences are relative to the largest gradient. Where the terms fail, the checks end.
/// Throws what `make` throws; what the loss throws is a failed check.
std::vector<LossCheck> check_loss(const std::function<std::unique_ptr<SequenceLoss>()>& make,
                                  const CheckOptions& options = {});

}  // namespace luce
