#include "schedule/Recompute.h"

#include <algorithm>
#include <charconv>

namespace stagewright::schedule {

static constexpr std::string_view kInterval = "interval:", kTypes = "types:";

std::string text(const Recompute &recompute) {
  switch (recompute.kind) {
  case Recompute::Kind::None:
    return "none";
  case Recompute::Kind::Selective:
    return "selective";
  case Recompute::Kind::Interval:
    return std::string(kInterval) + std::to_string(recompute.interval);
  case Recompute::Kind::Types:
    break;
  }
  std::string list(kTypes);
  for (const std::string &type : recompute.types) {
    list += (list.size() > kTypes.size() ? "," : "") + type;
  }
  return list;
}

static Error unknown(std::string_view text, std::string why) {
  return userError("", "\"" + std::string(text) + "\" " + std::move(why),
                   "write \"none\", \"selective\", \"interval:2\" or \"types:LayerNorm,GELU\"");
}

Result<Recompute> parseRecompute(std::string_view text) {
  Recompute result;
  if (text == "none" || text == "selective") {
    result.kind = text == "none" ? Recompute::Kind::None : Recompute::Kind::Selective;
    return result;
  }
  if (text.starts_with(kInterval)) {
    const std::string_view number = text.substr(kInterval.size());
    result.kind = Recompute::Kind::Interval;
    const auto [end, status] = std::from_chars(number.data(), number.data() + number.size(), result.interval);
    if (status != std::errc() || end != number.data() + number.size() || result.interval < 1) {
      return unknown(text, "has no count of blocks of 1 or more");
    }
    return result;
  }
  if (!text.starts_with(kTypes)) {
    return unknown(text, "is no way to recompute");
  }
  result.kind = Recompute::Kind::Types;
  for (std::string_view rest = text.substr(kTypes.size());;) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    if (comma == 0) {
      return unknown(text, "has an empty layer type");
    }
    result.types.emplace_back(rest.substr(0, comma));
    if (comma == rest.size()) {
      return result;
    }
    rest.remove_prefix(comma + 1);
  }
}

} // namespace stagewright::schedule
