// The learning rate of every step: a constant, or one of the schedules of DeepSpeed's lr_schedules.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_LEARNINGRATE_H
#define STAGEWRIGHT_RUNTIME_TRAIN_LEARNINGRATE_H

#include "error/Error.h"
#include "schema/stage_generated.h"

#include <cstdint>
#include <optional>
#include <variant>

namespace stagewright::runtime {

namespace schedules {

// t is DeepSpeed's last_batch_iteration: -1 before the first step.

struct Constant {
  double rate;
  double at(double) const { return rate; }
};

/// From 0 to 1 within `steps` steps.
struct Rise {
  double steps;
  bool isLinear; ///< else as the logarithm
  double at(double t) const;
};

struct WarmupLR {
  Rise rise;
  double minimum, maximum;
  double at(double t) const;
};

/// Back to `minimum` until `total`, linearly.
struct WarmupDecayLR {
  Rise rise;
  double minimum, maximum, total;
  double at(double t) const;
};

/// Ratios are of the optimizer's rate `base`.
struct WarmupCosineLR {
  Rise rise;
  double base, firstRatio, lastRatio, total;
  double at(double t) const;
};

/// Up in `first` steps, down in `second`, then 1 / (1 + decay x steps). Stairs 0: smoothly.
struct OneCycle {
  double minimum, maximum, first, second, firstStairs, secondStairs, decay, decaySteps;
  double at(double t) const;

  /// Of the way up, within the cycle.
  double share(double t) const;
  /// From `high` down to `low` and up again, then high x (1 + growth x steps), at least 0; `low` before the
  /// first move.
  double opposite(double t, double low, double high, double growth) const;
};

struct LRRangeTest {
  double minimum, stepSize, stepRate;
  bool staircase;
  double at(double t) const;
};

} // namespace schedules

/// A function of the step alone, so that a resumed run computes the same.
class LearningRate {
public:
  /// Error: an unknown schedule, or parameters that are not exactly its own; `what` says which.
  static Result<LearningRate> create(const executable::Recipe &recipe);

  /// Of a step, from 1. DeepSpeed's schedules move on behind each step, beginning at t = -1, so that step n
  /// trains with the rate of t = n - 2: a warm-up begins with its lowest rate twice.
  double at(std::uint64_t step) const {
    return std::visit([&](const auto &rule) { return rule.at(static_cast<double>(step) - 2); }, schedule);
  }

  /// Of a parameter group with this rate: as torch.optim.lr_scheduler.LambdaLR, a schedule is a factor, here
  /// at(step) / the optimizer's rate, by which each group's own rate is multiplied.
  double at(std::uint64_t step, double groupRate) const {
    return std::holds_alternative<schedules::Constant>(schedule) ? groupRate
           : groupRate == base                                   ? at(step)
                                                                 : at(step) * (groupRate / base);
  }

  /// The first of the optimizer's betas in a step, from 1, where the schedule cycles it.
  std::optional<double> firstBeta(std::uint64_t step) const {
    return betas ? std::optional(std::get<schedules::OneCycle>(schedule).opposite(
                       static_cast<double>(step) - 2, betas->low, betas->high, betas->growth))
                 : std::nullopt;
  }

private:
  struct Betas {
    double low, high, growth;
  };
  using Schedule = std::variant<schedules::Constant, schedules::WarmupLR, schedules::WarmupDecayLR,
                                schedules::WarmupCosineLR, schedules::OneCycle, schedules::LRRangeTest>;
  LearningRate(Schedule schedule, double base) : schedule(schedule), base(base) {}

  Schedule schedule;
  double base; ///< the optimizer's rate
  std::optional<Betas> betas;
};

} // namespace stagewright::runtime

#endif
