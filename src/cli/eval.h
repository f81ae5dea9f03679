// What the parts of `eval` share: each finds numbers, printed as one JSON object, and a page.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "luce/base/estimate.h"
#include "luce/base/json.h"
#include "luce/data/report.h"

namespace luce::cli {

struct Finding {
  Json json;
  Report report;
};

/// --out.
void add_out_option(CLI::App& verb, std::string& out);

/// Prints the numbers to stdout; where `out` is a folder's name, writes eval.json and report.html
/// there. Throws WriteError.
void deliver(const Finding& finding, const std::string& out);

/// 9 significant digits; null where it is not finite.
Json number(double value);
Json numbers(const std::vector<double>& values);
/// {"value", "error", "count"}.
Json estimate(const Estimate& e);
/// "0.62 ± 0.03" for people.
std::string told(const Estimate& e);

void add_eval_pairs(CLI::App& eval);
void add_eval_best_of_n(CLI::App& eval);
void add_eval_win_rate(CLI::App& eval);
void add_eval_kl(CLI::App& eval);
void add_eval_strengths(CLI::App& eval);

}  // namespace luce::cli
