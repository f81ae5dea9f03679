#include "check.h"

namespace luce::cuda::check {
namespace {

struct Case {
  int64_t rows, vocabulary, pad, offset;  // `offset` misaligns the first row, `pad` the others
  LogitMap<double> map;
};

template <class S>
struct HeadCheck {
  HeadCheck(Report& report_, const Case& c_)
      : report(report_), c(c_), stride(c.vocabulary + c.pad) {
    raw.assign(c.offset + c.rows * stride, S(NAN));
    for (int64_t r = 0; r < c.rows; ++r) {
      vector<double> row, slope;
      for (int64_t v = 0; v < c.vocabulary; ++v) {
        double x = 3 * random.normal();
        if (r % 5 == 1) x *= 3000;
        if (r % 5 == 2 && v != c.vocabulary / 2 && random.uniform() < 0.3) x = -kInfinity;
        if (r % 5 == 3) x = std::floor(x);  // ties
        if (r % 5 == 4) x = v == c.vocabulary - 1 ? 10000 : -10000 + random.normal();
        const S stored = raw[at(r, v)] = static_cast<S>(x);
        row.push_back(mapped(c.map, stored));
        slope.push_back(map_slope(c.map, stored));
      }
      double largest = 0;
      for (const double x : row)
        if (std::isfinite(x)) largest = std::max(largest, std::fabs(x));
      tolerance.push_back((sizeof(S) == 4 ? 1.2e-7 : 2.3e-16) * (20 + 4 * largest));
      const int64_t best = std::max_element(row.begin(), row.end()) - row.begin();
      targets.push_back(r % 3 == 0 ? best : random.below(c.vocabulary));
      softmax.emplace_back(row);
      z.push_back(std::move(row));
      slopes.push_back(std::move(slope));
    }
    offsets = {0};
    for (int64_t r = 0; r < c.rows; ++r) {
      const int64_t count[] = {0, 1, 5, 40};
      for (int64_t k = 0; k < count[r % 4]; ++k)
        ids.push_back(k == 1 ? targets[r] : k == 3 ? ids.back() : random.below(c.vocabulary));
      offsets.push_back(static_cast<int64_t>(ids.size()));
    }
  }

  int64_t at(int64_t row, int64_t v) const { return c.offset + row * stride + v; }
  std::string name() const {
    return text(type_name<S>(), " ", c.rows, " × ", c.vocabulary, " pad ", c.pad, " offset ",
                c.offset, " scale ", c.map.scale, " cap ", c.map.cap);
  }
  double log_prob(int64_t r, int64_t v) const { return z[r][v] - softmax[r].lse; }

  void compare_statistics(const Buffer<S>& log_prob_, const Buffer<S>& lse,
                          const Buffer<S>& entropy, const Buffer<S>& log_sum_p2,
                          const Buffer<S>& mean) {
    for (int64_t r = 0; r < c.rows; ++r) {
      const double t = tolerance[r];
      report.near(log_prob_[r], log_prob(r, targets[r]), 2 * t, "log_prob", r);
      report.near(lse[r], softmax[r].lse, t, "lse", r);
      report.near(entropy[r], softmax[r].entropy, 2 * t * (1 + std::log(c.vocabulary + 1.)),
                  "entropy", r);
      report.near(log_sum_p2[r], softmax[r].log_sum_p2, 4 * t, "log_sum_p2", r);
      report.near(mean[r], softmax[r].mean, 2 * t, "mean_logit", r);
    }
  }

  void run(bool write_back) {
    report.begin(text("head_statistics, ", name(), write_back ? ", written back" : ""));
    Buffer<S> x(raw), log_probs(c.rows), lse(c.rows), entropy(c.rows), p2(c.rows), match(c.rows),
        mean(c.rows);
    Buffer<int64_t> target(targets);
    LogitRows logits{kType<S>, x.device + c.offset, c.rows, c.vocabulary, stride, c.map, false};
    report.ok(head_statistics(logits, target.device,
                              {log_probs.device, lse.device, entropy.device, p2.device,
                               match.device, mean.device},
                              write_back, nullptr),
              "head_statistics");
    read(x, log_probs, lse, entropy, p2, match, mean);
    compare_statistics(log_probs, lse, entropy, p2, mean);
    // The map's rounding makes ties that f64 does not know: where the kernel's own z is not at
    // hand, the order is not compared.
    const bool exact = write_back || (c.map.cap == 0 && c.map.scale == 1);
    for (int64_t r = 0; r < c.rows; ++r) {
      const S* row = &x.host[at(r, 0)];
      if (exact)
        report.near(match[r], std::max_element(row, row + c.vocabulary) - row == targets[r], 0,
                    "greedy_match", r);
      for (int64_t v = 0; write_back && v < c.vocabulary; ++v)
        report.near(row[v], z[r][v], 1e-6 * std::min(1e30, std::fabs(z[r][v])) + 1e-30, "mapped",
                    v);
      for (int64_t v = c.vocabulary; v < stride; ++v)
        report.that(std::isnan(number(row[v])), "it wrote between the rows");
    }
    logits.mapped = write_back;
    Buffer<S> candidate(static_cast<int64_t>(ids.size()));
    Buffer<int64_t> offset(offsets), id(ids);
    report.begin(text("head_candidates, ", name()));
    report.ok(head_candidates(logits, lse.device,
                              {offset.device, id.device, candidate.device, nullptr}, nullptr),
              "head_candidates");
    candidate.read();
    for (int64_t r = 0; r < c.rows; ++r)
      for (int64_t k = offsets[r]; k < offsets[r + 1]; ++k)
        report.near(candidate[k], log_prob(r, ids[k]), 3 * tolerance[r], "log_prob", k);
    for (const int64_t k : {1, 5, 64})
      if (k <= c.vocabulary) top_k(logits, lse, x, k, exact);
    for (int variant = write_back; variant < 4; variant += 1 + write_back)
      gradients(logits, x, lse, entropy, p2, candidate, variant);
  }

  void top_k(const LogitRows& logits, const Buffer<S>& lse, const Buffer<S>& x, int64_t k,
             bool exact) {
    report.begin(text("head_top_k, ", name(), " k ", k));
    Buffer<int64_t> id(c.rows * k);
    Buffer<S> log_probs(c.rows * k);
    report.ok(head_top_k(logits, lse.device, k, id.device, log_probs.device, nullptr),
              "head_top_k");
    read(id, log_probs);
    for (int64_t r = 0; r < c.rows; ++r) {
      const auto seen = [&](int64_t v) { return exact ? number(x[at(r, v)]) : z[r][v]; };
      vector<int64_t> order(c.vocabulary);
      for (int64_t v = 0; v < c.vocabulary; ++v) order[v] = v;
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return seen(a) > seen(b); });
      for (int64_t i = 0; i < k; ++i) {
        if (exact) report.near(number(id[r * k + i]), number(order[i]), 0, "id", i);
        report.near(log_probs[r * k + i], log_prob(r, order[i]), 3 * tolerance[r], "log_prob", i);
      }
    }
  }

  /// Variants differ in which gradients are given, and in where the result lies.
  void gradients(LogitRows logits, const Buffer<S>& x, const Buffer<S>& lse,
                 const Buffer<S>& entropy, const Buffer<S>& p2, const Buffer<S>& candidate,
                 int variant) {
    Buffer<S> g(random.normals<S>(c.rows)), h(random.normals<S>(c.rows)),
        s(random.normals<S>(c.rows)), m(random.normals<S>(c.rows)),
        at_candidates(random.normals<S>(static_cast<int64_t>(ids.size())));
    Buffer<int64_t> target(targets), offset(offsets), id(ids);
    const bool has_g = variant != 1, has_h = variant >= 2, has_m = variant == 3;
    const RowGradients upstream{has_g ? g.device : nullptr, has_h ? h.device : nullptr,
                                has_h ? s.device : nullptr, has_m ? m.device : nullptr};
    const auto wanted = [&](bool candidates) {
      vector<vector<double>> all;
      for (int64_t r = 0; r < c.rows; ++r) {
        vector<double> dz(c.vocabulary);
        double total = has_g ? g[r] : 0;
        if (has_g) dz[targets[r]] += g[r];
        for (int64_t k = offsets[r]; candidates && k < offsets[r + 1]; ++k) {
          total += at_candidates[k];
          dz[ids[k]] += at_candidates[k];
        }
        for (int64_t v = 0; v < c.vocabulary; ++v) {
          const double log_p = log_prob(r, v), p = std::exp(log_p);
          dz[v] += -total * p + (has_m ? m[r] / static_cast<double>(c.vocabulary) : 0);
          if (has_h && p > 0)
            dz[v] += p * (2 * s[r] * (p / std::exp(softmax[r].log_sum_p2) - 1) -
                          h[r] * (log_p + softmax[r].entropy));
          dz[v] *= slopes[r][v];
        }
        all.push_back(std::move(dz));
      }
      return all;
    };
    const vector<vector<double>> want_all = wanted(true), want_targets = wanted(false);
    for (const bool narrow : {false, true}) {
      if (narrow && sizeof(S) == 8) continue;
      const int64_t narrow_stride = c.vocabulary + variant % 3, shift = variant == 3;
      Buffer<S> in_place(x.host);
      Buffer<bf16> apart(c.rows * narrow_stride + 1);
      logits.data = in_place.device + c.offset;
      GradientRows out;
      if (narrow) out = {apart.device + shift, Type::bf16, narrow_stride};
      const auto compare = [&](const vector<vector<double>>& want) {
        read(in_place, apart);
        for (int64_t r = 0; r < c.rows; ++r)
          for (int64_t v = 0; v < c.vocabulary; ++v) {
            const double w = want[r][v];
            const double got =
                narrow ? number(apart[shift + r * narrow_stride + v]) : number(in_place[at(r, v)]);
            report.near(got, w,
                        (narrow ? 0.002 * std::fabs(w) : 0) +
                            tolerance[r] * (10 + std::fabs(w)) * (c.map.cap != 0 ? 3 : 1),
                        "gradient", v);
          }
      };
      report.begin(text("head_gradient, ", name(), narrow ? " to bf16" : "", " variant ", variant));
      CandidateList list{offset.device, id.device, candidate.device, at_candidates.device};
      if (variant == 0) list = {};
      report.ok(head_gradient(logits, target.device, upstream,
                              {nullptr, lse.device, entropy.device, p2.device, nullptr, nullptr},
                              list, out, nullptr),
                "head_gradient");
      compare(variant == 0 ? want_targets : want_all);
      if (variant == 1) continue;
      for (const int parts : {0, 1, 2, 4, 8}) {
        // Where a row does not fit, or there are no clusters, head_row_parts never says so.
        if (parts * int64_t{200000} < c.vocabulary * int64_t{sizeof(S)} && parts > 0) continue;
        if (parts > 1 && !clusters()) continue;
        report.begin(text("head_statistics_gradient, ", name(), narrow ? " to bf16" : "",
                          " variant ", variant, " parts ", parts));
        in_place.host = x.host;
        in_place.write();
        Buffer<S> log_probs(c.rows), sums(c.rows), entropies(c.rows), squares(c.rows),
            match(c.rows), mean(c.rows);
        report.ok(head_statistics_gradient(logits, target.device, upstream,
                                           {log_probs.device, sums.device, entropies.device,
                                            squares.device, match.device, mean.device},
                                           out, parts, nullptr),
                  "head_statistics_gradient");
        read(log_probs, sums, entropies, squares, mean);
        compare(want_targets);
        compare_statistics(log_probs, sums, entropies, squares, mean);
      }
    }
  }

  static bool clusters() {
    int device = 0, has = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&has, cudaDevAttrClusterLaunch, device);
    return has != 0;
  }

  Report& report;
  Case c;
  int64_t stride;
  Random random;
  vector<S> raw;
  vector<vector<double>> z, slopes;
  vector<Softmax> softmax;
  vector<double> tolerance;
  vector<int64_t> targets, offsets, ids;
};

void check_not_finite(Report& report) {
  report.begin("rows without a finite result");
  const int64_t V = 37;
  vector<float> x(5 * V);
  for (int64_t v = 0; v < V; ++v) {
    x[v] = -INFINITY;
    x[V + v] = x[2 * V + v] = x[4 * V + v] = static_cast<float>(v);
    x[3 * V + v] = NAN;
  }
  x[V + 11] = NAN;
  x[2 * V + 11] = INFINITY;
  Buffer<float> logits(x), log_prob(5), lse(5), top(5 * 8);
  Buffer<int64_t> targets(vector<int64_t>{3, 3, 3, 3, -100}), ids(5 * 8);
  LogitRows rows{Type::f32, logits.device, 5, V, V, {}, false};
  report.ok(head_statistics(rows, targets.device, {log_prob.device, lse.device}, false, nullptr),
            "head_statistics");
  report.ok(head_top_k(rows, lse.device, 8, ids.device, top.device, nullptr), "head_top_k");
  read(log_prob, ids);
  for (const float p : log_prob.host) report.that(!std::isfinite(p), "log_prob is finite");
  for (const int64_t id : ids.host) report.that(id >= 0 && id < V, "a top id is no token");
  report.that(head_statistics(rows, nullptr, {log_prob.device}, false, nullptr) != 0,
              "log_prob without targets is no error");
  rows.rows = 0;
  report.ok(head_statistics(rows, targets.device, {log_prob.device}, false, nullptr), "no rows");
  rows.type = Type::bf16;
  report.that(head_statistics(rows, targets.device, {log_prob.device}, false, nullptr) != 0,
              "logits in bf16 are no error");
}

template <class S>
void check_case(Report& report, const Case& c) {
  HeadCheck<S> check(report, c);
  check.run(false);
  check.run(true);
}

}  // namespace

void check_head(Report& report) {
  const LogitMap<double> maps[] = {{1, 0, 1}, {0.7, 0, 1}, {1.3, 30, 30 / 0.8}};
  int i = 0;
  for (const int64_t V : {1, 2, 5, 31, 229}) {
    const int64_t offset = i % 4;
    check_case<float>(report, {5, V, offset % 2, offset, maps[i % 3]});
    check_case<double>(report, {5, V, offset % 2, offset, maps[(i + 1) % 3]});
    ++i;
  }
  check_case<float>(report, {4, 4099, 2, 1, maps[2]});
  check_case<double>(report, {3, 2053, 0, 0, maps[0]});
#if defined(__CUDACC__)  // sizes that would take the emulator minutes
  for (const LogitMap<double>& map : maps) {
    check_case<float>(report, {10, 151936, 0, 0, map});
    check_case<double>(report, {5, 151936, 1, 1, map});
  }
#endif
  check_not_finite(report);
}

}  // namespace luce::cuda::check
