#include "frontends/layerspec/Arguments.h"

#include "frontends/config/ConfigKeys.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace stagewright {

using Json = nlohmann::ordered_json;
using json::Value;
using IntegerList = std::vector<std::int64_t>;

static std::optional<ArgumentValue> listFrom(const Value &value, std::size_t lone) {
  if (value.kind == Value::Kind::Integer)
    return IntegerList(lone, value.integer);
  if (value.kind != Value::Kind::Array)
    return {};
  IntegerList list;
  for (const Value &item : value.items) {
    if (item.kind != Value::Kind::Integer)
      return {};
    list.push_back(item.integer);
  }
  return list;
}

std::optional<ArgumentValue> argumentFrom(const Value &value, const ArgumentType &argument) {
  const ArgumentValue &model = argument.defaultValue;
  if (argument.isNullable && value.kind == Value::Kind::Null)
    return model;
  if (std::holds_alternative<bool>(model) && value.kind == Value::Kind::Boolean)
    return value.boolean;
  if (std::holds_alternative<std::int64_t>(model) && value.kind == Value::Kind::Integer)
    return value.integer;
  if (std::holds_alternative<double>(model) && value.isNumber())
    return value.number;
  if (std::holds_alternative<std::string>(model) && value.kind == Value::Kind::String)
    return value.string;
  if (std::holds_alternative<IntegerList>(model))
    return listFrom(value, argument.shortest);
  return {};
}

bool accepts(const ArgumentType &argument, const ArgumentValue &value) {
  if (value.index() != argument.defaultValue.index())
    return false;
  if (argument.isNullable && value == argument.defaultValue)
    return true;
  auto isInRange = [&](std::int64_t integer) {
    return integer >= argument.minimum && integer <= argument.maximum;
  };
  if (const auto *integer = std::get_if<std::int64_t>(&value))
    return isInRange(*integer);
  if (const auto *number = std::get_if<double>(&value)) // false for NaN
    return *number >= argument.lowest && *number <= argument.highest;
  if (argument.namesFeature)
    return true; // ModelCheck looks for the feature
  if (const auto *text = std::get_if<std::string>(&value)) {
    std::vector<std::string_view> choices = alternatives(argument.choices);
    return std::find(choices.begin(), choices.end(), *text) != choices.end();
  }
  if (const auto *list = std::get_if<IntegerList>(&value))
    return list->size() >= argument.shortest && list->size() <= argument.longest &&
           std::all_of(list->begin(), list->end(), isInRange);
  return true;
}

static std::string range(const std::string &from, const std::string &to) {
  return " from " + from + " to " + to;
}

static std::string numberText(const ArgumentType &argument) {
  bool hasLowest = argument.lowest > std::numeric_limits<double>::lowest();
  bool hasHighest = argument.highest < std::numeric_limits<double>::max();
  std::string lowest = json::jsonText(argument.lowest), highest = json::jsonText(argument.highest);
  if (hasLowest && hasHighest)
    return "a number" + range(lowest, highest);
  return hasLowest    ? "a number of at least " + lowest
         : hasHighest ? "a number of at most " + highest
                      : "a number";
}

std::string wantedText(const ArgumentType &argument) {
  std::string integers = range(std::to_string(argument.minimum), std::to_string(argument.maximum));
  std::string shortest = std::to_string(argument.shortest), longest = std::to_string(argument.longest);
  if (std::holds_alternative<bool>(argument.defaultValue))
    return "true or false";
  if (std::holds_alternative<std::int64_t>(argument.defaultValue))
    return "an integer" + integers + (argument.isNullable ? " or null" : "");
  if (std::holds_alternative<double>(argument.defaultValue))
    return numberText(argument);
  if (argument.namesFeature)
    return "the name of an input of role \"feature\" and dtype \"i32\"";
  if (std::holds_alternative<std::string>(argument.defaultValue))
    return "one of " + std::string(argument.choices);
  return "an integer" + integers + " or a list of " +
         (argument.shortest == argument.longest ? shortest : shortest + " to " + longest) + " such integers";
}

std::string shown(const ArgumentValue &value) {
  if (const auto *text = std::get_if<std::string>(&value))
    return json::inQuotes(*text);
  if (const auto *number = std::get_if<double>(&value))
    return std::isfinite(*number) ? json::jsonText(*number) : "no number";
  constexpr std::size_t kShownBytes = 80;
  std::string text = std::visit([](const auto &plain) { return Json(plain).dump(); }, value);
  return text.size() <= kShownBytes ? text : text.substr(0, kShownBytes) + "...";
}

std::string argumentSchema(const ArgumentType &argument) {
  Json defaultValue = std::visit([](const auto &value) { return Json(value); }, argument.defaultValue);
  if (argument.isNullable)
    defaultValue = nullptr;
  if (!argument.defaultOnly.empty())
    return Json{{"description", "only the default: " + std::string(argument.defaultOnly)},
                {"const", defaultValue}}
        .dump();
  const Json integer{{"type", "integer"}, {"minimum", argument.minimum}, {"maximum", argument.maximum}};
  Json schema;
  if (std::holds_alternative<bool>(argument.defaultValue)) {
    schema["type"] = "boolean";
  } else if (std::holds_alternative<std::int64_t>(argument.defaultValue)) {
    schema = integer;
    if (argument.isNullable)
      schema["type"] = Json{"integer", "null"};
  } else if (std::holds_alternative<double>(argument.defaultValue)) {
    schema["type"] = "number";
    if (argument.lowest > std::numeric_limits<double>::lowest())
      schema["minimum"] = argument.lowest;
    if (argument.highest < std::numeric_limits<double>::max())
      schema["maximum"] = argument.highest;
  } else if (argument.namesFeature) {
    schema["description"] = "name of an input of role feature and dtype i32";
    schema["type"] = "string";
  } else if (std::holds_alternative<std::string>(argument.defaultValue)) {
    schema["type"] = "string";
    for (std::string_view choice : alternatives(argument.choices))
      schema["enum"].push_back(choice);
  } else {
    const Json list{{"type", "array"},
                    {"items", integer},
                    {"minItems", argument.shortest},
                    {"maxItems", argument.longest}};
    schema["anyOf"] = Json::array({integer, list});
  }
  if (!argument.isRequired)
    schema["default"] = defaultValue;
  return schema.dump();
}

Error argumentError(std::string place, const LayerType &type, const ArgumentType &argument,
                    const std::string &shown) {
  std::string name = json::inQuotes(argument.name) + " of " + std::string(type.name);
  return userError(std::move(place), name + " must be " + wantedText(argument) + ", not " + shown,
                   argument.isRequired ? "give its value"
                                       : "give such a value, or remove it for torch's default");
}

} // namespace stagewright
