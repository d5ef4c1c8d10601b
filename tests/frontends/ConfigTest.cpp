#include "frontends/config/Config.h"

#include "TemporaryFile.h"
#include "frontends/config/ConfigKeys.h"
#include "frontends/json/PositionedJson.h"
#include "schedule/Schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

using namespace stagewright;

static Config read(const std::string &text, const ConfigOverrides &overrides = {}) {
  TemporaryFile file(text);
  Result<Config> config = readConfig(file.path(), overrides);
  EXPECT_TRUE(config) << text << "\n" << config.error().text();
  return config ? *config : Config();
}

/// "value origin" by path.
static std::map<std::string, std::string> settingsOf(const Config &config) {
  std::map<std::string, std::string> out;
  for (const Setting &setting : config.settings)
    out[setting.path] = setting.value + " " + setting.origin;
  return out;
}

using Settings = std::map<std::string, std::string>;

TEST(Config, FashionMlp) {
  Result<Config> config = readConfig(STAGEWRIGHT_MODELS "/fashion_mlp/config.json", {});
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->trainBatchSize, 64);
  EXPECT_EQ(config->microBatchSize, 16);
  EXPECT_EQ(config->microBatches, 4);
  EXPECT_EQ(config->stages, 2);
  EXPECT_EQ(config->schedule, "1f1b");
  EXPECT_EQ(config->partition, "parameters");
  EXPECT_EQ(config->stepsPerPrint, 100);
}

TEST(Config, DefaultsAreThoseOfDeepSpeed) {
  Config config = read("{\"train_batch_size\": 8}");
  const Config fresh;
  EXPECT_EQ(config.microBatchSize, 8);
  EXPECT_EQ(config.microBatches, 1);
  EXPECT_EQ(config.dataParallel, 1);
  EXPECT_EQ(config.stages, fresh.stages);
  EXPECT_EQ(config.schedule, fresh.schedule);
  EXPECT_EQ(config.partition, fresh.partition);
  EXPECT_EQ(config.gradientClipping, 1.0);
  EXPECT_EQ(config.stepsPerPrint, 10);
  EXPECT_EQ(config.seed, 1234u);
  EXPECT_TRUE(config.shuffle);
  const OptimizerConfig &optimizer = config.optimizer;
  EXPECT_EQ(optimizer.type, OptimizerType::Adam);
  EXPECT_EQ(optimizer.learningRate, 1e-3);
  EXPECT_EQ(optimizer.beta1, 0.9);
  EXPECT_EQ(optimizer.beta2, 0.999);
  EXPECT_EQ(optimizer.epsilon, 1e-8);
  EXPECT_TRUE(optimizer.decoupledDecay);
  EXPECT_TRUE(optimizer.biasCorrection);
  EXPECT_EQ(optimizer.weightDecay, 0);
  EXPECT_EQ(optimizer.momentum, 0);
  EXPECT_FALSE(optimizer.nesterov);
}

TEST(Config, SettingsListEveryEffectiveValueWithItsOrigin) {
  Config config =
      read("{\"train_batch_size\": 64, \"gradient_accumulation_steps\": 4,\n"
           "\"fp16\": {\"enabled\": false, \"loss_scale\": 0}, \"zero_optimization\": {\"stage\": 0,\n"
           "\"reduce_bucket_size\": 5e8}, \"pipeline\": {\"partition\": \"Uniform\"}, \"seed\": 7,\n"
           "\"optimizer\": {\"type\": \"adamw\", \"params\": {\"betas\": [0.8, 0.99], \"lr\": 1}}}",
           {.stages = 2, .schedule = "GPipe"});
  const Settings expected = {
      {"/bf16/enabled", "false default"},
      {"/bfloat16/enabled", "false default"},
      {"/data_parallel_size", "1 default"},
      {"/fp16/enabled", "false file"},
      {"/fp16/loss_scale", "0 file"},
      {"/gradient_accumulation_steps", "4 file"},
      {"/gradient_clipping", "1.0 default"},
      {"/optimizer/params/adam_w_mode", "true default"},
      {"/optimizer/params/betas", "[0.8,0.99] file"},
      {"/optimizer/params/bias_correction", "true default"},
      {"/optimizer/params/eps", "1e-08 default"},
      {"/optimizer/params/lr", "1 file"},
      {"/optimizer/params/torch_adam", "false default"},
      {"/optimizer/params/weight_decay", "0.0 default"},
      {"/optimizer/type", "\"AdamW\" file"},
      {"/pipeline/activation_checkpoint_interval", "0 default"},
      {"/pipeline/partition", "\"uniform\" file"},
      {"/pipeline/stages", "2 option"},
      {"/seed", "7 file"},
      {"/stagewright/gather_weights", "\"block\" default"},
      {"/stagewright/gradient_compression/type", "\"none\" default"},
      {"/stagewright/gradient_reduction", "\"step\" default"},
      {"/stagewright/parameter_groups", "[] default"},
      {"/stagewright/parameter_server/servers", "0 default"},
      {"/stagewright/parameter_server/staleness", "0 default"},
      {"/stagewright/recompute", "\"none\" default"},
      {"/stagewright/schedule", "\"gpipe\" option"},
      {"/stagewright/shuffle", "true default"},
      {"/stagewright/stochastic_rounding", "false default"},
      {"/stagewright/sync_batch_norm", "false default"},
      {"/stagewright/target", "\"host\" default"},
      {"/stagewright/tf32", "false default"},
      {"/steps_per_print", "10 default"},
      {"/tensor_parallel/autotp_size", "1 default"},
      {"/train_batch_size", "64 file"},
      {"/train_micro_batch_size_per_gpu", "16 inferred"},
      {"/zero_optimization/mics_shard_size", "-1 default"},
      {"/zero_optimization/offload_optimizer/device", "\"none\" default"},
      {"/zero_optimization/offload_param/device", "\"none\" default"},
      {"/zero_optimization/overlap_comm", "true default"},
      {"/zero_optimization/reduce_bucket_size", "500000000.0 file"},
      {"/zero_optimization/stage", "0 file"},
      {"/zero_optimization/zero_hpz_partition_size", "1 default"},
  };
  EXPECT_EQ(settingsOf(config), expected);
  EXPECT_TRUE(std::is_sorted(config.settings.begin(), config.settings.end(),
                             [](const Setting &a, const Setting &b) { return a.path < b.path; }));
  EXPECT_EQ(settingsWithoutEffect(config),
            (std::vector<std::string>{"/zero_optimization/reduce_bucket_size"}));
}

TEST(Config, ReadsThePrecision) {
  Config config = read("{\"train_batch_size\": 8}", {});
  EXPECT_EQ(config.precision, "fp32");
  EXPECT_FALSE(config.lossScale);
  for (const char *block : {"bf16", "bfloat16"}) {
    config = read("{\"train_batch_size\": 8, \"" + std::string(block) + "\": {\"enabled\": true}}", {});
    EXPECT_EQ(config.precision, "bf16");
    EXPECT_FALSE(config.lossScale);
  }
  config = read("{\"train_batch_size\": 8, \"fp16\": {\"enabled\": true}}", {});
  EXPECT_EQ(config.precision, "fp16");
  ASSERT_TRUE(config.lossScale);
  EXPECT_EQ(config.lossScale->initial, 65536);
  EXPECT_TRUE(config.lossScale->dynamic);
  EXPECT_EQ(config.lossScale->window, 1000);
  EXPECT_EQ(config.lossScale->minimum, 1);
  // Without ZeRO, as in DeepSpeed.
  EXPECT_EQ(config.lossScale->hysteresis, 1);
  EXPECT_FALSE(config.lossScale->endsAtMinimum);
  EXPECT_EQ(settingsOf(config)["/fp16/hysteresis"], "1 inferred");
  // A ZeRO stage changes no bit: it ends a run at the minimum, and waits no longer.
  config = read(
      "{\"train_batch_size\": 8, \"fp16\": {\"enabled\": true}, \"zero_optimization\": {\"stage\": 2}}", {});
  EXPECT_EQ(config.zero, 2);
  EXPECT_EQ(config.lossScale->hysteresis, 1);
  EXPECT_TRUE(config.lossScale->endsAtMinimum);
  for (int stage : {0, 1}) {
    config = read("{\"train_batch_size\": 8, \"fp16\": {\"enabled\": true, \"hysteresis\": 3},\n"
                  "\"zero_optimization\": {\"stage\": " +
                      std::to_string(stage) + "}}",
                  {});
    EXPECT_EQ(config.lossScale->hysteresis, 3);
  }
  config = read("{\"train_batch_size\": 8, \"fp16\": {\"enabled\": true, \"initial_scale_power\": 3,\n"
                "\"loss_scale_window\": 7, \"consecutive_hysteresis\": true, \"min_loss_scale\": 0.25}}",
                {});
  EXPECT_EQ(config.lossScale->initial, 8);
  EXPECT_EQ(config.lossScale->window, 7);
  EXPECT_TRUE(config.lossScale->consecutiveHysteresis);
  EXPECT_EQ(config.lossScale->minimum, 0.25);
  config = read("{\"train_batch_size\": 8, \"fp16\": {\"enabled\": true, \"loss_scale\": 96}}", {});
  EXPECT_EQ(config.lossScale->initial, 96);
  EXPECT_FALSE(config.lossScale->dynamic);
}

TEST(Config, Targets) {
  const auto targets = [](const std::string &text, ConfigOverrides overrides = {}) {
    return read("{\"train_batch_size\": 8, \"stagewright\": {\"target\": \"" + text + "\"}}", overrides)
        .targets;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(read("{\"train_batch_size\": 8}").targets, (Names{"host"}));
  EXPECT_EQ(targets("cuda:sm_100, host"), (Names{"cuda:sm_100", "host"}));
  EXPECT_EQ(targets("cuda"), (Names{"cuda:sm_90"}));
  EXPECT_EQ(targets("cuda", {.targets = {"host", "cuda:sm_80"}}), (Names{"host", "cuda:sm_80"}));
}

TEST(Config, GroupsOfShards) {
  const auto group = [](const std::string &stage, const std::string &keys, int replicas = 4) {
    return read("{\"train_batch_size\": 8, \"zero_optimization\": {\"stage\": " + stage + ", " + keys + "}}",
                {.dataParallel = replicas})
        .shardGroup;
  };
  EXPECT_EQ(group("3", "\"mics_shard_size\": 2"), 2);
  EXPECT_EQ(group("3", "\"zero_hpz_partition_size\": 2"), 2);
  EXPECT_EQ(group("3", "\"mics_shard_size\": 1, \"zero_hpz_partition_size\": 1"), 1);
  // All replicas are no group: what DeepSpeed's defaults say, and a group of all.
  for (const char *keys :
       {"\"mics_shard_size\": -1", "\"mics_shard_size\": 0", "\"zero_hpz_partition_size\": 0",
        "\"zero_hpz_partition_size\": 1", "\"mics_shard_size\": 4",
        "\"mics_shard_size\": 4, \"offload_param\": {\"device\": \"cpu\"}"})
    EXPECT_EQ(group("3", keys), 0) << keys;
  // One replica divides nothing.
  EXPECT_EQ(group("3", "\"mics_shard_size\": 2", 1), 0);
  EXPECT_EQ(group("2", "\"mics_shard_size\": -1, \"zero_hpz_partition_size\": 1"), 0);
}

TEST(Config, ReadsEveryParameterOfSgd) {
  Config config =
      read("{\"train_batch_size\": 8, \"optimizer\": {\"type\": \"sgd\", \"params\": {\"lr\": 0.1,\n"
           "\"momentum\": 0.9, \"dampening\": 0.5, \"weight_decay\": 1e-4, \"nesterov\": false,\n"
           "\"foreach\": null, \"maximize\": false}}}");
  EXPECT_EQ(config.optimizer.type, OptimizerType::SGD);
  EXPECT_EQ(config.optimizer.learningRate, 0.1);
  EXPECT_EQ(config.optimizer.momentum, 0.9);
  EXPECT_EQ(config.optimizer.dampening, 0.5);
  EXPECT_EQ(config.optimizer.weightDecay, 1e-4);
  EXPECT_FALSE(config.optimizer.nesterov);
  Settings settings = settingsOf(config);
  EXPECT_EQ(settings["/optimizer/params/momentum"], "0.9 file");
  EXPECT_FALSE(settings.contains("/optimizer/params/betas"));
  Config nesterov = read("{\"train_batch_size\": 8, \"optimizer\": {\"type\": \"SGD\",\n"
                         "\"params\": {\"momentum\": 0.9, \"nesterov\": true}}}");
  EXPECT_TRUE(nesterov.optimizer.nesterov);
  EXPECT_EQ(nesterov.optimizer.learningRate, 1e-3);
}

TEST(Config, OptimizersHaveTheirOwnParametersAndDefaults) {
  const auto optimizer = [](const std::string &type, const std::string &params) {
    return read("{\"train_batch_size\": 8, \"optimizer\": {\"type\": \"" + type + "\", \"params\": {" +
                params + "}}}");
  };
  Config adagrad = optimizer("ADAGRAD", "");
  EXPECT_EQ(adagrad.optimizer.type, OptimizerType::Adagrad);
  EXPECT_EQ(adagrad.optimizer.learningRate, 0.01);
  EXPECT_EQ(adagrad.optimizer.epsilon, 1e-10);
  EXPECT_EQ(settingsOf(adagrad)["/optimizer/params/lr"], "0.01 default");
  EXPECT_FALSE(settingsOf(adagrad).contains("/optimizer/params/betas"));
  EXPECT_EQ(optimizer("Adagrad", "\"lr_decay\": 0.5, \"lr\": 2").optimizer.rateDecay, 0.5);
  Config lion = optimizer("lion", "\"betas\": [0.5, 0.75], \"weight_decay\": 0.1");
  EXPECT_EQ(lion.optimizer.type, OptimizerType::Lion);
  EXPECT_EQ(lion.optimizer.learningRate, 0.001);
  EXPECT_EQ(lion.optimizer.beta2, 0.75);
  EXPECT_EQ(lion.optimizer.weightDecay, 0.1);
  EXPECT_FALSE(settingsOf(lion).contains("/optimizer/params/eps"));
  Config lamb = optimizer("Lamb", "\"min_coeff\": 0.5, \"bias_correction\": false");
  EXPECT_EQ(lamb.optimizer.type, OptimizerType::Lamb);
  EXPECT_EQ(lamb.optimizer.epsilon, 1e-8);
  EXPECT_EQ(lamb.optimizer.maxCoefficient, 10);
  EXPECT_EQ(lamb.optimizer.minCoefficient, 0.5);
  EXPECT_FALSE(lamb.optimizer.biasCorrection);
}

TEST(Config, AdamDecaysAsDeepSpeedsDoes) {
  const struct {
    const char *type, *params;
    bool decoupled;
    double decay;
  } rows[] = {
      {"Adam", "{}", true, 0},
      {"ADAM", "{\"adam_w_mode\": false}", false, 0},
      {"Adam", "{\"adam_w_mode\": false, \"weight_decay\": 0.5}", false, 0.5},
      {"AdamW", "{\"adam_w_mode\": false}", true, 0},
      {"adamW", "{\"weight_decay\": 0.1}", true, 0.1},
      {"AdamW", "{\"torch_adam\": true}", true, 0.01}, // torch.optim.AdamW's default
      {"Adam", "{\"torch_adam\": true}", true, 0.01},
      {"Adam", "{\"torch_adam\": true, \"adam_w_mode\": false}", false, 0},
      {"AdamW", "{\"torch_adam\": true, \"weight_decay\": 0}", true, 0},
  };
  for (const auto &row : rows) {
    Config config = read("{\"train_batch_size\": 8, \"optimizer\": {\"params\": " + std::string(row.params) +
                         ", \"type\": \"" + row.type + "\"}}");
    EXPECT_EQ(config.optimizer.decoupledDecay, row.decoupled) << row.type << row.params;
    EXPECT_EQ(config.optimizer.weightDecay, row.decay) << row.type << row.params;
    EXPECT_EQ(settingsOf(config)["/optimizer/params/adam_w_mode"].substr(0, 4),
              row.decoupled ? "true" : "fals");
  }
  Config plain =
      read("{\"train_batch_size\": 8, \"optimizer\": {\"type\": \"Adam\", \"params\": {\"eps\": 1e-6,\n"
           "\"bias_correction\": false, \"amsgrad\": false, \"fused\": true, \"max_grad_norm\": 0.0}}}");
  EXPECT_EQ(plain.optimizer.epsilon, 1e-6);
  EXPECT_FALSE(plain.optimizer.biasCorrection);
}

/// "name value" of every parameter, in order.
static std::string paramsOf(const SchedulerConfig &scheduler) {
  std::string out;
  for (const auto &[name, value] : scheduler.params) {
    const auto *integer = std::get_if<std::int64_t>(&value);
    const auto *real = std::get_if<double>(&value);
    out += (out.empty() ? "" : ", ") + name + " " +
           (integer ? std::to_string(*integer)
            : real  ? json::jsonText(*real)
                    : std::get<std::string>(value));
  }
  return out;
}

TEST(Config, SchedulersHaveDeepSpeedsParametersAndDefaults) {
  const struct {
    const char *scheduler, *optimizer, *type, *params;
  } rows[] = {
      {"null", "SGD", "", ""},
      {"{\"type\": \"warmuplr\"}", "SGD", "WarmupLR",
       "warmup_min_lr 0.0, warmup_max_lr 0.25, warmup_num_steps 1000, warmup_type log"},
      {"{\"type\": \"WarmupDecayLR\", \"params\": {\"total_num_steps\": 1e4, \"warmup_type\": \"Linear\",\n"
       "\"warmup_max_lr\": null, \"warmup_num_steps\": 7}}",
       "Adam", "WarmupDecayLR",
       "warmup_min_lr 0.0, warmup_max_lr 0.001, warmup_num_steps 7, warmup_type linear, total_num_steps "
       "10000"},
      {"{\"type\": \"WarmupCosineLR\", \"params\": {\"total_num_steps\": 50}}", "AdamW", "WarmupCosineLR",
       "warmup_num_steps 1000, warmup_type log, total_num_steps 50, warmup_min_ratio 0.0, cos_min_ratio "
       "0.0001"},
      {"{\"type\": \"OneCycle\", \"params\": {\"cycle_min_lr\": 0.5, \"cycle_max_lr\": 1,\n"
       "\"cycle_first_step_size\": 30, \"cycle_first_stair_count\": 3}}",
       "SGD", "OneCycle",
       "cycle_min_lr 0.5, cycle_max_lr 1.0, decay_lr_rate 0.0, cycle_first_step_size 30, "
       "cycle_second_step_size 30, cycle_first_stair_count 3, cycle_second_stair_count 3, decay_step_size 0"},
      {"{\"type\": \"OneCycle\", \"params\": {\"cycle_min_lr\": 0, \"cycle_max_lr\": 1, \"cycle_momentum\": "
       "false,\n"
       "\"cycle_second_step_size\": 5, \"cycle_second_stair_count\": 2, \"cycle_min_mom\": 0.7}}",
       "Adam", "OneCycle",
       "cycle_min_lr 0.0, cycle_max_lr 1.0, decay_lr_rate 0.0, cycle_first_step_size 2000, "
       "cycle_second_step_size 5, cycle_first_stair_count 0, cycle_second_stair_count 2, decay_step_size 0"},
      {"{\"type\": \"OneCycle\", \"params\": {\"cycle_min_lr\": 0, \"cycle_max_lr\": 1, \"cycle_max_mom\": "
       "0.95, \"decay_mom_rate\": 0.5}}",
       "Lamb", "OneCycle",
       "cycle_min_lr 0.0, cycle_max_lr 1.0, decay_lr_rate 0.0, cycle_first_step_size 2000, "
       "cycle_second_step_size 2000, cycle_first_stair_count 0, cycle_second_stair_count 0, decay_step_size "
       "0, cycle_min_mom 0.8, cycle_max_mom 0.95, decay_mom_rate 0.5"},
      {"{\"type\": \"LRRangeTest\"}", "Adam", "LRRangeTest",
       "lr_range_test_min_lr 0.001, lr_range_test_step_size 2000, lr_range_test_step_rate 1.0, "
       "lr_range_test_staircase 0"},
  };
  for (const auto &row : rows) {
    Config config =
        read("{\"train_batch_size\": 8, \"scheduler\": " + std::string(row.scheduler) +
             ", \"optimizer\": {\"type\": \"" + row.optimizer + "\", \"params\": {\"lr\": 0.25}}}");
    EXPECT_EQ(config.scheduler.type, row.type) << row.scheduler;
    EXPECT_EQ(paramsOf(config.scheduler), row.params) << row.scheduler;
  }
  Settings settings = settingsOf(read("{\"train_batch_size\": 8, \"scheduler\": {\"type\": \"WarmupLR\",\n"
                                      "\"params\": {\"warmup_num_steps\": 5}}}"));
  Config cycled = read("{\"train_batch_size\": 8, \"scheduler\": {\"type\": \"OneCycle\", \"params\":\n"
                       "{\"cycle_min_lr\": 0, \"cycle_max_lr\": 1, \"cycle_min_mom\": 0.75}}}");
  EXPECT_EQ(cycled.optimizer.beta1, 0.75);
  EXPECT_EQ(cycled.optimizer.beta2, 0.99);
  EXPECT_EQ(settingsOf(cycled)["/optimizer/params/betas"], "[0.75, 0.99] scheduler");
  EXPECT_EQ(settings["/scheduler/type"], "\"WarmupLR\" file");
  EXPECT_EQ(settings["/scheduler/params/warmup_max_lr"], "0.001 inferred");
  EXPECT_EQ(settings["/scheduler/params/warmup_num_steps"], "5 file");
  EXPECT_EQ(settings["/scheduler/params/warmup_type"], "\"log\" default");
}

TEST(Config, ParameterGroupsTakeTheOptimizersNumbers) {
  Config config =
      read("{\"train_batch_size\": 8, \"optimizer\": {\"type\": \"SGD\", \"params\": {\"lr\": 0.5, "
           "\"weight_decay\": 0.25}},\n"
           "\"stagewright\": {\"parameter_groups\": [{\"match\": \"bias$\", \"weight_decay\": 0},\n"
           "{\"match\": \"^h\", \"lr\": 2}]}}");
  ASSERT_EQ(config.parameterGroups.size(), 2u);
  EXPECT_EQ(config.parameterGroups[0].match, "bias$");
  EXPECT_EQ(config.parameterGroups[0].learningRate, 0.5);
  EXPECT_EQ(config.parameterGroups[0].weightDecay, 0);
  EXPECT_EQ(config.parameterGroups[1].learningRate, 2);
  EXPECT_EQ(config.parameterGroups[1].weightDecay, 0.25);
  EXPECT_EQ(config.parameterGroups[1].place.substr(config.parameterGroups[1].place.rfind('/')),
            "/input.json:3:11");
}

TEST(Config, MicroBatchesOptionKeepsTheGlobalBatch) {
  const struct {
    const char *file;
    int option, train, micro, microBatches;
    const char *microOrigin;
  } rows[] = {
      {"\"train_batch_size\": 64, \"train_micro_batch_size_per_gpu\": 16, \"gradient_accumulation_steps\": 4",
       8, 64, 8, 8, "inferred"},
      {"\"train_batch_size\": 64, \"train_micro_batch_size_per_gpu\": 16", 2, 64, 32, 2, "inferred"},
      {"\"train_batch_size\": 64, \"gradient_accumulation_steps\": 4", 1, 64, 64, 1, "inferred"},
      {"\"train_batch_size\": 64", 64, 64, 1, 64, "inferred"},
      {"\"train_micro_batch_size_per_gpu\": 16, \"gradient_accumulation_steps\": 4", 8, 128, 16, 8, "file"},
      {"\"train_micro_batch_size_per_gpu\": 16", 3, 48, 16, 3, "file"},
  };
  for (const auto &row : rows) {
    Config config = read("{" + std::string(row.file) + "}", {.microBatches = row.option});
    EXPECT_EQ(config.trainBatchSize, row.train) << row.file;
    EXPECT_EQ(config.microBatchSize, row.micro) << row.file;
    EXPECT_EQ(config.microBatches, row.microBatches) << row.file;
    Settings settings = settingsOf(config);
    EXPECT_EQ(settings["/gradient_accumulation_steps"], std::to_string(row.microBatches) + " option");
    EXPECT_EQ(settings["/train_micro_batch_size_per_gpu"], std::to_string(row.micro) + " " + row.microOrigin);
  }
}

TEST(Config, StagesComeFromTheOptionTheFileOrTheCutPoints) {
  const struct {
    const char *file;
    std::optional<int> stages;
    std::optional<std::string> partition;
    int expectedStages;
    const char *expectedPartition, *stagesSetting, *partitionSetting;
  } rows[] = {
      {"", {}, {}, 1, "parameters", "1 default", "\"parameters\" default"},
      {", \"pipeline\": {\"stages\": \"auto\", \"partition\": \"best\"}",
       {},
       {},
       1,
       "parameters",
       "1 default",
       "\"parameters\" default"},
      {", \"pipeline\": {\"stages\": 3}", {}, {}, 3, "parameters", "3 file", "\"parameters\" default"},
      {", \"pipeline\": {\"stages\": 3}", 2, "uniform", 2, "uniform", "2 option", "\"uniform\" option"},
      {", \"pipeline\": {\"stages\": 3, \"partition\": \"explicit:2,3\"}",
       {},
       {},
       3,
       "explicit:2,3",
       "3 file",
       "\"explicit:2,3\" file"},
      {", \"stagewright\": {\"partition\": \"explicit:2,3\"}",
       {},
       {},
       3,
       "explicit:2,3",
       "3 inferred",
       "\"explicit:2,3\" file"},
      {", \"pipeline\": {\"stages\": 3, \"partition\": \"explicit:2,3\"}", 2, "EXPLICIT:1", 2, "explicit:1",
       "2 option", "\"explicit:1\" option"},
      {", \"pipeline\": {\"partition\": \"uniform\"}, \"stagewright\": {\"partition\": \"UNIFORM\"}",
       {},
       {},
       1,
       "uniform",
       "1 default",
       "\"uniform\" file"},
      {", \"pipeline\": {\"partition\": \"best\"}, \"stagewright\": {\"partition\": \"uniform\"}",
       {},
       {},
       1,
       "uniform",
       "1 default",
       "\"uniform\" file"},
      {", \"pipeline\": {\"partition\": \"uniform\"}, \"stagewright\": {\"partition\": \"best\"}",
       {},
       {},
       1,
       "uniform",
       "1 default",
       "\"uniform\" file"},
      {", \"pipeline\": {\"partition\": \"uniform\"}, \"stagewright\": {\"partition\": \"explicit:1\"}", 3,
       "best", 3, "parameters", "3 option", "\"parameters\" option"},
  };
  for (const auto &row : rows) {
    Config config = read("{\"train_batch_size\": 8" + std::string(row.file) + "}",
                         {.stages = row.stages, .partition = row.partition});
    EXPECT_EQ(config.stages, row.expectedStages) << row.file;
    EXPECT_EQ(config.partition, row.expectedPartition) << row.file;
    Settings settings = settingsOf(config);
    EXPECT_EQ(settings["/pipeline/stages"], row.stagesSetting) << row.file;
    EXPECT_EQ(settings["/pipeline/partition"], row.partitionSetting) << row.file;
  }
}

TEST(Config, EveryScheduleOfTheLibraryInAnyCase) {
  ASSERT_FALSE(schedule::scheduleKinds().empty());
  for (const std::string &kind : schedule::scheduleKinds()) {
    std::string upper = kind;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](unsigned char c) { return std::toupper(c); });
    EXPECT_EQ(read("{\"train_batch_size\": 8, \"stagewright\": {\"schedule\": \"" + upper + "\"}}").schedule,
              kind);
    EXPECT_EQ(read("{\"train_batch_size\": 8}", {.schedule = upper}).schedule, kind);
  }
}

TEST(Config, ScalarsAndTheirLimits) {
  Config config =
      read("{\"train_micro_batch_size_per_gpu\": 2, \"train_batch_size\": null,\n"
           "\"gradient_clipping\": 0, \"steps_per_print\": null, \"seed\": 18446744073709551615,\n"
           "\"stagewright\": {\"shuffle\": false}, \"data_parallel_size\": 1}",
           {.dataParallel = 1});
  EXPECT_EQ(config.gradientClipping, 0);
  EXPECT_EQ(config.stepsPerPrint, 0);
  EXPECT_EQ(config.seed, UINT64_MAX);
  EXPECT_FALSE(config.shuffle);
  Settings settings = settingsOf(config);
  EXPECT_EQ(settings["/steps_per_print"], "null file");
  EXPECT_EQ(settings["/data_parallel_size"], "1 option");
  EXPECT_EQ(settings["/seed"], "18446744073709551615 file");
  EXPECT_EQ(settings["/train_batch_size"], "2 inferred");
  EXPECT_EQ(read("{\"train_batch_size\": 8, \"steps_per_print\": 0}").stepsPerPrint, 0);
}

/// A configuration as large users have it: everything that DeepSpeed reads, with the features switched off.
TEST(Config, SwitchedOffFeaturesAndTuningAreAccepted) {
  Config config = read(R"({
    "$schema": "docs/config.schema.json",
    "train_batch_size": 64, "wall_clock_breakdown": false, "dump_state": false, "prescale_gradients": true,
    "gradient_allreduce_op": "sum", "communication_data_type": "fp16", "sparse_gradients": false,
    "data_parallel_size": null, "sequence_parallel_size": 1, "scheduler": null, "log_level": "INFO",
    "fp16": {"enabled": "auto", "loss_scale": 0, "initial_scale_power": 16, "hysteresis": "auto"},
    "bf16": {"enabled": false}, "bfloat16": {"enabled": false, "check_grad_overflow": true},
    "amp": {"enabled": false, "opt_level": "O1", "cast_model_outputs": null},
    "data_types": {"grad_accum_dtype": "fp32", "param_dtype": null},
    "zero_optimization": {"stage": 0, "allgather_bucket_size": "auto", "sub_group_size": 1e9, "overlap_comm": true,
      "offload_optimizer": {"device": "none", "pin_memory": true, "ratio": 0.5}, "offload_param": null,
      "cpu_offload": false, "stage3_max_live_parameters": 1e9},
    "optimizer": {"type": "Adam", "params": {"lr": 1e-3}, "legacy_fusion": true},
    "activation_checkpointing": {"partition_activations": true, "number_checkpoints": null},
    "flops_profiler": {"enabled": false, "module_depth": -1}, "tensorboard": {"enabled": false, "job_name": "x"},
    "comms_logger": {"enabled": false, "prof_ops": ["all_reduce"]}, "elasticity": {"enabled": false},
    "checkpoint": {"tag_validation": "WARN", "parallel_write": {"pipeline_stage": true}},
    "autotuning": {"enabled": false, "something": {"new": 1}}, "aio": {"block_size": 1048576},
    "compression_training": {"weight_quantization": {"shared_parameters": {"enabled": false, "x": 1},
      "different_groups": {"wq1": {"params": {}}}}},
    "tensor_parallel": {"autotp_size": 0, "tp": {"tp_size": 1}},
    "timers": {"throughput": {"enabled": true, "synchronized": true}},
    "pipeline": {"seed_layers": true, "activation_checkpoint_interval": 0, "pipe_partitioned": false},
  })");
  std::vector<std::string> silent = settingsWithoutEffect(config);
  auto contains = [&](const char *path) { return std::count(silent.begin(), silent.end(), path) == 1; };
  EXPECT_TRUE(contains("/zero_optimization/offload_optimizer/pin_memory"));
  EXPECT_FALSE(contains("/zero_optimization/offload_optimizer/ratio"));
  EXPECT_TRUE(contains("/pipeline/seed_layers"));
  EXPECT_TRUE(contains("/scheduler"));
  EXPECT_FALSE(contains("/optimizer/params/lr"));
  EXPECT_EQ(settingsOf(config)["/fp16/enabled"], "false default"); // "auto"
  EXPECT_EQ(read("{\"train_batch_size\": 8, \"zero_optimization\": false}").trainBatchSize, 8);
}
