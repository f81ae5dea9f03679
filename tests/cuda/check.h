// What the comparisons of this folder share.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "cuda/kernels.h"

namespace luce::cuda::check {

using bf16 = __nv_bfloat16;
using kernels::LogitMap;
using std::vector;

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
inline constexpr Type kType = std::is_same_v<T, bf16>    ? Type::bf16
                              : std::is_same_v<T, float> ? Type::f32
                                                         : Type::f64;

/// A number of T's type that stands for its rounding, by type.
template <class T>
double by_type(double f64, double f32, double b16) {
  return kType<T> == Type::f64 ? f64 : kType<T> == Type::f32 ? f32 : b16;
}

template <class T>
double number(T x) {
  if constexpr (std::is_same_v<T, bf16>)
    return __bfloat162float(x);
  else
    return static_cast<double>(x);
}
template <class T>
T rounded(double x) {
  if constexpr (std::is_same_v<T, bf16>)
    return __float2bfloat16_rn(static_cast<float>(x));
  else
    return static_cast<T>(x);
}

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}
template <class T>
const char* type_name() {
  return kType<T> == Type::f64 ? "f64" : kType<T> == Type::f32 ? "f32" : "bf16";
}

/// Counts what disagrees and says it.
class Report {
 public:
  void begin(std::string name) { case_ = std::move(name); }

  void that(bool holds, const std::string& sentence) {
    ++comparisons_;
    if (!holds && ++failures_ <= 20)
      std::fprintf(stderr, "%s: %s.\n", case_.c_str(), sentence.c_str());
  }
  void ok(int error, const char* function) {
    that(error == 0, error == 0 ? "" : text(function, " failed: ", cuda_error_text(error)));
  }
  /// `tolerance` doubles, as a GPU's exp and log err by two units in the last place.
  void near(double got, double want, double tolerance, const char* what, int64_t i = 0) {
    const bool holds = std::isnan(want)   ? std::isnan(got)
                       : std::isinf(want) ? got == want
                                          : std::fabs(got - want) <= 2 * tolerance;
    if (holds)
      ++comparisons_;
    else
      that(false, text(what, "[", i, "] is ", got, "; expected ", want, " ± ", 2 * tolerance));
  }
  /// 1 if anything disagreed.
  int finish() const {
    std::printf("%lld comparisons, %lld of them failed.\n", static_cast<long long>(comparisons_),
                static_cast<long long>(failures_));
    return failures_ > 0 ? 1 : 0;
  }

 private:
  std::string case_;
  int64_t comparisons_ = 0, failures_ = 0;
};

class Random {
 public:
  double normal() { return normal_(engine_); }
  double uniform() { return std::uniform_real_distribution<double>(0, 1)(engine_); }
  int64_t below(int64_t n) { return static_cast<int64_t>(uniform() * static_cast<double>(n)); }
  template <class T>
  vector<T> normals(int64_t count, double scale = 1) {
    vector<T> out(count);
    for (T& x : out) x = rounded<T>(scale * normal());
    return out;
  }

 private:
  std::mt19937 engine_{7};
  std::normal_distribution<double> normal_;
};

/// Numbers in host memory and their place on the device. What no kernel has written is NaN or −1.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count) : host(count) {
    if (count > 0) std::memset(static_cast<void*>(host.data()), 0xff, count * sizeof(T));
    allocate();
  }
  explicit Buffer(vector<T> values) : host(std::move(values)) { allocate(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(device); }

  void read() {
    cudaDeviceSynchronize();
    cudaMemcpy(host.data(), device, host.size() * sizeof(T), cudaMemcpyDeviceToHost);
  }
  void write() { cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice); }
  T operator[](int64_t i) const { return host[i]; }

  vector<T> host;
  T* device = nullptr;

 private:
  void allocate() {
    void* p = nullptr;
    cudaMalloc(&p, std::max<size_t>(1, host.size()) * sizeof(T));
    device = static_cast<T*>(p);
    write();
  }
};
template <class... B>
void read(B&... buffers) {
  (buffers.read(), ...);
}

/// Statistics of softmax(z), by their definitions.
struct Softmax {
  explicit Softmax(const vector<double>& z) {
    double max = -kInfinity;
    for (const double x : z) max = std::max(max, x);
    double exp = 0, square = 0, shifted = 0;
    for (const double x : z) {
      const double e = std::exp(x - max);
      exp += e;
      square += e * e;
      if (e > 0) shifted += e * (x - max);
      mean += x / static_cast<double>(z.size());
    }
    lse = max + std::log(exp);
    entropy = std::log(exp) - shifted / exp;
    log_sum_p2 = std::log(square) - 2 * std::log(exp);
  }
  double lse, entropy, log_sum_p2, mean = 0;
};

/// z = scale · x or after · tanh(scale · x / cap).
inline double mapped(const LogitMap<double>& map, double x) {
  return map.cap == 0 ? map.scale * x : map.after * std::tanh(map.scale * x / map.cap);
}
/// dz/dx.
inline double map_slope(const LogitMap<double>& map, double x) {
  if (map.cap == 0) return map.scale;
  const double t = std::tanh(map.scale * x / map.cap);
  return map.after * (1 - t * t) * map.scale / map.cap;
}

void check_emulator(Report& report);
void check_head(Report& report);
void check_divergence(Report& report);
void check_attention(Report& report);
void check_block(Report& report);
void check_adamw(Report& report);
void check_draw(Report& report);
void check_paged_attention(Report& report);

}  // namespace luce::cuda::check
