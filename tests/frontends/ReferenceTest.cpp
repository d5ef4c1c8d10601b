// docs/config.md and the two schemas say what the readers do: they are equal to what the tables generate, and
// the schemas accept and refuse as the readers.
#include "ReferenceFiles.h"
#include "SchemaValidator.h"
#include "TemporaryFile.h"
#include "frontends/config/Config.h"
#include "frontends/config/ConfigKeys.h"
#include "frontends/layerspec/LayerTypes.h"

#include <gtest/gtest.h>

#include <set>

using namespace stagewright;
using nlohmann::json;

static json schema(const std::string &name) {
  json parsed = json::parse(fileBytes(std::string(STAGEWRIGHT_DOCS "/") + name), nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << name;
  return parsed;
}

TEST(Reference, FilesOfTheDocumentationAreCurrent) {
  for (const auto &[path, content] : referenceFiles(STAGEWRIGHT_DOCS))
    EXPECT_TRUE(fileBytes(path) == content)
        << path << " is out of date: run tests/frontends_reference on the docs folder";
}

TEST(Reference, TheTableIsConsistent) {
  std::set<std::string_view> paths;
  for (const ConfigKey &key : configKeys()) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path << " occurs twice";
    EXPECT_TRUE(key.parent().empty() || paths.contains(key.parent()))
        << key.path << " stands before its block";
    EXPECT_FALSE(json::parse(key.defaultText, nullptr, false).is_discarded()) << key.path << key.defaultText;
    bool needsAdvice = key.treatment == Treatment::OffOnly || key.treatment == Treatment::Refused;
    EXPECT_EQ(needsAdvice, !key.instead.empty()) << key.path;
    EXPECT_TRUE(!key.why.empty() || key.treatment == Treatment::WithoutEffect) << key.path;
    for (std::string_view off : alternatives(key.off))
      EXPECT_FALSE(json::parse(off, nullptr, false).is_discarded()) << key.path;
  }
}

TEST(Reference, EveryKeyOfDeepSpeedsPageIsInTheTable) {
  // The top level of DeepSpeed 0.19's configuration.
  for (const char *name : {"train_batch_size",
                           "train_micro_batch_size_per_gpu",
                           "gradient_accumulation_steps",
                           "managed_gradient_accumulation",
                           "steps_per_print",
                           "gradient_clipping",
                           "prescale_gradients",
                           "gradient_predivide_factor",
                           "gradient_allreduce_op",
                           "sparse_gradients",
                           "communication_data_type",
                           "seq_parallel_communication_data_type",
                           "disable_allgather",
                           "dump_state",
                           "wall_clock_breakdown",
                           "memory_breakdown",
                           "dataloader_drop_last",
                           "zero_allow_untested_optimizer",
                           "zero_force_ds_cpu_optimizer",
                           "graph_harvesting",
                           "vocabulary_size",
                           "log_level",
                           "sequence_parallel_size",
                           "data_parallel_size",
                           "use_data_before_expert_parallelism",
                           "amp",
                           "torch_autocast",
                           "data_types",
                           "fp16",
                           "bf16",
                           "bfloat16",
                           "zero_optimization",
                           "aio",
                           "optimizer",
                           "scheduler",
                           "pipeline",
                           "activation_checkpointing",
                           "flops_profiler",
                           "tensorboard",
                           "csv_monitor",
                           "wandb",
                           "comet",
                           "comms_logger",
                           "autotuning",
                           "elasticity",
                           "checkpoint",
                           "compile",
                           "tensor_parallel",
                           "expert_parallel",
                           "compression_training",
                           "quantize_training",
                           "eigenvalue",
                           "sparse_attention",
                           "progressive_layer_drop",
                           "curriculum_learning",
                           "data_efficiency",
                           "hybrid_engine",
                           "nebula",
                           "datastates_ckpt",
                           "timers",
                           "weight_quantization"})
    EXPECT_NE(findConfigKey("/" + std::string(name)), nullptr) << name;
}

/// A scheduler that has the parameter, with those that it needs.
static json schedulerWith(const ConfigKey &key) {
  const std::string type(key.types.empty() ? "WarmupLR" : alternatives(key.types).front());
  json params = json::object();
  if (type == "OneCycle")
    params = {{"cycle_min_lr", 0.1}, {"cycle_max_lr", 1}, {"cycle_momentum", false}};
  else if (alternatives(key.types).size() == 2 || type == "WarmupCosineLR")
    params = {{"total_num_steps", 10}};
  return {{"type", alternatives(key.types).size() == 2 ? "WarmupDecayLR" : type}, {"params", params}};
}

/// For every key and for values of every type: the schema accepts exactly what the reader accepts.
TEST(Reference, ConfigSchemaAgreesWithTheReader) {
  const json rules = schema("config.schema.json");
  const std::vector<json> values = {nullptr,
                                    true,
                                    false,
                                    0,
                                    1,
                                    -1,
                                    7,
                                    2.5,
                                    5e8,
                                    "auto",
                                    "none",
                                    "fp32",
                                    "SGD",
                                    "adamw",
                                    "1F1B",
                                    "mean",
                                    "explicit:2",
                                    "Best",
                                    "warmuplr",
                                    "x",
                                    "cpu",
                                    "host , cuda",
                                    "host;cuda",
                                    json::array(),
                                    {0.5, 0.25},
                                    {0.5, 1},
                                    json::object(),
                                    {{"enabled", true}},
                                    1e39};
  int accepted = 0;
  for (const ConfigKey &key : configKeys()) {
    for (const json &value : values) {
      json config = {{"train_batch_size", 8}};
      if (key.path == "/train_batch_size")
        config = {{"train_micro_batch_size_per_gpu", 1}};
      if (key.parent().starts_with("/optimizer"))
        config["optimizer"] = {{"type", key.types.empty() ? "Adam" : alternatives(key.types).front()}};
      if (key.path.starts_with("/scheduler/params"))
        config["scheduler"] = schedulerWith(key);
      if (key.path.find("offload") != std::string_view::npos ||
          key.path == "/zero_optimization/mics_shard_size" ||
          key.path == "/zero_optimization/zero_hpz_partition_size")
        config["zero_optimization"] = {{"stage", 3}};
      if (key.path == "/stagewright/stochastic_rounding")
        config["bf16"]["enabled"] = true;
      const bool isCompressedPart = key.path == "/stagewright/gradient_compression/ratio";
      if (isCompressedPart)
        config["stagewright"]["gradient_compression"]["type"] = "top_k";
      if (key.path.starts_with("/stagewright/parameter_server/")) {
        config["data_parallel_size"] = 2;
        config["stagewright"]["parameter_server"]["servers"] = 1;
      }
      config[json::json_pointer(std::string(key.path))] = value;
      // What a schema does not say: rules between keys, and 5e8 for an integer.
      bool isOtherLimit =
          (key.name() == "max_coeff" && value == 0) || (key.name() == "min_coeff" && value == 5e8);
      bool isNothing = isCompressedPart && value == 0;
      bool isNesterovAlone = key.name() == "nesterov" && value == true;
      bool isSpelledAsFloat = key.rule.type == ValueRule::Type::Integer && value.is_number_float();
      bool isFactorOfBatch = key.path == "/gradient_accumulation_steps" ||
                             key.path == "/train_micro_batch_size_per_gpu" ||
                             key.path == "/data_parallel_size";
      if (isOtherLimit || isNothing || isNesterovAlone || isSpelledAsFloat || (isFactorOfBatch && value == 7))
        continue;
      TemporaryFile file(config.dump());
      Result<Config> read = readConfig(file.path(), {});
      std::string reason = violation(rules, config);
      EXPECT_EQ(bool(read), reason.empty())
          << config << "\nreader: " << (read ? "" : read.error().text()) << "\nschema: " << reason;
      accepted += bool(read);
    }
  }
  EXPECT_GT(accepted, 500);
}

/// The same for the arguments of layers and losses.
TEST(Reference, ModelSchemaAgreesWithTheReader) {
  const json rules = schema("model.schema.json");
  const std::vector<json> values = {nullptr, true,          0,      1,     -1,   0.0, 1.5, 2147483648,
                                    "none",  "tanh",        "mean", "sum", -100, "",  "x", json::array(),
                                    {"x"},   json::object()};
  int accepted = 0;
  for (const LayerType &type : layerTypes()) {
    std::vector<std::string> names{"type", "name", "inputs", "trainable", "unknown", "repeat"};
    for (const ArgumentType &argument : type.arguments)
      names.emplace_back(argument.name);
    for (const NullArgument &argument : type.nullArguments)
      names.emplace_back(argument.name);
    for (const std::string &name : names) {
      for (const json &value : values) {
        json layer = {{"type", type.name}};
        bool namesFeature = false, isNameOfFeature = false;
        for (const ArgumentType &argument : type.arguments) {
          if (argument.isRequired)
            layer[std::string(argument.name)] = 1;
          if (argument.isRequired && argument.namesFeature)
            layer[std::string(argument.name)] = "mask";
          namesFeature |= argument.isRequired && argument.namesFeature;
          isNameOfFeature |= argument.namesFeature && argument.name == name && value.is_string();
        }
        if (type.fewestInputs > 1)
          layer["inputs"] = json(std::vector<std::string>(type.fewestInputs, "x"));
        if (type.name == kSequential)
          layer["layers"] = json::array({{{"type", "Tanh"}}});
        layer[name] = value;
        std::string label = type.isLoss ? std::string(type.labelType) : "i32";
        json model = {{"name", "m"},
                      {"inputs",
                       {{{"name", "x"}, {"role", "feature"}, {"dtype", "f32"}, {"shape", {1}}},
                        {{"name", "y"}, {"role", "label"}, {"dtype", label}, {"shape", json::array()}}}},
                      {"layers", {type.isLoss ? json{{"type", "Tanh"}} : layer}},
                      {"loss", type.isLoss ? layer : json{{"type", "CrossEntropyLoss"}}}};
        if (namesFeature)
          model["inputs"].push_back(
              {{"name", "mask"}, {"role", "feature"}, {"dtype", "i32"}, {"shape", {1}}});
        bool isNameOfInput = name == "name" && value == "x"; // a rule between entries, as that of features
        bool isSpelledAsFloat =
            value.is_number_float() && std::floor(value.get<double>()) == value.get<double>();
        if (isNameOfInput || isNameOfFeature || isSpelledAsFloat)
          continue;
        TemporaryFile file(model.dump());
        Result<ModelSpec> read = readModelSpec(file.path());
        std::string reason = violation(rules, model);
        EXPECT_EQ(bool(read), reason.empty())
            << model << "\nreader: " << (read ? "" : read.error().text()) << "\nschema: " << reason;
        accepted += bool(read);
      }
    }
  }
  EXPECT_GT(accepted, 40);
}
