// What a training run left behind, as a report.
#pragma once

#include <filesystem>

#include "luce/base/json.h"
#include "luce/data/report.h"

namespace luce {

/// The report of a training run: `metrics.jsonl` of `output_dir`, `luce_config.json` where it is
/// there, and what a program left in `report.json` (docs/metrics.md has its schema). Metrics that
/// were not logged have no chart. Throws MissingFileError, DataError.
Report training_report(const std::filesystem::path& output_dir);

/// Tables and charts as sections of report.json, in which a run keeps what the report shows beside
/// its metrics.
Json report_section(const Table& table);
Json report_section(const LineChart& chart);
Json report_section(const Histogram& histogram);

}  // namespace luce
