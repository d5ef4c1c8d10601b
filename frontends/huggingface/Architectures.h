// The architectures that Hugging Face folders may have: each turns config.json into layers.
#ifndef STAGEWRIGHT_FRONTENDS_HUGGINGFACE_ARCHITECTURES_H
#define STAGEWRIGHT_FRONTENDS_HUGGINGFACE_ARCHITECTURES_H

#include "frontends/huggingface/FolderConfig.h"
#include "frontends/huggingface/HuggingFaceFolder.h"

#include <initializer_list>
#include <utility>

namespace stagewright {

/// A model of this architecture: inputs, layers, loss and folder are filled in; name, place and the text of
/// config.json are not. What config.json says and this version does not have is refused in `config`.
using ArchitectureReader = void (*)(FolderConfig &config, const FolderOptions &options, ModelSpec &model);

void readGpt2(FolderConfig &config, const FolderOptions &options, ModelSpec &model);
void readLlama(FolderConfig &config, const FolderOptions &options, ModelSpec &model);
void readMistral(FolderConfig &config, const FolderOptions &options, ModelSpec &model);
void readQwen2(FolderConfig &config, const FolderOptions &options, ModelSpec &model);
void readBert(FolderConfig &config, const FolderOptions &options, ModelSpec &model);
void readBertClassifier(FolderConfig &config, const FolderOptions &options, ModelSpec &model);

/// Appends layers, each reading the one before it unless told otherwise.
class LayerWriter {
public:
  /// `first` is what the first layer reads; deviation: LayerSpec::initialDeviation.
  LayerWriter(std::vector<LayerSpec> &layers, std::string first, SourcePosition position, double deviation)
      : layers(layers), last(std::move(first)), position(std::move(position)), deviation(deviation) {}

  using Arguments = std::initializer_list<std::pair<const char *, ArgumentValue>>;
  /// Arguments that are not given have the type's defaults.
  LayerSpec &add(const std::string &type, const std::string &name, Arguments arguments = {},
                 std::vector<std::string> inputs = {});
  /// A Dropout, where there is something to drop.
  void addDropout(const std::string &name, double p);

private:
  std::vector<LayerSpec> &layers;
  std::string last; ///< its name
  SourcePosition position;
  double deviation;
};

/// Inputs, loss and metrics of a language model: a label for every token.
void addTokensAndLabels(FolderConfig &config, ModelSpec &model, std::int64_t length);

/// The length of a sample: as asked for, or `positions`, which is the most.
std::int64_t sequenceLength(FolderConfig &config, const FolderOptions &options, std::string_view key,
                            std::int64_t positions);

/// `key` divides `of`.
void checkDivides(FolderConfig &config, std::string_view key, std::int64_t divisor, std::string_view of,
                  std::int64_t number);

/// A name of transformers' ACT2FN that a layer type computes; any other is refused and `otherwise` returned.
std::string readActivation(FolderConfig &config, std::string_view key, std::string_view otherwise);
void addActivation(LayerWriter &layers, const std::string &name, const std::string &function);

inline constexpr std::int64_t kMostBlocks = 10000;

} // namespace stagewright

#endif
