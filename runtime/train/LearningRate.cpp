#include "runtime/train/LearningRate.h"

#include "runtime/train/Elementary.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <string>

namespace stagewright::runtime {

namespace schedules {

double Rise::at(double t) const {
  return t >= steps ? 1 : isLinear ? t / steps : logarithm(t + 1) / logarithm(steps);
}

double WarmupLR::at(double t) const {
  return t < 0 ? minimum : minimum + (maximum - minimum) * rise.at(t);
}

double WarmupDecayLR::at(double t) const {
  const double share = t < rise.steps ? rise.at(std::max(t, 0.0))
                                      : std::max(0.0, (total - t) / std::max(1.0, total - rise.steps));
  return minimum + (maximum - minimum) * share;
}

double WarmupCosineLR::at(double t) const {
  if (t < 0) {
    return 0;
  }
  if (t < rise.steps) {
    return base * (firstRatio + (1 - firstRatio) * rise.at(t));
  }
  const double progress = std::min(1.0, (t - rise.steps + 1) / std::max(1.0, total - rise.steps));
  return base * std::max(0.0, lastRatio + (1 - lastRatio) * (1 + cosineOfPi(progress)) / 2);
}

double OneCycle::at(double t) const {
  const double cycle = first + second;
  if (t >= cycle) {
    return decaySteps == 0 ? minimum : minimum / (1 + decay * (t - cycle + 1) / decaySteps);
  }
  return minimum + (maximum - minimum) * share(t);
}

double OneCycle::share(double t) const {
  const double cycle = first + second;
  const double position = std::fmod(t + 1, cycle); // of whole numbers: exact
  const bool rises = position <= first;
  const double stairs = rises ? firstStairs : secondStairs, length = rises ? first : second;
  const double done = rises ? position : cycle - position;
  return stairs > 0 ? std::floor(done * stairs / length) / stairs : done / length;
}

double OneCycle::opposite(double t, double low, double high, double growth) const {
  const double cycle = first + second;
  if (t < 0) {
    return low;
  }
  if (t < cycle) {
    return high - (high - low) * share(t);
  }
  return decaySteps == 0 ? high : std::max(0.0, high * (1 + growth * (t - cycle + 1) / decaySteps));
}

double LRRangeTest::at(double t) const {
  const double steps = (t + 1) / stepSize;
  return minimum * (1 + stepRate * (staircase ? std::floor(steps) : steps));
}

} // namespace schedules

namespace {

/// The parameters of a schedule, each taken once; remembers the first that is wrong.
class Parameters {
public:
  explicit Parameters(const executable::Scheduler &scheduler) : scheduler(scheduler) {}

  double rate(const char *name) {
    const executable::Attribute *found = find(name);
    return number(name, found && found->real() ? *found->real() : -1, 0);
  }
  double count(const char *name, double least = 1) {
    const executable::Attribute *found = find(name);
    return number(name, found && found->integer() ? static_cast<double>(*found->integer()) : -1, least);
  }
  bool has(const char *name) const { return lookup(name) != nullptr; }
  /// In [0, 1).
  double beta(const char *name) {
    const double value = rate(name);
    wrong = wrong.empty() && value >= 1 ? name : wrong;
    return value;
  }
  /// At most 0 where it is `used`.
  double growth(const char *name, bool used) {
    const executable::Attribute *found = find(name);
    return -number(name, found && found->real() ? -*found->real() : std::nan(""), used ? 0 : -FLT_MAX);
  }
  bool flag(const char *name) { return count(name, 0) != 0; }
  bool isText(const char *name, const char *one, const char *other) {
    const executable::Attribute *found = find(name);
    const std::string text = found && found->text() ? found->text()->str() : "";
    if (text != one && text != other) {
      wrong = wrong.empty() ? name : wrong;
    }
    return text == one;
  }

  /// Of all three kinds of warm-up.
  schedules::Rise rise() {
    return {std::max(2.0, count("warmup_num_steps")), isText("warmup_type", "linear", "log")};
  }

  /// Nothing, or what is wrong.
  std::string problem() const {
    if (!wrong.empty()) {
      return "the parameter \"" + wrong + "\" is missing or impossible";
    }
    const bool exact = scheduler.params() && scheduler.params()->size() == taken;
    return exact ? "" : "there are parameters that it does not have";
  }

private:
  const executable::Attribute *find(const char *name) {
    ++taken;
    return lookup(name);
  }
  const executable::Attribute *lookup(const char *name) const {
    for (unsigned i = 0; scheduler.params() && i < scheduler.params()->size(); ++i) {
      if (scheduler.params()->Get(i)->name()->str() == name) {
        return scheduler.params()->Get(i);
      }
    }
    return nullptr;
  }
  double number(const char *name, double value, double least) {
    constexpr double kLargest =
        1e300; // products of two of them by the number of a step stay finite or infinite
    if (!(value >= least && value <= kLargest)) {
      wrong = wrong.empty() ? name : wrong;
    }
    return value;
  }

  const executable::Scheduler &scheduler;
  unsigned taken = 0;
  std::string wrong;
};

} // namespace

Result<LearningRate> LearningRate::create(const executable::Recipe &recipe) {
  if (!recipe.scheduler()) {
    return LearningRate(schedules::Constant{recipe.learning_rate()}, recipe.learning_rate());
  }
  const std::string type = recipe.scheduler()->type()->str();
  Parameters p(*recipe.scheduler());
  Schedule schedule;
  std::optional<Betas> betas;
  // Braces evaluate in order.
  if (type == "WarmupLR") {
    schedule = schedules::WarmupLR{p.rise(), p.rate("warmup_min_lr"), p.rate("warmup_max_lr")};
  } else if (type == "WarmupDecayLR") {
    schedule = schedules::WarmupDecayLR{p.rise(), p.rate("warmup_min_lr"), p.rate("warmup_max_lr"),
                                        p.count("total_num_steps")};
  } else if (type == "WarmupCosineLR") {
    schedule = schedules::WarmupCosineLR{p.rise(), recipe.learning_rate(), p.rate("warmup_min_ratio"),
                                         p.rate("cos_min_ratio"), p.count("total_num_steps")};
  } else if (type == "OneCycle") {
    schedule = schedules::OneCycle{p.rate("cycle_min_lr"),
                                   p.rate("cycle_max_lr"),
                                   p.count("cycle_first_step_size"),
                                   p.count("cycle_second_step_size"),
                                   p.count("cycle_first_stair_count", 0),
                                   p.count("cycle_second_stair_count", 0),
                                   p.rate("decay_lr_rate"),
                                   p.count("decay_step_size", 0)};
    if (p.has("cycle_max_mom")) {
      const bool decays = std::get<schedules::OneCycle>(schedule).decaySteps > 0;
      betas = Betas{p.beta("cycle_min_mom"), p.beta("cycle_max_mom"), p.growth("decay_mom_rate", decays)};
    }
  } else if (type == "LRRangeTest") {
    schedule = schedules::LRRangeTest{p.rate("lr_range_test_min_lr"), p.count("lr_range_test_step_size"),
                                      p.rate("lr_range_test_step_rate"), p.flag("lr_range_test_staircase")};
  } else {
    return userError("recipe.scheduler", "unknown schedule of the learning rate \"" + type + "\"");
  }
  if (std::string problem = p.problem(); !problem.empty()) {
    return userError("recipe.scheduler", type + ": " + problem);
  }
  LearningRate rate(schedule, recipe.learning_rate());
  rate.betas = betas;
  return rate;
}

} // namespace stagewright::runtime
