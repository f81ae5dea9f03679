#include "experiment/optimisation_study.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "luce/data/chart.h"
#include "luce/loss/kl.h"
#include "luce/oracle/table.h"

namespace luce {
namespace {

/// A rule's score of every answer, from members [K, S].
Tensor proxy_of(const Tensor& members, const EnsembleOptions& rule) {
  const Tensor by_answer = members.t().contiguous();
  std::vector<double> out;
  for (int64_t s = 0; s < by_answer.size(0); ++s) {
    const double* r = by_answer.const_data_ptr<double>() + s * by_answer.size(1);
    out.push_back(combined({r, r + by_answer.size(1)}, rule).value);
  }
  return oracle::numbers(out);
}

PolicyWorth point(const GoldWorld& world, const Tensor& proxy, const Tensor& log_p) {
  return {exact_kl(log_p, world.log_ref).item<double>(),
          oracle::expectation(log_p, world.gold).item<double>(),
          (oracle::expectation(log_p, proxy) - oracle::expectation(world.log_ref, proxy))
              .item<double>()};
}

}  // namespace

EnsembleRule lower_bound_rule(double kappa) {
  return {"mean − " + format_number(kappa) + " std", {"lower_bound", kappa}};
}

PolicyWorth optimum_at_kl(const GoldWorld& world, const Tensor& proxy, double kl) {
  if (kl == 0) return point(world, proxy, world.log_ref);
  double low = 1e-3, high = 1e3, s = 1;
  Tensor log_p;
  for (int i = 0; i < 60 && high - low > 1e-12 * s; ++i) {
    log_p = oracle::KlObjective{world.log_ref, proxy, 1 / s}.log_optimum();
    const double off = exact_kl(log_p, world.log_ref).item<double>() - kl;
    if (std::abs(off) < 1e-10) break;
    (off > 0 ? high : low) = s;
    const double mean = oracle::expectation(log_p, proxy).item<double>();
    const double variance = oracle::expectation(log_p, (proxy - mean).square()).item<double>();
    const double next = s - off / (s * variance);
    s = next > low && next < high ? next : std::sqrt(low * high);
  }
  return point(world, proxy, log_p);
}

PolicyWorth best_of_n(const GoldWorld& world, const Tensor& proxy, double n) {
  const Tensor order = proxy.argsort();
  const Tensor below = world.log_ref.index_select(0, order).exp().cumsum(0).clamp_max(1).pow(n);
  Tensor p = at::zeros_like(below);
  p.index_copy_(0, order, at::diff(below, 1, 0, at::zeros({1}, at::kDouble)));
  return point(world, proxy, p.clamp_min(1e-300).log());
}

void Course::add(const std::vector<PolicyWorth>& points) {
  for (auto* list : {&gold, &proxy, &kl}) list->emplace_back();
  for (const PolicyWorth& p : points) {
    gold.back().push_back(p.gold);
    proxy.back().push_back(p.proxy);
    kl.back().push_back(p.kl);
  }
}

size_t Course::peak() const {
  const auto mean = means(gold);
  return static_cast<size_t>(std::max_element(mean.begin(), mean.end()) - mean.begin());
}

Estimate mean_at(const std::vector<std::vector<double>>& values, size_t place) {
  std::vector<double> column;
  for (const auto& world : values) column.push_back(world[place]);
  return mean_of(column);
}

std::vector<double> means(const std::vector<std::vector<double>>& values) {
  std::vector<double> out;
  for (size_t i = 0; i < values.front().size(); ++i) out.push_back(mean_at(values, i).value);
  return out;
}

const char* const OptimisationStudy::kGold = "the gold reward itself";
const char* const OptimisationStudy::kOne = "one member";

OptimisationStudy::OptimisationStudy(const GoldSetting& setting, std::vector<EnsembleRule> with,
                                     int worlds, double step, uint64_t seed)
    : rules(std::move(with)), draws{1, 4, 16, 64, 256, 1024} {
  for (double kl = 0; kl < 6 + step / 2; kl += step) kls.push_back(kl);
  for (int w = 0; w < worlds; ++w) add(setting, 1000 * (seed * 1000 + static_cast<uint64_t>(w)));
}

Estimate OptimisationStudy::gain(const std::string& rule) const {
  const Course &course = over_kl.at(rule), &one = over_kl.at(kOne);
  std::vector<double> difference;
  for (size_t w = 0; w < one.gold.size(); ++w)
    difference.push_back(course.gold[w][course.peak()] - one.gold[w][one.peak()]);
  return mean_of(difference);
}

void OptimisationStudy::add(const GoldSetting& setting, uint64_t seed) {
  const GoldWorld world(setting, seed);
  std::vector<Tensor> members;
  for (int64_t k = 0; k < setting.members; ++k)
    members.push_back(fitted_member(world, setting, seed + 10 + static_cast<uint64_t>(k)));
  add(world, kGold, {world.gold});
  add(world, kOne, members);
  for (const EnsembleRule& rule : rules)
    add(world, rule.name, {proxy_of(at::stack(members), rule.options)});
}

void OptimisationStudy::add(const GoldWorld& world, const std::string& name,
                            const std::vector<Tensor>& proxies) {
  const auto course = [&](const std::vector<double>& places, const auto& at) {
    std::vector<PolicyWorth> points(places.size());
    for (size_t i = 0; i < places.size(); ++i)
      for (const Tensor& proxy : proxies) {
        const PolicyWorth p = at(world, proxy, places[i]);
        const auto share = 1.0 / static_cast<double>(proxies.size());
        points[i].kl += share * p.kl;
        points[i].gold += share * p.gold;
        points[i].proxy += share * p.proxy;
      }
    return points;
  };
  over_kl[name].add(course(kls, optimum_at_kl));
  over_n[name].add(course(draws, best_of_n));
}
}  // namespace luce
