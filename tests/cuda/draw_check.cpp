#include <numeric>

#include "check.h"

namespace luce::cuda::check {
namespace {

struct Options {
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 1, min_p = 0, penalty = 1, second_weight = 0;
};

/// Probabilities of a row by the definition, from an ordered copy, in f64. y in f32 is the kernel's
/// own, so that equals are the same ones.
vector<double> probabilities(const vector<float>& y, const Options& o) {
  vector<size_t> order(y.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return y[a] > y[b]; });
  const double max = y[order[0]];
  if (o.top_k > 0 && o.top_k < static_cast<int64_t>(order.size())) order.resize(o.top_k);
  vector<double> p(y.size());
  double total = 0, before = 0, kept = 0;
  for (const size_t v : order) total += p[v] = std::exp((y[v] - max) / o.temperature);
  for (const size_t v : order) {
    const bool stays = before < o.top_p * total && p[v] >= o.min_p;
    before += p[v];
    if (!stays) p[v] = 0;
    kept += p[v];
  }
  for (double& x : p) x /= kept;
  return p;
}

enum class Kind { normal, ties, equal, holes, one_likely, crowd, tiny, wide };
constexpr Kind kKinds[] = {Kind::normal,     Kind::ties,  Kind::equal, Kind::holes,
                           Kind::one_likely, Kind::crowd, Kind::tiny,  Kind::wide};

double logit(Kind kind, int64_t v, int64_t size, Random& random) {
  const double x = random.normal();
  const bool special = v == size * 2 / 3;
  switch (kind) {
    case Kind::normal:
      return 3 * x;
    case Kind::ties:
      return v % 2 == 0 ? std::floor(2 * x) : -std::floor(2 * x);  // −0 beside 0
    case Kind::equal:
      return 1.5;
    case Kind::holes:
      return special || x > 0.5 ? 2 * x : -kInfinity;
    case Kind::one_likely:
      return special ? 90 : x;
    case Kind::crowd:
      return special ? 40 : 33 + x;
    case Kind::tiny:  // differences below those of the distances to the largest
      return special ? 3 : std::floor(4 * x) * 1e-9;
    case Kind::wide:
      return 3000 * x;
  }
  return 0;
}

struct DrawCheck {
  Report& report;
  int64_t rows, size, pad;
  LogitMap<double> map;
  Options o;
  std::string name;
  Random random;
  int64_t stride = size + pad;
  vector<float> x, x2;
  vector<double> uniform;
  vector<int64_t> offsets{0}, seen;

  void make(Kind only, bool every_kind) {
    x.assign(rows * stride + 1, NAN);
    x2.assign(rows * stride + 1, NAN);
    for (int64_t r = 0; r < rows; ++r) {
      const Kind kind = every_kind ? kKinds[r % std::size(kKinds)] : only;
      for (int64_t v = 0; v < size; ++v) {
        x[r * stride + v] = static_cast<float>(logit(kind, v, size, random));
        x2[r * stride + v] = static_cast<float>(2 * random.normal());
      }
      uniform.push_back(r / 8 == 1 ? 0 : r / 8 == 2 ? 0.999999 : random.uniform());
      // Some rows have seen nothing, others the likeliest too, and one token several times.
      const auto row = x.begin() + r * stride;
      for (int64_t k = 0; k < r % 4 * 3; ++k)
        seen.push_back(k == 1   ? std::max_element(row, row + size) - row
                       : k == 4 ? seen.back()
                       : k == 5 ? seen[seen.size() - 4]
                                : random.below(size));
      offsets.push_back(static_cast<int64_t>(seen.size()));
    }
  }

  LogitMap<double> at(double temperature) const {
    LogitMap<double> out = map;
    (map.cap == 0 ? out.scale : out.after) /= temperature;
    return out;
  }
  bool tempers() const { return o.temperature != 0 && o.temperature != 1; }
  static float z(const LogitMap<double>& m, float value) {
    const LogitMap<float> map{static_cast<float>(m.scale), static_cast<float>(m.cap),
                              static_cast<float>(m.after)};
    return map.value(value);
  }

  vector<float> y(int64_t r) const {
    vector<float> out;
    for (int64_t v = 0; v < size; ++v) {
      const float first = z(map, x[r * stride + v]);
      const auto w = static_cast<float>(o.second_weight),
                 rest = static_cast<float>(1 - o.second_weight);
      const float value = w == 0 ? first : rest * first + w * x2[r * stride + v];
      out.push_back(std::isnan(value) ? -INFINITY : value);
    }
    const vector<float> before = out;
    const auto penalty = static_cast<float>(o.penalty);
    if (o.penalty != 1)
      for (int64_t k = offsets[r]; k < offsets[r + 1]; ++k)
        out[seen[k]] = before[seen[k]] > 0 ? before[seen[k]] / penalty : before[seen[k]] * penalty;
    return out;
  }

  /// Draws at rows [first, first + count).
  vector<DrawnToken> draw(int64_t first, int64_t count) {
    Buffer<float> one(x), two(x2), mixed(count * size);
    Buffer<double> u(uniform);
    Buffer<int64_t> offset(offsets), ids(seen.empty() ? vector<int64_t>{0} : seen);
    Buffer<char> working(count * kDrawRowBytes);
    Buffer<DrawnToken> out(count);
    const auto logits = [&](Buffer<float>& b, const LogitMap<double>& m) {
      return LogitRows{Type::f32, b.device + first * stride, count, size, stride, m, false};
    };
    DrawRows in{.first = logits(one, map)};
    if (o.second_weight > 0) in.second = logits(two, {});
    in.second_weight = o.second_weight;
    in.tempered = at(tempers() ? o.temperature : 1);
    in.uniform = u.device + first;
    if (o.penalty != 1) {
      in.seen_offsets = offset.device + first;
      in.seen = ids.device;
      in.repetition_penalty = o.penalty;
    }
    in.temperature = o.temperature;
    in.top_k = o.top_k;
    in.top_p = o.top_p;
    in.min_p = o.min_p;
    in.mixed = o.second_weight > 0 || o.penalty != 1 ? mixed.device : nullptr;
    report.ok(draw_tokens(in, working.device, out.device, nullptr), "draw_tokens");
    out.read();
    return out.host;
  }

  /// The log-probs of head_statistics for the tokens.
  vector<float> by_head(const vector<DrawnToken>& tokens, const LogitMap<double>& m) {
    vector<int64_t> ids;
    for (const DrawnToken& t : tokens) ids.push_back(t.id);
    Buffer<float> logits(x), log_probs(rows);
    Buffer<int64_t> targets(ids);
    report.ok(head_statistics({Type::f32, logits.device, rows, size, stride, m, false},
                              targets.device, {.log_prob = log_probs.device}, false, nullptr),
              "head_statistics");
    log_probs.read();
    return log_probs.host;
  }

  /// Whether the definition draws the token, up to rounding where two entries meet.
  bool draws(const DrawnToken& got, const vector<float>& row, double u, const Options& options,
             double tolerance) const {
    const auto p = probabilities(row, options);
    const double before = std::accumulate(p.begin(), p.begin() + got.id, 0.0);
    return p[got.id] > 0 && before <= u + 1e-5 && before + p[got.id] >= u - 1e-5 &&
           std::fabs(got.drawn - std::log(p[got.id])) <= 2 * tolerance;
  }

  void run() {
    report.begin(text("draw_tokens, ", name, " ", rows, " × ", size, " pad ", pad, " scale ",
                      map.scale, " cap ", map.cap, " temperature ", o.temperature, " top_k ",
                      o.top_k, " top_p ", o.top_p, " min_p ", o.min_p, " penalty ", o.penalty,
                      " second ", o.second_weight));
    const auto got = draw(0, rows);
    for (int64_t r = 0; r < rows; ++r)
      if (got[r].id < 0 || got[r].id >= size)
        return report.that(false, text("row ", r, " drew ", got[r].id));
    const auto plain = by_head(got, map),
               tempered = by_head(got, at(tempers() ? o.temperature : 1));
    for (int64_t r = 0; r < rows; ++r) {
      report.near(got[r].log_prob, plain[r], 0, "log_prob beside head_statistics", r);
      report.near(got[r].tempered, tempered[r], 0, "tempered beside head_statistics", r);
      const auto row = y(r);
      if (o.temperature == 0) {
        const auto best = std::max_element(row.begin(), row.end()) - row.begin();
        report.near(static_cast<double>(got[r].id), static_cast<double>(best), 0, "likeliest", r);
        report.near(got[r].drawn, 0, 0, "drawn", r);
        continue;
      }
      double largest = 0;
      for (const float value : row)
        if (std::isfinite(value)) largest = std::max<double>(largest, std::fabs(value));
      const double tolerance = 1.2e-7 * (20 + 8 * largest) / std::min(1.0, o.temperature);
      // Where rounding decides on which side of a limit an entry is, either is right.
      bool holds = false;
      for (const double e : {0.0, 2e-6, -2e-6}) {
        Options near = o;
        if (o.top_p < 1) near.top_p *= 1 + e;
        near.min_p *= 1 + e;
        holds = holds || draws(got[r], row, uniform[r], near, tolerance);
      }
      report.that(holds, text("row ", r, " with the number ", uniform[r], " drew ", got[r].id,
                              " of log-prob ", got[r].drawn));
      const bool whole =
          o.top_k == 0 && o.top_p == 1 && o.min_p == 0 && o.penalty == 1 && o.second_weight == 0;
      if (whole) report.near(got[r].drawn, got[r].tempered, 0, "drawn of a whole row", r);
    }
    for (const int64_t r : {rows / 2, rows - 1}) {
      const DrawnToken alone = draw(r, 1)[0];
      report.that(std::memcmp(&alone, &got[r], sizeof(alone)) == 0,
                  text("row ", r, " drew another token alone"));
    }
  }
};

void check(Report& report, int64_t rows, int64_t size, int64_t pad, const LogitMap<double>& map,
           const Options& o) {
  DrawCheck c{report, rows, size, pad, map, o, "all kinds", {}};
  c.make(Kind::normal, true);
  c.run();
}

/// Of equals the first ones stay, in exact numbers: of `size` equal logits top_k keeps k, and
/// top_p the fewest that reach it.
void check_ties(Report& report, int64_t size, const Options& o, int64_t kept) {
  DrawCheck c{report, 4, size, 0, {}, o, "equals", {}};
  c.make(Kind::equal, false);
  c.uniform = {0, 0.5, 0.75, 0.999999};
  report.begin(text("draw_tokens, ", size, " equals, top_k ", o.top_k, " top_p ", o.top_p));
  const auto got = c.draw(0, 4);
  for (int64_t r = 0; r < 4; ++r) {
    const auto want = std::floor(c.uniform[r] * static_cast<double>(kept));
    report.near(static_cast<double>(got[r].id), want, 0, "id", r);
    report.near(got[r].drawn, -std::log(static_cast<double>(kept)), 1e-6, "drawn", r);
  }
}

/// Rows without any mass give some token, and leave the others alone.
void check_nothing(Report& report, const Options& o) {
  DrawCheck c{report, 4, 300, 0, {}, o, "nothing", {}};
  c.make(Kind::normal, false);
  const auto want = c.draw(3, 1)[0];
  std::fill_n(c.x.begin(), 300, NAN);
  std::fill_n(c.x.begin() + 300, 300, -INFINITY);
  c.x[2 * 300 + 7] = INFINITY;
  report.begin(text("draw_tokens, rows without mass, top_k ", o.top_k, " top_p ", o.top_p));
  const auto got = c.draw(0, 4);
  for (const DrawnToken& t : got)
    report.that(t.id >= 0 && t.id < 300, text("a row without mass drew ", t.id));
  report.that(std::isnan(got[0].log_prob) && std::isnan(got[1].log_prob),
              "a row without mass has a log-prob");
  report.that(std::memcmp(&got[3], &want, sizeof(want)) == 0, "a row saw another");
}

}  // namespace

void check_draw(Report& report) {
  const vector<Options> options{
      {},
      {.temperature = 0.7},
      {.temperature = 1.9},
      {.temperature = 0},
      {.top_k = 1},
      {.top_k = 4},
      {.top_k = 100000},
      {.top_p = 0.6},
      {.top_p = 1e-6},
      {.top_p = 0.999},
      {.min_p = 0.2},
      {.penalty = 1.8},
      {.temperature = 0, .penalty = 0.5},
      {.second_weight = 0.3},
      {.temperature = 0.6, .top_k = 50, .second_weight = 1},
      {.temperature = 1.3, .top_k = 700, .top_p = 0.8, .min_p = 0.01, .penalty = 1.2},
      {.temperature = 3, .top_k = 2500, .top_p = 0.95, .penalty = 1.1, .second_weight = 0.5},
  };
  for (const Options& o : options) {
    check(report, 3, 1, 0, {}, o);
    for (const int64_t size : {7, 257}) check(report, 24, size, 0, {}, o);
    for (const int64_t size : {1000, 5003}) check(report, 8, size, 0, {}, o);
    check(report, 8, 999, 3, {0.25, 0, 1}, o);
    check(report, 8, 400, 1, {0.9, 5, 5}, o);
  }
  // More of them than are compared with each other, and fewer.
  for (const int64_t size : {64, 1000, 4096, 5000}) {
    check_ties(report, size, {.top_k = 1}, 1);
    check_ties(report, size, {.top_k = size / 2 + 1}, size / 2 + 1);
    check_ties(report, size, {.top_p = 0.5}, size / 2);
    check_ties(report, size, {.top_p = 1e-9}, 1);
    check_ties(report, size, {.top_k = size / 2, .top_p = 0.5}, size / 4);
  }
  for (const Options& o :
       {Options{}, {.top_k = 5}, {.top_p = 0.5}, {.temperature = 0}, {.min_p = 0.5}})
    check_nothing(report, o);
  // So long that the search takes three steps.
  DrawCheck huge{report, 1, 4300000, 0, {}, {.temperature = 0.9}, "huge", {}};
  huge.make(Kind::normal, false);
  huge.uniform = {0.7};
  huge.run();
}

}  // namespace luce::cuda::check
