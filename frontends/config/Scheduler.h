#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_SCHEDULER_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_SCHEDULER_H

#include "frontends/config/Config.h"
#include "frontends/config/Settings.h"

namespace stagewright {

/// The block /scheduler of a file that passed the check, with the defaults that depend on other values filled
/// in. Error: OneCycle that would cycle the betas of `optimizer`.
Result<SchedulerConfig> readScheduler(Settings &settings, const OptimizerConfig &optimizer);

} // namespace stagewright

#endif
