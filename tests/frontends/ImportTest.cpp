// From a model to the layer dialect: every layer type has an importer, and what does not fit is refused with
// a place and advice.
#include "frontends/import/ImportLayerSpec.h"
#include "frontends/import/LayerImporters.h"
#include "frontends/layerspec/LayerTypes.h"

#include "TemporaryFile.h"

#include "ir/plan/PlanDialect.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"

#include <gtest/gtest.h>

using namespace stagewright;

namespace {

const std::string kLinear = R"({"type": "Linear", "in_features": 4, "out_features": 3})";

struct Model {
  std::string name = "m", shape = "[4]", layers = kLinear, input = "x", dtype = "f32", labels = "[]";
  std::string config = R"({"train_batch_size": 8, "gradient_accumulation_steps": 2})";
};

/// Line 2 holds the inputs, line 3 the layers, one a line.
std::string modelText(const Model &model) {
  return "{\"name\": \"" + model.name + "\",\n\"inputs\": [{\"name\": \"" + model.input +
         "\", \"role\": \"feature\", \"dtype\": \"" + model.dtype + "\", \"shape\": " + model.shape +
         "}, {\"name\": \"y\", \"role\": \"label\", \"dtype\": \"i32\", \"shape\": " + model.labels +
         "}],\n\"layers\": [" + model.layers +
         "],\n\"loss\": {\"type\": \"CrossEntropyLoss\"}, \"metrics\": [\"accuracy\"]}";
}

class Import : public testing::Test {
protected:
  Import() { context.loadDialect<layer::LayerDialect, plan::PlanDialect>(); }

  Result<mlir::OwningOpRef<mlir::ModuleOp>> import(const std::string &model, const std::string &config) {
    TemporaryFile configFile(config);
    file.write(model);
    Result<ModelSpec> spec = readModelSpec(file.path());
    Result<Config> read = readConfig(configFile.path(), {});
    EXPECT_TRUE(spec) << spec.error().text();
    EXPECT_TRUE(read) << read.error().text();
    return importLayerSpec(context, *spec, *read);
  }

  void refused(const Model &model, const std::string &place, const std::vector<std::string> &words) {
    std::string text = modelText(model);
    auto module = import(text, model.config);
    ASSERT_FALSE(module) << text;
    expectError(module.error(), {text, place, words}, file.path());
  }

  mlir::MLIRContext context;
  TemporaryFile file{""};
};

} // namespace

TEST_F(Import, ATiedLayerIsTrained) {
  Model model;
  const std::string tied = R"({"type": "Linear", "in_features": 4, "out_features": 4, "tied": "k")";
  model.layers = tied + "},\n" + tied + R"(, "trainable": false})";
  refused(model, "4:1", {"is tied and not trainable"});
}

TEST_F(Import, EveryLayerTypeHasAnImporterAndNoOtherHas) {
  std::set<std::string> types, importers;
  for (const LayerType &type : layerTypes())
    types.emplace(type.name);
  for (const auto &entry : layerImporters())
    importers.insert(entry.getKey().str());
  EXPECT_EQ(types, importers);
}

// Names of the model, of inputs and of layers do not meet names of parameters or of the compiler.
TEST_F(Import, UserNamesMeetNoInternalNames) {
  for (const char *name :
       {"m", "x", "loss", "losses", "valid_rows", "correct", "0.weight", "a:b", "a@b", "\\\"q\\\""}) {
    for (int place = 0; place < 3; ++place) {
      Model model;
      (place == 0 ? model.name : place == 1 ? model.input : model.layers) = name;
      if (place == 2)
        model.layers = "{\"name\": \"" + std::string(name) + "\", " + kLinear.substr(1) +
                       ", {\"type\": \"Tanh\", \"name\": \"last\"}";
      if (place == 2 && model.input == name)
        model.input = "z";
      auto module = import(modelText(model), model.config);
      ASSERT_TRUE(module) << name << ": " << module.error().text();
      EXPECT_TRUE(succeeded(mlir::verify(**module))) << name;
    }
  }
}

TEST_F(Import, WhatDoesNotFitIsRefusedWithPlaceAndAdvice) {
  Model model;
  model.layers = "\n{\"type\": \"Tanh\"}";
  refused(model, "3:11", {"no trainable parameters", "Linear"});
  model.layers = "\n" + kLinear + ",\n" + kLinear;
  refused(model, "5:1", {"layer 1 (Linear)", "in_features 4", "[4, 3]", "set in_features to 3"});
  model.layers = "\n{\"type\": \"Flatten\", \"start_dim\": 2}";
  refused(model, "4:1", {"cannot flatten dimensions 2 to -1", "start_dim first"});
  model.layers = "\n{\"type\": \"Flatten\", \"start_dim\": 0}";
  refused(model, "4:1", {"batch dimension", "start_dim to 1"});
  model.shape = "[]";
  model.layers = "\n" + kLinear;
  refused(model, "4:1", {"needs an input [batch, ..., 4]", "last dimension"});
  model.shape = "[4]";
  model.layers =
      "\n{\"type\": \"Add\", \"inputs\": [\"x\", \"x\"]},\n{\"type\": \"Conv2d\", \"in_channels\": 1, "
      "\"out_channels\": 1, \"kernel_size\": 2}";
  refused(model, "5:1", {"[batch, channels, height, width]", "[4, 4]"});
  model.shape = "[3, 600]";
  const std::string attention =
      "{\"type\": \"ScaledDotProductAttention\", \"num_heads\": 1, \"inputs\": [\"x\", \"x\", \"x\"]";
  model.layers = "\n" + attention + "}";
  refused(model, "4:1", {"cannot be computed", "512"});
  model.shape = "[2, 3, 600]";
  model.layers = "\n{\"type\": \"Mean\", \"dim\": [1, 2]},\n{\"type\": \"Linear\", \"in_features\": 5, "
                 "\"out_features\": 2}";
  refused(model, "5:1", {"in_features 5", "[4, 600]"});
  model.shape = "[6, 5]";
  model.layers = "\n{\"type\": \"GroupNorm\", \"num_groups\": 4, \"num_channels\": 6}";
  refused(model, "4:1", {"4 groups", "num_channels 6", "divisor"});
  model.layers = "\n{\"type\": \"GroupNorm\", \"num_groups\": 1, \"num_channels\": 5}";
  refused(model, "4:1", {"num_channels 5", "[4, 6, 5]", "set it to 6"});
  model.shape = "[1, 4]";
  model.layers =
      "\n{\"type\": \"Mean\", \"dim\": 1},\n{\"type\": \"Linear\", \"in_features\": 5, \"out_features\": 2}";
  refused(model, "5:1", {"in_features 5", "[4, 4]"}); // the dimension of size 1 is gone too
  model.shape = "[4, 4]";
  model.layers = "\n{\"type\": \"Flatten\"},\n{\"type\": \"Add\", \"inputs\": [\"0\", \"x\"]}";
  refused(model, "5:1",
          {"[4, 16] and [4, 4, 4]", "do not broadcast"}); // never a batch with another dimension
  model.shape = "[4, 4]";
  model.layers = "\n{\"type\": \"Flatten\", \"start_dim\": 1, \"end_dim\": 1},\n{\"type\": \"Tanh\"}";
  refused(model, "3:11", {"no trainable parameters"});
}

const std::string kEmbedding = R"({"type": "Embedding", "num_embeddings": 7, "embedding_dim": 3})";

TEST_F(Import, TokensAreReadByEmbeddingsAlone) {
  Model model;
  model.layers = "\n" + kEmbedding;
  refused(model, "4:1", {"layer 0 (Embedding)", "reads numbers (f32), but needs tokens", "i32"});
  model.dtype = "i32";
  model.layers = "\n" + kLinear;
  refused(model, "4:1", {"reads tokens (i32)", "Embedding"});
  model.layers = "\n{\"type\": \"Flatten\"},\n" + kEmbedding;
  refused(model, "4:1", {"reads tokens (i32)"});
  model.layers = "\n" + kEmbedding + ",\n" + kEmbedding;
  refused(model, "5:1", {"needs tokens"});
  model.layers = "\n" + kEmbedding;
  refused(model, "5:9", {"the loss CrossEntropyLoss", "[4, 4, 3] and [4]", "[length]"});
  model.labels = "[4]";
  EXPECT_TRUE(import(modelText(model), model.config));
  model.layers = "{\"type\": \"Sequential\", \"layers\": [" + kEmbedding + "]}";
  EXPECT_TRUE(import(modelText(model), model.config));
  model.shape = model.labels = "[]"; // one token a sample
  EXPECT_TRUE(import(modelText(model), model.config));
}

/// Parts of a tensor, norms, and the row of padding.
TEST_F(Import, PartsAndRowsMustBeThere) {
  Model model;
  model.shape = "[6, 4]";
  const auto then = [&](const std::string &layer) {
    model.layers = "\n" + layer + ",\n{\"type\": \"Flatten\"}";
  };
  then("{\"type\": \"Narrow\", \"dim\": 1, \"start\": 4, \"length\": 3}");
  refused(model, "4:1",
          {"takes 3 elements from 4 on along dimension 1 of [4, 6, 4]", "the 6 that there are"});
  then("{\"type\": \"Narrow\", \"dim\": 0, \"start\": 0, \"length\": 1}");
  refused(model, "4:1", {"has no dimension 0 to cut", "between 1 and 2"});
  then("{\"type\": \"Select\", \"dim\": -1, \"index\": 4}");
  refused(model, "4:1", {"takes 1 elements from 4 on along dimension -1"});
  then("{\"type\": \"Select\", \"dim\": 1, \"index\": -7}");
  refused(model, "4:1", {"takes 1 elements from -7 on"});
  then("{\"type\": \"Normalize\", \"dim\": 3}");
  refused(model, "4:1", {"is over dimension 3 of [4, 6, 4]", "between 1 and 2"});
  then("{\"type\": \"Softmax\", \"dim\": -3}");
  refused(model, "4:1", {"is over dimension -3 of [4, 6, 4]", "samples do not mix"});
  then("{\"type\": \"Sum\", \"dim\": 0}");
  refused(model, "4:1", {"has no dimension 0 to add up in [4, 6, 4]"});
  then("{\"type\": \"MatMul\", \"inputs\": [\"x\", \"x\"]}");
  refused(model, "4:1", {"multiplies [4, 6, 4] by [4, 6, 4], which do not fit"});
  const auto shapeOf = [&](const std::string &layers) -> std::vector<std::int64_t> {
    model.layers =
        layers + ", {\"type\": \"Flatten\"}, {\"type\": \"Linear\", \"name\": \"head\", \"in_features\": 12, "
                 "\"out_features\": 3}";
    auto module = import(modelText(model), model.config);
    if (!module)
      return {};
    layer::BlockOp first;
    (*module)->walk([&](layer::BlockOp block) { first = first ? first : block; });
    auto type = mlir::cast<mlir::RankedTensorType>(first.getOutputs().front().getType());
    return type.getShape().vec();
  };
  EXPECT_EQ(shapeOf("{\"type\": \"Narrow\", \"dim\": -2, \"start\": -4, \"length\": 3}"),
            (std::vector<std::int64_t>{4, 3, 4}));
  model.shape = "[2, 6, 3]";
  EXPECT_EQ(shapeOf("{\"type\": \"Select\", \"dim\": -1, \"index\": -1}"),
            (std::vector<std::int64_t>{4, 2, 6}));
  EXPECT_EQ(shapeOf("{\"type\": \"Select\", \"dim\": 2, \"index\": 5}"),
            std::vector<std::int64_t>{}); // 6 values
}

/// A table, and its use as the output's weight.
TEST_F(Import, TiedLayersReadOneParameter) {
  Model model;
  model.dtype = "i32";
  model.labels = "[4]";
  const std::string table =
      kEmbedding.substr(0, kEmbedding.size() - 1) + ", \"name\": \"wte\", \"tied\": \"k\"},\n";
  const auto head = [](int in, int out) {
    return "{\"type\": \"Linear\", \"in_features\": " + std::to_string(in) +
           ", \"out_features\": " + std::to_string(out) + ", \"tied\": \"k\"}";
  };
  model.layers = table + head(3, 7);
  auto module = import(modelText(model), model.config);
  ASSERT_TRUE(module) << module.error().text();
  EXPECT_TRUE(succeeded(mlir::verify(**module)));
  std::vector<std::string> names; // the bias is the head's own
  for (layer::ParameterOp parameter : (*module)->getOps<layer::ParameterOp>())
    names.push_back(parameter.getSymName().str());
  EXPECT_EQ(names, (std::vector<std::string>{"wte.weight", "1.bias"}));
  std::vector<std::int64_t> uses;
  (*module)->walk([&](layer::ParameterUseOp use) { uses.push_back(use.getIndex()); });
  EXPECT_EQ(uses, std::vector<std::int64_t>{1});
  model.layers =
      "\n" + table + "{\"type\": \"Linear\", \"in_features\": 3, \"out_features\": 3},\n" + head(3, 8);
  refused(model, "6:1", {"layer 2 (Linear)", "wte.weight of shape [7, 3]", "[8, 3]"});
}

/// Which BatchNorms share statistics, by the layer's type, the configuration and the number of replicas.
TEST_F(Import, ReplicasShareStatistics) {
  const auto opsOf = [&](const std::string &layer, int replicas, const std::string &own) {
    Model model;
    model.layers = layer;
    model.shape = "[4]";
    model.config = R"({"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2,
                       "data_parallel_size": )" +
                   std::to_string(replicas) + R"(, "stagewright": {)" + own + "}}";
    auto module = import(modelText(model), model.config);
    EXPECT_TRUE(module) << module.error().text();
    std::map<std::string, std::int64_t> found; // op: replicas, or the count of the update
    (*module)->walk([&](mlir::Operation *op) {
      if (mlir::isa<layer::BatchNormOp, layer::ChannelMomentsOp>(op))
        found[op->getName().stripDialect().str()] = 1;
      if (auto gather = mlir::dyn_cast<layer::AllGatherOp>(op))
        found["all_gather"] = gather.getAxis() == "data" ? gather.getY().getType().getDimSize(0) : -1;
      if (auto sync = mlir::dyn_cast<layer::SyncBatchNormOp>(op))
        found["sync_batch_norm"] = sync.getMoments().getType().getDimSize(0);
      if (auto update = mlir::dyn_cast<layer::BatchNormUpdateOp>(op))
        found["batch_norm_update"] = update.getCount();
    });
    EXPECT_TRUE(succeeded(mlir::verify(**module)));
    return found;
  };
  using Ops = std::map<std::string, std::int64_t>;
  const std::string plain = R"({"type": "BatchNorm1d", "num_features": 4})",
                    sync = R"({"type": "SyncBatchNorm", "num_features": 4})",
                    flag = R"("sync_batch_norm": true)";
  const Ops alone = {{"batch_norm", 1}, {"batch_norm_update", 3}};
  const auto shared = [](std::int64_t replicas) {
    return Ops{{"channel_moments", 1},
               {"all_gather", replicas},
               {"sync_batch_norm", replicas},
               {"batch_norm_update", 3 * replicas}};
  };
  EXPECT_EQ(opsOf(plain, 4, ""), alone);
  EXPECT_EQ(opsOf(plain, 4, flag), shared(4));
  EXPECT_EQ(opsOf(sync, 2, ""), shared(2));
  EXPECT_EQ(opsOf(R"({"type": "Sequential", "layers": [)" + plain + "]}", 2, flag), shared(2));
  EXPECT_EQ(opsOf(sync, 1, ""), alone);
  EXPECT_EQ(opsOf(plain, 1, flag), alone);
}

/// Of a micro-batch of one sample, unless replicas share statistics.
TEST_F(Import, AVarianceNeedsTwoValues) {
  Model model;
  const std::string sizes = R"({"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 2)";
  model.layers = "\n{\"type\": \"BatchNorm1d\", \"num_features\": 4}";
  model.config = sizes + "}";
  refused(model, "4:1", {"one value per channel", "train_micro_batch_size_per_gpu larger"});
  model.config = sizes + R"(, "data_parallel_size": 2})";
  refused(model, "4:1", {"one value per channel", "sync_batch_norm"});
  model.layers = "\n{\"type\": \"SyncBatchNorm\", \"num_features\": 4}";
  EXPECT_TRUE(import(modelText(model), model.config));
  model.config = sizes + "}";
  refused(model, "4:1", {"SyncBatchNorm", "one value per channel"});
  model.layers = "\n{\"type\": \"SyncBatchNorm\", \"num_features\": 5}";
  refused(model, "4:1", {"num_features 5", "[1, 4]"});
  model.shape = "[]";
  refused(model, "4:1", {"needs an input [batch, channels, ...]"});
}

TEST_F(Import, SizesStayWithinTheCataloguesLimits) {
  Model model;
  model.layers = "\n{\"type\": \"Linear\", \"in_features\": 4, \"out_features\": 2147483647},\n"
                 "{\"type\": \"Linear\", \"in_features\": 2147483647, \"out_features\": 2147483647}";
  refused(model, "5:1", {"the parameter weight", "17592186044416 elements", "smaller"});
  model.layers = "\n{\"type\": \"Linear\", \"in_features\": 4, \"out_features\": 2147483647}";
  model.config = R"({"train_batch_size": 100000})";
  refused(model, "4:1", {"makes [100000, 2147483647]", "elements", "train_micro_batch_size_per_gpu smaller"});
  model.dtype = "i32";
  model.layers = "\n{\"type\": \"Embedding\", \"num_embeddings\": 1, \"embedding_dim\": 2147483647}";
  refused(model, "4:1",
          {"makes [100000, 4, 2147483647]", "elements", "train_micro_batch_size_per_gpu smaller"});
  model.dtype = "f32";
  model.shape = "[2147483647]";
  model.layers = "\n{\"type\": \"Tanh\"}";
  refused(model, "2:12", {"a micro-batch of the input x", "elements", "smaller train_micro_batch"});
}

TEST_F(Import, OneParameterNameForTwoLayersIsRefused) {
  Model model; // the name of a future composite's parameter, made by two layers
  model.layers = "{\"name\": \"a\", " + kLinear.substr(1);
  auto module = import(modelText(model), model.config);
  ASSERT_TRUE(module);
  layer::ModelOp op = *(*module)->getOps<layer::ModelOp>().begin();
  mlir::OpBuilder builder = mlir::OpBuilder::atBlockBegin(&op.getBody().front());
  LayerSpec layer;
  layer.name = "a";
  layer.type = "Composite";
  ParameterTable names;
  LayerContext first(builder, op, names, layer, false, builder.getUnknownLoc(), {});
  first.parameter("out.weight", {2}, Initializer::constant(0));
  EXPECT_FALSE(first.failure());
  layer.name = "a.out";
  LayerContext second(builder, op, names, layer, false, builder.getUnknownLoc(), {});
  second.parameter("weight", {2}, Initializer::constant(0));
  ASSERT_TRUE(second.failure());
  EXPECT_NE(second.failure()->text().find("a.out.weight, which an earlier layer has too"), std::string::npos);
}

TEST_F(Import, AModelOfAProgramIsCheckedToo) {
  Result<ModelSpec> spec = (file.write(modelText({})), readModelSpec(file.path()));
  Result<Config> config = readConfig(TemporaryFile(Model().config).path(), {});
  ASSERT_TRUE(spec && config);
  spec->layers.front().inputs = {"y"};
  auto module = importLayerSpec(context, *spec, *config);
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().kind, ErrorKind::User);
}
