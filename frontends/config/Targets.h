// What the model is compiled for.
#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_TARGETS_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_TARGETS_H

#include "frontends/config/Config.h"
#include "frontends/config/Settings.h"

namespace stagewright {

/// The targets, and what CUDA does not have of the rest. Behind everything about replicas.
Result<void> readTargets(Settings &settings, const ConfigOverrides &overrides, Config &config);

} // namespace stagewright

#endif
