#include "frontends/huggingface/HuggingFaceFolder.h"

#include "frontends/huggingface/Architectures.h"
#include "frontends/json/NearestName.h"
#include "frontends/layerspec/LayerTypes.h"

#include <algorithm>
#include <filesystem>

namespace stagewright {

namespace fs = std::filesystem;

static constexpr std::string_view kConfigName = "config.json";

struct Architecture {
  std::string_view name, modelType;
  ArchitectureReader read;
};
static constexpr Architecture kArchitectures[] = {
    {"GPT2LMHeadModel", "gpt2", readGpt2},
    {"LlamaForCausalLM", "llama", readLlama},
    {"MistralForCausalLM", "mistral", readMistral},
    {"Qwen2ForCausalLM", "qwen2", readQwen2},
    {"BertModel", "bert", readBert},
    {"BertForSequenceClassification", "bert", readBertClassifier}};

std::vector<std::string_view> architectureNames() {
  std::vector<std::string_view> names;
  for (const Architecture &architecture : kArchitectures)
    names.push_back(architecture.name);
  return names;
}

static bool isOfTransformers(const json::Value &root) {
  return root.find("architectures") || root.find("model_type");
}

Result<FolderKind> modelFolderKind(const std::string &folder) {
  std::error_code ignored;
  const fs::path model = fs::path(folder) / "model.json", config = fs::path(folder) / kConfigName;
  const bool hasModel = fs::exists(model, ignored), hasConfig = fs::exists(config, ignored);
  if (!hasConfig)
    return hasModel
               ? Result<FolderKind>(FolderKind::LayerSpec)
               : userError(folder,
                           "the folder holds neither model.json nor the config.json of a Hugging Face model",
                           "name the model file itself, or a folder that holds one of the two");
  Result<json::Document> document = json::readDocument(config);
  if (!document) // of a LayerSpec folder the configuration's reader says what is wrong
    return hasModel ? Result<FolderKind>(FolderKind::LayerSpec) : document.takeError();
  const bool isHuggingFace = isOfTransformers(document->root);
  if (hasModel && isHuggingFace)
    return userError(
        folder,
        "the folder holds model.json, and a config.json with \"architectures\" or \"model_type\", "
        "which is a Hugging Face model's",
        "name model.json itself, or move it away");
  if (!hasModel && !isHuggingFace)
    return userError(
        config,
        "it has neither \"architectures\" nor \"model_type\", so that it is no Hugging Face model's, "
        "and there is no model.json beside it",
        "name the model file itself");
  return hasModel ? FolderKind::LayerSpec : FolderKind::HuggingFace;
}

/// The one architecture that config.json names.
static Result<const Architecture *> findArchitecture(const json::Document &document) {
  const json::Value *list = document.root.find("architectures");
  const bool isOne = list && list->kind == json::Value::Kind::Array && list->items.size() == 1 &&
                     list->items[0].kind == json::Value::Kind::String;
  const std::vector<std::string_view> names = architectureNames();
  if (!isOne)
    return document.error((list ? *list : document.root).position,
                          "\"architectures\" must name the class of the model",
                          "give a list of one of " + json::joined(names));
  const json::Value &name = list->items[0];
  const auto *found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                   [&](const Architecture &one) { return one.name == name.string; });
  if (found == std::end(kArchitectures))
    return document.error(
        name.position, "this version does not have the architecture " + json::inQuotes(name.string),
        "it has " + json::joined(names) + "; write other models as model.json (docs/model.md)");
  const json::Value *type = document.root.find("model_type");
  if (type && type->string != found->modelType)
    return document.error(type->position,
                          "\"model_type\" is " + json::shown(*type) + ", but a " + std::string(found->name) +
                              " is of type " + json::inQuotes(found->modelType),
                          "correct one of the two");
  return found;
}

/// A loss of this type reads the last layer and the labels.
static void completeLoss(ModelSpec &model) {
  for (LossSpec &loss : model.losses) {
    loss.name = loss.type;
    loss.position = model.position;
    loss.inputs = {model.layers.back().name, "labels"};
    for (const ArgumentType &argument : findLayerType(loss.type)->arguments)
      loss.arguments[std::string(argument.name)] = {argument.defaultValue, model.position};
  }
}

Result<ModelSpec> readHuggingFaceFolder(const std::string &folder, const FolderOptions &options) {
  Result<json::Document> document = json::readDocument(fs::path(folder) / kConfigName);
  if (!document)
    return document.takeError();
  if (document->root.kind != json::Value::Kind::Object)
    return document->error(document->root.position, "config.json must be an object",
                           "give the file that save_pretrained wrote");
  Result<const Architecture *> architecture = findArchitecture(*document);
  if (!architecture)
    return architecture.takeError();
  const std::string name((*architecture)->name);
  FolderConfig config(*document);
  ModelSpec model;
  (*architecture)->read(config, options, model);
  if (Result<void> finished = config.finish(name); !finished)
    return finished.takeError();
  model.name = name;
  model.sha256 = document->sha256;
  model.position = config.position("architectures");
  model.folder->config = document->root.text();
  if (model.hasLoss())
    completeLoss(model);
  if (Result<void> checked = check(model); !checked)
    return checked.takeError();
  return model;
}

} // namespace stagewright
