#include "frontends/layerspec/ModelSpec.h"

#include "TemporaryFile.h"

#include <gtest/gtest.h>

using namespace stagewright;

namespace {

const std::string kInputs =
    "{\"name\": \"m\",\n"
    "\"inputs\": [{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4]},\n"
    "{\"name\": \"y\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": []}],\n";
const std::string kLoss = "\n\"loss\": {\"type\": \"CrossEntropyLoss\"}}";

/// A model with these layers from line 5.
std::string withLayers(const std::string &layers) {
  return kInputs + "\"layers\": [\n" + layers + "\n]," + kLoss;
}
const std::string kTied = R"({"type": "Linear", "in_features": 4, "out_features": 4, "tied": "k"})";
/// A model of this name, at line 1, column 10.
std::string withName(const std::string &name) {
  return withLayers("{\"type\": \"Tanh\"}").replace(9, 3, name);
}
/// A model with this loss from column 9 of line 5, and what follows.
std::string withLoss(const std::string &loss) {
  return kInputs + "\"layers\": [{\"type\": \"Tanh\"}],\n\"loss\": " + loss + "}";
}
/// A model with this first input at line 2, column 12.
std::string withInput(const std::string &input) {
  return "{\"name\": \"m\",\n\"inputs\": [" + input +
         ",\n{\"name\": \"y\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": []}],\n"
         "\"layers\": [{\"type\": \"Tanh\"}]," +
         kLoss;
}

void expectRefused(const std::vector<BadInput> &cases) {
  for (const BadInput &input : cases) {
    TemporaryFile file(input.content);
    Result<ModelSpec> model = readModelSpec(file.path());
    ASSERT_FALSE(model) << input.content;
    expectError(model.error(), input, file.path());
  }
}

} // namespace

TEST(ModelErrors, TheFile) {
  ASSERT_TRUE(readModelSpec(TemporaryFile(withLayers("{\"type\": \"Tanh\"}")).path()));
  const std::string layers = "\"layers\": [{\"type\": \"Tanh\"}],\n";
  expectRefused({
      {"[]", "1:1", {"object", "a list"}},
      {"{}", "1:1", {"no \"name\""}},
      {"{\"nam\": 1}", "1:2", {"\"nam\"", "did you mean \"name\""}},
      {"{\"name\": 7}", "1:10", {"a string", "7"}},
      {withName("\"\""), "1:10", {"empty"}},
      {withName("\"a/b\""), "1:10", {"slash"}},
      {withName("\"a\\u0007\""), "1:10", {"control character"}},
      {"{\"name\": \"m\"}", "1:1", {"no \"inputs\""}},
      {"{\"name\": \"m\", \"inputs\": {}}", "1:25", {"a list", "an object"}},
      {"{\"name\": \"m\", \"inputs\": []}", "1:25", {"a list"}},
      {kInputs + kLoss.substr(1), "1:1", {"no \"layers\""}},
      {kInputs + "\"layers\": []," + kLoss, "4:11", {"a list of at least one"}},
      {kInputs + "\"layers\": [{\"type\": \"Tanh\"}]}", "2:11", {"the role \"label\", but no loss"}},
      {"{\"name\": \"m\",\n\"inputs\": [{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", "
       "\"shape\": [4]}],\n"
       "\"layers\": [{\"type\": \"Tanh\"}], \"metrics\": [\"accuracy\"]}",
       "3:43",
       {"counts correct classes, but the model has no loss"}},
      {kInputs + layers + "\"loss\": {\"type\": \"CrossEntropyLoss\"}, \"optimizer\": {}}",
       "5:39",
       {"\"optimizer\""}},
      {withLoss("{\"type\": \"CrossEntropyLoss\"}, \"metrics\": \"accuracy\""), "5:50", {"a list"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\"}, \"metrics\": [\"acuracy\"]"),
       "5:51",
       {"acuracy", "accuracy"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\"}, \"metrics\": [1]"), "5:51", {"a string"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\"}, \"metrics\": [\"accuracy\", \"accuracy\"]"),
       "5:63",
       {"twice"}},
  });
}

TEST(ModelErrors, Inputs) {
  expectRefused({
      {withInput("7"), "2:12", {"an input must be an object"}},
      {withInput("{}"), "2:12", {"no \"name\""}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\"}"), "2:12", {"no \"shape\""}},
      {withInput("{\"name\": \"x\", \"role\": \"featur\", \"dtype\": \"f32\", \"shape\": [4]}"),
       "2:34",
       {"featur", "label"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"u8\", \"shape\": [4]}"),
       "2:54",
       {"u8", "f32", "i32"}},
      {withInput(
           "{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"i32\", \"shape\": [4], \"scale\": 2}"),
       "2:12",
       {"these are tokens", "remove them"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f64\", \"shape\": [4]}"),
       "2:54",
       {"f64"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": 4}"),
       "2:70",
       {"list"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4, 0]}"),
       "2:74",
       {"from 1", "0"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4.5]}"),
       "2:71",
       {"4.5"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [65536, 32768]}"),
       "2:78",
       {"more than 2147483647 elements"}},
      {withInput(
           "{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [1,1,1,1,1,1,1,1]}"),
       "2:70",
       {"at most 7 sizes"}}, // the batch is the eighth
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4]},\n"
                 "{\"name\": \"spare\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4]}"),
       "3:1",
       {"no layer reads the input \"spare\"", "remove it"}},
      {withInput(
           "{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4], \"deviation\": 0}"),
       "2:88",
       {"above 0"}},
      {withInput(
           "{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4], \"scale\": \"1\"}"),
       "2:84",
       {"a number"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4], \"scal\": 1}"),
       "2:75",
       {"did you mean \"scale\""}},
      {withInput("{\"name\": \"y\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4]}"),
       "3:10",
       {"\"y\"", "twice", ":2:21"}},
      {withInput("{\"name\": \"z\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": []}"),
       "2:11",
       {"no input", "feature"}},
      {withInput("{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", \"shape\": [4]},\n"
                 "{\"name\": \"z\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": []}"),
       "4:1",
       {"no loss reads the label \"y\""}},
      {withInput("{\"name\": \"x\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": [], \"scale\": 2}"),
       "2:81",
       {"scale", "label"}},
  });
}

/// Arguments that name an input.
TEST(ModelErrors, Masks) {
  const auto withMask = [](const std::string &layer) {
    return "{\"name\": \"m\",\n\"inputs\": [{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", "
           "\"shape\": [4, 3]},\n"
           "{\"name\": \"mask\", \"role\": \"feature\", \"dtype\": \"i32\", \"shape\": [4]},\n"
           "{\"name\": \"y\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": []}],\n\"layers\": [\n" +
           layer + "\n]," + kLoss;
  };
  const auto mean = [](const std::string &mask) {
    return "{\"type\": \"MaskedMean\", \"mask\": " + mask + "}";
  };
  for (const std::string &good :
       {mean("\"mask\""), "{\"type\": \"Sequential\", \"layers\": [" + mean("\"mask\"") + "]}",
        std::string("{\"type\": \"Sequential\", \"repeat\": 2, \"layers\": [{\"type\": "
                    "\"ScaledDotProductAttention\", "
                    "\"num_heads\": 1, "
                    "\"key_mask\": \"mask\", \"inputs\": [\"input\", \"input\", \"input\"]}]}")})
    EXPECT_TRUE(readModelSpec(TemporaryFile(withMask(good)).path())) << good;
  expectRefused({
      {withMask("{\"type\": \"MaskedMean\"}"), "6:1", {"MaskedMean has no \"mask\""}},
      {withMask(mean("7")), "6:32", {"must be the name of an input", "7"}},
      {withMask(mean("\"\"")), "6:32", {"\"\" is none", "did you mean \"mask\""}},
      {withMask(mean("\"masc\"")), "6:32", {"\"masc\" is none", "did you mean \"mask\""}},
      {withMask(mean("\"x\"")), "6:32", {"dtype \"i32\"", "\"x\" is none"}},
      {withMask(mean("\"y\"")), "6:32", {"role \"feature\"", "\"y\" is none"}},
      {withMask("{\"type\": \"Tanh\"}"), "3:1", {"no layer reads the input \"mask\""}},
  });
}

TEST(ModelErrors, Layers) {
  expectRefused({
      {withLayers("7"), "5:1", {"a layer must be an object"}},
      {withLayers("{\"name\": \"a\"}"), "5:1", {"no \"type\""}},
      {withLayers("{\"type\": 7}"), "5:10", {"a string"}},
      {withLayers("{\"type\": \"Relu\"}"),
       "5:10",
       {"\"Relu\" (1 layer)", "ReLU", "known are Linear, ReLU, Tanh, "}},
      {withLayers(
           "{\"type\": \"Tanh\"},\n{\"type\": \"Conv3d\"},\n{\"type\": \"Liner\"},\n{\"type\": \"Conv3d\"}"),
       "6:10",
       {"\"Conv3d\" (2 layers)", "\"Liner\" (1 layer)", "to \"Liner\" is Linear"}},
      {withLayers(
           "{\"type\": \"Sequential\", \"layers\": [\n{\"type\": \"Tanh\", \"inputs\": [\"inputs\"]}]}"),
       "6:29",
       {"no earlier layer of 0", "did you mean \"input\""}},
      {withLayers("{\"type\": \"Tanh\"},\n{\"type\": \"Sequential\", \"inputs\": [\"x\", \"0\"], \"layers\": "
                  "[{\"type\": \"Tanh\"}]}"),
       "6:40",
       {"\"input:1\""}},
      {withLayers("{\"type\": \"Sequential\", \"repeat\": 50000, \"layers\": [{\"type\": \"Tanh\"}, "
                  "{\"type\": \"Tanh\"}]}"),
       "5:34",
       {"more than 100000 layers"}},
      {withLayers("{\"type\": \"Tanh\"},\n{\"type\": \"Add\"}"), "6:1", {"Add reads 2 tensors", "names 1"}},
      {withLayers("{\"type\": \"Tanh\", \"foo\": 1},\n{\"type\": \"Conv3d\"}"),
       "6:10",
       {"Conv3d"}}, // types come first
      {withLayers("{\"type\": \"MSELoss\"}"), "5:10", {"a loss, not a layer", "\"loss\""}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": 4}"), "5:1", {"no \"out_features\""}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": 4, \"out_feature\": 4}"),
       "5:38",
       {"\"out_feature\"", "Linear", "did you mean \"out_features\""}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": 0, \"out_features\": 4}"),
       "5:35",
       {"in_features", "from 1"}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": 2147483648, \"out_features\": 4}"),
       "5:35",
       {"2147483648"}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": \"4\", \"out_features\": 4}"),
       "5:35",
       {"an integer"}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": true, \"out_features\": 4}"),
       "5:35",
       {"an integer"}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": 4, \"out_features\": 4, \"bias\": 1}"),
       "5:65",
       {"true or false"}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": 4, \"out_features\": 4, \"dtype\": \"float16\"}"),
       "5:66",
       {"dtype", "fp16"}},
      {withLayers("{\"type\": \"Linear\", \"in_features\": 4, \"out_features\": 4, \"device\": \"cuda\"}"),
       "5:67",
       {"device", "plan"}},
      {withLayers("{\"type\": \"GELU\", \"approximate\": \"sigmoid\"}"), "5:33", {"none|tanh"}},
      {withLayers("{\"type\": \"GELU\", \"approximate\": \"none|tanh\"}"), "5:33", {"none|tanh"}},
      {withLayers("{\"type\": \"GELU\", \"approximate\": \"\"}"), "5:33", {"approximate"}},
      {withLayers("{\"type\": \"GELU\", \"approximate\": false}"), "5:33", {"approximate"}},
      {withLayers("{\"type\": \"ReLU\", \"inplace\": null}"), "5:29", {"inplace"}},
      {withLayers("{\"type\": \"Flatten\", \"start_dim\": 1.0}"), "5:34", {"an integer"}},
      {withLayers("{\"type\": \"Flatten\", \"start_dm\": 1}"), "5:21", {"did you mean \"start_dim\""}},
      {withLayers("{\"type\": \"Tanh\", \"tied\": \"k\"}"), "5:26", {"Tanh has no weight", "remove"}},
      {withLayers(kTied), "5:65", {"no other layer is tied by the key \"k\"", "every layer"}},
      {withLayers(kTied + ", {\"type\": \"Tanh\", \"tied\": \"\"}"), "5:96", {"must not be empty"}},
      {withLayers("{\"type\": \"Tanh\", \"forward\": \"f\"}"),
       "5:18",
       {"forward", "type says what it computes"}},
      {withLayers("{\"type\": \"Tanh\", \"trainable\": 0}"),
       "5:31",
       {"\"trainable\" must be true or false", "not 0"}},
      {withLayers("{\"type\": \"Tanh\", \"repeat\": 3}"), "5:18", {"repeat"}},
  });
}

TEST(ModelErrors, NamesAndInputsOfLayers) {
  expectRefused({
      {withLayers("{\"type\": \"Tanh\", \"name\": \"a\"},\n{\"type\": \"Tanh\", \"name\": \"a\"}"),
       "6:26",
       {"\"a\"", "twice", ":5:26"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"1\"},\n{\"type\": \"Tanh\"}"),
       "6:1",
       {"\"1\"", "twice", ":5:26"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"x\"}"), "5:26", {"\"x\"", "twice", ":2:21"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"\"}"), "5:26", {"empty"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"a/b\"}"), "5:26", {"slash"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"a\\nb\"}"), "5:26", {"a\\nb", "control"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"a\\u007f\"}"), "5:26", {"control"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": 1}"), "5:26", {"a string"}},
      {withLayers("{\"type\": \"Tanh\", \"inputs\": \"x\"}"), "5:28", {"a list"}},
      {withLayers("{\"type\": \"Tanh\", \"inputs\": []}"), "5:28", {"at least one"}},
      {withLayers("{\"type\": \"Tanh\", \"inputs\": [1]}"), "5:29", {"a string"}},
      {withLayers("{\"type\": \"Tanh\", \"inputs\": [\"xx\"]}"), "5:29", {"\"xx\"", "did you mean \"x\""}},
      {withLayers("{\"type\": \"Tanh\", \"inputs\": [\"y\"]}"), "5:29", {"\"y\"", "label"}},
      {withLayers("{\"type\": \"Tanh\", \"inputs\": [\"b\"]},\n{\"type\": \"Tanh\", \"name\": \"b\"}"),
       "5:29",
       {"no earlier layer"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"a\", \"inputs\": [\"a\"]}"),
       "5:42",
       {"no earlier layer"}},
      {withLayers("{\"type\": \"Tanh\", \"name\": \"a\"},\n{\"type\": \"Tanh\", \"inputs\": [\"a\", \"x\"]}"),
       "6:34",
       {"one tensor", "2"}},
  });
}

TEST(ModelErrors, Losses) {
  expectRefused({
      {withLoss("\"MSELoss\""), "5:9", {"an object"}},
      {withLoss("{}"), "5:9", {"no \"type\""}},
      {withLoss("{\"type\": \"CrossEntropy\"}"),
       "5:18",
       {"unknown loss", "did you mean \"CrossEntropyLoss\""}},
      {withLoss("{\"type\": \"Linear\"}"), "5:18", {"a layer, not a loss"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"reduction\": \"sum\"}"),
       "5:51",
       {"mean over its samples"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"reduction\": \"men\"}"), "5:51", {"mean|sum|none"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"ignore_index\": 0.5}"), "5:54", {"an integer"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"label_smoothing\": 1.5}"), "5:57", {"from 0.0 to 1.0"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"ignore_index\": 0},\n\"metrics\": [\"accuracy\"]"),
       "6:13",
       {"ignores"}},
      {withLoss("{\"type\": \"BCEWithLogitsLoss\"}"), "3:1", {"i32", "BCEWithLogitsLoss", "f32"}},
      {withLoss("{\"type\": \"BCEWithLogitsLoss\", \"pos_weight\": [2]}"), "5:53", {"both answers"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"weight\": [1, 2]}"), "5:48", {"weighs all classes"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"size_average\": true}"), "5:54", {"reduction"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"nam\": \"l\"}"), "5:38", {"unknown key \"nam\""}},
      {withLoss("[]"), "5:9", {"an empty list"}},
      {withLoss("[7]"), "5:10", {"a loss must be an object"}},
      {withLoss("[{\"type\": \"CrossEntropyLoss\"},\n{\"type\": \"CrossEntropyLoss\"}]"),
       "6:1",
       {"\"CrossEntropyLoss\" occurs twice", "\"name\""}},
      {withLoss("[{\"type\": \"CrossEntropyLoss\", \"name\": \"a/b\"}]"), "5:47", {"slash"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"loss_weight\": -1}"), "5:53", {"from 0 on"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"loss_weight\": 1e39}"), "5:53", {"fits a float"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"name\": \"lr\", \"loss_weight\": 2}"),
       "5:46",
       {"the learning rate"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"loss_weight\": \"1\"}"), "5:53", {"a number"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"inputs\": [\"0\"]}"), "5:9", {"names 1"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"inputs\": [\"tanh\", \"y\"]}"),
       "5:49",
       {"the layer \"tanh\"", "did you mean \"0\""}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"inputs\": [\"x\", \"y\"]}"),
       "5:49",
       {"\"x\" is an input, and a loss reads a layer first"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"inputs\": [\"0\", \"0\"]}"),
       "5:54",
       {"\"0\" is a layer, and a loss reads a label"}},
      {"{\"name\": \"m\",\n\"inputs\": [{\"name\": \"x\", \"role\": \"feature\", \"dtype\": \"f32\", "
       "\"shape\": [4]},\n"
       "{\"name\": \"y\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": []},\n"
       "{\"name\": \"z\", \"role\": \"label\", \"dtype\": \"f32\", \"shape\": [4]}],\n"
       "\"layers\": [{\"type\": \"Tanh\"}],\n\"loss\": [{\"type\": \"CrossEntropyLoss\"},\n{\"type\": "
       "\"MSELoss\"}]}",
       "7:1",
       {"without \"inputs\" a loss reads the first label, \"y\"", "[\"LAYER\", \"LABEL\"]"}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"inputs\": [\"0\", \"yy\"]}"),
       "5:54",
       {"the label \"yy\"", "did you mean \"y\""}},
      {withLoss("{\"type\": \"CrossEntropyLoss\", \"inputs\": [\"0\", \"x\"]}"),
       "2:12",
       {"the feature \"x\" has the dtype f32", "reads i32"}},
      {withLoss("[{\"type\": \"CrossEntropyLoss\"},\n{\"type\": \"CrossEntropyLoss\", \"name\": \"b\", "
                "\"ignore_index\": 3}]"),
       "6:59",
       {"ignore different ones", "\"CrossEntropyLoss\" and \"b\""}},
      {withLoss("{\"type\": \"MSELoss\", \"inputs\": [\"0\", \"x\"]}"),
       "3:1",
       {"no loss reads the label \"y\""}},
      {withLoss("{\"type\": \"MSELoss\"}"), "3:1", {"i32", "MSELoss", "f32"}},
  });
  std::string regression = withLoss("{\"type\": \"MSELoss\"},\n\"metrics\": [\"accuracy\"]");
  regression.replace(regression.find("i32"), 3, "f32");
  expectRefused({{regression, "6:13", {"classes"}}});
  std::string classes = withLoss("{\"type\": \"CrossEntropyLoss\"}");
  classes.replace(classes.find("i32"), 3, "f32");
  expectRefused({{classes, "3:1", {"f32", "CrossEntropyLoss", "i32"}}});
}
