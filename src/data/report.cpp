#include "luce/data/report.h"

#include <algorithm>
#include <cctype>

#include "luce/base/error.h"

namespace luce {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#16191d;--soft:#5f6670;--rule:#e3e5e8;
--shade:#f6f7f8;--warn:#b4480a;--warn-shade:#fdf4ec}
@media screen and (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e7e9ec;--soft:#9aa2ad;--rule:#2a2f36;
--shade:#1b1f24;--warn:#f48a4e;--warn-shade:#2a1f18}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Noto Sans",Ubuntu,Cantarell,"Helvetica Neue",Arial,sans-serif}
main{max-width:70rem;margin:0 auto;padding:clamp(1.5rem,5vw,4rem) clamp(1rem,4vw,2.5rem) 4rem}
header{margin-bottom:2.5rem}
.brand{margin:0 0 .6rem;font-size:.8rem;font-weight:600;letter-spacing:.02em;color:var(--soft)}
h1{margin:0;font-size:clamp(1.7rem,4vw,2.4rem);line-height:1.15;font-weight:650;letter-spacing:-.02em;
overflow-wrap:anywhere;text-wrap:balance}
.lead{margin:.9rem 0 0;max-width:46rem;font-size:1.08rem;color:var(--ink)}
.facts{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;margin:1rem 0 0;font-size:.88rem}
.facts div{display:flex;gap:.45rem;min-width:0}.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
@media (max-width:32rem){.tiles{grid-template-columns:1fr 1fr!important}}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,12rem),1fr));gap:1.4rem 2rem;
margin:2.2rem 0 0;padding:1.4rem 0;border:solid var(--rule);border-width:1px 0}
.tiles dt{font-size:.82rem;color:var(--soft)}
.tiles dd{margin:.15rem 0 0;font-size:1.65rem;line-height:1.2;font-weight:600;letter-spacing:-.015em;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tiles p{margin:.25rem 0 0;font-size:.8rem;line-height:1.4;font-weight:400;letter-spacing:0;color:var(--soft)}
h2{margin:3.2rem 0 1.2rem;font-size:1.3rem;line-height:1.25;font-weight:650;letter-spacing:-.012em}
h3.t{margin:2rem 0 .3rem;font-size:.95rem;font-weight:600}
p.body{max-width:46rem;margin:0 0 1rem;white-space:pre-line}
p.callout{max-width:50rem;margin:0 0 2.2rem;padding:.9rem 1.2rem;border-radius:.5rem;background:var(--shade)}
.callout.warning{background:var(--warn-shade)}
.callout.warning::before{content:"Note. ";font-weight:650;color:var(--warn)}
.grid{display:grid;gap:2.6rem 3.2rem;margin:0 0 2.6rem}
@media (min-width:54rem){.grid{grid-template-columns:1fr 1fr}.grid>:only-child{grid-column:1/-1;
width:100%;max-width:44rem}}
.chart{display:grid;grid-template-rows:1fr auto;gap:.7rem}
.scroll{overflow-x:auto;margin:0 0 2rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.5rem 1.2rem .5rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600;font-size:.82rem;color:var(--soft);vertical-align:bottom}
th:last-child,td:last-child{padding-right:0}
.n{text-align:right;white-space:nowrap}td{overflow-wrap:anywhere}
.kv{width:auto;min-width:min(100%,26rem)}.kv th{padding-right:2rem;font-weight:400;font-size:.88rem}
.kv td{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.82rem}
.note{max-width:46rem;margin:0 0 .8rem;font-size:.85rem;color:var(--soft)}
.sample{margin:0;padding:1.1rem 0 1.3rem;border-top:1px solid var(--rule)}
.sample:last-child{border-bottom:1px solid var(--rule)}
.samples{margin:.8rem 0 2.4rem}
.prompt{margin:0 0 .7rem;font-weight:600;white-space:pre-wrap;overflow-wrap:anywhere}
.cells{display:grid;gap:1rem 3.2rem}
@media (min-width:44rem){.cells{grid-template-columns:repeat(var(--columns),minmax(0,1fr))}}
.cell h4{margin:0 0 .2rem;font-size:.8rem;font-weight:400;color:var(--soft)}
.cell h4 b{margin-left:.6rem;font-weight:600;color:var(--ink);font-variant-numeric:tabular-nums}
.cell p{margin:0;font-size:.95rem;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:3rem 0 0;border-top:1px solid var(--rule);padding-top:1.2rem}
summary{cursor:pointer;font-weight:600;margin-bottom:.8rem}
summary:focus-visible{outline:2px solid var(--c0);outline-offset:3px}
@media print{@page{margin:16mm}body{font-size:11pt}main{max-width:none;padding:0}
.grid{grid-template-columns:1fr 1fr;gap:1.4rem 2rem}.chart,.sample,.callout,.tiles div,tr{break-inside:avoid}
h2,h3{break-after:avoid}.callout,.callout.warning{border:1px solid var(--rule)}}
)";

/// Digits with the marks that numbers carry: a sign, a point, a unit such as "%".
bool looks_numeric(const std::string& cell) {
  return !cell.empty() && cell.size() < 24 &&
         std::any_of(cell.begin(), cell.end(), [](unsigned char c) { return std::isdigit(c); }) &&
         cell.find_first_not_of("0123456789+-.,%±\u2212 ekMx") == std::string::npos;
}

std::string titled(const std::string& title, const std::string& note) {
  return cat(title.empty() ? "" : cat("<h3 class=\"t\">", escape_html(title), "</h3>"),
             note.empty() ? "" : cat("<p class=\"note\">", escape_html(note), "</p>"));
}

std::string rows_of(const Report::Facts& rows) {
  std::string html = "<div class=\"scroll\"><table class=\"kv\">";
  for (const auto& [name, value] : rows)
    html += cat("<tr><th scope=\"row\">", escape_html(name), "</th><td>", escape_html(value),
                "</td></tr>");
  return html + "</table></div>\n";
}

}  // namespace

void Report::heading(const std::string& text) { add(cat("<h2>", escape_html(text), "</h2>\n")); }

void Report::paragraph(const std::string& text) {
  add(cat("<p class=\"body\">", escape_html(text), "</p>\n"));
}

void Report::callout(const std::string& text, bool warning) {
  add(cat("<p class=\"body callout", warning ? " warning" : "", "\">", escape_html(text),
          "</p>\n"));
}

void Report::key_values(const Facts& rows) { add(rows_of(rows)); }

void Report::folded(const std::string& summary, const Facts& rows) {
  add(cat("<details><summary>", escape_html(summary), "</summary>", rows_of(rows), "</details>\n"));
}

void Report::table(const Table& table) {
  // A column is one of numbers where every cell of it looks like one.
  std::vector<bool> numeric(table.columns.size(), !table.rows.empty());
  for (const auto& row : table.rows) {
    if (row.size() != table.columns.size())
      throw ArgumentError(cat("table \"", table.title, "\" has ", table.columns.size(),
                              " columns and a row of ", row.size(), " cells"));
    for (size_t i = 0; i < row.size(); ++i) numeric[i] = numeric[i] && looks_numeric(row[i]);
  }
  const auto cell = [&](const char* tag, size_t i, const std::string& text) {
    return cat("<", tag, numeric[i] ? " class=\"n\">" : ">", escape_html(text), "</",
               std::string_view(tag, 2), ">");
  };
  std::string html = titled(table.title, table.note) + "<div class=\"scroll\"><table><thead><tr>";
  for (size_t i = 0; i < table.columns.size(); ++i)
    html += cell("th scope=\"col\"", i, table.columns[i]);
  html += "</tr></thead><tbody>";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) html += cell("td", i, row[i]);
    html += "</tr>";
  }
  add(html + "</tbody></table></div>\n");
}

void Report::samples(const SampleTable& samples) {
  std::string html = cat(titled(samples.title, samples.note), "<div class=\"samples\">");
  for (const auto& row : samples.rows) {
    if (row.cells.size() != samples.columns.size())
      throw ArgumentError(cat("samples \"", samples.title, "\" have ", samples.columns.size(),
                              " columns and a row of ", row.cells.size(), " texts"));
    html += "<article class=\"sample\">";
    if (!row.prompt.empty()) html += cat("<p class=\"prompt\">", escape_html(row.prompt), "</p>");
    html += cat("<div class=\"cells\" style=\"--columns:", row.cells.size(), "\">");
    for (size_t i = 0; i < row.cells.size(); ++i)
      html +=
          cat("<div class=\"cell\"><h4>", escape_html(samples.columns[i]),
              row.cells[i].note.empty() ? "" : cat("<b>", escape_html(row.cells[i].note), "</b>"),
              "</h4><p>", escape_html(row.cells[i].text), "</p></div>");
    html += "</div></article>";
  }
  add(html + "</div>\n");
}

std::string Report::html() const {
  std::string body = "<header><p class=\"brand\">Luce</p>";
  body += cat("<h1>", escape_html(title), "</h1>");
  if (!lead.empty()) body += cat("<p class=\"lead\">", escape_html(lead), "</p>");
  if (!facts.empty()) {
    body += "<dl class=\"facts\">";
    for (const auto& [name, value] : facts)
      body += cat("<div><dt>", escape_html(name), "</dt><dd>", escape_html(value), "</dd></div>");
    body += "</dl>";
  }
  if (!tiles.empty()) {
    body += "<dl class=\"tiles\">";
    for (const auto& tile : tiles) {
      body += cat("<div><dt>", escape_html(tile.label), "</dt><dd>", escape_html(tile.value));
      if (!tile.note.empty()) body += cat("<p>", escape_html(tile.note), "</p>");
      body += "</dd></div>";
    }
    body += "</dl>";
  }
  body += "</header>\n";
  bool in_grid = false;
  for (const auto& block : blocks_) {
    if (block.in_grid != in_grid) body += block.in_grid ? "<div class=\"grid\">\n" : "</div>\n";
    in_grid = block.in_grid;
    body += block.html;
  }
  if (in_grid) body += "</div>\n";
  return cat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
             "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">", "<title>",
             escape_html(title), "</title>\n<style>", kStyle, chart_style(),
             "</style></head>\n<body><main>\n", body, "</main></body></html>\n");
}

}  // namespace luce
