#include "luce/data/calibration.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/temporary_folder.h"

namespace luce {
namespace {

using Values = std::vector<double>;

const double kInfinity = std::numeric_limits<double>::infinity();

TEST(Calibration, ScoresAreThoseOfTheFormulas) {
  const Calibration c = calibration({0.9, 0.6, 0.2, 0.5}, {1, 0, 0, 1});
  EXPECT_EQ(c.count, 4);
  EXPECT_EQ(c.low, 0);
  EXPECT_DOUBLE_EQ(c.accuracy.value, (1 + 0 + 1 + 0.5) / 4);
  // Deviations from 5/8: 3/8, −5/8, 3/8, −1/8.
  EXPECT_DOUBLE_EQ(c.accuracy.error, std::sqrt((9 + 25 + 9 + 1) / 64.0 / 12));
  EXPECT_DOUBLE_EQ(c.brier, (0.01 + 0.36 + 0.04 + 0.25) / 4);
  EXPECT_DOUBLE_EQ(c.log_loss,
                   -(std::log(0.9) + std::log(0.4) + std::log(0.8) + std::log(0.5)) / 4);
}

TEST(Calibration, TakesSoftOutcomes) {
  const Calibration c = calibration({0.7, 0.7}, {0.75, 0.25});
  EXPECT_DOUBLE_EQ(c.accuracy.value, 0.5);
  EXPECT_DOUBLE_EQ(c.brier, (0.0025 + 0.2025) / 2);
  EXPECT_DOUBLE_EQ(c.log_loss, -(std::log(0.7) + std::log(0.3)) / 2);
  EXPECT_NEAR(c.ece_equal_width, 0.2, 1e-15);
}

TEST(Calibration, ACertainPredictionCostsNothingOrEverything) {
  EXPECT_EQ(calibration({1, 0}, {1, 0}).log_loss, 0);
  EXPECT_EQ(calibration({1, 0.5}, {0, 1}).log_loss, kInfinity);
  EXPECT_EQ(calibration({0, 0.5}, {1, 1}).log_loss, kInfinity);
}

TEST(Calibration, BinsOfEqualWidthAreClosedAbove) {
  const Calibration c = calibration({0.6, 0, 0.5, 1, 0.25, 0.75}, {1, 0, 1, 1, 0, 0}, 4);
  ASSERT_EQ(c.equal_width.size(), 4U);
  EXPECT_EQ(c.equal_width[0].count, 2) << "0 and 0.25";
  EXPECT_EQ(c.equal_width[1].count, 1) << "0.5";
  EXPECT_EQ(c.equal_width[2].count, 2) << "0.6 and 0.75";
  EXPECT_EQ(c.equal_width[3].count, 1) << "1";
  for (size_t m = 0; m < 4; ++m) {
    EXPECT_EQ(c.equal_width[m].low, static_cast<double>(m) / 4);
    EXPECT_EQ(c.equal_width[m].high, static_cast<double>(m + 1) / 4);
  }
  EXPECT_DOUBLE_EQ(c.equal_width[2].predicted, 0.675);
  EXPECT_DOUBLE_EQ(c.equal_width[2].observed.value, 0.5);
  EXPECT_DOUBLE_EQ(c.equal_width[2].observed.error, 0.5);
  EXPECT_TRUE(std::isnan(c.equal_width[3].observed.error)) << "one value has no spread";
  EXPECT_NEAR(c.ece_equal_width, (2 * 0.125 + 1 * 0.5 + 2 * 0.175 + 0) / 6, 1e-15);
}

TEST(Calibration, TenBinsHoldTenthsOnTheirUpperEdge) {
  Values p, y;
  for (int i = 1; i <= 10; ++i) p.push_back(i / 10.0), y.push_back(1);
  const Calibration c = calibration(p, y);
  ASSERT_EQ(c.equal_width.size(), 10U);
  for (const auto& bin : c.equal_width) EXPECT_EQ(bin.count, 1) << bin.low;
}

TEST(Calibration, EmptyBinsAreLeftOut) {
  const Calibration c = calibration({0.05, 0.95}, {0, 1});
  ASSERT_EQ(c.equal_width.size(), 2U);
  EXPECT_DOUBLE_EQ(c.equal_width[1].low, 0.9);
  EXPECT_EQ(c.equal_mass.size(), 2U) << "no more bins than predictions";
  EXPECT_NEAR(c.ece_equal_width, 0.05, 1e-15);
}

TEST(Calibration, BinsOfEqualMassHoldAlikeAndKeepEqualPredictionsTogether) {
  const Calibration even = calibration({0.7, 0.1, 0.4, 0.2, 0.3}, {1, 0, 1, 0, 1}, 2);
  ASSERT_EQ(even.equal_mass.size(), 2U);
  EXPECT_EQ(even.equal_mass[0].count, 2);
  EXPECT_EQ(even.equal_mass[1].count, 3);
  EXPECT_EQ(even.equal_mass[0].low, 0.1);
  EXPECT_EQ(even.equal_mass[0].high, 0.2);
  EXPECT_EQ(even.equal_mass[1].low, 0.2);
  EXPECT_EQ(even.equal_mass[1].high, 0.7);
  EXPECT_NEAR(even.ece_equal_mass, (2 * 0.15 + 3 * (1 - 1.4 / 3)) / 5, 1e-15);

  // Planned: two each. The run of 0.4 stays in the part of its first, which leaves none for the
  // second part.
  const Calibration tied = calibration({0.1, 0.4, 0.4, 0.4, 0.8, 0.9}, {0, 0, 1, 1, 1, 0}, 3);
  ASSERT_EQ(tied.equal_mass.size(), 2U);
  EXPECT_EQ(tied.equal_mass[0].count, 4);
  EXPECT_DOUBLE_EQ(tied.equal_mass[0].predicted, 1.3 / 4);
  EXPECT_DOUBLE_EQ(tied.equal_mass[0].observed.value, 0.5);
  EXPECT_EQ(tied.equal_mass[1].count, 2);
  EXPECT_NEAR(tied.ece_equal_mass, (4 * 0.175 + 2 * 0.35) / 6, 1e-15);
}

TEST(PreferenceCalibration, IsThatOfConfidences) {
  const Calibration c = preference_calibration({0.9, 0.2, 0.5, 0.6, 0.9});
  EXPECT_EQ(c.count, 5);
  EXPECT_EQ(c.low, 0.5);
  EXPECT_DOUBLE_EQ(c.accuracy.value, (1 + 0 + 0.5 + 1 + 1) / 5);
  EXPECT_NEAR(c.brier, (0.01 + 0.64 + 0.25 + 0.16 + 0.01) / 5, 1e-15);
  EXPECT_NEAR(c.log_loss, -(2 * std::log(0.9) + std::log(0.2) + std::log(0.5) + std::log(0.6)) / 5,
              1e-15);
  // Confidences ½ (half right), 0.6 (right), 0.8 (wrong), 0.9 (right), 0.9 (right).
  ASSERT_EQ(c.equal_width.size(), 4U);
  EXPECT_DOUBLE_EQ(c.equal_width[0].high, 0.55) << "ten bins over ½ … 1";
  EXPECT_DOUBLE_EQ(c.equal_width[0].observed.value, 0.5);
  EXPECT_EQ(c.equal_width[2].observed.value, 0);
  EXPECT_EQ(c.equal_width[3].count, 2);
  EXPECT_NEAR(c.ece_equal_width, (0 + 0.4 + 0.8 + 0.1 + 0.1) / 5, 1e-15);
}

TEST(PreferenceCalibration, DoesNotDependOnWhichAnswerStandsFirst) {
  // With the mirrored prediction of each pair and its outcome, in bins of half the width over
  // [0, 1], the same error is made twice.
  const Values p = {0.93, 0.14, 0.57, 0.68, 0.88, 0.31, 0.99};
  Values both = p, outcomes(p.size(), 1.0);
  for (const double value : p) both.push_back(1 - value), outcomes.push_back(0);
  EXPECT_NEAR(preference_calibration(p).ece_equal_width,
              calibration(both, outcomes, 20).ece_equal_width, 1e-15);
  EXPECT_NEAR(preference_calibration(p).brier, calibration(both, outcomes).brier, 1e-15);
}

TEST(Calibration, RefusesWhatIsNoPrediction) {
  const auto data = [](const Values& p, const Values& y) {
    return error_of<DataError>([&] { calibration(p, y); });
  };
  EXPECT_EQ(data({}, {}), "calibration: there are no predictions");
  EXPECT_EQ(data({0.5, 1.5}, {1, 1}),
            "calibration: prediction 1 is 1.5, expected a number from 0 to 1");
  EXPECT_EQ(data({std::nan("")}, {1}),
            "calibration: prediction 0 is nan, expected a number from 0 to 1");
  EXPECT_EQ(data({0.5}, {-1}), "calibration: outcome 0 is -1, expected a number from 0 to 1");
  EXPECT_EQ(error_of<DataError>([] { preference_calibration({}); }),
            "calibration: there are no predictions");
  EXPECT_EQ(error_of<DataError>([] { preference_calibration({2}); }),
            "calibration: prediction 0 is 2, expected a number from 0 to 1");
  EXPECT_EQ(error_of<ArgumentError>([] {
              calibration({0.5}, {1, 0});
            }),
            "calibration: 1 predictions and 2 outcomes, expected as many of each");
  EXPECT_EQ(error_of<ArgumentError>([] { calibration({0.5}, {1}, 0); }),
            "calibration: 0 bins, expected 1 or more");
}

TEST(ReliabilityChart, ShowsOutcomesBesideTheDiagonal) {
  const LineChart chart = reliability_chart(calibration({0.1, 0.2, 0.7, 0.8}, {0, 0, 1, 0}, 2));
  EXPECT_EQ(chart.title, "Reliability");
  EXPECT_EQ(chart.x_label, "predicted probability");
  ASSERT_EQ(chart.series.size(), 2U);
  EXPECT_EQ(chart.series[0].name, "observed");
  EXPECT_TRUE(chart.series[0].sparse);
  ASSERT_EQ(chart.series[0].x.size(), 2U);
  EXPECT_DOUBLE_EQ(chart.series[0].x[0], 0.15);
  EXPECT_DOUBLE_EQ(chart.series[0].x[1], 0.75);
  EXPECT_EQ(chart.series[0].y, (Values{0, 0.5}));
  EXPECT_EQ(chart.series[1].name, "calibrated");
  EXPECT_EQ(chart.series[1].x, (Values{0, 1}));
  EXPECT_EQ(chart.series[1].y, (Values{0, 1}));
  EXPECT_EQ(chart.low, 0);
  EXPECT_EQ(chart.high, 1);
  EXPECT_EQ(chart.note,
            "4 predictions in bins of equal mass. Expected calibration error 0.2 (in bins of equal "
            "width 0.2), Brier score 0.195, log loss 0.574, accuracy 0.75 ± 0.25.");
  EXPECT_NE(figure(chart).find("c-dot"), std::string::npos);
}

TEST(ReliabilityChart, OfConfidencesBeginsAtOneHalf) {
  const LineChart chart = reliability_chart(preference_calibration({0.9, 0.4}, 1), "Held out");
  EXPECT_EQ(chart.title, "Held out");
  EXPECT_EQ(chart.x_label, "confidence");
  EXPECT_EQ(chart.series[0].name, "right");
  EXPECT_EQ(chart.series[0].x, (Values{0.75}));
  EXPECT_EQ(chart.series[0].y, (Values{0.5}));
  EXPECT_EQ(chart.series[1].x, (Values{0.5, 1}));
  EXPECT_EQ(chart.low, 0.5);
}

TEST(ReliabilityTable, HasARowForEachBin) {
  const Table table = reliability_table(calibration({0.1, 0.2, 0.75}, {0, 1, 1}, 2));
  EXPECT_EQ(table.title, "Reliability");
  EXPECT_EQ(table.columns, (std::vector<std::string>{"from", "to", "count", "predicted", "observed",
                                                     "standard error"}));
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[0], (std::vector<std::string>{"0.1", "0.1", "1", "0.1", "0", "–"}));
  EXPECT_EQ(table.rows[1], (std::vector<std::string>{"0.1", "0.75", "2", "0.475", "1", "0"}));
  EXPECT_EQ(table.note, "Bins of equal mass.");
}

}  // namespace
}  // namespace luce
