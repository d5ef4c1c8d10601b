#include "JsonLine.h"

#include <cstdio>

namespace stagewright::program {

void printJsonLine(const nlohmann::ordered_json &json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

} // namespace stagewright::program
