#ifndef STAGEWRIGHT_TESTS_FRONTENDS_SCHEMAVALIDATOR_H
#define STAGEWRIGHT_TESTS_FRONTENDS_SCHEMAVALIDATOR_H

#include <nlohmann/json.hpp>

#include <string>

namespace stagewright {

/// JSON Schema, draft 2020-12, as far as the schemas in docs/ use it. Returns what does not hold, or nothing.
/// A keyword that it does not know is a failure as well.
std::string violation(const nlohmann::json &schema, const nlohmann::json &value,
                      const std::string &path = "");

} // namespace stagewright

#endif
