#include "luce/oracle/identities.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "luce/oracle/calculus.h"
#include "luce/oracle/table.h"

namespace luce::oracle {

Result worst(const std::vector<double>& deviations, const std::string& figure) {
  return {largest(numbers(deviations)), 1e-8, figure};
}

double figure_error(const Tensor& got, const std::vector<double>& figure, double unit) {
  return deviation((got.reshape({-1}) / unit).round() * unit, numbers(figure));
}

std::string figures(const Tensor& numbers, int digits) {
  const Tensor flat = numbers.detach().to(at::kDouble).reshape({-1}).contiguous();
  std::ostringstream out;
  out << std::setprecision(digits);
  for (int64_t i = 0; i < flat.numel(); ++i)
    out << (i > 0 ? ", " : "") << flat.data_ptr<double>()[i];
  return flat.numel() == 1 ? out.str() : "(" + out.str() + ")";
}

const std::vector<Identity>& identities() {
  static const std::vector<Identity> all = [] {
    std::vector<Identity> list;
    for (const auto& theme :
         {softmax_identities(), optimum_identities(), preference_identities(),
          displacement_identities(), policy_gradient_identities(), advantage_identities(),
          choice_identities(), unlikelihood_identities()})
      list.insert(list.end(), theme.begin(), theme.end());
    std::sort(list.begin(), list.end(),
              [](const Identity& a, const Identity& b) { return a.number < b.number; });
    return list;
  }();
  return all;
}

}  // namespace luce::oracle
