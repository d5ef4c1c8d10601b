// Documentation that is made from the table of keys: docs/config.md (its tables) and docs/config.schema.json.
#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_CONFIGREFERENCE_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_CONFIGREFERENCE_H

#include <string>

namespace stagewright {

/// One Markdown table per block: key, values, default, treatment.
std::string configTables();

/// JSON Schema, draft 2020-12. It accepts what `readConfig` accepts, but for rules between keys (the batch
/// triangle, parameters of another optimizer) and for numbers spelled as 5e8 where an integer is wanted.
std::string configSchema();

} // namespace stagewright

#endif
