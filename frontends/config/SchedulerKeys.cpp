#include "frontends/config/KeyTables.h"

namespace stagewright::keys {

static constexpr ValueRule kSteps{.type = Type::Count, .minimum = 1, .maximum = 1e15};
static constexpr ValueRule kStepsOrNone{.type = Type::Count, .minimum = 0, .maximum = 1e15};
static constexpr ValueRule kRequiredSteps{
    .type = Type::Count, .minimum = 1, .maximum = 1e15, .required = true};
static constexpr ValueRule kRequiredRate{
    .type = Type::Number, .minimum = 0, .maximum = FLT_MAX, .required = true};
static constexpr std::string_view kWarmups = "WarmupLR|WarmupDecayLR|WarmupCosineLR";
static constexpr std::string_view kLinear = "WarmupLR|WarmupDecayLR";
static constexpr std::string_view kDecays = "WarmupDecayLR|WarmupCosineLR";
static constexpr std::string_view kOneCycle = "OneCycle";
static constexpr std::string_view kRangeTest = "LRRangeTest";
static constexpr ValueRule kMomentum{.type = Type::Number, .minimum = 0, .maximum = 1, .belowMaximum = true};

static constexpr ConfigKey kTable[] = {
    {"/scheduler",
     {.type = Type::Block},
     "null",
     Treatment::WithoutEffect,
     "null = the learning rate is constant"},
    honoured("/scheduler/type", {.type = Type::String, .required = true}, "null",
             "WarmupLR, WarmupDecayLR, WarmupCosineLR, OneCycle or LRRangeTest, in any case"),
    block("/scheduler/params"),
    honoured("/scheduler/params/warmup_min_lr", kNonNegative, "0.0", "rate of the first two steps", kLinear),
    honoured("/scheduler/params/warmup_max_lr", kNonNegative, "null",
             "rate after the warm-up; null = the optimizer's lr with WarmupLR, 0.001 with WarmupDecayLR",
             kLinear),
    honoured("/scheduler/params/warmup_num_steps", kSteps, "1000",
             "steps of the warm-up; at least 2 are made", kWarmups),
    honoured("/scheduler/params/warmup_type", choice("log|linear"), "\"log\"", "how the rate rises",
             kWarmups),
    honoured("/scheduler/params/total_num_steps", kRequiredSteps, "null", "the step at which the decay ends",
             kDecays),
    honoured("/scheduler/params/warmup_min_ratio", kNonNegative, "0.0",
             "share of the optimizer's lr at which the warm-up begins", "WarmupCosineLR"),
    honoured("/scheduler/params/cos_min_ratio", kNonNegative, "0.0001",
             "share of the optimizer's lr at which the decay ends", "WarmupCosineLR"),
    honoured("/scheduler/params/cycle_min_lr", kRequiredRate, "null", "rate at both ends of the cycle",
             kOneCycle),
    honoured("/scheduler/params/cycle_max_lr", kRequiredRate, "null", "rate at the top of the cycle",
             kOneCycle),
    honoured("/scheduler/params/decay_lr_rate", kNonNegative, "0.0",
             "after the cycle the rate is cycle_min_lr / (1 + this x steps / decay_step_size)", kOneCycle),
    honoured("/scheduler/params/cycle_first_step_size", kSteps, "2000", "steps of the rising half",
             kOneCycle),
    honoured("/scheduler/params/cycle_second_step_size", kSteps, "null",
             "steps of the falling half; null = as the rising one", kOneCycle),
    honoured("/scheduler/params/cycle_first_stair_count", kStepsOrNone, "0",
             "the rising half in so many stairs; 0 = smoothly", kOneCycle),
    honoured("/scheduler/params/cycle_second_stair_count", kStepsOrNone, "null",
             "the same of the falling half; null = as the rising one", kOneCycle),
    honoured("/scheduler/params/decay_step_size", kStepsOrNone, "0", "0 = no decay after the cycle",
             kOneCycle),
    honoured(
        "/scheduler/params/cycle_momentum", kFlag, "true",
        "the first of an optimizer's betas falls while the rate rises, and the second is 0.99; optimizers "
        "without betas have none to cycle, as in DeepSpeed",
        kOneCycle),
    honoured("/scheduler/params/cycle_min_mom", kMomentum, "0.8", "the first beta at the top of the cycle",
             kOneCycle),
    honoured("/scheduler/params/cycle_max_mom", kMomentum, "0.9", "the first beta at both ends of the cycle",
             kOneCycle),
    honoured("/scheduler/params/decay_mom_rate",
             {.type = Type::Number, .minimum = -FLT_MAX, .maximum = FLT_MAX}, "0.0",
             "after the cycle the first beta is cycle_max_mom x (1 + this x steps / decay_step_size), at "
             "least 0; above 0 it would end above 1, which is refused",
             kOneCycle),
    honoured("/scheduler/params/lr_range_test_min_lr", kNonNegative, "0.001", "rate of the first step",
             kRangeTest),
    honoured("/scheduler/params/lr_range_test_step_size", kSteps, "2000",
             "steps in which the rate grows by lr_range_test_step_rate x lr_range_test_min_lr", kRangeTest),
    honoured("/scheduler/params/lr_range_test_step_rate", kNonNegative, "1.0", "see there", kRangeTest),
    honoured("/scheduler/params/lr_range_test_staircase", kFlag, "false",
             "grow once in lr_range_test_step_size steps instead of in each", kRangeTest),
};

std::span<const ConfigKey> schedulerKeys() {
  return kTable;
}

} // namespace stagewright::keys
