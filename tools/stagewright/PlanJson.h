// `inspect --json`: everything a plan says, as JSON (docs/inspect.schema.json).
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_PLANJSON_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_PLANJSON_H

#include "runtime/executable/Executable.h"
#include "schedule/Schedule.h"

#include <nlohmann/json.hpp>

namespace stagewright::program {

/// With the memory and the programs of these targets of the file, of the first at the top; chooses the last
/// one.
nlohmann::ordered_json planJson(runtime::Executable &plan, const schedule::Timeline &timeline,
                                const std::vector<std::string> &targets);

/// {"makespan", "bubble", "ranks": [{"busy", "idle", "peak_in_flight"}]}, also what `simulate --json` prints.
nlohmann::ordered_json timelineJson(const schedule::Timeline &timeline);

} // namespace stagewright::program

#endif
