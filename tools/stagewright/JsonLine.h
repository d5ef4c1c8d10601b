// What `--json` prints.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_JSONLINE_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_JSONLINE_H

#include <nlohmann/json.hpp>

namespace stagewright::program {

/// One line on stdout. Bytes of a name that are not UTF-8 become U+FFFD.
void printJsonLine(const nlohmann::ordered_json &json);

} // namespace stagewright::program

#endif
