// LlamaForCausalLM and what computes the same: MistralForCausalLM and Qwen2ForCausalLM.
#include "frontends/huggingface/Architectures.h"

#include "frontends/layerspec/LayerTypes.h"

namespace stagewright {
namespace {

struct Sizes {
  std::int64_t vocabulary, padding, positions, width, inner, blocks, heads, keyHeads, headSize;
  double epsilon, deviation, attentionDropout, rotaryBase;
  bool queryBias = false, outputBias = false, innerBias = false;
  bool isTied;
};

/// Since transformers 5 "rope_parameters" holds what "rope_theta" and "rope_scaling" said before.
double readRotaryBase(FolderConfig &config) {
  const double base = config.number("rope_theta", 10000, 1, 1e9);
  config.only("rope_scaling", "null", "rotary positions are not scaled: use a model without");
  const json::Value *parameters = config.value("rope_parameters");
  if (!parameters)
    return base;
  if (parameters->kind != json::Value::Kind::Object) {
    config.refuse("rope_parameters", "is " + json::shown(*parameters), "give rope_theta and rope_type in it");
    return base;
  }
  const json::Value *theta = parameters->find("rope_theta");
  const bool isRight = theta && theta->isNumber() && theta->number >= 1 && theta->number <= 1e9;
  if (theta && !isRight)
    config.refuse("rope_parameters", "has a rope_theta of " + json::shown(*theta),
                  "give a number from 1 to 1e9");
  for (const json::Member &member : parameters->members) {
    const bool isDefault = member.key == "rope_type" && member.value.string == "default";
    const bool isNothing = member.value.kind == json::Value::Kind::Null;
    if (member.key != "rope_theta" && !isDefault && !isNothing)
      config.refuse("rope_parameters", "has " + member.key + " " + json::shown(member.value),
                    "rotary positions are not scaled: use a model with rope_type \"default\"");
  }
  return isRight ? theta->number : base;
}

Sizes readSizes(FolderConfig &config, std::int64_t keyHeads) {
  Sizes sizes;
  sizes.vocabulary = config.integer("vocab_size", 32000);
  sizes.padding = config.padding(sizes.vocabulary, kNoPadding);
  sizes.positions = config.integer("max_position_embeddings", 2048);
  sizes.width = config.integer("hidden_size", 4096);
  sizes.inner = config.integer("intermediate_size", 11008);
  sizes.blocks = config.integer("num_hidden_layers", 32, 1, kMostBlocks);
  sizes.heads = config.integer("num_attention_heads", 32);
  sizes.keyHeads = config.integer("num_key_value_heads", keyHeads == 0 ? sizes.heads : keyHeads);
  if (!config.value("head_dim"))
    checkDivides(config, "num_attention_heads", sizes.heads, "hidden_size", sizes.width);
  sizes.headSize = config.integer("head_dim", std::max<std::int64_t>(1, sizes.width / sizes.heads), 1, 65536);
  checkDivides(config, "num_key_value_heads", sizes.keyHeads, "num_attention_heads", sizes.heads);
  sizes.epsilon = config.number("rms_norm_eps", 1e-6, 0, 1);
  sizes.deviation = config.number("initializer_range", 0.02, 0, 1e6);
  sizes.attentionDropout = config.number("attention_dropout", 0, 0, 1);
  sizes.rotaryBase = readRotaryBase(config);
  sizes.isTied = config.flag("tie_word_embeddings", false);
  config.only("hidden_act", "\"silu\"", "gates are SwiGLU");
  config.only("rope_interleaved", "false", "halves of a head are rotated: use a model that says so");
  config.only("use_mrope", "false", "use a model of text alone");
  config.ignore({"is_llama_config", "pretraining_tp", "transformers.js_config"});
  return sizes;
}

LayerSpec makeBlock(FolderConfig &config, const Sizes &sizes) {
  LayerSpec block;
  LayerWriter layers(block.layers, "input", config.position("architectures"), sizes.deviation);
  const auto norm = [&](const char *name) {
    layers.add("RMSNorm", name,
               {{"normalized_shape", std::vector<std::int64_t>{sizes.width}}, {"eps", sizes.epsilon}});
  };
  const auto linear = [&](const char *name, const char *input, std::int64_t in, std::int64_t out, bool bias) {
    layers.add("Linear", name, {{"in_features", in}, {"out_features", out}, {"bias", bias}}, {input});
  };
  const std::int64_t queries = sizes.heads * sizes.headSize, keys = sizes.keyHeads * sizes.headSize;
  norm("input_layernorm");
  linear("self_attn.q_proj", "input_layernorm", sizes.width, queries, sizes.queryBias);
  linear("self_attn.k_proj", "input_layernorm", sizes.width, keys, sizes.queryBias);
  linear("self_attn.v_proj", "input_layernorm", sizes.width, keys, sizes.queryBias);
  layers.add("ScaledDotProductAttention", "self_attn.attention",
             {{"num_heads", sizes.heads},
              {"num_key_value_heads", sizes.keyHeads},
              {"is_causal", true},
              {"rotary_base", sizes.rotaryBase},
              {"dropout_p", sizes.attentionDropout}},
             {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
  linear("self_attn.o_proj", "self_attn.attention", queries, sizes.width, sizes.outputBias);
  layers.add("Add", "residual", {}, {"input", "self_attn.o_proj"});
  norm("post_attention_layernorm");
  linear("mlp.gate_proj", "post_attention_layernorm", sizes.width, sizes.inner, sizes.innerBias);
  linear("mlp.up_proj", "post_attention_layernorm", sizes.width, sizes.inner, sizes.innerBias);
  layers.add("SwiGLU", "mlp.act_fn", {}, {"mlp.gate_proj", "mlp.up_proj"});
  linear("mlp.down_proj", "mlp.act_fn", sizes.inner, sizes.width, sizes.innerBias);
  layers.add("Add", "output", {}, {"residual", "mlp.down_proj"});
  return block;
}

void write(FolderConfig &config, const Sizes &sizes, std::int64_t length, ModelSpec &model) {
  addTokensAndLabels(config, model, length);
  FolderSpec &folder = model.folder.emplace();
  folder.prefix = "model.";
  folder.ignored = {".rotary_emb.inv_freq"};
  LayerWriter layers(model.layers, "input_ids", config.position("architectures"), sizes.deviation);
  const std::string key = sizes.isTied ? "model.embed_tokens" : "";
  layers
      .add("Embedding", "model.embed_tokens",
           {{"num_embeddings", sizes.vocabulary},
            {"embedding_dim", sizes.width},
            {"padding_idx", sizes.padding}})
      .tied = key;
  const LayerSpec block = makeBlock(config, sizes);
  for (std::int64_t i = 0; i < sizes.blocks; ++i)
    layers.add("Sequential", "model.layers." + std::to_string(i)).layers = block.layers;
  layers.add("RMSNorm", "model.norm",
             {{"normalized_shape", std::vector<std::int64_t>{sizes.width}}, {"eps", sizes.epsilon}});
  layers
      .add("Linear", "lm_head",
           {{"in_features", sizes.width}, {"out_features", sizes.vocabulary}, {"bias", false}})
      .tied = key;
  if (sizes.isTied)
    folder.copies.emplace_back("lm_head.weight", "model.embed_tokens.weight");
}

/// A window that reaches over all of a sample hides nothing.
void checkWindow(FolderConfig &config, std::optional<std::int64_t> otherwise, std::int64_t length) {
  const std::int64_t window = config.integer("sliding_window", otherwise.value_or(INT32_MAX));
  if (window < length)
    config.refuse(
        "sliding_window",
        "is " + std::to_string(window) + (config.document.root.find("sliding_window") ? "" : " by default") +
            ", but samples have " + std::to_string(length) + " tokens",
        "attention has no windows: compile with --sequence-length " + std::to_string(window) + " or less");
}

} // namespace

void readLlama(FolderConfig &config, const FolderOptions &options, ModelSpec &model) {
  Sizes sizes = readSizes(config, 0);
  sizes.queryBias = sizes.outputBias = config.flag("attention_bias", false);
  sizes.innerBias = config.flag("mlp_bias", false);
  write(config, sizes, sequenceLength(config, options, "max_position_embeddings", sizes.positions), model);
}

void readMistral(FolderConfig &config, const FolderOptions &options, ModelSpec &model) {
  const Sizes sizes = readSizes(config, 8);
  const std::int64_t length = sequenceLength(config, options, "max_position_embeddings", sizes.positions);
  const bool isGiven = config.document.root.find("sliding_window") != nullptr;
  checkWindow(config, isGiven ? std::nullopt : std::optional<std::int64_t>(4096), length);
  write(config, sizes, length, model);
}

void readQwen2(FolderConfig &config, const FolderOptions &options, ModelSpec &model) {
  Sizes sizes = readSizes(config, 0);
  sizes.queryBias = true;
  const std::int64_t length = sequenceLength(config, options, "max_position_embeddings", sizes.positions);
  if (config.flag("use_sliding_window", false))
    checkWindow(config, 4096, length);
  config.ignore({"sliding_window", "max_window_layers"});
  const json::Value *types = config.value("layer_types");
  if (types && types->kind != json::Value::Kind::Array)
    config.refuse("layer_types", "is " + json::shown(*types), "give a list with a type for each layer");
  else if (types)
    for (const json::Value &type : types->items)
      if (type.string != "full_attention" && !config.flag("use_sliding_window", false)) {
        config.refuse("layer_types", "has " + json::shown(type), "use a model of full_attention alone");
        break;
      }
  write(config, sizes, length, model);
}

} // namespace stagewright
