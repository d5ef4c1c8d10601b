#include "frontends/huggingface/FolderConfig.h"

#include "frontends/layerspec/LayerTypes.h"

#include "frontends/json/NearestName.h"

#include <algorithm>
#include <tuple>

namespace stagewright {

using json::Value;

/// Of every model of transformers: names, tokens, what to return, how to generate.
static constexpr std::string_view kOfNoModel[] = {"_name_or_path",
                                                  "_num_labels",
                                                  "_attn_implementation",
                                                  "_attn_implementation_autoset",
                                                  "architectures",
                                                  "attn_implementation",
                                                  "bad_words_ids",
                                                  "begin_suppress_tokens",
                                                  "bos_token_id",
                                                  "chunk_size_feed_forward",
                                                  "cross_attention_hidden_size",
                                                  "decoder_start_token_id",
                                                  "directionality",
                                                  "diversity_penalty",
                                                  "do_sample",
                                                  "dtype",
                                                  "early_stopping",
                                                  "encoder_no_repeat_ngram_size",
                                                  "eos_token_id",
                                                  "exponential_decay_length_penalty",
                                                  "finetuning_task",
                                                  "forced_bos_token_id",
                                                  "forced_eos_token_id",
                                                  "gradient_checkpointing",
                                                  "id2label",
                                                  "label2id",
                                                  "length_penalty",
                                                  "max_length",
                                                  "min_length",
                                                  "model_type",
                                                  "no_repeat_ngram_size",
                                                  "num_beam_groups",
                                                  "num_beams",
                                                  "num_return_sequences",
                                                  "output_attentions",
                                                  "output_hidden_states",
                                                  "output_past",
                                                  "output_scores",
                                                  "pad_token_id",
                                                  "prefix",
                                                  "problem_type",
                                                  "remove_invalid_values",
                                                  "repetition_penalty",
                                                  "return_dict",
                                                  "return_dict_in_generate",
                                                  "sep_token_id",
                                                  "cls_token_id",
                                                  "unk_token_id",
                                                  "mask_token_id",
                                                  "suppress_tokens",
                                                  "task_specific_params",
                                                  "temperature",
                                                  "tf_legacy_loss",
                                                  "tie_encoder_decoder",
                                                  "tokenizer_class",
                                                  "top_k",
                                                  "top_p",
                                                  "torch_dtype",
                                                  "torchscript",
                                                  "transformers_version",
                                                  "typical_p",
                                                  "use_bfloat16",
                                                  "use_cache"};

FolderConfig::FolderConfig(const json::Document &document)
    : document(document), known(std::begin(kOfNoModel), std::end(kOfNoModel)) {
  only("is_encoder_decoder", "false", "use a model of one stack: an encoder, or a decoder");
  only("pruned_heads", "{}", "save the model with all heads");
  only("quantization_config", "null", "save the model in float32, float16 or bfloat16");
  only("auto_map", "null", "use a model of transformers itself, without code of its own");
}

SourcePosition FolderConfig::position(std::string_view key) const {
  const Value *found = document.root.find(key);
  const json::Position at = found ? found->position : document.root.position;
  return {document.file, at.line, at.column};
}

const Value *FolderConfig::value(std::string_view key) {
  known.emplace_back(key);
  const Value *found = document.root.find(key);
  return found && found->kind != Value::Kind::Null ? found : nullptr;
}

void FolderConfig::ignore(std::initializer_list<std::string_view> keys) {
  known.insert(known.end(), keys.begin(), keys.end());
}

void FolderConfig::refuse(std::string_view key, std::string what, std::string_view instead) {
  const Value *found = document.root.find(key);
  refusals.push_back({found ? found->position : document.root.position,
                      json::inQuotes(key) + " " + std::move(what), std::string(instead)});
}

void FolderConfig::refuse(std::string what, std::string_view instead) {
  refusals.push_back({document.root.position, std::move(what), std::string(instead)});
}

std::int64_t FolderConfig::integer(std::string_view key, std::optional<std::int64_t> otherwise,
                                   std::int64_t least, std::int64_t most) {
  const Value *found = value(key);
  const bool isRight =
      found && found->kind == Value::Kind::Integer && found->integer >= least && found->integer <= most;
  if (!isRight && (found || !otherwise)) {
    refuse(key, found ? "is " + json::shown(*found) : "is missing",
           "give an integer from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return isRight ? found->integer : otherwise.value_or(least);
}

std::int64_t FolderConfig::padding(std::int64_t vocabulary, std::int64_t otherwise) {
  const Value *given = document.root.find("pad_token_id");
  if (given && given->kind == Value::Kind::Null) {
    return kNoPadding;
  }
  const std::int64_t row =
      given ? integer("pad_token_id", std::nullopt, -vocabulary, vocabulary - 1) : otherwise;
  return row < 0 && row != kNoPadding ? row + vocabulary : row;
}

double FolderConfig::number(std::string_view key, std::optional<double> otherwise, double least,
                            double most) {
  const Value *found = value(key);
  const bool isRight = found && found->isNumber() && found->number >= least && found->number <= most;
  if (!isRight && (found || !otherwise)) {
    refuse(key, found ? "is " + json::shown(*found) : "is missing",
           "give a number from " + json::jsonText(least) + " to " + json::jsonText(most));
  }
  return isRight ? found->number : otherwise.value_or(least);
}

bool FolderConfig::flag(std::string_view key, bool otherwise) {
  const Value *found = value(key);
  if (found && found->kind != Value::Kind::Boolean) {
    refuse(key, "is " + json::shown(*found), "give true or false");
    return otherwise;
  }
  return found ? found->boolean : otherwise;
}

std::string FolderConfig::text(std::string_view key, std::string_view otherwise) {
  const Value *found = value(key);
  if (found && found->kind != Value::Kind::String) {
    refuse(key, "is " + json::shown(*found), "give a text in double quotes");
    return std::string(otherwise);
  }
  return found ? found->string : std::string(otherwise);
}

void FolderConfig::only(std::string_view key, std::string_view accepted, std::string_view instead) {
  const Value *found = value(key);
  if (found && found->text() != accepted) {
    refuse(key, "is " + json::shown(*found) + (accepted == "null" ? "" : ", not " + std::string(accepted)),
           instead);
  }
}

Result<void> FolderConfig::finish(std::string_view architecture) {
  const std::vector<std::string_view> names(known.begin(), known.end());
  for (const json::Member &member : document.root.members) {
    if (member.value.kind != Value::Kind::Null &&
        std::find(known.begin(), known.end(), member.key) == known.end()) {
      refusals.push_back({member.position, json::inQuotes(member.key) + " is unknown",
                          "remove it if the model does not need it (the nearest known key is " +
                              json::inQuotes(json::nearestName(member.key, names)) + ")"});
    }
  }
  if (refusals.empty()) {
    return {};
  }
  std::sort(refusals.begin(), refusals.end(), [](const Refusal &a, const Refusal &b) {
    return std::tie(a.position.line, a.position.column, a.what) <
           std::tie(b.position.line, b.position.column, b.what);
  });
  if (refusals.size() == 1) {
    return document.error(refusals[0].position, refusals[0].what, refusals[0].instead);
  }
  std::string what = "this version does not have " + std::to_string(refusals.size()) + " settings of this " +
                     std::string(architecture) + ":";
  for (const Refusal &refusal : refusals) {
    what +=
        "\n  line " + std::to_string(refusal.position.line) + ": " + refusal.what + "; " + refusal.instead;
  }
  return userError(document.file, what);
}

} // namespace stagewright
