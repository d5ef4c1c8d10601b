#include "frontends/huggingface/HuggingFaceFolder.h"

#include "TemporaryFile.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

using namespace stagewright;

namespace {

/// A folder with this config.json.
class ModelFolder {
public:
  explicit ModelFolder(const std::string &config) : file("") { write("config.json", config); }
  void write(const std::string &name, const std::string &text) const {
    std::ofstream(path() + "/" + name) << text;
  }
  void remove(const std::string &name) const { std::filesystem::remove(path() + "/" + name); }
  std::string path() const { return std::filesystem::path(file.path()).parent_path(); }
  std::string config() const { return path() + "/config.json"; }

private:
  TemporaryFile file; // in a folder of its own
};

/// From line 2 on, a setting in each line.
std::string gpt2(const std::string &settings) {
  return "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\",\n" + settings +
         "\"vocab_size\": 11, \"n_positions\": 8, \"n_embd\": 6, \"n_layer\": 2, \"n_head\": 3}";
}

std::string llama(const std::string &name, const std::string &settings) {
  return "{\"architectures\": [\"" + name + "\"],\n" + settings +
         "\"vocab_size\": 11, \"max_position_embeddings\": 8, \"hidden_size\": 8, \"intermediate_size\": 12, "
         "\"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"num_key_value_heads\": 2}";
}

Result<ModelSpec> read(const ModelFolder &folder, std::optional<std::int64_t> length = {}) {
  return readHuggingFaceFolder(folder.path(), {.sequenceLength = length});
}

/// `lines`: "line 2: \"key\" ...; instead ...", all of them in one message; or with one, its place and words.
void refused(const std::string &config, const std::vector<std::string> &words,
             std::optional<std::int64_t> length = {}) {
  const ModelFolder folder(config);
  Result<ModelSpec> model = read(folder, length);
  ASSERT_FALSE(model) << config;
  EXPECT_EQ(model.error().kind, ErrorKind::User);
  EXPECT_TRUE(model.error().place.starts_with(folder.config())) << model.error().place;
  const std::string text = model.error().text();
  for (const std::string &word : words)
    EXPECT_NE(text.find(word), std::string::npos) << word << " is not in: " << text;
}

std::vector<std::string> namesOf(const std::vector<LayerSpec> &layers) {
  std::vector<std::string> names;
  for (const LayerSpec &layer : layers)
    names.push_back(layer.name);
  return names;
}

const Argument &argumentOf(const LayerSpec &layer, const char *name) {
  return layer.arguments.at(name);
}

} // namespace

TEST(HuggingFace, Gpt2BecomesLayersWithTransformersNames) {
  const ModelFolder folder(gpt2("\"resid_pdrop\": 0.0, \"embd_pdrop\": 0.0, \"attn_pdrop\": 0.25,\n"));
  Result<ModelSpec> model = read(folder, 5);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(model->name, "GPT2LMHeadModel");
  EXPECT_EQ(model->inputs[0].name, "input_ids");
  EXPECT_EQ(model->inputs[0].shape, std::vector<std::int64_t>{5});
  EXPECT_EQ(namesOf(model->layers),
            (std::vector<std::string>{"transformer.wte", "transformer.wpe", "transformer.h.0",
                                      "transformer.h.1", "transformer.ln_f", "lm_head"}));
  EXPECT_EQ(namesOf(model->layers[2].layers),
            (std::vector<std::string>{"ln_1", "attn.c_attn", "attn.attention", "attn.c_proj", "residual",
                                      "ln_2", "mlp.c_fc", "mlp.act", "mlp.c_proj", "output"}));
  EXPECT_EQ(std::get<std::int64_t>(argumentOf(model->layers[1], "num_positions").value), 8);
  EXPECT_EQ(std::get<double>(argumentOf(model->layers[2].layers[2], "dropout_p").value), 0.25);
  EXPECT_EQ(model->layers.front().tied, model->layers.back().tied);
  EXPECT_FALSE(model->layers.front().tied.empty());
  EXPECT_EQ(
      model->folder->transposed,
      (std::vector<std::string>{"transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_proj.weight",
                                "transformer.h.0.mlp.c_fc.weight", "transformer.h.0.mlp.c_proj.weight",
                                "transformer.h.1.attn.c_attn.weight", "transformer.h.1.attn.c_proj.weight",
                                "transformer.h.1.mlp.c_fc.weight", "transformer.h.1.mlp.c_proj.weight"}));
  EXPECT_DOUBLE_EQ(*model->layers[2].layers[3].initialDeviation, 0.02 / 2); // sqrt(2 blocks)

  const ModelFolder dropping(gpt2("\"tie_word_embeddings\": false, \"n_inner\": null,\n"));
  model = read(dropping);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(namesOf(model->layers)[2], "transformer.drop"); // 0.1 by default
  EXPECT_EQ(namesOf(model->layers[3].layers)[4], "attn.resid_dropout");
  EXPECT_TRUE(model->layers.back().tied.empty());
  EXPECT_TRUE(model->folder->copies.empty());
  EXPECT_EQ(model->inputs[0].shape, std::vector<std::int64_t>{8});
}

TEST(HuggingFace, LlamaBecomesLayersWithTransformersNames) {
  const ModelFolder folder(llama("LlamaForCausalLM", "\"rope_theta\": 500.0, \"rope_scaling\": null,\n"));
  Result<ModelSpec> model = read(folder);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(namesOf(model->layers),
            (std::vector<std::string>{"model.embed_tokens", "model.layers.0", "model.norm", "lm_head"}));
  const std::vector<LayerSpec> &block = model->layers[1].layers;
  EXPECT_EQ(namesOf(block),
            (std::vector<std::string>{"input_layernorm", "self_attn.q_proj", "self_attn.k_proj",
                                      "self_attn.v_proj", "self_attn.attention", "self_attn.o_proj",
                                      "residual", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj",
                                      "mlp.act_fn", "mlp.down_proj", "output"}));
  EXPECT_EQ(std::get<double>(argumentOf(block[4], "rotary_base").value), 500);
  EXPECT_EQ(std::get<std::int64_t>(argumentOf(block[2], "out_features").value), 4);
  EXPECT_FALSE(std::get<bool>(argumentOf(block[1], "bias").value));
  EXPECT_TRUE(model->layers[0].tied.empty());

  const ModelFolder qwen(llama("Qwen2ForCausalLM", "\"rope_parameters\": {\"rope_type\": \"default\", "
                                                   "\"rope_theta\": 70}, \"head_dim\": 6,\n"));
  model = read(qwen);
  ASSERT_TRUE(model) << model.error().text();
  const std::vector<LayerSpec> &other = model->layers[1].layers;
  EXPECT_EQ(std::get<double>(argumentOf(other[4], "rotary_base").value), 70);
  EXPECT_EQ(std::get<std::int64_t>(argumentOf(other[1], "out_features").value), 24);
  EXPECT_TRUE(std::get<bool>(argumentOf(other[1], "bias").value));
  EXPECT_FALSE(std::get<bool>(argumentOf(other[5], "bias").value));
}

TEST(HuggingFace, BertBecomesLayersWithTransformersNames) {
  const auto bert = [](const std::string &name, const std::string &settings) {
    return "{\"architectures\": [\"" + name + "\"],\n" + settings +
           "\"vocab_size\": 11, \"max_position_embeddings\": 8, \"hidden_size\": 8, \"intermediate_size\": "
           "12, "
           "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"hidden_dropout_prob\": 0.0}";
  };
  const ModelFolder folder(bert("BertForSequenceClassification", "\"classifier_dropout\": 0.5,\n"));
  Result<ModelSpec> model = read(folder, 6);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(
      namesOf(model->layers),
      (std::vector<std::string>{"bert.embeddings", "bert.encoder.layer.0", "first_token", "bert.pooler.dense",
                                "bert.pooler.activation", "dropout", "classifier"}));
  EXPECT_EQ(model->layers[0].inputs, (std::vector<std::string>{"input_ids", "token_type_ids"}));
  EXPECT_EQ(namesOf(model->layers[1].layers),
            (std::vector<std::string>{"attention.self.query", "attention.self.key", "attention.self.value",
                                      "attention.self.attention", "attention.output.dense",
                                      "attention.output.sum", "attention.output.LayerNorm",
                                      "intermediate.dense", "intermediate.intermediate_act_fn",
                                      "output.dense", "output.sum", "output.LayerNorm"}));
  EXPECT_EQ(std::get<std::string>(argumentOf(model->layers[1].layers[3], "key_mask").value),
            "attention_mask");
  EXPECT_EQ(std::get<double>(argumentOf(model->layers[5], "p").value), 0.5);
  EXPECT_EQ(std::get<std::int64_t>(argumentOf(model->layers[6], "out_features").value), 2);
  EXPECT_EQ(model->inputs.back().name, "labels");

  const ModelFolder sentences(bert("BertModel", ""));
  model = read(sentences);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(namesOf(model->layers), (std::vector<std::string>{"embeddings", "encoder.layer.0"}));
  EXPECT_FALSE(model->hasLoss());
  sentences.write("modules.json",
                  R"([{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "1"}])");
  std::filesystem::create_directory(sentences.path() + "/1");
  sentences.write("1/config.json", R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})");
  model = read(sentences);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(model->layers.back().type, "Select");
  for (const char *none : {"{}", "[]", "null"}) {
    sentences.write("modules.json", none);
    model = read(sentences);
    ASSERT_FALSE(model) << none;
    EXPECT_NE(model.error().text().find("no list of modules"), std::string::npos) << model.error().text();
  }

  refused(bert("BertForSequenceClassification", "\"is_decoder\": true,\n\"problem_type\": \"ranking\",\n"
                                                "\"pad_token_id\": 11,\n"),
          {"3 settings", "line 2: \"is_decoder\" is true, not false; use an encoder",
           "line 3: \"problem_type\" is \"ranking\"",
           "line 4: \"pad_token_id\" is 11; give an integer from -11 to 10"});
}

TEST(HuggingFace, EverythingUnsupportedIsListedAtOnce) {
  refused(gpt2("\"activation_function\": \"quick_gelu\",\n"
               "\"scale_attn_by_inverse_layer_idx\": true,\n"
               "\"add_cross_attention\": true,\n"
               "\"position_embedding_type\": \"alibi\",\n"
               "\"resid_pdrop\": 2,\n"
               "\"is_encoder_decoder\": true,\n"
               "\"quantization_config\": {\"bits\": 4},\n"),
          {"7 settings of this GPT2LMHeadModel",
           "\n  line 2: \"activation_function\" is \"quick_gelu\"; use one of gelu",
           "\n  line 3: \"scale_attn_by_inverse_layer_idx\" is true, not false; use a model",
           "\n  line 4: \"add_cross_attention\"",
           "\n  line 5: \"position_embedding_type\" is unknown; remove it",
           "\n  line 6: \"resid_pdrop\" is 2; give a number from 0.0 to 1.0",
           "\n  line 7: \"is_encoder_decoder\"",
           "\n  line 8: \"quantization_config\" is an object; save the model in float32"});
  refused(llama("LlamaForCausalLM", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0},\n"
                                    "\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4},\n"
                                    "\"hidden_act\": \"gelu\",\n"
                                    "\"head_dim\": 0,\n"
                                    "\"attention_dropout\": \"much\",\n"),
          {"6 settings of this LlamaForCausalLM",
           "line 2: \"rope_scaling\" is an object; rotary positions are not scaled",
           "line 3: \"rope_parameters\" has rope_type \"yarn\"", "line 3: \"rope_parameters\" has factor 4",
           "line 4: \"hidden_act\" is \"gelu\", not \"silu\"; gates are SwiGLU", "line 5: \"head_dim\" is 0",
           "line 6: \"attention_dropout\" is \"much\""});
}

TEST(HuggingFace, OneMistakeStandsAtItsPlace) {
  refused(gpt2("\"n_head\": 4,\n").replace(gpt2("\"n_head\": 4,\n").rfind(", \"n_head\": 3"), 13, ""),
          {":2:11: \"n_head\" is 4, which does not divide \"n_embd\", 6"});
  refused(gpt2("\"n_innr\": 4,\n"), {":2:1: \"n_innr\" is unknown", "nearest known key is \"n_inner\""});
  refused(gpt2(""), {"\"n_positions\" is 8, fewer than --sequence-length 9", "at most 8"}, 9);
  refused(llama("MistralForCausalLM", "\"sliding_window\": 7,\n"),
          {":2:19: \"sliding_window\" is 7, but samples have 8 tokens", "--sequence-length 7"});
  refused(llama("Qwen2ForCausalLM", "\"layer_types\": [\"sliding_attention\"],\n"),
          {":2:16: \"layer_types\" has \"sliding_attention\""});
  refused(llama("Qwen2ForCausalLM", "\"layer_types\": \"full_attention\",\n"),
          {":2:16: \"layer_types\" is \"full_attention\""});
  EXPECT_TRUE(read(ModelFolder(llama("MistralForCausalLM", "\"sliding_window\": 8,\n"))));
  EXPECT_TRUE(read(ModelFolder(llama("MistralForCausalLM", "\"sliding_window\": 3,\n")), 3));
  EXPECT_TRUE(read(ModelFolder(llama("MistralForCausalLM", "\"sliding_window\": null,\n"))));
}

TEST(HuggingFace, ArchitecturesThatAreNotThere) {
  refused("{\n\"architectures\": [\"GPT2LMHeadModl\"]}",
          {":2:19", "does not have the architecture \"GPT2LMHeadModl\"", "LlamaForCausalLM", "model.json"});
  refused("{\"architectures\": [\"GPT2LMHeadModel\", \"BertModel\"]}", {"must name the class"});
  refused("{\"model_type\": \"gpt2\"}", {"\"architectures\" must name the class", "GPT2LMHeadModel"});
  refused("{\"architectures\": \"GPT2LMHeadModel\"}", {"must name the class"});
  refused("{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"llama\"}",
          {":1:54", "\"model_type\" is \"llama\"", "of type \"gpt2\""});
  refused("[]", {":1:1", "must be an object"});
  refused("{", {":1:2"});
}

TEST(HuggingFace, SizesThatNoModelHasAreRefused) {
  for (const char *key : {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner"})
    for (const char *value : {"0", "-1", "2147483648", "1e300", "\"4\"", "true", "[4]"})
      refused("{\"architectures\": [\"GPT2LMHeadModel\"], \"" + std::string(key) + "\":\n" + value + "}",
              {std::string("\"") + key + "\" is "});
  // Within its range, but more than a tensor may have: the importer's part.
  EXPECT_TRUE(read(ModelFolder(gpt2("\"n_inner\": 2147483647,\n"))));
}

TEST(HuggingFace, DamagedFilesAreErrors) {
  const std::string good =
      llama("LlamaForCausalLM", "\"rope_parameters\": {\"rope_theta\": 5}, \"x\": null,\n");
  const ModelFolder folder(good);
  ASSERT_TRUE(read(folder));
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const char *text : {"", "9", "-", "\"", "{", "]", "null", "\xff", "1e400"}) {
      folder.write("config.json", good.substr(0, i) + text + good.substr(i + 1));
      Result<ModelSpec> model = read(folder);
      if (!model) {
        EXPECT_EQ(model.error().kind, ErrorKind::User) << model.error().text();
      }
      (void)modelFolderKind(folder.path());
    }
}

TEST(HuggingFace, WhichKindOfFolder) {
  const ModelFolder folder(gpt2(""));
  auto kind = modelFolderKind(folder.path());
  ASSERT_TRUE(kind);
  EXPECT_EQ(*kind, FolderKind::HuggingFace);
  folder.write("model.json", "{}");
  kind = modelFolderKind(folder.path());
  ASSERT_FALSE(kind);
  EXPECT_EQ(kind.error().place, folder.path());
  EXPECT_NE(kind.error().what.find("model.json, and a config.json"), std::string::npos);
  for (const char *other : {"{}", "{\"train_batch_size\": 1}", "{ broken", "[1]"}) {
    folder.write("config.json", other);
    kind = modelFolderKind(folder.path());
    ASSERT_TRUE(kind) << other;
    EXPECT_EQ(*kind, FolderKind::LayerSpec);
  }
  folder.remove("model.json");
  for (const char *other : {"{}", "{ broken", "[1]"}) {
    folder.write("config.json", other);
    EXPECT_FALSE(modelFolderKind(folder.path())) << other;
  }
  folder.remove("config.json");
  EXPECT_FALSE(modelFolderKind(folder.path()));
  EXPECT_FALSE(modelFolderKind(folder.path() + "/no/such"));
}
