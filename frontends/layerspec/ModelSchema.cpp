#include "frontends/layerspec/ModelSchema.h"

#include "catalogue/Catalogue.h"
#include "frontends/layerspec/Arguments.h"

#include <cfloat>
#include <nlohmann/json.hpp>

namespace stagewright {

using Json = nlohmann::ordered_json;

/// A layer or a loss of one type. `common` are the keys that every type has.
static Json typeSchema(const LayerType &type, const Json &common) {
  Json schema{
      {"title", type.name}, {"type", "object"}, {"required", {"type"}}, {"additionalProperties", false}};
  Json properties{{"type", {{"const", type.name}}}};
  properties.update(common);
  for (const ArgumentType &argument : type.arguments) {
    properties[std::string(argument.name)] = Json::parse(argumentSchema(argument));
    if (argument.isRequired)
      schema["required"].push_back(argument.name);
  }
  for (const NullArgument &argument : type.nullArguments)
    properties[std::string(argument.name)] = {{"description", argument.why}, {"type", "null"}};
  schema["properties"] = properties;
  return schema;
}

static Json inputSchema(const Json &name, bool isLabel) {
  Json properties{{"name", name},
                  {"role", {{"const", isLabel ? "label" : "feature"}}},
                  {"dtype", {{"enum", isLabel ? Json{"i32", "f32"} : Json{"f32", "i32"}}}},
                  {"shape",
                   {{"description", "of one sample"},
                    {"type", "array"},
                    {"items", {{"type", "integer"}, {"minimum", 1}, {"maximum", INT32_MAX}}},
                    {"maxItems", catalogue::kMaxDimensions - 1}}}};
  if (!isLabel) {
    properties["scale"] = {{"description", "a byte v of the source becomes (v * scale - mean) / deviation"},
                           {"type", "number"},
                           {"default", 1}};
    properties["mean"] = {{"type", "number"}, {"default", 0}};
    properties["deviation"] = {{"type", "number"}, {"exclusiveMinimum", 0}, {"default", 1}};
  }
  return {{"title", isLabel ? "label" : "feature"},
          {"type", "object"},
          {"required", {"name", "role", "dtype", "shape"}},
          {"additionalProperties", false},
          {"properties", properties}};
}

std::string modelSchema() {
  const Json name{{"type", "string"}, {"pattern", "^[^/\\u0000-\\u001f\\u007f]+$"}};
  const auto inputs = [](const LayerType &type) {
    return Json{{"description", "names of earlier layers or feature inputs; absent = the layer before"},
                {"type", "array"},
                {"items", {{"type", "string"}}},
                {"minItems", type.fewestInputs},
                {"maxItems", type.mostInputs}};
  };
  const Json list{{"type", "array"}, {"minItems", 1}, {"items", {{"$ref", "#/$defs/layer"}}}};
  const Json trainable{
      {"description", "false: its parameters stay as they are"}, {"type", "boolean"}, {"default", true}};
  Json layers = Json::array(), losses = Json::array();
  for (const LayerType &type : layerTypes()) {
    if (type.isLoss)
      losses.push_back(typeSchema(
          type,
          {{"name", name},
           {"inputs",
            {{"description", "a layer and a label (or a feature); absent = the last layer, the first label"},
             {"type", "array"},
             {"items", {{"type", "string"}}},
             {"minItems", 2},
             {"maxItems", 2}}},
           {"loss_weight",
            {{"description", "factor in the sum of several"},
             {"type", "number"},
             {"minimum", 0},
             {"maximum", FLT_MAX},
             {"default", 1}}}}));
    else
      layers.push_back(
          typeSchema(type, {{"name", name}, {"inputs", inputs(type)}, {"trainable", trainable}}));
  }
  for (Json &layer : layers) {
    if (findLayerType(layer["title"].get<std::string>())->fewestInputs > 1)
      layer["required"].push_back("inputs");
    if (findLayerType(layer["title"].get<std::string>())->canTie)
      layer["properties"]["tied"] = {{"description", "layers with the same key share their weight"},
                                     {"type", "string"},
                                     {"minLength", 1}};
    if (layer["title"] == kSequential) {
      layer["properties"]["layers"] = list;
      layer["properties"]["repeat"] = {
          {"description", "so many copies, NAME.0, NAME.1, ..., one after the other"},
          {"type", "integer"},
          {"minimum", 1},
          {"maximum", kMostCopies}};
      layer["required"].push_back("layers");
    }
  }
  Json inputTypes = Json::array({inputSchema(name, false), inputSchema(name, true)});
  Json metric{{"const", "accuracy"}};
  Json schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
              {"title", "Stagewright model"},
              {"description", "A model as a list of torch.nn layers. Generated."},
              {"$defs", {{"layer", {{"anyOf", layers}}}, {"loss", {{"anyOf", losses}}}}},
              {"type", "object"},
              {"required", {"name", "inputs", "layers"}},
              {"additionalProperties", false},
              {"properties",
               {{"$schema", Json::object()},
                {"name", name},
                {"inputs", {{"type", "array"}, {"minItems", 1}, {"items", {{"anyOf", inputTypes}}}}},
                {"layers", list},
                {"loss",
                 {{"description", "absent: the model is evaluated for its last layer's values, not trained"},
                  {"anyOf",
                   {{{"$ref", "#/$defs/loss"}},
                    {{"description", "their weighted sum; each is logged by its name"},
                     {"type", "array"},
                     {"items", {{"$ref", "#/$defs/loss"}}},
                     {"minItems", 1}}}}}},
                {"metrics", {{"type", "array"}, {"items", metric}, {"maxItems", 1}}}}}};
  return schema.dump(2) + "\n";
}

} // namespace stagewright
