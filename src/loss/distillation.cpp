// Distillation on given answers, arXiv:2306.13649 (GKD), T the teacher (reference.path), S the
// policy
//   jsd         ℓ = β KL(T ‖ M) + (1−β) KL(S ‖ M)      M = β T + (1−β) S          eq. 1
//   forward_kl  ℓ = KL(T ‖ S)
//   reverse_kl  ℓ = KL(S ‖ T)                          at every scored token, over the vocabulary
#include "luce/loss/distillation.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, DistillationOptions& o) {
  s.field("divergence", o.divergence, "how student and teacher are compared")
      .one_of({"jsd", "forward_kl", "reverse_kl"});
  s.field("beta", o.beta, "of jsd: share of the teacher in the mixture").above(0).below(1);
  s.field("temperature", o.temperature, "divides the logits of both").above(0);
}

LossInfo Distillation::info() {
  return {.name = "distillation",
          .aliases = {"gkd"},
          .title = "Distillation from a teacher",
          .paper = "Agarwal et al. 2023, arXiv:2306.13649, eq. 1",
          .formula =
              "jsd:        loss = beta KL(T || M) + (1-beta) KL(S || M), M = beta T + "
              "(1-beta) S\n"
              "forward_kl: loss = KL(T || S)\n"
              "reverse_kl: loss = KL(S || T)",
          .notes =
              "T is the model in reference.path, of the same vocabulary and any size; S "
              "is the policy. Mean over the scored tokens. The exact divergence over "
              "the vocabulary, without a stored logit.",
          .weights =
              "(there is no token of its own: the gradient goes to the whole "
              "distribution)"};
}

Needs Distillation::needs() const {
  const auto& [name, beta, temperature] = options_;
  // The head calls the policy p and the other side q: KL(T ‖ S) is its reverse_kl.
  const Divergence kind = name == "jsd"          ? Divergence::jensen_shannon
                          : name == "forward_kl" ? Divergence::reverse_kl
                                                 : Divergence::forward_kl;
  return {.reference = true,
          .couples = Coupling::token,
          .logps = false,
          .divergences = {{.kind = kind, .beta = beta, .temperature = temperature}}};
}

}  // namespace luce
