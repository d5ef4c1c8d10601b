// Schedules of the learning rate against figures of DeepSpeed's formulas, by its count t of steps
// (last_batch_iteration), and against the formulas themselves with the C library's functions.
#include "runtime/train/LearningRate.h"
#include "runtime/train/Elementary.h"

#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <numbers>
#include <variant>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

using Value = std::variant<std::int64_t, double, const char *>;
using Params = std::map<std::string, Value>;

/// A recipe in bytes, as a file holds it.
std::vector<std::uint8_t> recipeWith(const char *type, const Params &params, double base) {
  executable::RecipeT recipe;
  recipe.optimizer = "sgd";
  recipe.learning_rate = base;
  if (*type) {
    recipe.scheduler = std::make_unique<executable::SchedulerT>();
    recipe.scheduler->type = type;
    for (const auto &[name, value] : params) {
      auto param = std::make_unique<executable::AttributeT>();
      param->name = name;
      if (const auto *integer = std::get_if<std::int64_t>(&value)) {
        param->integer = *integer;
      } else if (const auto *real = std::get_if<double>(&value)) {
        param->real = *real;
      } else {
        param->text = std::get<const char *>(value);
      }
      recipe.scheduler->params.push_back(std::move(param));
    }
  }
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(executable::Recipe::Pack(builder, &recipe));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

Result<LearningRate> schedule(const char *type, const Params &params, double base = 0.001) {
  const std::vector<std::uint8_t> bytes = recipeWith(type, params, base);
  return LearningRate::create(*flatbuffers::GetRoot<executable::Recipe>(bytes.data()));
}

/// Step 1 trains with the rate of t = -1.
double at(const LearningRate &rate, int t) {
  return rate.at(static_cast<std::uint64_t>(t + 2));
}

Params warmup(const char *type, std::int64_t steps = 10) {
  return {{"warmup_min_lr", 0.0}, {"warmup_max_lr", 0.1}, {"warmup_num_steps", steps}, {"warmup_type", type}};
}
Params warmupDecay(const char *type, std::int64_t total) {
  Params params = warmup(type);
  params["total_num_steps"] = total;
  return params;
}
Params cosine(const char *type) {
  return {{"warmup_min_ratio", 0.0},
          {"warmup_num_steps", std::int64_t{10}},
          {"warmup_type", type},
          {"cos_min_ratio", 1e-4},
          {"total_num_steps", std::int64_t{100}}};
}
Params oneCycle(std::int64_t first, std::int64_t second, std::int64_t firstStairs = 0,
                std::int64_t secondStairs = 0) {
  return {{"cycle_min_lr", 0.001},
          {"cycle_max_lr", 0.01},
          {"cycle_first_step_size", first},
          {"cycle_second_step_size", second},
          {"cycle_first_stair_count", firstStairs},
          {"cycle_second_stair_count", secondStairs},
          {"decay_lr_rate", 0.1},
          {"decay_step_size", std::int64_t{2}}};
}
Params rangeTest(std::int64_t staircase) {
  return {{"lr_range_test_min_lr", 0.001},
          {"lr_range_test_step_size", std::int64_t{5}},
          {"lr_range_test_step_rate", 1.0},
          {"lr_range_test_staircase", staircase}};
}

struct Row {
  const char *type;
  Params params;
  std::map<int, double> figures; ///< t -> rate, six digits
};

TEST(LearningRate, HasTheFiguresOfDeepSpeed) {
  const std::vector<Row> rows = {
      {"WarmupLR",
       warmup("log"),
       {{-1, 0}, {0, 0}, {1, 0.030103}, {4, 0.069897}, {8, 0.0954243}, {9, 0.1}, {10, 0.1}, {10000, 0.1}}},
      {"WarmupLR",
       warmup("linear"),
       {{-1, 0}, {0, 0}, {1, 0.01}, {5, 0.05}, {9, 0.09}, {10, 0.1}, {999, 0.1}}},
      {"WarmupLR", warmup("linear", 1), {{0, 0}, {1, 0.05}, {2, 0.1}}}, // a warm-up has at least two steps
      {"WarmupDecayLR",
       warmupDecay("linear", 100),
       {{-1, 0}, {0, 0}, {5, 0.05}, {10, 0.1}, {55, 0.05}, {99, 0.00111111}, {100, 0}, {5000, 0}}},
      {"WarmupCosineLR",
       cosine("linear"),
       {{-1, 0},
        {0, 0},
        {5, 0.0005},
        {9, 0.0009},
        {10, 0.000999695},
        {54, 0.00050005},
        {99, 1e-7},
        {500, 1e-7}}},
      {"OneCycle",
       oneCycle(4, 4),
       {{-1, 0.001},
        {0, 0.00325},
        {1, 0.0055},
        {3, 0.01},
        {5, 0.0055},
        {7, 0.001},
        {8, 0.000952381},
        {9, 0.000909091},
        {11, 0.000833333}}},
      // Two stairs up, in halves of four steps; the falling half of six steps in three.
      {"OneCycle",
       oneCycle(4, 6, 2, 3),
       {{0, 0.001},
        {1, 0.0055},
        {2, 0.0055},
        {3, 0.01},
        {4, 0.007},
        {5, 0.007},
        {6, 0.004},
        {8, 0.001},
        {9, 0.001}}},
      {"LRRangeTest", rangeTest(0), {{-1, 0.001}, {0, 0.0012}, {4, 0.002}, {9, 0.003}}},
      {"LRRangeTest", rangeTest(1), {{-1, 0.001}, {3, 0.001}, {4, 0.002}, {8, 0.002}, {9, 0.003}}},
      {"", {}, {{-1, 0.001}, {0, 0.001}, {100000, 0.001}}}};
  for (const Row &row : rows) {
    auto rate = schedule(row.type, row.params);
    ASSERT_TRUE(rate) << row.type << rate.error().text();
    for (const auto &[t, expected] : row.figures) {
      EXPECT_NEAR(at(*rate, t), expected, 5e-6 * expected + 1e-18) << row.type << " at " << t;
    }
  }
}

TEST(LearningRate, FollowsTheFormulasAtEveryStep) {
  auto log = schedule("WarmupLR", {{"warmup_min_lr", 0.02},
                                   {"warmup_max_lr", 0.5},
                                   {"warmup_num_steps", std::int64_t{1000}},
                                   {"warmup_type", "log"}});
  auto cosines = schedule("WarmupCosineLR",
                          {{"warmup_min_ratio", 0.25},
                           {"warmup_num_steps", std::int64_t{7}},
                           {"warmup_type", "log"},
                           {"cos_min_ratio", 0.1},
                           {"total_num_steps", std::int64_t{1500}}},
                          0.3);
  ASSERT_TRUE(log && cosines);
  EXPECT_EQ(at(*cosines, -1), 0);
  for (int t = 0; t < 2000; ++t) {
    const double warm = t < 1000 ? std::log(t + 1) / std::log(1000) : 1;
    EXPECT_NEAR(at(*log, t), 0.02 + 0.48 * warm, 1e-15) << t;
    const double progress = std::min(1.0, (t - 6) / 1493.0);
    const double ratio = t < 7 ? 0.25 + 0.75 * std::log(t + 1) / std::log(7)
                               : 0.1 + 0.9 * (1 + std::cos(std::numbers::pi * progress)) / 2;
    EXPECT_NEAR(at(*cosines, t), 0.3 * ratio, 1e-15) << t;
  }
}

// DeepSpeed's OneCycle moves the first beta against the rate; its first step has the lowest of both.
TEST(LearningRate, OneCycleCyclesTheFirstBeta) {
  Params params = oneCycle(4, 6);
  auto plain = schedule("OneCycle", params);
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->firstBeta(3));
  params["cycle_min_mom"] = 0.8;
  params["cycle_max_mom"] = 0.9;
  params["decay_mom_rate"] = -0.25;
  params["decay_step_size"] = std::int64_t{2};
  auto rate = schedule("OneCycle", params);
  ASSERT_TRUE(rate) << rate.error().text();
  const std::pair<int, double> wanted[] = {{-1, 0.8}, {0, 0.875},        {1, 0.85},       {3, 0.8}, {6, 0.85},
                                           {9, 0.9},  {10, 0.9 * 0.875}, {13, 0.9 * 0.5}, {17, 0},  {900, 0}};
  for (const auto &[t, beta] : wanted) {
    EXPECT_NEAR(*rate->firstBeta(static_cast<std::uint64_t>(t + 2)), beta, 1e-15) << t;
  }
  params["cycle_max_mom"] = 1.0;
  EXPECT_NE(schedule("OneCycle", params).error().text().find("cycle_max_mom"), std::string::npos);
  params["cycle_max_mom"] = 0.9;
  params["decay_mom_rate"] = 0.25;
  EXPECT_NE(schedule("OneCycle", params).error().text().find("decay_mom_rate"), std::string::npos);
  params["decay_step_size"] = std::int64_t{0}; // it has no effect then
  EXPECT_EQ(schedule("OneCycle", params)->firstBeta(500), 0.9);
  params.erase("decay_mom_rate");
  EXPECT_FALSE(schedule("OneCycle", params));
}

TEST(LearningRate, OfAGroupIsItsOwnTimesTheSchedulesFactor) {
  auto constant = schedule("", {}, 0.25), linear = schedule("WarmupLR", warmup("linear"), 0.25);
  ASSERT_TRUE(constant && linear);
  EXPECT_EQ(constant->at(7, 0.5), 0.5);
  for (std::uint64_t step = 1; step < 20; ++step) {
    EXPECT_EQ(linear->at(step, 0.25), linear->at(step));
    EXPECT_DOUBLE_EQ(linear->at(step, 0.5), 2 * linear->at(step));
    EXPECT_EQ(linear->at(step, 0), 0);
  }
}

TEST(LearningRate, ElementaryFunctionsAreExactToTheLastBits) {
  for (int i = 0; i <= 10000; ++i) {
    EXPECT_NEAR(cosineOfPi(i * 1e-4), std::cos(std::numbers::pi * i * 1e-4), 1e-15) << i;
    const double x = std::exp2(i * 0.004 - 20);
    EXPECT_NEAR(logarithm(x), std::log(x), 1e-15 * std::max(1.0, std::abs(std::log(x)))) << x;
  }
  EXPECT_EQ(cosineOfPi(0), 1);
  EXPECT_EQ(cosineOfPi(1), -1);
  EXPECT_EQ(logarithm(1), 0);
}

TEST(LearningRate, RefusesWhatIsNoSchedule) {
  const auto problem = [](const char *type, const Params &params) {
    auto rate = schedule(type, params);
    return rate ? std::string() : rate.error().text();
  };
  EXPECT_NE(problem("StepLR", {}).find("StepLR"), std::string::npos);
  Params params = warmup("log");
  params.erase("warmup_max_lr");
  EXPECT_NE(problem("WarmupLR", params).find("\"warmup_max_lr\" is missing"), std::string::npos);
  EXPECT_NE(problem("WarmupLR", warmup("quick")).find("warmup_type"), std::string::npos);
  EXPECT_NE(problem("WarmupLR", warmup("log", 0)).find("warmup_num_steps"), std::string::npos);
  EXPECT_NE(problem("WarmupLR", warmupDecay("log", 100)).find("does not have"), std::string::npos);
  params = warmup("log");
  params["warmup_max_lr"] = std::nan("");
  EXPECT_NE(problem("WarmupLR", params).find("warmup_max_lr"), std::string::npos);
  params["warmup_max_lr"] = std::int64_t{1};
  EXPECT_NE(problem("WarmupLR", params).find("warmup_max_lr"), std::string::npos);
}

} // namespace
