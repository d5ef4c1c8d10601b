#include "frontends/layerspec/ModelSpec.h"

#include "ReferenceFiles.h"
#include "TemporaryFile.h"
#include "frontends/layerspec/LayerTypes.h"

#include <gtest/gtest.h>

using namespace stagewright;

static ModelSpec read(const std::string &text) {
  TemporaryFile file(text);
  Result<ModelSpec> model = readModelSpec(file.path());
  EXPECT_TRUE(model) << text << "\n" << model.error().text();
  return model ? *model : ModelSpec();
}

template <typename T>
static T argument(const LayerSpec &layer, const char *name) {
  auto it = layer.arguments.find(name);
  EXPECT_NE(it, layer.arguments.end()) << name;
  return it == layer.arguments.end() ? T() : std::get<T>(it->second.value);
}

TEST(ModelSpec, FashionMlp) {
  const std::string path = STAGEWRIGHT_MODELS "/fashion_mlp/model.json";
  Result<ModelSpec> model = readModelSpec(path);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(model->name, "fashion_mlp");
  ASSERT_EQ(model->inputs.size(), 2u);
  const InputSpec &image = model->inputs[0], &label = model->inputs[1];
  EXPECT_EQ(image.name, "image");
  EXPECT_EQ(image.role, "feature");
  EXPECT_EQ(image.dtype, "f32");
  EXPECT_EQ(image.shape, (std::vector<std::int64_t>{1, 28, 28}));
  EXPECT_EQ(image.scale, 0.00392156862745098);
  EXPECT_EQ(image.mean, 0.2860);
  EXPECT_EQ(image.deviation, 0.3530);
  EXPECT_EQ(image.position.text(), path + ":5:5");
  EXPECT_EQ(label.role, "label");
  EXPECT_EQ(label.dtype, "i32");
  EXPECT_TRUE(label.shape.empty());
  EXPECT_EQ(label.deviation, 1);
  ASSERT_EQ(model->layers.size(), 4u);
  const char *names[] = {"flatten", "fc1", "relu", "fc2"}, *types[] = {"Flatten", "Linear", "ReLU", "Linear"};
  const char *inputs[] = {"image", "flatten", "fc1", "relu"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(model->layers[i].name, names[i]);
    EXPECT_EQ(model->layers[i].type, types[i]);
    EXPECT_EQ(model->layers[i].inputs, std::vector<std::string>{inputs[i]});
    EXPECT_EQ(model->layers[i].position.text(), path + ":" + std::to_string(10 + i) + ":5");
  }
  EXPECT_EQ(argument<std::int64_t>(model->layers[0], "start_dim"), 1);
  EXPECT_EQ(argument<std::int64_t>(model->layers[0], "end_dim"), -1);
  EXPECT_EQ(argument<std::int64_t>(model->layers[1], "in_features"), 784);
  EXPECT_EQ(argument<std::int64_t>(model->layers[1], "out_features"), 256);
  EXPECT_TRUE(argument<bool>(model->layers[1], "bias"));
  EXPECT_EQ(model->layers[1].arguments.at("in_features").position.text(), path + ":11:54");
  EXPECT_EQ(model->layers[1].arguments.at("bias").position.text(),
            path + ":11:5"); // a default: the layer's place
  EXPECT_FALSE(argument<bool>(model->layers[2], "inplace"));
  ASSERT_EQ(model->losses.size(), 1u);
  const LossSpec &loss = model->losses.front();
  EXPECT_EQ(loss.type, "CrossEntropyLoss");
  EXPECT_EQ(loss.name, "CrossEntropyLoss");
  EXPECT_EQ(loss.weight, 1);
  EXPECT_FALSE(model->hasLossTerms());
  EXPECT_EQ(loss.inputs, (std::vector<std::string>{"fc2", "label"}));
  EXPECT_EQ(argument<std::string>(loss, "reduction"), "mean");
  EXPECT_EQ(argument<std::int64_t>(loss, "ignore_index"), -100);
  EXPECT_EQ(argument<double>(loss, "label_smoothing"), 0);
  EXPECT_TRUE(model->accuracy);
  EXPECT_EQ(model->sha256.size(), 64u);
}

TEST(ModelSpec, EveryArgumentOfEveryType) {
  ModelSpec model = read(R"({
    "$schema": "model.schema.json", "name": "m", "metrics": [],
    "inputs": [{"name": "y", "role": "label", "dtype": "f32", "shape": [3]},
               {"name": "x", "role": "feature", "dtype": "f32", "shape": [2, 3], "mean": -1, "deviation": 2},
               {"name": "x2", "role": "feature", "dtype": "f32", "shape": [2]}],
    "layers": [
      {"type": "Flatten", "start_dim": 0, "end_dim": -2},
      {"type": "Linear", "in_features": 6, "out_features": 2147483647, "bias": false, "device": null, "dtype": null},
      {"type": "ReLU", "inplace": true, "inputs": ["1"]},
      {"type": "GELU"},
      {"type": "GELU", "approximate": "tanh", "name": "g.1 \u00e4"},
      {"type": "Tanh", "inputs": ["x2"]},
    ],
    "loss": {"type": "MSELoss", "reduction": "mean", "size_average": null},
  })");
  ASSERT_EQ(model.layers.size(), 6u);
  EXPECT_EQ(argument<std::int64_t>(model.layers[0], "start_dim"), 0);
  EXPECT_EQ(argument<std::int64_t>(model.layers[0], "end_dim"), -2);
  EXPECT_EQ(model.layers[0].inputs,
            std::vector<std::string>{"x"}); // the first feature, though a label stands first
  EXPECT_EQ(model.layers[0].name, "0");
  EXPECT_EQ(argument<std::int64_t>(model.layers[1], "out_features"), 2147483647);
  EXPECT_FALSE(argument<bool>(model.layers[1], "bias"));
  EXPECT_FALSE(model.layers[1].arguments.contains("dtype"));
  EXPECT_TRUE(argument<bool>(model.layers[2], "inplace"));
  EXPECT_EQ(argument<std::string>(model.layers[3], "approximate"), "none");
  EXPECT_EQ(argument<std::string>(model.layers[4], "approximate"), "tanh");
  EXPECT_EQ(model.layers[4].name, "g.1 \xC3\xA4");
  EXPECT_EQ(model.layers[5].inputs, std::vector<std::string>{"x2"});
  EXPECT_EQ(model.layers[5].name, "5");
  EXPECT_EQ(model.inputs[1].mean, -1);
  EXPECT_EQ(model.losses.at(0).inputs, (std::vector<std::string>{"5", "y"}));
  EXPECT_FALSE(model.accuracy);
  for (const LayerSpec &layer : model.layers)
    EXPECT_EQ(layer.arguments.size(), findLayerType(layer.type)->arguments.size());
}

TEST(ModelSpec, SeveralLosses) {
  ModelSpec model = read(R"({
    "name": "m", "metrics": ["accuracy"],
    "inputs": [{"name": "x", "role": "feature", "dtype": "f32", "shape": [3]},
               {"name": "place", "role": "label", "dtype": "f32", "shape": [3]},
               {"name": "kind", "role": "label", "dtype": "i32", "shape": []}],
    "layers": [{"type": "Tanh", "name": "a"}, {"type": "Tanh", "name": "b", "inputs": ["x"]}],
    "loss": [{"type": "MSELoss", "loss_weight": 0.25},
             {"type": "CrossEntropyLoss", "name": "kind", "inputs": ["a", "kind"]},
             {"type": "MSELoss", "name": "same", "inputs": ["a", "x"], "loss_weight": 0}]
  })");
  ASSERT_EQ(model.losses.size(), 3u);
  EXPECT_TRUE(model.hasLossTerms());
  EXPECT_EQ(model.losses[0].name, "MSELoss");
  EXPECT_EQ(model.losses[0].weight, 0.25);
  EXPECT_EQ(model.losses[0].inputs, (std::vector<std::string>{"b", "place"}));
  EXPECT_EQ(model.losses[1].inputs, (std::vector<std::string>{"a", "kind"}));
  EXPECT_EQ(model.losses[2].inputs, (std::vector<std::string>{"a", "x"}));
  EXPECT_EQ(model.losses[2].weight, 0);
  EXPECT_EQ(model.classes(), &model.losses[1]);
}

// A program that fills in a ModelSpec meets the same rules as a file.
TEST(ModelSpec, CheckNeedsNoFile) {
  Result<ModelSpec> read = readModelSpec(STAGEWRIGHT_MODELS "/fashion_mlp/model.json");
  ASSERT_TRUE(read);
  ModelSpec good = *read;
  for (LayerSpec &layer : good.layers) {
    layer.position = {};
    layer.parts.clear();
    for (auto &[name, argument] : layer.arguments)
      argument.position = {};
  }
  EXPECT_TRUE(check(good));
  auto refused = [&](auto change, const std::string &place, const std::string &what) {
    ModelSpec bad = good;
    change(bad);
    Result<void> checked = check(bad);
    ASSERT_FALSE(checked) << what;
    EXPECT_EQ(checked.error().kind, ErrorKind::User);
    EXPECT_EQ(checked.error().place, place);
    EXPECT_NE(checked.error().what.find(what), std::string::npos) << checked.error().text();
    EXPECT_FALSE(checked.error().advice.empty()) << what;
  };
  auto arguments = [](ModelSpec & m) -> auto & {
    return m.layers[1].arguments;
  };
  refused([](ModelSpec &m) { m.layers[1].type = "Liner"; }, "layers", "unknown layer type");
  refused([](ModelSpec &m) { m.layers[1].type = "MSELoss"; }, "layers", "a loss, not a layer");
  refused([](ModelSpec &m) { m.layers[1].name = "a/b"; }, "\"a/b\"", "a slash");
  refused([](ModelSpec &m) { m.layers[1].inputs = {"relu"}; }, "layer \"fc1\"", "no earlier layer");
  refused([](ModelSpec &m) { m.layers[1].inputs = {}; }, "layer \"fc1\"",
          "Linear reads one tensor, but \"inputs\" names 0");
  refused([](ModelSpec &m) { m.layers.clear(); }, read->partPosition("layers").text(), "no layers");
  refused([](ModelSpec &m) { m.losses.at(0).inputs = {}; }, read->losses.at(0).position.text(),
          "a layer and a label");
  refused([&](ModelSpec &m) { arguments(m).erase("bias"); }, "layer \"fc1\"", "has no \"bias\"");
  refused([&](ModelSpec &m) { arguments(m)["bias"].value = 1.0; }, "layer \"fc1\"", "true or false");
  refused([&](ModelSpec &m) { arguments(m)["in_features"].value = std::int64_t(0); }, "layer \"fc1\"",
          "from 1");
  refused([&](ModelSpec &m) { arguments(m)["out"].value = true; }, "layer \"fc1\"", "no argument \"out\"");
}
