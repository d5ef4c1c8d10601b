#include "runtime/train/StrictJson.h"

#include <set>
#include <vector>

namespace stagewright::runtime {

using nlohmann::json;

Result<json> parseStrictJson(const std::string &text) {
  std::vector<std::set<std::string>> keys;
  std::string repeated;
  const auto watch = [&](int, json::parse_event_t event, json &parsed) {
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      repeated = parsed.get<std::string>();
    }
    return true;
  };
  json parsed = json::parse(text, watch, /*allow_exceptions=*/false);
  if (parsed.is_discarded() || !parsed.is_object()) {
    return userError("", "is not a JSON object");
  }
  if (!repeated.empty()) {
    return userError("", "has the key \"" + repeated + "\" twice");
  }
  return parsed;
}

} // namespace stagewright::runtime
