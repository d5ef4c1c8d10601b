// What replicas of the pipeline divide between them, keep elsewhere and send each other.
#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_REPLICAS_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_REPLICAS_H

#include "frontends/config/Config.h"
#include "frontends/config/Settings.h"

namespace stagewright {

/// ZeRO with its groups and offload, and in what gradients are added up and travel. Behind dataParallel.
Result<void> readZero(Settings &settings, Config &config);

/// Parameter servers. Behind readZero and the precision, which say what they cannot be combined with.
Result<void> readServers(Settings &settings, Config &config);

} // namespace stagewright

#endif
