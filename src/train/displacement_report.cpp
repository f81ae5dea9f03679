// The page of a run's report about likelihood displacement.
#include <algorithm>
#include <map>

#include "luce/base/error.h"
#include "luce/data/training_report.h"
#include "luce/train/displacement.h"

namespace luce {
namespace {

/// Probability summed over the places of all answers of one side.
struct Side {
  double places = 0, target_loss = 0;
  std::map<int64_t, double> gain;  // by token
};

Side side_of(const std::vector<PlaceShift>& places, bool chosen) {
  Side out;
  for (const auto& place : places) {
    if (place.chosen != chosen) continue;
    out.places += 1;
    out.target_loss += place.before - place.after;
    for (const auto& g : place.gains)
      if (g.token != place.target && g.after > g.before) out.gain[g.token] += g.after - g.before;
  }
  return out;
}

}  // namespace

Json displacement_sections(const DisplacementProbe& probe, const CausalLM& now, int64_t top_tokens,
                           const std::function<std::string(int64_t)>& token_text) {
  const auto shifts = probe.shifts(now);
  double chosen = 0, rejected = 0, both = 0;
  for (const auto& s : shifts) {
    chosen += s.chosen;
    rejected += s.rejected;
    both += s.both_fell() ? 1 : 0;
  }
  const auto pairs = static_cast<double>(std::max<size_t>(1, shifts.size()));
  Json out = Json::array();
  out.push_back({{"type", "heading"}, {"text", "Likelihood displacement"}});
  out.push_back({{"type", "callout"},
                 {"text", cat("Since the start, chosen answers of ", shifts.size(),
                              " watched pairs changed by ", format_number(chosen / pairs, 3),
                              " nats in the mean, rejected ones by ",
                              format_number(rejected / pairs, 3), "; both answers of ",
                              format_number(100 * both / pairs, 3), " % of the pairs fell.")},
                 {"warning", both > pairs / 2 && chosen < 0}});
  Histogram histogram{.title = "How far answers moved",
                      .x_label = "change of log-probability, nats"};
  for (const bool is_chosen : {true, false}) {
    HistogramSample sample{is_chosen ? "chosen" : "rejected", {}, is_chosen ? 0 : 1};
    for (const auto& s : shifts) sample.values.push_back(is_chosen ? s.chosen : s.rejected);
    histogram.samples.push_back(std::move(sample));
  }
  out.push_back(report_section(histogram));

  const auto places = probe.gains(now, top_tokens);
  for (const bool is_chosen : {true, false}) {
    const Side side = side_of(places, is_chosen);
    std::vector<std::pair<double, int64_t>> order;
    for (const auto& [token, gain] : side.gain) order.emplace_back(gain, token);
    std::sort(order.rbegin(), order.rend());
    Table table{
        cat("Who gained where ", is_chosen ? "chosen" : "rejected", " answers stood"),
        {"token", "probability gained", "share of the loss"},
        {},
        cat("The answers' own tokens lost ", format_number(side.target_loss, 3),
            " of probability over ", side.places, " places; the tokens that were among the ",
            top_tokens, " largest gainers of a place, summed over places.")};
    for (size_t i = 0; i < order.size() && i < static_cast<size_t>(2 * top_tokens); ++i) {
      const auto [gain, token] = order[i];
      table.rows.push_back(
          {token_text ? token_text(token) : std::to_string(token), format_number(gain, 3),
           side.target_loss > 0 ? format_number(100 * gain / side.target_loss, 3) + " %" : "-"});
    }
    if (!table.rows.empty()) out.push_back(report_section(table));
  }
  return out;
}

}  // namespace luce
