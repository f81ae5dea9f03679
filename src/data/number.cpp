#include "luce/data/number.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

namespace luce {
namespace {

constexpr size_t kMaxDigits = 100;
constexpr int kMaxExponent = 100;
constexpr std::array<std::string_view, 6> kCurrencies = {"\\$", "$", "€", "£", "¥", "₹"};
constexpr std::array<std::string_view, 3> kMinuses = {"-", "−", "\\-"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool eat(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

template <class List>
bool eat_any(std::string_view& text, const List& list) {
  return std::any_of(list.begin(), list.end(), [&](auto prefix) { return eat(text, prefix); });
}

bool is_word(char c) { return is_digit(c) || is_letter(c) || c == ')'; }

/// Where the mark of `list` begins that ends at `end`, or `end`.
template <class List>
size_t step_back(std::string_view text, size_t end, const List& list) {
  for (const std::string_view mark : list)
    if (text.substr(0, end).ends_with(mark)) return end - mark.size();
  return end;
}

std::string without_leading_zeros(const std::string& digits) {
  const size_t first = digits.find_first_not_of('0');
  return first == std::string::npos ? "0" : digits.substr(first);
}

/// The product of two natural numbers in decimal digits, as one multiplies on paper.
std::string product(const std::string& a, const std::string& b) {
  std::string out(a.size() + b.size(), 0);
  for (size_t i = a.size(); i-- > 0;) {
    int carry = 0;
    for (size_t j = b.size(); j-- > 0;) {
      const int sum = out[i + j + 1] + (a[i] - '0') * (b[j] - '0') + carry;
      out[i + j + 1] = static_cast<char>(sum % 10);
      carry = sum / 10;
    }
    out[i] = static_cast<char>(carry);
  }
  for (char& c : out) c = static_cast<char>(c + '0');
  return without_leading_zeros(out);
}

/// Digits, perhaps in groups of three behind commas. "" where none stand at the start of `text`.
std::string eat_digits(std::string_view& text) {
  std::string digits;
  while (!text.empty() && is_digit(text[0])) {
    digits += text[0];
    text.remove_prefix(1);
  }
  const auto is_group = [&] {
    return text.size() >= 4 && text[0] == ',' && is_digit(text[1]) && is_digit(text[2]) &&
           is_digit(text[3]) && (text.size() == 4 || !is_digit(text[4]));
  };
  if (digits.empty() || digits.size() > 3) return digits;
  while (is_group()) {
    digits += text.substr(1, 3);
    text.remove_prefix(4);
  }
  return digits;
}

/// An unsigned decimal at the start of `text`, as a fraction whose denominator is a power of ten.
std::optional<Number> eat_decimal(std::string_view& text) {
  std::string digits = eat_digits(text), fraction;
  if (text.size() >= 2 && text[0] == '.' && is_digit(text[1])) {
    text.remove_prefix(1);
    while (!text.empty() && is_digit(text[0])) {
      fraction += text[0];
      text.remove_prefix(1);
    }
  }
  digits += fraction;
  if (digits.empty() || digits.size() > kMaxDigits) return {};
  int exponent = 0;
  if (text.size() >= 2 && (text[0] == 'e' || text[0] == 'E')) {
    std::string_view rest = text.substr(1);
    if (rest[0] == '+' && rest.size() > 1 && is_digit(rest[1])) rest.remove_prefix(1);
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), exponent);
    if (error == std::errc::result_out_of_range || std::abs(exponent) > kMaxExponent) return {};
    if (error == std::errc{}) text = rest.substr(static_cast<size_t>(end - rest.data()));
  }
  const int places = static_cast<int>(fraction.size()) - exponent;
  if (places < 0) digits.append(static_cast<size_t>(-places), '0');
  Number number;
  number.numerator = without_leading_zeros(digits);
  if (places > 0) number.denominator.append(static_cast<size_t>(places), '0');
  return number;
}

std::optional<Number> ratio(const std::optional<Number>& a, const std::optional<Number>& b) {
  if (!a || !b || b->numerator == "0") return {};
  Number number;
  number.numerator = product(a->numerator, b->denominator);
  number.denominator = product(a->denominator, b->numerator);
  return number;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

/// \frac{a}{b} after its name.
std::optional<Number> eat_fraction(std::string_view& text) {
  std::array<std::optional<Number>, 2> parts;
  for (auto& part : parts) {
    if (!eat(text, "{")) return {};
    part = eat_decimal(text);
    if (!eat(text, "}")) return {};
  }
  return ratio(parts[0], parts[1]);
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

bool Number::operator==(const Number& other) const {
  if (numerator == "0" || other.numerator == "0") return numerator == other.numerator;
  return negative == other.negative &&
         product(numerator, other.denominator) == product(other.numerator, denominator);
}

double Number::value() const {
  const double a = std::strtod(numerator.c_str(), nullptr);
  const double b = std::strtod(denominator.c_str(), nullptr);
  return (negative ? -a : a) / b;
}

std::optional<Number> parse_number(std::string_view text) {
  if (text.size() > 10 * kMaxDigits) return {};
  std::string plain(text);
  for (const auto space : {"\\!", "\\,", "\\;", "\\ "}) plain = replaced(plain, space, "");
  plain = replaced(plain, "{,}", ",");
  std::string_view rest = trimmed(plain);
  while (!rest.empty() && (rest.ends_with('.') || rest.ends_with('%') || rest.ends_with('$'))) {
    rest.remove_suffix(1);
    if (rest.ends_with('\\')) rest.remove_suffix(1);
    rest = trimmed(rest);
  }
  bool negative = false, has_sign = false, has_currency = false;
  for (bool more = true; more; rest = trimmed(rest)) {
    more = !has_currency && eat_any(rest, kCurrencies);
    has_currency = has_currency || more;
    if (more || has_sign) continue;
    negative = eat_any(rest, kMinuses);
    has_sign = more = negative || eat(rest, "+");
  }
  std::optional<Number> number;
  if (eat(rest, "\\frac") || eat(rest, "\\dfrac") || eat(rest, "\\tfrac")) {
    number = eat_fraction(rest);
  } else {
    number = eat_decimal(rest);
    rest = trimmed(rest);
    if (eat(rest, "/")) {
      rest = trimmed(rest);
      number = ratio(number, eat_decimal(rest));
    }
  }
  for (const auto currency : {"€", "£", "¥", "₹"})  // written behind: 5 €
    if (rest = trimmed(rest); rest == currency && !has_currency) rest = {};
  if (!number || !trimmed(rest).empty()) return {};
  number->negative = negative && number->numerator != "0";
  return number;
}

std::optional<std::string> find_last_number(std::string_view text) {
  std::string_view last;
  for (size_t at = 0; at < text.size();) {
    size_t begin = at;
    const auto before = [&](size_t i) { return i > 0 ? text[i - 1] : ' '; };
    const bool has_point = text[at] == '.' && at + 1 < text.size() && is_digit(text[at + 1]);
    if (!is_digit(text[at]) && !(has_point && !is_word(before(at)))) {
      ++at;
      continue;
    }
    std::string_view rest = text.substr(at);
    const bool good = eat_decimal(rest).has_value() && !is_letter(before(at));
    if (rest.size() >= 2 && rest[0] == '/' && is_digit(rest[1])) {
      rest.remove_prefix(1);
      eat_decimal(rest);
    }
    if (!eat(rest, "%")) eat(rest, "\\%");
    at = text.size() - rest.size();
    if (!good) continue;
    begin = step_back(text, begin, kCurrencies);
    const size_t minus = step_back(text, begin, kMinuses);
    if (!is_word(before(minus))) begin = minus;  // 7-5 is a difference
    last = text.substr(begin, at - begin);
  }
  if (last.empty()) return {};
  return std::string(last);
}

}  // namespace luce
