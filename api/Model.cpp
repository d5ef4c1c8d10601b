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
        text += std::string(", \"") + key + "\": " + json(value).dump();
      }
    }
    return text + "}";
  }

  /// Without the closing brace.
  static std::string entryText(const LayerSpec &layer) {
    std::string text = "{\"type\": " + json(layer.type).dump();
    for (const auto &[key, value] : layer.arguments) {
      text += ", " + json(key).dump() + ": " +
              std::visit([](const auto &given) { return json(given).dump(); }, value.get());
    }
    return text;
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

  static std::string lossText(const LossSpec &loss) {
    std::string text = entryText(loss);
    const auto add = [&](const char *key, const json &value) {
      text += std::string(", \"") + key + "\": " + value.dump();
    };
    if (!loss.name.empty()) {
      add("name", loss.name);
    }
    if (!loss.inputs.empty()) {
      add("inputs", loss.inputs);
    }
    if (loss.weight != 1) {
      add("loss_weight", loss.weight);
    }
    if (!loss.tied.empty()) { // what no loss has, for the reader to refuse
      add("tied", loss.tied);
    }
    if (!loss.trainable) {
      add("trainable", false);
    }
    if (loss.repeat != 0 || !loss.layers.empty()) {
      add("repeat", loss.repeat);
    }
    return text + "}";
  }

  void writeLayers(const std::vector<LayerSpec> &layers, const std::string &indent,
                   const std::string &owner) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const LayerSpec &layer = layers[i];
      const std::string name = owner + (layer.name.empty() ? std::to_string(i) : layer.name);
      const std::string comma = i + 1 < layers.size() ? "," : "";
      std::string text = indent + entryText(layer);
      const auto add = [&](const char *key, const json &value) {
        text += std::string(", \"") + key + "\": " + value.dump();
      };
      if (!layer.name.empty()) {
        add("name", layer.name);
      }
      if (!layer.inputs.empty()) {
        add("inputs", layer.inputs);
      }
      if (!layer.tied.empty()) {
        add("tied", layer.tied);
      }
      if (!layer.trainable) {
        add("trainable", false);
      }
      if (layer.repeat != 0) {
        add("repeat", layer.repeat);
      }
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
