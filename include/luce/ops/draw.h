// Drawing a token at each of some rows, straight from hidden states.
#pragma once

#include <vector>

#include "luce/ops/head.h"

namespace luce {

/// What the logits z of a row go through, in this order, before a token is drawn:
///   mixture             z ← (1 − weight) z + weight z_second
///   repetition penalty  z_v ← z_v / penalty where positive, else z_v · penalty, at the tokens seen
///                       (Keskar et al., arXiv:1909.05858)
///   temperature         z ← z / temperature
///   top_k               the k likeliest stay
///   top_p               of what is left, the fewest likeliest that reach this mass
///                       (Holtzman et al., arXiv:1904.09751)
///   min_p               those of at least this share of the likeliest's probability
///                       (Nguyen et al., arXiv:2407.01082)
/// Of equally likely ones the first counts as likelier. The token is the first, in the order of the
/// vocabulary, at which the sum of probabilities passes the row's number.
struct DrawOptions {
  double temperature = 1;  // 0: the likeliest token
  int64_t top_k = 0;       // 0: all
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  double second_weight = 0;  // of the second model, in (0, 1] where there is one

  bool restricts() const { return top_k > 0 || top_p < 1 || min_p > 0 || repetition_penalty != 1; }
};

/// Buffers that calls share, so that they are allocated once.
struct DrawWorkspace {
  Tensor logits, tempered, second, rows;
};

/// What each row is drawn with.
struct DrawRows {
  std::vector<double> uniform;                    // [M] in [0, 1)
  std::vector<const std::vector<int64_t>*> seen;  // [M] with a penalty: prompt and completion
};

/// One entry a row; log-probs in nats.
struct Drawn {
  std::vector<int64_t> ids;
  std::vector<double> logps;     // of the first model, at temperature 1
  std::vector<double> tempered;  // the same at the temperature, or at 1 where that is 0
  std::vector<double> drawn;     // of the distribution that the token was drawn from
};

/// Draws a token at every row of first.hidden [M, D]. A side's own temperature must be 1. `second`,
/// where not null, has the same rows and vocabulary. logps and tempered have the bits that head()
/// gives for those tokens and temperatures. No result depends on the rows beside it nor on the
/// number of threads. On the CPU in f32 and bf16 logits are held by tiles, as head holds them.
/// Throws ArgumentError on shapes or options that do not fit.
Drawn draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
           const DrawOptions& options, DrawWorkspace& workspace);

namespace composed {
/// The definition in tensor operations on whole rows of logits, sums in f64: what runs for other
/// dtypes and devices.
Drawn draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
           const DrawOptions& options);
}  // namespace composed

}  // namespace luce
