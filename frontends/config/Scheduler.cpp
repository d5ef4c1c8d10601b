#include "frontends/config/Scheduler.h"

#include "frontends/json/NearestName.h"

namespace stagewright {

static constexpr std::string_view kParams = "/scheduler/params";

static SchedulerConfig::Value valueOf(const json::Value &value, const ConfigKey &key) {
  switch (key.rule.type) {
  case ValueRule::Type::Boolean:
    return std::int64_t{value.boolean};
  case ValueRule::Type::Count:
    return static_cast<std::int64_t>(value.number);
  case ValueRule::Type::String:
    return json::lowerCase(value.string);
  default:
    return value.number;
  }
}

static std::string jsonOf(const SchedulerConfig::Value &value) {
  const auto *integer = std::get_if<std::int64_t>(&value);
  return integer ? std::to_string(*integer) : json::jsonText(std::get<double>(value));
}

Result<SchedulerConfig> readScheduler(Settings &settings, const OptimizerConfig &optimizer) {
  SchedulerConfig scheduler;
  const json::Value *type = settings.given("/scheduler/type");
  if (!type)
    return scheduler;
  for (std::string_view known : schedulerTypes())
    if (json::lowerCase(known) == json::lowerCase(type->string))
      scheduler.type = known;
  settings.record("/scheduler/type", json::jsonText(scheduler.type), "file");
  const bool cyclesMomentum =
      scheduler.type == "OneCycle" && settings.flag("/scheduler/params/cycle_momentum");
  const bool cyclesBetas = cyclesMomentum && optimizer.hasBetas();
  if (cyclesBetas && settings.number("/scheduler/params/decay_mom_rate") > 0 &&
      settings.number("/scheduler/params/decay_step_size") > 0)
    return userError(settings.place("/scheduler/params/decay_mom_rate"),
                     "the momentum would grow without end behind the cycle, above 1, and training diverge",
                     "leave decay_mom_rate at 0, or make it negative");
  // What null stands for, in terms of values that stand before it in the table.
  const auto meaningOfNull = [&](std::string_view name) -> SchedulerConfig::Value {
    if (name == "warmup_max_lr")
      return scheduler.type == "WarmupLR" ? optimizer.learningRate : 0.001;
    return *scheduler.find(name == "cycle_second_step_size" ? "cycle_first_step_size"
                                                            : "cycle_first_stair_count");
  };
  for (const ConfigKey *key : settings.keysBelow(kParams)) {
    const bool isOfBetas = key->name().ends_with("_mom") || key->name() == "decay_mom_rate";
    if (key->treatment != Treatment::Honoured || key->name() == "cycle_momentum" ||
        (isOfBetas && !cyclesBetas))
      continue;
    const json::Value value = settings.value(key->path);
    SchedulerConfig::Value taken;
    if (value.kind == json::Value::Kind::Null) {
      taken = meaningOfNull(key->name());
      settings.record(key->path, jsonOf(taken), "inferred");
    } else {
      taken = valueOf(value, *key);
    }
    scheduler.params.emplace_back(key->name(), std::move(taken));
  }
  return scheduler;
}

} // namespace stagewright
