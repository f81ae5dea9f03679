#include "luce/data/training_report.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <set>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"
#include "luce/base/progress.h"
#include "luce/data/metrics_file.h"

namespace luce {
namespace {

constexpr double kWorthWarning = 0.1;  // nats an answer: less is noise

// ---- metrics.jsonl ----

/// The values of one metric over steps.
struct Curve {
  std::vector<double> x, y;
  bool empty() const { return x.empty(); }
  double first() const { return y.front(); }
  double last() const { return y.back(); }
  /// The mean over the last tenth, which single batches sway less.
  double late() const {
    const size_t count = std::max<size_t>(1, y.size() / 10);
    double sum = 0;
    for (size_t i = y.size() - count; i < y.size(); ++i) sum += y[i];
    return sum / static_cast<double>(count);
  }
};

class Curves {
 public:
  explicit Curves(const std::vector<MetricsRow>& rows) {
    for (const auto& row : rows) {
      last_step_ = row.step;
      epoch_ = row.epoch;
      for (const auto& [name, value] : row.values) {
        Curve& curve = curves_[name];
        const auto step = static_cast<double>(row.step);
        // A resumed run logs steps after its checkpoint again: the later rows count.
        while (!curve.empty() && curve.x.back() >= step) curve.x.pop_back(), curve.y.pop_back();
        curve.x.push_back(step);
        curve.y.push_back(value);
      }
    }
  }
  const Curve& operator[](const std::string& name) const {
    static const Curve kNone;
    const auto at = curves_.find(name);
    return at == curves_.end() ? kNone : at->second;
  }
  const std::map<std::string, Curve>& all() const { return curves_; }
  int64_t last_step() const { return last_step_; }
  double epoch() const { return epoch_; }

 private:
  std::map<std::string, Curve> curves_;
  int64_t last_step_ = 0;
  double epoch_ = 0;
};

struct Panel {
  std::string title;
  std::vector<std::pair<std::string, std::string>> metrics;  // metric, name in the legend
  std::string note;
  std::optional<double> baseline = {}, low = {}, high = {};
};

/// The panels of a report, by section. `eval_` curves join those of training by themselves.
std::vector<std::pair<std::string, std::vector<Panel>>> sections() {
  return {
      {"Learning",
       {{"Loss", {{"loss", "train"}}, ""},
        {"Preference accuracy",
         {{"rewards/accuracies", "train"}},
         "Pairs whose chosen answer has the greater reward; chance is one half.",
         0.5},
        {"Reward margin", {{"rewards/margins", "train"}}, "Reward of chosen minus rejected.", 0.0},
        {"Accuracy",
         {{"accuracy", "train"}},
         "Pairs in the right order; of outcome and process models, right predictions.",
         0.5},
        {"Margin", {{"margin", "train"}}, "Score of chosen minus rejected answers.", 0.0},
        {"Scores",
         {{"min_reward", "least"}, {"mean_reward", "mean"}, {"max_reward", "largest"}},
         "Of the answers of a step.",
         0.0},
        {"Heads that disagree",
         {{"ensemble/disagreement", "train"}},
         "Share of heads whose order of a pair is not that of their mean.",
         {},
         0.0},
        {"Rewards",
         {{"rewards/chosen", "chosen"}, {"rewards/rejected", "rejected"}},
         "β times the change of log-probability against the reference.",
         0.0},
        {"Log-probability of answers",
         {{"logps/chosen", "chosen"}, {"logps/rejected", "rejected"}},
         "Of whole answers, in nats: sums over tokens, means over pairs."},
        {"Displacement",
         {{"displacement/chosen", "chosen"}, {"displacement/rejected", "rejected"}},
         "Change of log-probability since the start, nats an answer.",
         0.0},
        {"Pairs whose answers both fell",
         {{"displacement/both_fell", "train"}},
         "Share of pairs that lost log-probability on either side.",
         {},
         0.0,
         1.0},
        {"KL to the reference",
         {{"kl_data", "exact"}, {"kl_data_k1", "k1"}, {"kl_data_k2", "k2"}, {"kl_data_k3", "k3"}},
         "Nats per token at the scored positions of the data; the estimators see the data's "
         "tokens, "
         "which the policy did not draw.",
         {},
         0.0},
        {"Token accuracy",
         {{"mean_token_accuracy", "train"}},
         "Share of scored tokens that the model ranks first."},
        {"Entropy", {{"entropy", "train"}}, "Of the next-token distribution, nats per token."}}},
      {"Data",
       {{"Length of answers",
         {{"completions/chosen_length", "chosen"}, {"completions/rejected_length", "rejected"}},
         "Tokens, the end of the text included."},
        {"Logits",
         {{"logits/chosen", "chosen"}, {"logits/rejected", "rejected"}},
         "Mean over answer tokens and the vocabulary."}}},
      {"Optimizer and machine",
       {{"Gradient norm", {{"grad_norm", "train"}}, "Before clipping."},
        {"Learning rate", {{"learning_rate", "train"}}, "", {}, 0.0},
        {"Speed", {{"tokens_per_second", "train"}}, "Tokens a second.", {}, 0.0},
        {"Memory", {{"memory_mib", "train"}}, "Resident, MiB.", {}, 0.0}}},
  };
}

LineChart chart_of(const Panel& panel, const Curves& curves) {
  LineChart chart{.title = panel.title, .note = panel.note};
  chart.baseline = panel.baseline;
  chart.low = panel.low;
  chart.high = panel.high;
  const bool alone = panel.metrics.size() == 1;
  for (const std::string prefix : {"", "eval_"}) {
    int color = 0;
    for (const auto& [metric, name] : panel.metrics) {
      const Curve& curve = curves[prefix + metric];
      const bool eval = !prefix.empty();
      const std::string label = !eval ? name : alone ? "eval" : "eval " + name;
      if (!curve.empty())
        chart.series.push_back({label, curve.x, curve.y, color + (eval && alone), eval});
      ++color;
    }
  }
  // Norms run over decades when training is rough: a linear axis would show the spikes alone.
  if (panel.title == "Gradient norm" && !chart.series.empty()) {
    const auto& y = chart.series[0].y;
    const auto [least, most] = std::minmax_element(y.begin(), y.end());
    chart.log_y = *least > 0 && *most > 50 * *least;
  }
  if (panel.title == "Learning rate") chart.smooth = false;
  return chart;
}

std::string nats(double change) { return format_number(std::abs(change), 2) + " nats"; }

/// "fell by 3.1 nats"
std::string moved(double change) { return (change < 0 ? "fell by " : "rose by ") + nats(change); }

/// What became of the answers' log-probability, in words. DPO-like losses see only the difference
/// of the two, so that chosen answers can become rarer while the loss goes down.
void likelihood_callout(const Curves& curves, Report& report) {
  const bool eval =
      curves["eval_logps/chosen"].x.size() > 1 && !curves["eval_logps/rejected"].empty();
  const std::string prefix = eval ? "eval_" : "";
  const Curve &chosen = curves[prefix + "logps/chosen"],
              &rejected = curves[prefix + "logps/rejected"];
  if (chosen.x.size() < 2 || rejected.x.size() < 2) return;
  const auto change = [&](const Curve& curve) {
    return (eval ? curve.last() : curve.late()) - curve.first();
  };
  const double up = change(chosen), down = change(rejected);
  if (!std::isfinite(up) || !std::isfinite(down)) return;
  std::string text = cat(
      "The log-probability of chosen answers ", moved(up),
      " (rejected: ", (up < 0) == (down < 0) ? format_number(std::abs(down), 2) : moved(down), ")");
  const bool fell = up < -kWorthWarning;
  if (fell && down < up)
    text +=
        ": the margin grew because rejected answers fell further, not because chosen ones became "
        "likelier";
  text += eval ? cat(". Held-out pairs, step ", format_number(chosen.x.front(), 7),
                     " against step ", format_number(chosen.x.back(), 7), ".")
               : ". Training batches, the first logged step against the last tenth of the run.";
  report.callout(text, fell);
}

std::string percent(double share) { return format_number(100 * share, 3) + " %"; }

void add_tiles(const Curves& curves, Report& report) {
  std::string progress;
  if (curves.epoch() > 0)
    progress = format_number(curves.epoch(), 3) + (curves.epoch() == 1 ? " epoch" : " epochs");
  if (const Curve& tokens = curves["num_tokens"]; !tokens.empty())
    progress += (progress.empty() ? "" : ", ") + format_number(tokens.last(), 3) + " tokens";
  report.tiles.push_back({"Steps", std::to_string(curves.last_step()), progress});

  const auto tile = [&](const std::string& label, const std::string& name, const auto& format) {
    const Curve& eval = curves["eval_" + name];
    const Curve& curve = eval.empty() ? curves[name] : eval;
    if (curve.empty()) return;
    const std::string from = curve.x.size() > 1 ? cat(", ", format(curve.first()), " at step ",
                                                      format_number(curve.x.front(), 7))
                                                : "";
    report.tiles.push_back({label, format(eval.empty() ? curve.late() : curve.last()),
                            (eval.empty() ? "training" : "held-out") + from});
  };
  const auto plain = [](double value) { return format_number(value, 3); };
  tile("Loss", "loss", plain);
  tile("Preference accuracy", "rewards/accuracies", percent);
  tile("Reward margin", "rewards/margins", plain);
  tile("Accuracy", "accuracy", percent);
  tile("Calibration error", "ece", percent);
  tile("KL per token", "kl_data", plain);
  const Curve &runtime = curves["train_runtime"], &speed = curves["tokens_per_second"];
  if (!runtime.empty())
    report.tiles.push_back({"Run time", format_seconds(runtime.last()),
                            speed.empty() ? "" : format_count(speed.late()) + " tokens a second"});
}

// ---- luce_config.json ----

void flatten(const Json& value, const std::string& name, Report::Facts& rows) {
  const bool flat_array =
      value.is_array() &&
      std::none_of(value.begin(), value.end(), [](const Json& v) { return v.is_structured(); });
  if (!value.is_structured() || flat_array || value.empty()) {
    rows.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
    return;
  }
  for (const auto& [key, child] : value.items())
    flatten(child, name.empty() ? key : name + "." + key, rows);
}

std::string text_at(const Json& config, const char* pointer) {
  const Json::json_pointer at(pointer);
  return config.contains(at) && config[at].is_string() ? config[at].get<std::string>() : "";
}

std::string written_at(const std::filesystem::path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return "";
  std::tm local{};
  localtime_r(&info.st_mtime, &local);
  char text[64];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local);
  return text;
}

// ---- report.json ----

/// A value of report.json and where it stands, for errors.
class Node {
 public:
  Node(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& expected) const {
    std::string got = json_.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (got.size() > 60) got = got.substr(0, 60) + "...";
    throw DataError(cat(where_, ": expected ", expected, ", got ", got));
  }
  bool has(const char* key) const { return json_.is_object() && json_.contains(key); }
  Node operator[](const char* key) const {
    if (!has(key)) fail(cat("an object with \"", key, "\""));
    return {json_.at(key), where_ + (where_.back() == ':' ? " " : ".") + key};
  }
  std::vector<Node> items() const {
    if (!json_.is_array()) fail("an array");
    std::vector<Node> nodes;
    for (size_t i = 0; i < json_.size(); ++i)
      nodes.emplace_back(json_[i], cat(where_, "[", i, "]"));
    return nodes;
  }
  /// A string, or a number as people write it.
  std::string text() const {
    if (json_.is_string()) return json_.get<std::string>();
    if (json_.is_number_float()) return format_number(json_.get<double>());
    if (!json_.is_number()) fail("a string or a number");
    return json_.dump();
  }
  std::string text(const char* key) const { return has(key) ? (*this)[key].text() : ""; }
  bool flag(const char* key) const {
    if (!has(key)) return false;
    if (!json_.at(key).is_boolean()) (*this)[key].fail("true or false");
    return json_.at(key).get<bool>();
  }
  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> result;
    for (const auto& item : (*this)[key].items()) result.push_back(item.text());
    return result;
  }
  std::vector<double> numbers(const char* key) const {
    std::vector<double> result;
    for (const auto& item : (*this)[key].items()) {
      if (!item.json_.is_number() && !item.json_.is_null()) item.fail("a number or null");
      result.push_back(item.json_.is_null() ? std::nan("") : item.json_.get<double>());
    }
    return result;
  }

 private:
  const Json& json_;
  std::string where_;
};

void add_table(const Node& section, Report& report) {
  Table table{section.text("title"), section.texts("columns"), {}, section.text("note")};
  for (const auto& row : section["rows"].items()) {
    auto& cells = table.rows.emplace_back();
    for (const auto& cell : row.items()) cells.push_back(cell.text());
    if (cells.size() != table.columns.size()) row.fail(cat(table.columns.size(), " cells"));
  }
  report.table(table);
}

void add_histogram(const Node& section, Report& report) {
  Histogram histogram{section.text("title"), {}, section.text("note"), section.text("x_label")};
  for (const auto& sample : section["samples"].items()) {
    const int color = static_cast<int>(histogram.samples.size());
    histogram.samples.push_back({sample.text("name"), sample.numbers("values"), color});
  }
  report.histogram(histogram);
}

void add_lines(const Node& section, Report& report) {
  LineChart chart{.title = section.text("title"), .note = section.text("note")};
  if (section.has("x_label")) chart.x_label = section.text("x_label");
  chart.log_y = section.flag("log_y");
  for (const auto& series : section["series"].items()) {
    const int color = static_cast<int>(chart.series.size());
    chart.series.push_back({series.text("name"), series.numbers("x"), series.numbers("y"), color,
                            series.flag("sparse")});
    const auto& x = chart.series.back().x;
    if (x.size() != chart.series.back().y.size()) series.fail("as many x as y");
    if (!std::is_sorted(x.begin(), x.end())) series.fail("x in rising order");
  }
  report.chart(chart);
}

void add_samples(const Node& section, Report& report) {
  SampleTable samples{section.text("title"), section.texts("columns"), {}, section.text("note")};
  for (const auto& row : section["rows"].items()) {
    auto& sample = samples.rows.emplace_back();
    sample.prompt = row.text("prompt");
    for (const auto& cell : row["cells"].items()) {
      const bool object = cell.has("text");
      sample.cells.push_back({object ? cell.text("text") : cell.text(), cell.text("note")});
    }
    if (sample.cells.size() != samples.columns.size())
      row["cells"].fail(cat(samples.columns.size(), " texts"));
  }
  report.samples(samples);
}

void add_section(const Node& section, Report& report) {
  const std::string type = section["type"].text();
  if (type == "heading")
    report.heading(section["text"].text());
  else if (type == "text")
    report.paragraph(section["text"].text());
  else if (type == "callout")
    report.callout(section["text"].text(), section.flag("warning"));
  else if (type == "table")
    add_table(section, report);
  else if (type == "histogram")
    add_histogram(section, report);
  else if (type == "lines")
    add_lines(section, report);
  else if (type == "samples")
    add_samples(section, report);
  else
    section["type"].fail("heading, text, callout, table, histogram, lines or samples");
}

}  // namespace

Json report_section(const Table& table) {
  return {{"type", "table"},
          {"title", table.title},
          {"note", table.note},
          {"columns", table.columns},
          {"rows", table.rows}};
}

Json report_section(const LineChart& chart) {
  Json series = Json::array();
  for (const Series& s : chart.series)
    series.push_back({{"name", s.name}, {"x", s.x}, {"y", s.y}, {"sparse", s.sparse}});
  return {{"type", "lines"},          {"title", chart.title}, {"note", chart.note},
          {"x_label", chart.x_label}, {"log_y", chart.log_y}, {"series", series}};
}

Json report_section(const Histogram& histogram) {
  Json samples = Json::array();
  for (const HistogramSample& s : histogram.samples)
    samples.push_back({{"name", s.name}, {"values", s.values}});
  return {{"type", "histogram"},
          {"title", histogram.title},
          {"note", histogram.note},
          {"x_label", histogram.x_label},
          {"samples", samples}};
}

Report training_report(const std::filesystem::path& output_dir) {
  const auto metrics_path = output_dir / "metrics.jsonl";
  const Curves curves(read_metrics(metrics_path));
  const auto read_json = [&](const char* file) {
    const auto path = output_dir / file;
    return std::filesystem::exists(path)
               ? parse_json(read_file(path), path.string(), {.comments = true})
               : Json::object();
  };
  const Json config = read_json("luce_config.json"), added = read_json("report.json");
  const Node extra(added, (output_dir / "report.json").string() + ":");

  Report report;
  const auto folder = std::filesystem::absolute(output_dir).lexically_normal();
  report.title = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  if (extra.has("title")) report.title = extra.text("title");
  report.lead = extra.text("lead");
  const auto fact = [&](const char* name, const std::string& value) {
    if (!value.empty()) report.facts.emplace_back(name, value);
  };
  fact("Date", written_at(metrics_path));
  fact("Task", text_at(config, "/task"));
  fact("Loss", text_at(config, "/loss/type"));
  fact("Model", text_at(config, "/model/path"));
  fact("Data", text_at(config, "/data/train"));

  if (extra.has("tiles"))
    for (const auto& tile : extra["tiles"].items())
      report.tiles.push_back({tile["label"].text(), tile["value"].text(), tile.text("note")});
  add_tiles(curves, report);
  if (extra.has("sections"))
    for (const auto& section : extra["sections"].items()) add_section(section, report);

  std::set<std::string> drawn = {"num_tokens"};
  bool callout = false;
  for (const auto& [heading, panels] : sections()) {
    bool headed = false;
    for (const auto& panel : panels) {
      for (const auto& [metric, name] : panel.metrics) drawn.insert(metric);
      const LineChart chart = chart_of(panel, curves);
      if (chart.series.empty()) continue;
      if (!headed) report.heading(heading);
      headed = true;
      if (!callout) likelihood_callout(curves, report);
      callout = true;
      report.chart(chart);
    }
  }
  // What a custom loss logs is drawn too; the figures of the whole run are not curves.
  bool headed = false;
  for (const auto& [name, curve] : curves.all()) {
    const std::string metric = name.rfind("eval_", 0) == 0 ? name.substr(5) : name;
    if (name.rfind("train_", 0) == 0 || curve.x.size() < 2 || !drawn.insert(metric).second)
      continue;
    if (!headed) report.heading("Other metrics");
    headed = true;
    report.chart(chart_of({metric, {{metric, "train"}}, ""}, curves));
  }
  if (!config.empty()) {
    Report::Facts rows;
    flatten(config, "", rows);
    report.folded("Configuration", rows);
  }
  return report;
}

}  // namespace luce
