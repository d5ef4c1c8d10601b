// GPT2LMHeadModel. Its Conv1D layers store weights [in, out].
#include "frontends/huggingface/Architectures.h"

#include <cmath>

namespace stagewright {
namespace {

struct Sizes {
  std::int64_t vocabulary, positions, width, blocks, heads, inner;
  double epsilon, deviation;
  double embeddingDropout, residualDropout, attentionDropout;
  double scale; ///< of the products of queries and keys; 0: 1 / sqrt(size of a head)
  std::string activation;
};

Sizes readSizes(FolderConfig &config) {
  Sizes sizes;
  sizes.vocabulary = config.integer("vocab_size", 50257);
  sizes.positions = config.integer("n_positions", 1024);
  sizes.width = config.integer("n_embd", 768);
  sizes.blocks = config.integer("n_layer", 12, 1, kMostBlocks);
  sizes.heads = config.integer("n_head", 12);
  sizes.inner = config.integer("n_inner", std::min<std::int64_t>(4 * sizes.width, INT32_MAX));
  sizes.epsilon = config.number("layer_norm_epsilon", 1e-5, 0, 1);
  sizes.deviation = config.number("initializer_range", 0.02, 0, 1e6);
  sizes.embeddingDropout = config.number("embd_pdrop", 0.1, 0, 1);
  sizes.residualDropout = config.number("resid_pdrop", 0.1, 0, 1);
  sizes.attentionDropout = config.number("attn_pdrop", 0.1, 0, 1);
  sizes.activation = readActivation(config, "activation_function", "gelu_new");
  sizes.scale = config.flag("scale_attn_weights", true) ? 0 : 1;
  config.only("scale_attn_by_inverse_layer_idx", "false", "use a model with one scale in all blocks");
  config.only("add_cross_attention", "false", "use a decoder without an encoder");
  config.only("is_decoder", "true", "a GPT-2 is a decoder: remove it");
  config.ignore({"n_ctx", "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout",
                 "summary_proj_to_labels", "summary_type", "summary_use_proj"});
  checkDivides(config, "n_head", sizes.heads, "n_embd", sizes.width);
  return sizes;
}

/// One block; what it reads is "input".
LayerSpec makeBlock(FolderConfig &config, const Sizes &sizes, FolderSpec &folder, const std::string &name) {
  LayerSpec block;
  LayerWriter layers(block.layers, "input", config.position("architectures"), sizes.deviation);
  const std::vector<std::int64_t> normalized{sizes.width};
  const auto linear = [&](const std::string &part, std::int64_t in, std::int64_t out) -> LayerSpec & {
    folder.transposed.push_back(name + "." + part + ".weight");
    return layers.add("Linear", part, {{"in_features", in}, {"out_features", out}});
  };
  // As transformers: what is added to the residual stream begins smaller, the more blocks there are.
  const double projection = sizes.deviation / std::sqrt(2.0 * static_cast<double>(sizes.blocks));
  layers.add("LayerNorm", "ln_1", {{"normalized_shape", normalized}, {"eps", sizes.epsilon}});
  linear("attn.c_attn", sizes.width, 3 * sizes.width);
  layers.add("ScaledDotProductAttention", "attn.attention",
             {{"num_heads", sizes.heads},
              {"is_causal", true},
              {"scale", sizes.scale},
              {"dropout_p", sizes.attentionDropout}});
  linear("attn.c_proj", sizes.width, sizes.width).initialDeviation = projection;
  layers.addDropout("attn.resid_dropout", sizes.residualDropout);
  layers.add("Add", "residual", {}, {"input", block.layers.back().name});
  layers.add("LayerNorm", "ln_2", {{"normalized_shape", normalized}, {"eps", sizes.epsilon}});
  linear("mlp.c_fc", sizes.width, sizes.inner);
  addActivation(layers, "mlp.act", sizes.activation);
  linear("mlp.c_proj", sizes.inner, sizes.width).initialDeviation = projection;
  layers.addDropout("mlp.dropout", sizes.residualDropout);
  layers.add("Add", "output", {}, {"residual", block.layers.back().name});
  return block;
}

} // namespace

void readGpt2(FolderConfig &config, const FolderOptions &options, ModelSpec &model) {
  const Sizes sizes = readSizes(config);
  const bool isTied = config.flag("tie_word_embeddings", true);
  addTokensAndLabels(config, model, sequenceLength(config, options, "n_positions", sizes.positions));
  FolderSpec &folder = model.folder.emplace();
  folder.prefix = "transformer.";
  folder.ignored = {".attn.bias", ".attn.masked_bias"};
  LayerWriter layers(model.layers, "input_ids", config.position("architectures"), sizes.deviation);
  const std::string key = isTied ? "transformer.wte" : "";
  layers
      .add("Embedding", "transformer.wte",
           {{"num_embeddings", sizes.vocabulary}, {"embedding_dim", sizes.width}})
      .tied = key;
  layers.add("LearnedPositions", "transformer.wpe",
             {{"num_positions", sizes.positions}, {"embedding_dim", sizes.width}});
  layers.addDropout("transformer.drop", sizes.embeddingDropout);
  for (std::int64_t i = 0; i < sizes.blocks; ++i) {
    const std::string name = "transformer.h." + std::to_string(i);
    layers.add("Sequential", name).layers = makeBlock(config, sizes, folder, name).layers;
  }
  layers.add("LayerNorm", "transformer.ln_f",
             {{"normalized_shape", std::vector<std::int64_t>{sizes.width}}, {"eps", sizes.epsilon}});
  layers
      .add("Linear", "lm_head",
           {{"in_features", sizes.width}, {"out_features", sizes.vocabulary}, {"bias", false}})
      .tied = key;
  if (isTied)
    folder.copies.emplace_back("lm_head.weight", "transformer.wte.weight");
}

} // namespace stagewright
