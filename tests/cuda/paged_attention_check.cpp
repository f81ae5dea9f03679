#include <numeric>

#include "check.h"

namespace luce::cuda::check {
namespace {

constexpr int64_t kBlocks = 3, kBlock = 1;  // pages lie in the middle of others', as a cache's do

struct PagedCase {
  int64_t heads, kv_heads, width, window;
  double cap;
  vector<int64_t> lengths;
  int64_t
      shared;  // pages that the second half of the rows shares with the first row, if it has them
};

template <class T>
struct PagedCheck {
  Report& report;
  PagedCase c;
  int64_t rows = static_cast<int64_t>(c.lengths.size()), K = c.kv_heads, d = c.width;
  int64_t columns = 0, pages = 0;
  vector<int64_t> table;
  Random random;

  void make_table() {
    for (const int64_t length : c.lengths)
      columns = std::max(columns, (length + kPagePositions - 1) / kPagePositions);
    table.assign(rows * columns, 0);
    vector<int64_t> order(rows * columns + 2);
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    for (int64_t b = 0; b < rows; ++b)
      for (int64_t t = 0; t * kPagePositions < c.lengths[b]; ++t) {
        const bool shares = b > rows / 2 && t < c.shared &&
                            (t + 1) * kPagePositions <= std::min(c.lengths[0], c.lengths[b]);
        table[b * columns + t] = shares ? table[t] : order[pages++];
      }
    pages = static_cast<int64_t>(order.size());
  }

  int64_t key_at(int64_t page, int64_t head, int64_t i, int64_t place) const {
    return (((page * kBlocks + kBlock) * K + head) * d + i) * kPagePositions + place;
  }
  int64_t value_at(int64_t page, int64_t head, int64_t i, int64_t place) const {
    return (((page * kBlocks + kBlock) * K + head) * kPagePositions + place) * d + i;
  }

  void run() {
    report.begin(text("paged_attention, ", type_name<T>(), " heads ", c.heads, " kv_heads ", K,
                      " width ", d, " window ", c.window, " softcap ", c.cap, " rows ", rows));
    make_table();
    const int64_t H = c.heads, size = pages * kBlocks * K * d * kPagePositions;
    // What no kernel writes is NaN.
    Buffer<T> keys(size), values(size);
    const int64_t offset = kBlock * K * d * kPagePositions, page_stride = kBlocks * offset / kBlock;
    const PageRows at{
        kType<T>,           keys.device + offset, values.device + offset, K, d, page_stride,
        d * kPagePositions, page_stride,          d * kPagePositions};
    write(at, keys, values);

    const double scale = 0.9 / std::sqrt(static_cast<double>(d)) * (c.cap > 0 ? 4 : 1);
    Buffer<T> q(random.normals<T>(rows * H * d)), out(rows * H * d);
    Buffer<int64_t> places(table), lengths(c.lengths);
    const PageQueries asked{rows,    H,     places.device, lengths.device,
                            columns, scale, c.cap,         c.window};
    attend(at, asked, q.device, out);

    for (int64_t b = 0; b < rows; ++b) {
      const int64_t end = c.lengths[b],
                    begin = c.window > 0 ? std::max<int64_t>(0, end - c.window) : 0;
      for (int64_t h = 0; h < H; ++h) {
        vector<double> z;
        for (int64_t j = begin; j < end; ++j) {
          const int64_t page = table[b * columns + j / kPagePositions];
          double x = 0;
          for (int64_t i = 0; i < d; ++i)
            x += number(q[(b * H + h) * d + i]) *
                 number(keys[key_at(page, h / (H / K), i, j % kPagePositions)]);
          z.push_back(c.cap > 0 ? c.cap * std::tanh(x * scale / c.cap) : x * scale);
        }
        const double lse = Softmax(z).lse;
        vector<double> o(d);
        for (int64_t j = begin; j < end; ++j) {
          const int64_t page = table[b * columns + j / kPagePositions];
          for (int64_t i = 0; i < d; ++i)
            o[i] += std::exp(z[j - begin] - lse) *
                    number(values[value_at(page, h / (H / K), i, j % kPagePositions)]);
        }
        for (int64_t i = 0; i < d; ++i)
          report.near(number(out[(b * H + h) * d + i]), o[i],
                      by_type<T>(1e-14, 3e-6, 0.006) * (1 + std::fabs(o[i])), "out", b);
      }
    }
    alone(at, asked, q, out);
  }

  /// Writes every position of every sequence, the rows in no order.
  void write(const PageRows& at, Buffer<T>& keys, Buffer<T>& values) {
    std::vector<bool> taken(pages * kPagePositions);
    vector<int64_t> page, place;
    for (int64_t b = rows - 1; b >= 0; --b)
      for (int64_t j = 0; j < c.lengths[b]; ++j) {
        const int64_t p = table[b * columns + j / kPagePositions], i = j % kPagePositions;
        if (taken[p * kPagePositions + i]) continue;
        taken[p * kPagePositions + i] = true;
        page.push_back(p);
        place.push_back(i);
      }
    const auto n = static_cast<int64_t>(page.size());
    const int64_t k_stride = 2 * K * d + 3, v_stride = K * d;
    Buffer<T> k(random.normals<T>(n * k_stride)), v(random.normals<T>(n * v_stride));
    Buffer<int64_t> to(page), offset(place);
    report.ok(write_pages(at, n, to.device, offset.device, k.device + 1, k_stride, v.device,
                          v_stride, nullptr),
              "write_pages");
    read(keys, values);
    Buffer<T> want_keys(keys.host.size()), want_values(values.host.size());  // still NaN
    for (int64_t r = 0; r < n; ++r)
      for (int64_t h = 0; h < K; ++h)
        for (int64_t i = 0; i < d; ++i) {
          want_keys.host[key_at(page[r], h, i, place[r])] = k[1 + r * k_stride + h * d + i];
          want_values.host[value_at(page[r], h, i, place[r])] = v[r * v_stride + h * d + i];
        }
    const auto same = [](const vector<T>& a, const vector<T>& b) {
      return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
    };
    report.that(same(keys.host, want_keys.host), "keys were not written to their places alone");
    report.that(same(values.host, want_values.host),
                "values were not written to their places alone");
  }

  void attend(const PageRows& at, const PageQueries& asked, const T* q, Buffer<T>& out) {
    Buffer<Wide<T>> partials(std::max<int64_t>(1, paged_attention_partials(at, asked)));
    report.ok(paged_attention(at, asked, q, partials.device, out.device, nullptr),
              "paged_attention");
    out.read();
  }

  /// A row has the same bits without the others and without columns behind its pages.
  void alone(const PageRows& at, const PageQueries& all, const Buffer<T>& q, const Buffer<T>& out) {
    for (int64_t b = 0; b < rows; ++b) {
      PageQueries one = all;
      one.rows = 1;
      one.columns = (c.lengths[b] + kPagePositions - 1) / kPagePositions;
      one.table += b * columns;
      one.lengths += b;
      const int64_t size = c.heads * d;
      Buffer<T> got(size);
      attend(at, one, q.device + b * size, got);
      report.that(std::memcmp(got.host.data(), &out.host[b * size], size * sizeof(T)) == 0,
                  text("row ", b, " has other bits alone"));
    }
  }
};

void check(Report& report, const PagedCase& c) {
  PagedCheck<float>{report, c}.run();
  PagedCheck<double>{report, c}.run();
  PagedCheck<bf16>{report, c}.run();
}

}  // namespace

void check_paged_attention(Report& report) {
  const vector<int64_t> borders{130, 1, 63, 64, 65, 128, 200};
  check(report, {4, 4, 6, 0, 0, borders, 2});
  check(report, {4, 2, 64, 0, 0, borders, 1});
  check(report, {4, 1, 80, 0, 5, borders, 2});
  check(report, {7, 1, 17, 0, 0, {65, 3}, 0});
  check(report, {2, 1, 128, 0, 0, {64, 70}, 1});
  check(report, {8, 1, 256, 0, 3, {70, 1}, 0});
  check(report, {20, 2, 4, 0, 0, borders, 2});
  check(report, {1, 1, 1, 1, 0, borders, 0});
  check(report, {4, 2, 8, 33, 0, borders, 2});
  check(report, {2, 2, 48, 64, 30, borders, 2});
  // One part beside several, and more pages than a row has blocks for.
  check(report, {3, 1, 8, 0, 0, {256, 257, 40, 1000, 700, 512}, 5});
  check(report, {2, 1, 8, 300, 0, {600, 256, 257, 1000, 900}, 3});
  check(report, {1, 1, 5, 0, 0, {kPagePositions * 140 + 9, 64}, 0});
}

}  // namespace luce::cuda::check
