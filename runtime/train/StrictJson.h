// JSON of files that others wrote: no exceptions, no repeated keys.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_STRICTJSON_H
#define STAGEWRIGHT_RUNTIME_TRAIN_STRICTJSON_H

#include "error/Error.h"

#include <nlohmann/json.hpp>

#include <string>

namespace stagewright::runtime {

/// An object. Errors (User) have no place: "is not a JSON object", "has the key "x" twice".
Result<nlohmann::json> parseStrictJson(const std::string &text);

} // namespace stagewright::runtime

#endif
