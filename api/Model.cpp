#include "Internals.h"

#include <nlohmann/json.hpp>

namespace stagewright {
inline namespace v0 {

namespace {

using nlohmann::json;

/// Writes a model file. Keys and values go out as they are: what is wrong with them, also a key that occurs
/// twice, is the reader's to find.
class ModelWriter {
public:
  ModelText write(const Model &model) {
    line("{\"name\": " + json(model.name).dump() + ",");
    line(" \"inputs\": [");
    for (std::size_t i = 0; i < model.inputs.size(); ++i) {
      const InputSpec &input = model.inputs[i];
      line("  " + inputText(input) + (i + 1 < model.inputs.size() ? "," : ""),
           "input \"" + input.name + "\"");
    }
    line(" ],");
    line(" \"layers\": [");
    writeLayers(model.layers, "  ", "");
    line(std::string(" ]") + (model.losses.empty() && !model.accuracy ? "" : ","));
    writeLosses(model);
    if (model.accuracy) {
      line(" \"metrics\": [\"accuracy\"]", "accuracy");
    }
    line("}");
    return std::move(result);
  }

private:
  void line(const std::string &text, std::string entry = {}) {
    result.text += text + "\n";
    result.lines.push_back(std::move(entry));
  }

  static std::string inputText(const InputSpec &input) {
    std::string text = "{\"name\": " + json(input.name).dump() + ", \"role\": " + json(input.role).dump() +
                       ", \"dtype\": " + json(input.dtype).dump() +
                       ", \"shape\": " + json(input.shape).dump();
    const std::pair<const char *, double> numbers[] = {
        {"scale", input.scale}, {"mean", input.mean}, {"deviation", input.deviation}};
    for (const auto &[key, value] : numbers) {
      if (value != (key == std::string_view("mean") ? 0.0 : 1.0)) {
        text += member(key, value);
      }
    }
    return text + "}";
  }

  static std::string member(const char *key, const json &value) {
    return std::string(", \"") + key + "\": " + value.dump();
  }

  /// All but its "layers" and the closing brace.
  static std::string entryText(const LayerSpec &layer) {
    std::string text = "{\"type\": " + json(layer.type).dump();
    for (const auto &[key, value] : layer.arguments) {
      text += ", " + json(key).dump() + ": " +
              std::visit([](const auto &given) { return json(given).dump(); }, value.get());
    }
    text += layer.name.empty() ? "" : member("name", layer.name);
    text += layer.inputs.empty() ? "" : member("inputs", layer.inputs);
    text += layer.tied.empty() ? "" : member("tied", layer.tied);
    text += layer.trainable ? "" : member("trainable", false);
    return text + (layer.repeat == 0 ? "" : member("repeat", layer.repeat));
  }

  void writeLosses(const Model &model) {
    if (model.losses.empty()) {
      return;
    }
    line(" \"loss\": [");
    for (std::size_t i = 0; i < model.losses.size(); ++i) {
      line("  " + lossText(model.losses[i]) + (i + 1 < model.losses.size() ? "," : ""),
           model.losses.size() == 1
               ? "loss"
               : "loss \"" + (model.losses[i].name.empty() ? model.losses[i].type : model.losses[i].name) +
                     "\"");
    }
    line(std::string(" ]") + (model.accuracy ? "," : ""), "loss");
  }

  /// Also what no loss has, for the reader to refuse.
  static std::string lossText(const LossSpec &loss) {
    return entryText(loss) + (loss.weight == 1 ? "" : member("loss_weight", loss.weight)) +
           (loss.layers.empty() ? "" : member("layers", json::array())) + "}";
  }

  void writeLayers(const std::vector<LayerSpec> &layers, const std::string &indent,
                   const std::string &owner) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const LayerSpec &layer = layers[i];
      const std::string name = owner + (layer.name.empty() ? std::to_string(i) : layer.name);
      const std::string comma = i + 1 < layers.size() ? "," : "";
      const std::string text = indent + entryText(layer);
      if (layer.layers.empty()) {
        line(text + "}" + comma, "layer \"" + name + "\"");
        continue;
      }
      line(text + ", \"layers\": [", "layer \"" + name + "\"");
      writeLayers(layer.layers, indent + "  ", name + "/");
      line(indent + "]}" + comma);
    }
  }

  ModelText result;
};

} // namespace

Result<ModelText> modelText(const Model &model) {
  try {
    return ModelWriter().write(model);
  } catch (const json::exception &) {
    return userError("model", "a name or a text in it is not valid UTF-8", "write it in UTF-8");
  }
}

Result<std::string> Model::json() const {
  return guarded<std::string>([&]() -> Result<std::string> {
    auto text = modelText(*this);
    return text ? Result<std::string>(std::move(text->text)) : text.takeError();
  });
}

} // namespace v0
} // namespace stagewright
