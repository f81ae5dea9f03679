// Numbers as people and models write them, compared exactly.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace luce {

/// A rational number of any size, exact.
struct Number {
  bool negative = false;
  std::string numerator, denominator = "1";  // digits without leading zeros; zero is "0"

  bool operator==(const Number& other) const;
  /// The nearest double, to a few units in the last place.
  double value() const;
};

/// Reads `text` as one number: a decimal or a fraction of two, perhaps with a sign (+, -, U+2212),
/// thousands separators, a currency sign, a percent sign (which changes nothing: 50% reads as 50),
/// an exponent, a trailing period, LaTeX's \frac{a}{b}, \$, \% and thin spaces. No value where it
/// is not one number, divides by zero, or has more than 100 digits or an exponent beyond ±100.
std::optional<Number> parse_number(std::string_view text);

/// The last number in `text` as it is written there, with its sign, currency sign, percent sign and
/// denominator: "-$1,234.50", "3/4", "50%". Digits that follow a letter are no number.
std::optional<std::string> find_last_number(std::string_view text);

/// `text` without the white space around it.
std::string_view trimmed(std::string_view text);

}  // namespace luce
