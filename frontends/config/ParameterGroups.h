#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_PARAMETERGROUPS_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_PARAMETERGROUPS_H

#include "frontends/config/Config.h"
#include "frontends/config/Settings.h"

namespace stagewright {

/// /stagewright/parameter_groups of a file that passed the check; what a group does not give is the
/// optimizer's. Errors: an unknown key, no regular expression, a number out of range, a group that changes
/// nothing, a rate of its own where a schedule has no base rate to relate it to.
Result<std::vector<ParameterGroup>> readParameterGroups(const json::Document &document, Settings &settings,
                                                        const Config &config);

} // namespace stagewright

#endif
