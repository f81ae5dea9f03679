// All answers that a small vocabulary allows, and the policies over them: a table of logits with a
// row for every prefix. Expectations over answers are sums over their list.
//
// Letters: S answers · N prefixes · V vocabulary · M tokens of all answers, one answer after the
// other.
#pragma once

#include <cstdint>
#include <vector>

#include "luce/loss/loss.h"
#include "luce/ops/tensor.h"

namespace luce::oracle {

/// What ends an answer.
enum class Ending {
  eos,     // the vocabulary's last token, which belongs to the answer; or the largest length
  length,  // the length alone: all answers are equally long
};

struct Sequences {
  std::vector<std::vector<int64_t>> answers;  // [S], no answer twice
  std::vector<std::vector<int64_t>>
      prefixes;                 // [N] what a token is drawn after; the first is empty
  Tensor token, prefix;         // [M] i64: every token, and the index of its prefix
  std::vector<int64_t> offset;  // [S+1] answer s owns tokens [offset[s], offset[s+1])

  /// Each token's entry of a table over prefixes and tokens, [N, V]. Differentiable in the table.
  TokenValues at_tokens(const Tensor& table) const;
  /// Each token's entry of a table over prefixes, [N]. Differentiable in the table.
  TokenValues at_prefixes(const Tensor& table) const;
  /// log π(token | prefix) of every token, from logits [N, V]: its sum() is log π(answer), [S].
  TokenValues logps(const Tensor& logits) const;
};

/// Throws ArgumentError where there are no answers, or more than a million.
Sequences all_sequences(int64_t vocabulary, int64_t max_length, Ending ending);

/// At each token of an answer the sum of this and its later values, x_t + c x_{t+1} + c² x_{t+2} +
/// …: returns from rewards for c = γ, advantages from temporal differences for c = γλ.
TokenValues discounted_sums(const TokenValues& x, double c);

/// At each token of an answer the next token's value; 0 at the last one.
TokenValues next_values(const TokenValues& x);

}  // namespace luce::oracle
