// BertModel, alone or as the Transformer of a sentence-transformers folder, and
// BertForSequenceClassification.
#include "frontends/huggingface/Architectures.h"

#include <algorithm>
#include <filesystem>

namespace stagewright {
namespace {

namespace fs = std::filesystem;

struct Sizes {
  std::int64_t vocabulary, positions, types, width, blocks, heads, inner, padding;
  double epsilon, deviation, hiddenDropout, attentionDropout;
  std::string activation;
};

Sizes readSizes(FolderConfig &config) {
  Sizes sizes;
  sizes.vocabulary = config.integer("vocab_size", 30522);
  sizes.positions = config.integer("max_position_embeddings", 512);
  sizes.types = config.integer("type_vocab_size", 2);
  sizes.width = config.integer("hidden_size", 768);
  sizes.blocks = config.integer("num_hidden_layers", 12, 1, kMostBlocks);
  sizes.heads = config.integer("num_attention_heads", 12);
  sizes.inner = config.integer("intermediate_size", 3072);
  sizes.padding = config.padding(sizes.vocabulary, 0);
  sizes.epsilon = config.number("layer_norm_eps", 1e-12, 0, 1);
  sizes.deviation = config.number("initializer_range", 0.02, 0, 1e6);
  sizes.hiddenDropout = config.number("hidden_dropout_prob", 0.1, 0, 1);
  sizes.attentionDropout = config.number("attention_probs_dropout_prob", 0.1, 0, 1);
  sizes.activation = readActivation(config, "hidden_act", "gelu");
  config.only("position_embedding_type", "\"absolute\"", "use a model with learned positions");
  config.only("is_decoder", "false", "use an encoder");
  config.only("add_cross_attention", "false", "use an encoder");
  config.ignore({"tie_word_embeddings", "pooler_fc_size", "pooler_num_attention_heads",
                 "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"});
  checkDivides(config, "num_attention_heads", sizes.heads, "hidden_size", sizes.width);
  return sizes;
}

/// Layers with these sizes, in a list of their own or in a Sequential's.
class BertLayers {
public:
  BertLayers(const Sizes &sizes, std::vector<LayerSpec> &layers, std::string first, SourcePosition position)
      : sizes(sizes), layers(layers), writer(layers, std::move(first), std::move(position), sizes.deviation) {
  }

  void linear(const std::string &name, std::int64_t in, std::int64_t out,
              std::vector<std::string> inputs = {}) {
    writer.add("Linear", name, {{"in_features", in}, {"out_features", out}}, std::move(inputs));
  }
  void norm(const std::string &name) {
    writer.add("LayerNorm", name,
               {{"normalized_shape", std::vector<std::int64_t>{sizes.width}}, {"eps", sizes.epsilon}});
  }
  /// What comes last, with dropout, is added to `residual`.
  void residual(const std::string &part, const std::string &residual) {
    writer.addDropout(part + ".dropout", sizes.hiddenDropout);
    writer.add("Add", part + ".sum", {}, {layers.back().name, residual});
    norm(part + ".LayerNorm");
  }

  const Sizes &sizes;
  std::vector<LayerSpec> &layers;
  LayerWriter writer;
};

std::vector<LayerSpec> makeEmbeddings(const Sizes &sizes, const SourcePosition &position) {
  std::vector<LayerSpec> layers;
  BertLayers bert(sizes, layers, "input", position);
  bert.writer.add(
      "Embedding", "word_embeddings",
      {{"num_embeddings", sizes.vocabulary}, {"embedding_dim", sizes.width}, {"padding_idx", sizes.padding}});
  bert.writer.add("Embedding", "token_type_embeddings",
                  {{"num_embeddings", sizes.types}, {"embedding_dim", sizes.width}}, {"input:1"});
  bert.writer.add("Add", "sum", {}, {"word_embeddings", "token_type_embeddings"});
  bert.writer.add("LearnedPositions", "position_embeddings",
                  {{"num_positions", sizes.positions}, {"embedding_dim", sizes.width}});
  bert.norm("LayerNorm");
  bert.writer.addDropout("dropout", sizes.hiddenDropout);
  return layers;
}

std::vector<LayerSpec> makeBlock(const Sizes &sizes, const SourcePosition &position) {
  std::vector<LayerSpec> layers;
  BertLayers bert(sizes, layers, "input", position);
  for (const char *name : {"attention.self.query", "attention.self.key", "attention.self.value"})
    bert.linear(name, sizes.width, sizes.width, {"input"});
  bert.writer.add("ScaledDotProductAttention", "attention.self.attention",
                  {{"num_heads", sizes.heads},
                   {"dropout_p", sizes.attentionDropout},
                   {"key_mask", std::string("attention_mask")}},
                  {"attention.self.query", "attention.self.key", "attention.self.value"});
  bert.linear("attention.output.dense", sizes.width, sizes.width);
  bert.residual("attention.output", "input");
  bert.linear("intermediate.dense", sizes.width, sizes.inner);
  addActivation(bert.writer, "intermediate.intermediate_act_fn", sizes.activation);
  bert.linear("output.dense", sizes.inner, sizes.width);
  bert.residual("output", "attention.output.LayerNorm");
  return layers;
}

void addInput(FolderConfig &config, ModelSpec &model, const char *name, const char *role, const char *dtype,
              std::vector<std::int64_t> shape) {
  InputSpec input;
  input.position = config.position("architectures");
  input.name = name;
  input.role = role;
  input.dtype = dtype;
  input.shape = std::move(shape);
  model.inputs.push_back(std::move(input));
}

/// Inputs, embeddings and blocks; names begin with `prefix`.
void writeEncoder(FolderConfig &config, const Sizes &sizes, std::int64_t length, const std::string &prefix,
                  ModelSpec &model) {
  for (const char *name : {"input_ids", "token_type_ids", "attention_mask"})
    addInput(config, model, name, "feature", "i32", {length});
  FolderSpec &folder = model.folder.emplace();
  folder.prefix = "bert.";
  folder.ignored = {"embeddings.position_ids"};
  const SourcePosition position = config.position("architectures");
  LayerWriter layers(model.layers, "input_ids", position, sizes.deviation);
  layers.add("Sequential", prefix + "embeddings", {}, {"input_ids", "token_type_ids"}).layers =
      makeEmbeddings(sizes, position);
  const std::vector<LayerSpec> block = makeBlock(sizes, position);
  for (std::int64_t i = 0; i < sizes.blocks; ++i)
    layers.add("Sequential", prefix + "encoder.layer." + std::to_string(i)).layers = block;
}

/// A JSON file of a sentence-transformers folder; null, with a refusal, if it is not there or not JSON.
std::optional<json::Document> readPart(FolderConfig &config, const fs::path &path) {
  Result<json::Document> document = json::readDocument(path);
  if (document)
    return std::move(*document);
  config.refuse(document.error().text(), "give the folder as sentence-transformers wrote it");
  return std::nullopt;
}

/// What 1_Pooling/config.json says: "mean", "cls", or nothing that this version has, which is refused.
std::string readPooling(FolderConfig &config, const fs::path &path) {
  std::optional<json::Document> document = readPart(config, path);
  if (!document)
    return "mean";
  std::vector<std::string> modes;
  constexpr std::string_view prefix = "pooling_mode_";
  for (const json::Member &member : document->root.members) {
    if (member.key.starts_with(prefix) && member.value.boolean)
      modes.push_back(member.key.substr(prefix.size()));
    if (member.key == "pooling_mode")
      modes.push_back(member.value.string);
  }
  for (std::string &mode : modes)
    mode = mode == "mean_tokens" ? "mean" : mode == "cls_token" ? "cls" : mode;
  if (modes.size() == 1 && (modes[0] == "mean" || modes[0] == "cls"))
    return modes[0];
  config.refuse(document->place(document->root.position) +
                    " asks for another pooling than one of mean and cls",
                "use a model with pooling_mode_mean_tokens or pooling_mode_cls_token");
  return "mean";
}

/// The layers behind the encoder that modules.json names.
void addModules(FolderConfig &config, LayerWriter &layers) {
  const fs::path folder = fs::path(config.document.file).parent_path();
  std::error_code ignored;
  if (!fs::exists(folder / "modules.json", ignored))
    return; // transformers' own: the last hidden state
  std::optional<json::Document> modules = readPart(config, folder / "modules.json");
  bool isPooled = false;
  if (modules && modules->root.items.empty())
    config.refuse(modules->place(modules->root.position) + ": no list of modules",
                  "give the file that sentence-transformers wrote, or remove it for the last hidden state");
  for (std::size_t i = 0; modules && i < modules->root.items.size(); ++i) {
    const json::Value &module = modules->root.items[i];
    const json::Value *type = module.find("type"), *path = module.find("path");
    const std::string kind = type ? type->string.substr(type->string.rfind('.') + 1) : "";
    const std::string part = path ? path->string : "";
    if (i == 0 && kind == "Transformer" && part.empty())
      continue;
    if (kind == "Pooling" && !isPooled && i > 0) {
      isPooled = true;
      if (readPooling(config, folder / part / "config.json") == "mean")
        layers.add("MaskedMean", "pooling", {{"mask", std::string("attention_mask")}});
      else
        layers.add("Select", "pooling", {{"dim", std::int64_t(1)}, {"index", std::int64_t(0)}});
    } else if (kind == "Normalize" && isPooled && i + 1 == modules->root.items.size()) {
      layers.add("Normalize", "normalize");
    } else {
      config.refuse(modules->place(module.position) + ": the module " + json::inQuotes(kind) + " of " +
                        json::inQuotes(part),
                    "modules are Transformer (in the folder itself), Pooling and Normalize, in this order");
    }
  }
}

/// As transformers: from the labels' names, two without.
std::int64_t labelCount(FolderConfig &config) {
  const json::Value *names = config.value("id2label");
  const std::int64_t named = names ? static_cast<std::int64_t>(names->members.size()) : 0;
  return config.integer("num_labels", named > 0 ? named : 2);
}

} // namespace

void readBert(FolderConfig &config, const FolderOptions &options, ModelSpec &model) {
  const Sizes sizes = readSizes(config);
  config.ignore({"classifier_dropout"});
  writeEncoder(config, sizes, sequenceLength(config, options, "max_position_embeddings", sizes.positions), "",
               model);
  // Sentence embeddings and the last hidden state do not read it.
  model.folder->ignored.insert(model.folder->ignored.end(), {"pooler.dense.weight", "pooler.dense.bias"});
  LayerWriter layers(model.layers, model.layers.back().name, config.position("architectures"),
                     sizes.deviation);
  addModules(config, layers);
}

void readBertClassifier(FolderConfig &config, const FolderOptions &options, ModelSpec &model) {
  const Sizes sizes = readSizes(config);
  const std::int64_t labels = labelCount(config);
  const double dropout = config.number("classifier_dropout", sizes.hiddenDropout, 0, 1);
  writeEncoder(config, sizes, sequenceLength(config, options, "max_position_embeddings", sizes.positions),
               "bert.", model);
  LayerWriter layers(model.layers, model.layers.back().name, config.position("architectures"),
                     sizes.deviation);
  layers.add("Select", "first_token", {{"dim", std::int64_t(1)}, {"index", std::int64_t(0)}});
  layers.add("Linear", "bert.pooler.dense", {{"in_features", sizes.width}, {"out_features", sizes.width}});
  layers.add("Tanh", "bert.pooler.activation");
  layers.addDropout("dropout", dropout);
  layers.add("Linear", "classifier", {{"in_features", sizes.width}, {"out_features", labels}});
  const std::string problem =
      config.text("problem_type", labels == 1 ? "regression" : "single_label_classification");
  if (problem == "single_label_classification") {
    addInput(config, model, "labels", "label", "i32", {});
    model.losses.emplace_back().type = "CrossEntropyLoss";
    model.accuracy = true;
  } else if (problem == "regression" || problem == "multi_label_classification") {
    addInput(config, model, "labels", "label", "f32", {labels});
    model.losses.emplace_back().type = problem == "regression" ? "MSELoss" : "BCEWithLogitsLoss";
  } else {
    config.refuse("problem_type", "is " + json::inQuotes(problem),
                  "use single_label_classification, multi_label_classification or regression");
  }
}

} // namespace stagewright
