#include "check.h"

namespace luce::cuda::check {
namespace {

struct Row4 {
  int64_t begin, length, c, d;  // a segment's prefix, or a run's readers
};

/// A row outside, a prompt of one row, an empty segment, prefixes that end inside a run or span
/// two.
const vector<Row4> kSegments = {{0, 21, 0, 0},  {21, 13, 0, 21}, {34, 1, 0, 21},
                                {36, 1, 0, 0},  {37, 70, 36, 1}, {107, 0, 0, 21},
                                {107, 9, 0, 0}, {116, 5, 0, 10}, {121, 6, 0, 34}};
constexpr int64_t kRows = 128;
constexpr double kUntouched = 77;

/// Rows [kRows, heads, d] inside rows `stride` apart.
template <class T>
struct Heads {
  const vector<T>* data;
  int64_t stride, first, d;
  double operator()(int64_t row, int64_t head, int64_t i) const {
    return number((*data)[first + row * stride + head * d + i]);
  }
};

struct Table {
  explicit Table(const vector<Row4>& rows) : numbers(flat(rows)) {
    for (const Row4& row : rows) longest = std::max(longest, row.length);
  }
  static vector<int64_t> flat(const vector<Row4>& rows) {
    vector<int64_t> out;
    for (const Row4& r : rows) out.insert(out.end(), {r.begin, r.length, r.c, r.d});
    return out;
  }
  Buffer<int64_t> numbers;
  int64_t longest = 0;
};

/// `fused`: q, k and v are parts of one matrix, as a projection makes them.
template <class T>
void check_case(Report& report, int64_t H, int64_t K, int64_t d, int64_t window, double cap,
                bool fused) {
  using W = Wide<T>;
  report.begin(text("attention, ", type_name<T>(), " heads ", H, " kv_heads ", K, " width ", d,
                    " window ", window, " softcap ", cap, fused ? " fused" : ""));
  const int64_t count = static_cast<int64_t>(kSegments.size()), N = kRows;
  vector<Row4> runs;
  vector<int64_t> readers;
  for (int64_t s = 0; s < count; ++s) {
    const Row4& own = kSegments[s];
    const int64_t first = static_cast<int64_t>(readers.size());
    for (int64_t r = 0; r < count; ++r)
      if (r == s || (kSegments[r].d > 0 && kSegments[r].c < own.begin + own.length &&
                     own.begin < kSegments[r].c + kSegments[r].d))
        readers.push_back(r);
    runs.push_back({own.begin, own.length, first, static_cast<int64_t>(readers.size()) - first});
  }
  const int64_t row = (H + 2 * K) * d;
  const int64_t qs = fused ? row : H * d, ks = fused ? row : K * d + 1, vs = fused ? row : K * d;
  Random random;
  Buffer<T> q(random.normals<T>(N * qs)), k(random.normals<T>(fused ? 0 : N * ks)),
      v(random.normals<T>(fused ? 0 : N * vs)), d_out(random.normals<T>(N * H * d));
  Buffer<T> out(vector<T>(N * H * d, rounded<T>(kUntouched)));
  Buffer<W> lse(vector<W>(N * H, static_cast<W>(kUntouched))), delta(N * H);
  const auto k_of = [&](Buffer<T>& whole, Buffer<T>& part) {
    return fused ? whole.device + H * d : part.device;
  };
  const auto v_of = [&](Buffer<T>& whole, Buffer<T>& part) {
    return fused ? whole.device + (H + K) * d : part.device;
  };
  const auto heads = [&](const Buffer<T>& whole, const Buffer<T>& part, int64_t stride,
                         int64_t first) {
    return fused ? Heads<T>{&whole.host, row, first * d, d} : Heads<T>{&part.host, stride, 0, d};
  };
  const Heads<T> Q{&q.host, qs, 0, d}, Key = heads(q, k, ks, H), Value = heads(q, v, vs, H + K),
                                       Out{&out.host, H * d, 0, d}, dOut{&d_out.host, H * d, 0, d};
  const double scale = 0.9 / std::sqrt(static_cast<double>(d)) * (cap > 0 ? 4 : 1);
  const AttentionShape shape{kType<T>, H, K, d, qs, ks, vs, scale, cap, window};
  Table segments(kSegments), run_table(runs);
  Buffer<int64_t> reader_list(readers);
  const AttentionSegments seen{segments.numbers.device, count, segments.longest};
  report.ok(attention_forward(shape, seen, q.device, k_of(q, k), v_of(q, v), out.device, lse.device,
                              nullptr),
            "attention_forward");
  read(out, lse);
  vector<double> dq(N * H * d), dk(N * K * d), dv(N * K * d);
  vector<char> inside(N);
  for (const Row4& s : kSegments)
    for (int64_t i = 0; i < s.length; ++i)
      for (int64_t h = 0; h < H; ++h) {
        const int64_t n = s.begin + i, kv = h / (H / K);
        inside[n] = 1;
        vector<int64_t> keys;
        for (int64_t j = 0; j < s.d; ++j) keys.push_back(s.c + j);
        for (int64_t j = 0; j <= i; ++j) keys.push_back(s.begin + j);
        if (window > 0 && static_cast<int64_t>(keys.size()) > window)
          keys.erase(keys.begin(), keys.end() - window);
        vector<double> z, slope;
        for (const int64_t m : keys) {
          double x = 0;
          for (int64_t c = 0; c < d; ++c) x += Q(n, h, c) * Key(m, kv, c);
          const double t = cap > 0 ? std::tanh(x * scale / cap) : 0;
          z.push_back(cap > 0 ? cap * t : x * scale);
          slope.push_back((1 - t * t) * scale);
        }
        const double L = Softmax(z).lse;
        report.near(lse[n * H + h], L, (sizeof(T) == 8 ? 1e-14 : 2e-6) * (4 + std::fabs(L)), "lse",
                    n);
        double own_delta = 0;
        for (int64_t c = 0; c < d; ++c) {
          double o = 0;
          for (size_t a = 0; a < keys.size(); ++a) o += std::exp(z[a] - L) * Value(keys[a], kv, c);
          report.near(Out(n, h, c), o, by_type<T>(5e-15, 3e-6, 0.006) * (1 + std::fabs(o)), "out",
                      n);
          own_delta += dOut(n, h, c) * Out(n, h, c);
        }
        for (size_t a = 0; a < keys.size(); ++a) {
          const int64_t key = (keys[a] * K + kv) * d;
          const double p = std::exp(z[a] - L);
          double dp = 0;
          for (int64_t c = 0; c < d; ++c) dp += dOut(n, h, c) * Value(keys[a], kv, c);
          const double ds = p * (dp - own_delta) * slope[a];
          for (int64_t c = 0; c < d; ++c) {
            dq[(n * H + h) * d + c] += ds * Key(keys[a], kv, c);
            dk[key + c] += ds * Q(n, h, c);
            dv[key + c] += p * dOut(n, h, c);
          }
        }
      }
  const auto untouched = [](size_t size) { return vector<T>(size, rounded<T>(kUntouched)); };
  Buffer<T> dq_(untouched(q.host.size())), dk_(untouched(k.host.size())),
      dv_(untouched(v.host.size()));
  const AttentionReaders read_by{run_table.numbers.device, count, run_table.longest,
                                 reader_list.device};
  report.ok(attention_backward(shape, seen, read_by, q.device, k_of(q, k), v_of(q, v), out.device,
                               lse.device, d_out.device, delta.device, dq_.device, k_of(dq_, dk_),
                               v_of(dq_, dv_), nullptr),
            "attention_backward");
  read(dq_, dk_, dv_);
  const Heads<T> dQ{&dq_.host, qs, 0, d}, dKey = heads(dq_, dk_, ks, H),
                                          dValue = heads(dq_, dv_, vs, H + K);
  const double tolerance = by_type<T>(2e-14, 1e-5, 0.004);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < d; ++c) {
      const auto near = [&](double got, double want, const char* what) {
        report.near(got, inside[n] ? want : kUntouched,
                    inside[n] ? tolerance * (2 + std::fabs(want)) : 0, what, n);
      };
      for (int64_t h = 0; h < H; ++h) {
        near(dQ(n, h, c), dq[(n * H + h) * d + c], "dq");
        if (!inside[n]) report.near(Out(n, h, c), kUntouched, 0, "out of no segment", n);
      }
      for (int64_t h = 0; h < K; ++h) {
        near(dKey(n, h, c), dk[(n * K + h) * d + c], "dk");
        near(dValue(n, h, c), dv[(n * K + h) * d + c], "dv");
      }
    }
}

template <class T>
void check_merge(Report& report, int64_t H, int64_t d) {
  using W = Wide<T>;
  report.begin(text("merge_attention, ", type_name<T>(), " heads ", H, " width ", d));
  const int64_t N = 6;
  const vector<int64_t> index{5, 0, 3, 2};
  const int64_t M = static_cast<int64_t>(index.size());
  Random random;
  const vector<T> o1 = random.normals<T>(N * H * d), o2 = random.normals<T>(M * H * d);
  vector<W> l1 = random.normals<W>(H * N), l2 = random.normals<W>(M * H);
  l1[5] = -INFINITY;
  l2[H] = INFINITY;
  l1[2] = INFINITY;  // both parts of that row saw no key
  l2[3 * H] = -INFINITY;
  Buffer<T> out1(o1), out2(o2);
  Buffer<W> lse1(l1), lse2(l2);
  Buffer<int64_t> rows(index);
  const AttentionPart first{out1.device, lse1.device, 1, N};
  report.ok(merge_attention(kType<T>, M, H, d, rows.device, first, {out2.device, lse2.device, H, 1},
                            first, nullptr),
            "merge_attention");
  read(out1, lse1);
  const auto share = [](double l) { return std::isinf(l) ? 0 : std::exp(l); };
  for (int64_t i = 0; i < M; ++i)
    for (int64_t h = 0; h < H; ++h) {
      const int64_t n = index[i];
      const double a = share(l1[h * N + n]), b = share(l2[i * H + h]);
      report.near(lse1[h * N + n], std::log(a + b), 1e-6, "lse", n);
      for (int64_t c = 0; c < d; ++c) {
        const int64_t at1 = (n * H + h) * d + c;
        const double want =
            a + b == 0 ? 0 : (a * number(o1[at1]) + b * number(o2[(i * H + h) * d + c])) / (a + b);
        report.near(number(out1[at1]), want, by_type<T>(1e-14, 1e-6, 0.006), "out", n);
      }
    }
  for (int64_t h = 0; h < H; ++h)
    for (const int64_t n : {1, 4})
      report.near(lse1[h * N + n], l1[h * N + n], 0, "lse of no index", n);
}

}  // namespace

void check_attention(Report& report) {
  const auto check = [&](int64_t H, int64_t K, int64_t d, int64_t window, double cap, bool fused) {
    check_case<float>(report, H, K, d, window, cap, fused);
    check_case<double>(report, H, K, d, window, cap, fused);
    check_case<bf16>(report, H, K, d, window, cap, fused);
  };
  check(4, 2, 6, 0, 0, false);
  check(2, 2, 64, 0, 0, true);
  check(3, 1, 20, 7, 0, false);
  check(2, 1, 72, 0, 5, true);
  check(2, 1, 128, 25, 3, false);
  check(1, 1, 256, 40, 0, true);
  check(1, 1, 1, 1, 0, false);
  check_merge<float>(report, 3, 7);
  check_merge<double>(report, 2, 130);
  check_merge<bf16>(report, 3, 64);
}

}  // namespace luce::cuda::check
