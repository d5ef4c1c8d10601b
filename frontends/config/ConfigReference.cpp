#include "frontends/config/ConfigReference.h"

#include "catalogue/Target.h"
#include "frontends/config/ConfigKeys.h"
#include "frontends/config/Partition.h"
#include "frontends/json/NearestName.h"
#include "frontends/layerspec/LayerTypes.h"
#include "schedule/Schedule.h"

#include <nlohmann/json.hpp>

#include <cmath>

namespace stagewright {

using Json = nlohmann::ordered_json;

static std::vector<std::string_view> offTexts(const ConfigKey &key) {
  return alternatives(key.off.empty() ? key.defaultText : key.off);
}

static std::string code(std::string_view text) {
  return "`" + std::string(text) + "`";
}

static std::string treatmentText(const ConfigKey &key) {
  std::string why(key.why), because = why.empty() ? "" : ": " + why,
                            instead = "; " + std::string(key.instead);
  switch (key.treatment) {
  case Treatment::Honoured: {
    std::string types = json::joined(alternatives(key.types));
    return "**honoured**" + because + (types.empty() ? "" : " (" + types + ")");
  }
  case Treatment::WithoutEffect:
    return (key.isBlock() ? "see its keys" : "accepted without effect") + because;
  case Treatment::OffOnly: {
    std::string texts;
    for (std::string_view text : offTexts(key))
      texts += (texts.empty() ? "" : " or ") + code(text);
    return "accepted without effect if " + texts + "; else refused" + because + instead;
  }
  case Treatment::Refused:
    return "refused" + because + instead;
  }
  return {};
}

static void appendRows(std::string &out, const std::vector<const ConfigKey *> &rows) {
  out += "| key | value | default | treatment |\n|---|---|---|---|\n";
  for (const ConfigKey *key : rows)
    out += "| " + code(key->path) + " | " + describe(*key) + " | " +
           (key->rule.required && key->defaultText == "null" ? "required" : code(key->defaultText)) + " | " +
           treatmentText(*key) + " |\n";
}

std::string configTables() {
  std::vector<const ConfigKey *> scalars;
  for (const ConfigKey *key : configKeysBelow(""))
    if (!key->isBlock())
      scalars.push_back(key);
  std::string out = "### Top level\n\n";
  appendRows(out, scalars);
  for (const ConfigKey *block : configKeysBelow("")) {
    if (!block->isBlock())
      continue;
    std::vector<const ConfigKey *> rows;
    for (const ConfigKey &key : configKeys())
      if (key.path == block->path || key.path.starts_with(std::string(block->path) + "/"))
        rows.push_back(&key);
    out += "\n### " + std::string(block->name()) + "\n\n";
    appendRows(out, rows);
  }
  return out;
}

/// What parseRecompute takes, for one stage or for several.
static std::string recomputePattern() {
  std::string types;
  for (const LayerType &type : layerTypes())
    if (!type.isLoss)
      types.append(types.empty() ? "" : "|").append(type.name);
  std::string one = "(none|selective|interval:[1-9][0-9]{0,8}|types:(" + types + ")(,(" + types + "))*)";
  return "^" + one + "(;" + one + ")*$";
}

/// What parseTargets takes; that none comes twice it does not say.
static std::string targetPattern() {
  std::string names = "cuda";
  for (std::string_view target : catalogue::targets())
    names.append("|").append(target);
  const std::string one = " *(" + names + ") *";
  return "^" + one + "(," + one + ")*$";
}

static std::string stringPattern(const ConfigKey &key) {
  if (key.path == "/optimizer/type")
    return namePattern(optimizerTypes());
  if (key.path == "/scheduler/type")
    return namePattern(schedulerTypes());
  if (key.path == "/stagewright/schedule")
    return namePattern({schedule::scheduleKinds().begin(), schedule::scheduleKinds().end()});
  if (key.path == "/pipeline/partition" || key.path == "/stagewright/partition")
    return partitionPattern();
  if (key.path == "/stagewright/recompute")
    return recomputePattern();
  if (key.path == "/stagewright/target")
    return targetPattern();
  return key.rule.choices.empty() ? "" : namePattern(alternatives(key.rule.choices));
}

static void addRange(Json &schema, const ValueRule &rule) {
  auto number = [](double value) {
    bool isWhole = std::floor(value) == value && std::abs(value) < 1e15;
    return isWhole ? Json(static_cast<std::int64_t>(value)) : Json(value);
  };
  if (std::isfinite(rule.minimum))
    schema["minimum"] = number(rule.minimum);
  if (std::isfinite(rule.maximum))
    schema[rule.belowMaximum ? "exclusiveMaximum" : "maximum"] = number(rule.maximum);
}

static Json groupSchema() {
  Json number{{"type", "number"}, {"minimum", 0}};
  Json rate{{"required", {"lr"}}}, decay{{"required", {"weight_decay"}}};
  return {{"type", "object"},
          {"additionalProperties", false},
          {"required", {"match"}},
          {"anyOf", Json::array({rate, decay})},
          {"properties", {{"match", {{"type", "string"}}}, {"lr", number}, {"weight_decay", number}}}};
}

static Json blockSchema(std::string_view path, bool isOpen);

static Json keySchema(const ConfigKey &key) {
  Json schema;
  schema["description"] = treatmentText(key);
  const bool takesNull = key.takesNull();
  if (key.treatment == Treatment::Refused) {
    schema[takesNull ? "type" : "not"] = takesNull ? Json("null") : Json::object();
    return schema;
  }
  if (takesNull || key.defaultText != "null")
    schema["default"] = Json::parse(key.defaultText);
  bool takesAuto = key.rule.autoToo || acceptsAuto(key.path);
  if (key.treatment == Treatment::OffOnly) {
    for (std::string_view text : offTexts(key))
      schema["enum"].push_back(Json::parse(text));
    if (takesAuto)
      schema["enum"].push_back("auto");
    return schema;
  }
  switch (key.rule.type) {
  case ValueRule::Type::Boolean:
    schema["type"] = {"boolean"};
    break;
  case ValueRule::Type::Integer:
  case ValueRule::Type::Count:
    schema["type"] = {"integer"};
    addRange(schema, key.rule);
    break;
  case ValueRule::Type::Number:
    schema["type"] = {"number"};
    addRange(schema, key.rule);
    break;
  case ValueRule::Type::String:
    schema["type"] = {"string"};
    if (std::string pattern = stringPattern(key); !pattern.empty())
      schema["pattern"] = takesAuto ? "^auto$|" + pattern : pattern;
    break;
  case ValueRule::Type::Pair: {
    Json item{{"type", "number"}};
    addRange(item, key.rule);
    schema.update({{"type", {"array"}}, {"items", item}, {"minItems", 2}, {"maxItems", 2}});
    break;
  }
  case ValueRule::Type::List:
    schema["type"] = {"array"};
    if (key.path == "/stagewright/parameter_groups")
      schema["items"] = groupSchema();
    break;
  case ValueRule::Type::Block:
  case ValueRule::Type::OpenBlock:
    schema.update(blockSchema(key.path, key.rule.type == ValueRule::Type::OpenBlock));
    break;
  }
  if (takesNull)
    schema["type"].push_back("null");
  if (key.rule.falseToo) {
    schema["type"].push_back("boolean");
    schema["not"] = {{"const", true}};
  }
  if (takesAuto && key.rule.type != ValueRule::Type::String) {
    schema["type"].push_back("string");
    schema["pattern"] = "^auto$";
  }
  return schema;
}

static Json blockSchema(std::string_view path, bool isOpen) {
  Json schema{{"type", {"object"}}};
  for (const ConfigKey *key : configKeysBelow(path))
    if (key->rule.required && key->types.empty())
      schema["required"].push_back(key->name());
  schema["additionalProperties"] = isOpen;
  schema["properties"] = Json::object();
  for (const ConfigKey *key : configKeysBelow(path))
    schema["properties"][std::string(key->name())] = keySchema(*key);
  return schema;
}

std::string configSchema() {
  Json schema{
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "Stagewright configuration"},
      {"description", "A DeepSpeed configuration as Stagewright reads it. Generated; see docs/config.md."}};
  schema.update(blockSchema("", false));
  Json train = {{"required", {"train_batch_size"}}},
       micro = {{"required", {"train_micro_batch_size_per_gpu"}}};
  schema["anyOf"] = Json::array({train, micro});
  return schema.dump(2) + "\n";
}

} // namespace stagewright
