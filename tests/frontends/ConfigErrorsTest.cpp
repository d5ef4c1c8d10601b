#include "frontends/config/Config.h"

#include "TemporaryFile.h"
#include "frontends/config/ConfigKeys.h"

#include <gtest/gtest.h>

using namespace stagewright;

static void expectRefused(const BadInput &input, const ConfigOverrides &overrides = {}) {
  TemporaryFile file(input.content);
  Result<Config> config = readConfig(file.path(), overrides);
  ASSERT_FALSE(config) << input.content;
  expectError(config.error(), input, file.path());
}

TEST(ConfigErrors, Keys) {
  const std::vector<BadInput> cases = {
      {"[]", "1:1", {"JSON object", "a list"}},
      {"7", "1:1", {"JSON object", "7"}},
      {"{\n  \"train_batch_size\": 8,\n  \"grandient_accumulation_steps\": 4\n}", // a typo of DeepSpeed's own
                                                                                  // tests
       "3:3",
       {"\"grandient_accumulation_steps\"", "top level", "did you mean \"gradient_accumulation_steps\""}},
      {"{\"train_batch_size\": 8, \"sede\": 1}", "1:25", {"did you mean \"seed\""}},
      {"{\"Seed\": 1}", "1:2", {"\"Seed\"", "did you mean \"seed\""}},
      {"{\"train_batch_size\": 8,\n \"optimizer\": {\"type\": \"Adam\",\n  \"params\": {\"learning_rat\": "
       "1}}}",
       "3:14",
       {"\"learning_rat\"", "/optimizer/params", "lr"}},
      {"{\"lr\": 1}", "1:2", {"\"lr\" is a key of /optimizer/params"}},
      {"{\"stage\": 1}", "1:2", {"\"stage\" is a key of /zero_optimization"}},
      {"{\"pipeline\": {\"stage\": 2}}", "1:15", {"/pipeline", "did you mean \"stages\""}},
      {"{\"pipeline\": {\"schedule\": \"1f1b\"}}", "1:15", {"is a key of /stagewright"}},
      {"{\"stagewright\": {\"schedul\": \"1f1b\"}}", "1:18", {"did you mean \"schedule\""}},
      {"{\"fp16\": {\"enable\": false}}", "1:11", {"did you mean \"enabled\""}},
      {"{\"fp16/enabled\": true}", "1:2", {"unknown key \"fp16/enabled\""}},
      {"{\"\": 1}", "1:2", {"unknown key \"\""}},
      {"{\"zero_optimization\": {\"offload_optimizer\": {\"devise\": \"none\"}}}",
       "1:46",
       {"did you mean \"device\""}},
      {"{\"optimizer\": {\"type\": \"SGD\", \"params\": {\"betas\": [0.9, 0.99]}}}",
       "1:42",
       {"SGD has no parameter \"betas\"", "belongs to Adam, AdamW, Lamb, Lion"}},
      {"{\"optimizer\": {\"params\": {\"momentum\": 0.9}, \"type\": \"Adam\"}}",
       "1:27",
       {"Adam has no parameter \"momentum\"", "belongs to SGD"}},
      {"{\"seed\": 1,\n\n \"seed\": 2}", "3:2", {"\"seed\"", "twice", ":1:2"}},
      {"{\"seed\": ,}", "1:10", {"expected a value"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
}

TEST(ConfigErrors, GroupsOfShards) {
  const auto zero = [](const std::string &keys) {
    return "{\"train_batch_size\": 8, \"data_parallel_size\": 4, \"zero_optimization\": {\"stage\": 3,\n" +
           keys + "}}";
  };
  const std::vector<BadInput> cases = {
      {zero("\"mics_shard_size\": 3"), "2:20", {"4 replicas", "groups of 3", "divides data_parallel_size"}},
      {zero("\"mics_shard_size\": 8"), "2:20", {"4 replicas", "groups of 8"}},
      {zero("\"zero_hpz_partition_size\": 3"), "2:28", {"4 replicas", "groups of 3"}},
      {zero("\"mics_shard_size\": 2,\n\"zero_hpz_partition_size\": 2"), "3:28", {"both group", "remove one"}},
      {zero("\"offload_param\": {\"device\": \"cpu\"},\n\"mics_shard_size\": 2"),
       "3:20",
       {"offloaded weights", "remove /zero_optimization/mics_shard_size, or offload_param"}},
      {zero("\"offload_param\": {\"device\": \"cpu\"},\n\"zero_hpz_partition_size\": 2"),
       "3:28",
       {"remove /zero_optimization/zero_hpz_partition_size"}},
      {zero("\"mics_shard_size\": -2"), "2:20", {"-1"}},
      {zero("\"zero_hpz_partition_size\": -1"), "2:28", {"0"}},
      {"{\"train_batch_size\": 8, \"data_parallel_size\": 4, \"zero_optimization\": {\"stage\": "
       "2,\n\"mics_shard_size\": 2}}",
       "2:20",
       {"stage 3", "remove it"}},
      {"{\"train_batch_size\": 8, \"zero_optimization\": {\n\"zero_hpz_partition_size\": 8}}",
       "2:28",
       {"stage 3", "remove it"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
  // Of the replicas of the command line.
  expectRefused({zero("\"mics_shard_size\": 4"), "2:20", {"2 replicas", "groups of 4"}}, {.dataParallel = 2});
}

TEST(ConfigErrors, ParameterGroups) {
  const auto groups = [](const std::string &list, const std::string &more = "") {
    return "{\"train_batch_size\": 8, " + more + "\"stagewright\": {\"parameter_groups\":\n" + list + "}}";
  };
  const std::vector<BadInput> cases = {
      {groups("7"), "2:1", {"a list", "not 7"}},
      {groups("[[]]"), "2:2", {"an object", "a list"}},
      {groups("[{\"lr\": 1}]"), "2:2", {"no \"match\""}},
      {groups("[{\"match\": \"a\"}]"), "2:2", {"changes nothing"}},
      {groups("[{\"match\": 1, \"lr\": 1}]"), "2:12", {"a string", "not 1"}},
      {groups("[{\"match\": \"a(\", \"lr\": 1}]"), "2:12", {"no regular expression"}},
      {groups("[{\"match\": \"a\", \"lr\": -1}]"), "2:23", {">= 0", "-1"}},
      {groups("[{\"match\": \"a\", \"lr\": 1e39}]"), "2:23", {"fits a float"}},
      {groups("[{\"match\": \"a\", \"weight_decay\": \"1\"}]"), "2:33", {"a number"}},
      {groups("[{\"match\": \"a\", \"weigth_decay\": 1}]"), "2:17", {"did you mean \"weight_decay\""}},
      {groups("[{\"match\": \"a\", \"lr\": 1}]",
              "\"optimizer\": {\"type\": \"SGD\", \"params\": {\"lr\": 0}},"
              "\"scheduler\": {\"type\": \"WarmupLR\"}, "),
       "2:23",
       {"which is 0"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
}

TEST(ConfigErrors, Schedulers) {
  const std::string batch = "{\"train_batch_size\": 8, \"scheduler\":\n";
  const std::vector<BadInput> cases = {
      {batch + "{}}", "2:1", {"/scheduler has no type", "OneCycle"}},
      {batch + "{\"type\": null}}", "2:10", {"must be a string"}},
      {batch + "{\"type\": \"WarmUpLRs\"}}", "2:10", {"unknown scheduler", "did you mean \"WarmupLR\""}},
      {batch + "{\"type\": \"WarmupLR\", \"parms\": {}}}", "2:22", {"did you mean \"params\""}},
      {batch + "{\"type\": \"WarmupLR\", \"params\": {\"warmup_num_step\": 5}}}",
       "2:33",
       {"unknown key \"warmup_num_step\" in /scheduler/params", "did you mean \"warmup_num_steps\""}},
      {batch + "{\"params\": {\"total_num_steps\": 5}, \"type\": \"warmuplr\"}}",
       "2:13",
       {"WarmupLR has no parameter \"total_num_steps\"", "belongs to WarmupDecayLR, WarmupCosineLR"}},
      {batch + "{\"type\": \"WarmupLR\", \"params\": {\"warmup_num_steps\": 0}}}",
       "2:53",
       {"from 1 to", "not 0"}},
      {batch + "{\"type\": \"WarmupLR\", \"params\": {\"warmup_type\": \"cosine\"}}}",
       "2:48",
       {"\"log\", \"linear\"", "cosine"}},
      {batch + "{\"type\": \"WarmupLR\", \"params\": {\"warmup_max_lr\": -1}}}", "2:50", {">= 0", "-1"}},
      {batch + "{\"type\": \"WarmupDecayLR\"}}",
       "2:1",
       {"/scheduler/params lacks \"total_num_steps\", which WarmupDecayLR needs"}},
      {batch + "{\"type\": \"WarmupCosineLR\", \"params\": {\"warmup_type\": \"log\"}}}",
       "2:38",
       {"lacks \"total_num_steps\""}},
      {batch + "{\"type\": \"WarmupCosineLR\", \"params\": {\"total_num_steps\": null}}}",
       "2:58",
       {"a whole number", "not null", "no default"}},
      {batch + "{\"type\": \"OneCycle\", \"params\": {\"cycle_min_lr\": 0.1}}}",
       "2:32",
       {"lacks \"cycle_max_lr\""}},
      {batch + "{\"type\": \"OneCycle\", \"params\": {\"cycle_min_lr\": 0.1, \"cycle_max_lr\": 1,\n"
               "\"decay_step_size\": 3, \"decay_mom_rate\": 0.5}}}",
       "3:41",
       {"grow without end"}},
      {batch + "{\"type\": \"OneCycle\", \"params\": {\"cycle_min_lr\": 0.1, \"cycle_max_lr\": 1,\n"
               "\"cycle_max_mom\": 1}}}",
       "3:18",
       {"cycle_max_mom", "from 0 to 1 exclusive"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
}

/// A typo is not answered with a parameter that the optimizer would refuse as well.
TEST(ConfigErrors, SuggestsParametersOfTheOwnOptimizerAlone) {
  TemporaryFile file("{\"optimizer\": {\"type\": \"SGD\", \"params\": {\"beta\": [0.9, 0.99]}}}");
  Result<Config> config = readConfig(file.path(), {});
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().advice.find("betas"), std::string::npos) << config.error().advice;
}

TEST(ConfigErrors, TypesAndRanges) {
  const std::vector<BadInput> cases = {
      {"{\"train_batch_size\": true}", "1:22", {"/train_batch_size", "an integer", "not true"}},
      {"{\"train_batch_size\": \"64\"}", "1:22", {"an integer", "not \"64\""}},
      {"{\"train_batch_size\": 64.0}", "1:22", {"an integer", "64.0"}},
      {"{\"train_batch_size\": 0}", "1:22", {"from 1 to 2147483647", "0"}},
      {"{\"train_batch_size\": -4}", "1:22", {"-4"}},
      {"{\"train_batch_size\": 2147483648}", "1:22", {"2147483648"}},
      {"{\"train_batch_size\": 18446744073709551615}", "1:22", {"18446744073709551615"}},
      {"{\"train_batch_size\": [64]}", "1:22", {"a list"}},
      {"{\"train_batch_size\": \"auto\"}", "1:22", {"auto", "Hugging Face"}},
      {"{\"gradient_accumulation_steps\": 65536, \"train_micro_batch_size_per_gpu\": 1}", "1:33", {"65535"}},
      {"{\"gradient_clipping\": -0.5}", "1:23", {"/gradient_clipping", ">= 0", "-0.5"}},
      {"{\"gradient_clipping\": \"much\"}", "1:23", {"a number", "much"}},
      {"{\"gradient_clipping\": 1e39}", "1:23", {"fits a float"}},
      {"{\"gradient_clipping\": 1e999}", "1:23", {"too large"}},
      {"{\"gradient_clipping\": NaN}", "1:23", {"NaN"}},
      {"{\"gradient_clipping\": null}", "1:23", {"null"}},
      {"{\"steps_per_print\": -1}", "1:21", {"/steps_per_print"}},
      {"{\"steps_per_print\": false}", "1:21", {"false"}},
      {"{\"seed\": -1}", "1:10", {"/seed", "2^64 - 1"}},
      {"{\"seed\": 1.5}", "1:10", {"/seed"}},
      {"{\"seed\": 18446744073709551616}", "1:10", {"64 bits"}},
      {"{\"stagewright\": {\"shuffle\": 1}}", "1:29", {"true or false", "not 1"}},
      {"{\"stagewright\": []}", "1:17", {"an object", "a list"}},
      {"{\"pipeline\": null}", "1:14", {"an object", "null"}},
      {"{\"pipeline\": {\"stages\": 0}}", "1:25", {"from 1 to 4096"}},
      {"{\"pipeline\": {\"stages\": \"two\"}}", "1:25", {"or \"auto\"", "two"}},
      {"{\"pipeline\": {\"stages\": 2.0}}", "1:25", {"an integer"}},
      {"{\"pipeline\": {\"partition\": 3}}", "1:28", {"a string"}},
      {"{\"pipeline\": {\"seed_layers\": \"yes\"}}", "1:30", {"true or false"}},
      {"{\"gradient_allreduce_op\": \"max\"}", "1:27", {"\"mean\", \"sum\"", "max"}},
      {"{\"fp16\": {\"loss_scale\": -1}}", "1:25", {"/fp16/loss_scale"}},
      {"{\"fp16\": {\"loss_scale\": true}}", "1:25", {"a number"}},
      {"{\"fp16\": true}", "1:10", {"an object"}},
      {"{\"zero_optimization\": {\"stage\": 4}}", "1:33", {"from 0 to 3"}},
      {"{\"zero_optimization\": {\"stage\": false}}", "1:33", {"an integer"}},
      {"{\"zero_optimization\": {\"sub_group_size\": 1.5}}", "1:42", {"whole number"}},
      {"{\"zero_optimization\": {\"offload_param\": {\"device\": \"disk\"}}}",
       "1:52",
       {"\"none\", \"cpu\", \"nvme\""}},
      {"{\"zero_optimization\": {\"offload_optimizer\": {\"ratio\": 1.5}}}", "1:55", {"from 0 to 1"}},
      {"{\"checkpoint\": {\"tag_validation\": \"Sometimes\"}}", "1:35", {"Warn"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
}

TEST(ConfigErrors, Optimizer) {
  auto withParams = [](const std::string &type, const std::string &params) {
    return "{\"train_batch_size\": 8, \"optimizer\": {\"type\": \"" + type + "\", \"params\": {\n" + params +
           "}}}";
  };
  const std::vector<BadInput> cases = {
      {"{\"optimizer\": {}}", "1:15", {"no type", "SGD, Adam, AdamW"}},
      {"{\"optimizer\": {\"params\": {\"lr\": 1}}}", "1:15", {"no type"}},
      {"{\"optimizer\": \"Adam\"}", "1:15", {"an object"}},
      {"{\"optimizer\": {\"type\": 3}}", "1:24", {"a string"}},
      {"{\"optimizer\": {\"type\": null}}", "1:24", {"a string"}},
      {"{\"optimizer\": {\"type\": \"Muon\"}}", "1:24", {"Muon", "SGD, Adam, AdamW, Adagrad, Lamb, Lion"}},
      {"{\"optimizer\": {\"type\": \"fusedlion\"}}", "1:24", {"FusedLion"}},
      {withParams("Lamb", "\"min_coeff\": 3, \"max_coeff\": 2"), "2:14", {"3.0", "2.0"}},
      {withParams("Lamb", "\"eps_inside_sqrt\": true"), "2:20", {"outside the root"}},
      {withParams("Lion", "\"eps\": 1e-8"), "2:1", {"Lion has no parameter \"eps\"", "Adagrad"}},
      {withParams("Adagrad", "\"initial_accumulator_value\": 0.1"), "2:30", {"zeros"}},
      {"{\"optimizer\": {\"type\": \"OneBitAdam\"}}",
       "1:24",
       {"OneBitAdam", "gradient_compression", "momenta"}},
      {"{\"optimizer\": {\"type\": \"ZeroOneAdam\"}}", "1:24", {"ZeroOneAdam", "gradient_compression"}},
      {"{\"optimizer\": {\"type\": \"RMSprop\"}}", "1:24", {"RMSprop"}},
      {"{\"optimizer\": {\"type\": \"Adma\"}}", "1:24", {"unknown optimizer", "did you mean \"Adam\""}},
      {"{\"optimizer\": {\"type\": \"Adam\", \"params\": 3}}", "1:42", {"an object"}},
      {"{\"optimizer\": {\"type\": \"Adam\", \"parms\": {}}}", "1:32", {"did you mean \"params\""}},
      {withParams("Adam", "\"lr\": -1"), "2:7", {"/optimizer/params/lr", ">= 0"}},
      {withParams("Adam", "\"lr\": \"fast\""), "2:7", {"a number"}},
      {withParams("Adam", "\"lr\": \"auto\""), "2:7", {"Hugging Face"}},
      {withParams("Adam", "\"lr\": 1e300"), "2:7", {"float"}},
      {withParams("Adam", "\"lr\": true"), "2:7", {"a number"}},
      {withParams("Adam", "\"betas\": 0.9"), "2:10", {"two numbers"}},
      {withParams("Adam", "\"betas\": [0.9]"), "2:10", {"two numbers"}},
      {withParams("Adam", "\"betas\": [0.9, 0.99, 0.999]"), "2:10", {"two numbers"}},
      {withParams("Adam", "\"betas\": [0.9, 1]"), "2:10", {"from 0 to 1 exclusive"}},
      {withParams("Adam", "\"betas\": [-0.1, 0.9]"), "2:10", {"betas"}},
      {withParams("Adam", "\"betas\": [0.9, \"0.9\"]"), "2:10", {"betas"}},
      {withParams("Adam", "\"eps\": -1e-8"), "2:8", {"/optimizer/params/eps"}},
      {withParams("AdamW", "\"weight_decay\": -0.1"), "2:17", {"weight_decay"}},
      {withParams("Adam", "\"adam_w_mode\": 1"), "2:16", {"true or false"}},
      {withParams("Adam", "\"amsgrad\": true"), "2:12", {"amsgrad"}},
      {withParams("Adam", "\"max_grad_norm\": 1.0"), "2:18", {"gradient_clipping"}},
      {withParams("Adam", "\"max_coeff\": 10.0"),
       "2:1",
       {"Adam has no parameter \"max_coeff\"", "belongs to Lamb"}},
      {withParams("SGD", "\"freeze_step\": 100"), "2:1", {"freeze_step", "refused"}},
      {withParams("SGD", "\"momentum\": -0.1"), "2:13", {"momentum"}},
      {withParams("SGD", "\"nesterov\": true"), "2:13", {"momentum > 0", "dampening 0"}},
      {withParams("SGD", "\"nesterov\": true, \"momentum\": 0.9, \"dampening\": 0.1"),
       "2:13",
       {"0.9 and 0.1"}},
      {withParams("SGD", "\"maximize\": true"), "2:13", {"minimises"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
}

TEST(ConfigErrors, FeaturesOfDeepSpeedThatAreRefused) {
  const std::vector<BadInput> cases = {
      {"{\"fp16\": {\"enabled\": true}, \"bf16\": {\"enabled\": true},\n\"train_batch_size\": 8}",
       "1:49",
       {"both enabled", "enable one"}},
      {"{\"train_batch_size\": 8, \"fp16\": {\"enabled\": true, \"min_loss_scale\": 0}}",
       "1:69",
       {"above 0"}},
      {"{\"fp16\": {\"fp16_master_weights_and_grads\": true}}", "1:44", {"fp32", "false"}},
      {"{\"amp\": {\"enabled\": true}}", "1:21", {"/amp/enabled", "/bf16/enabled"}},
      {"{\"data_types\": {\"grad_accum_dtype\": \"bf16\"}}", "1:37", {"fp32"}},
      {"{\"zero_optimization\": true}", "1:23", {"stage 1"}},
      {"{\"train_batch_size\": 4, \"zero_optimization\": {\"offload_optimizer\": {\"device\": \"cpu\"}}}",
       "1:79",
       {"needs ZeRO stage 1 or more"}},
      {"{\"train_batch_size\": 4, \"zero_optimization\": {\"stage\": 1, \"offload_optimizer\": {\"device\": "
       "\"none\"}, "
       "\"cpu_offload\": true}}",
       "1:115",
       {"old spelling", "remove it"}},
      {"{\"train_batch_size\": 4, \"zero_optimization\": {\"cpu_offload\": true}}",
       "1:62",
       {"offload_optimizer needs ZeRO stage 1"}},
      {"{\"train_batch_size\": 4, \"zero_optimization\": {\"stage\": 2, \"cpu_offload_params\": true}}",
       "1:81",
       {"offload_param needs ZeRO stage 3"}},
      {"{\"train_batch_size\": 4, \"zero_optimization\": {\"stage\": 3, \"offload_param\": {\"device\": "
       "\"nvme\"}}}",
       "1:87",
       {"offload_param/nvme_path"}},
      {"{\"zero_optimization\": {\"grad_hooks\": true}}", "1:24", {"rejects"}},
      {"{\"zero_optimization\": {\"zenflow\": {}}}", "1:24", {"refused"}},
      {"{\"scheduler\": {\"type\": \"StepLR\"}}", "1:24", {"the scheduler StepLR", "WarmupDecayLR"}},
      {"{\"train_batch_size\": 8, \"pipeline\": {\"activation_checkpoint_interval\": 1},\n"
       "\"stagewright\": {\"recompute\": \"selective\"}}",
       "1:72",
       {"both given"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"recompute\": \"everything\"}}",
       "2:30",
       {"\"everything\"", "interval:2"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"recompute\": \"interval:0\"}}", "2:30", {"1 or more"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"recompute\": \"types:Relu\"}}", "2:30", {"\"Relu\""}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"recompute\": \"none;selective\"}}",
       "2:30",
       {"2 entries for 1 stages"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"target\": \"host,gpu\"}}",
       "2:27",
       {"\"gpu\"", "cuda:sm_90"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"target\": \"host,host\"}}", "2:27", {"twice"}},
      {"{\"train_batch_size\": 8, \"data_parallel_size\": 2, \"communication_data_type\": \"fp16\",\n"
       "\"stagewright\": {\"target\": \"cuda\"}}",
       "1:77",
       {"fp32, not yet in fp16", "--target host"}},
      {"{\"expert_parallel\": {\"enabled\": true}}", "1:33", {"mixture-of-experts"}},
      {"{\"tensor_parallel\": {\"tp\": {\"tp_size\": 2}}}", "1:40", {"autotp_size"}},
      {"{\"sequence_parallel_size\": 2}", "1:28", {"parallelism"}},
      {"{\"data_parallel_size\": 0}", "1:24", {"1"}},
      {"{\"stagewright\": {\"gather_weights\": \"layer\"}}", "1:36", {"step", "visit", "block"}},
      {"{\"stagewright\": {\"gradient_compression\": {\"type\": \"topk\"}}}", "1:51", {"top_k", "one_bit"}},
      {"{\"stagewright\": {\"gradient_compression\": {\"ratio\": 2}}}", "1:52", {"from 0 to 1"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"gradient_compression\": {\"ratio\": 0.1}}}",
       "2:51",
       {"no type", "top_k"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"gradient_compression\": {\"type\": \"top_k\", "
       "\"ratio\": 0}}}",
       "2:68",
       {"sends nothing", "0.01"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"gradient_compression\": {\"type\": \"one_bit\", "
       "\"ratio\": 0.1}}}",
       "2:70",
       {"no ratio", "top_k"}},
      {"{\"train_batch_size\": 8, \"communication_data_type\": \"bf16\",\n\"stagewright\": "
       "{\"gradient_compression\": "
       "{\"type\": \"one_bit\"}}}",
       "1:52",
       {"bf16", "remove communication_data_type"}},
      {"{\"train_batch_size\": 8,\n\"stagewright\": {\"gradient_reduction\": \"micro_batch\", "
       "\"gradient_compression\": "
       "{\"type\": \"one_bit\"}}}",
       "2:87",
       {"micro_batch", "\"step\""}},
      {"{\"train_batch_size\": 8, \"data_parallel_size\": 2,\n\"gradient_allreduce_op\": \"sum\"}",
       "2:26",
       {"2 replicas", "mean"}},
      {"{\"managed_gradient_accumulation\": false}", "1:35", {"accumulates"}},
      {"{\"wall_clock_breakdown\": true}", "1:26", {"--trace"}},
      {"{\"flops_profiler\": {\"enabled\": true}}", "1:32", {"--trace"}},
      {"{\"wandb\": {\"enabled\": true}}", "1:23", {"--json"}},
      {"{\"checkpoint\": {\"load_universal\": true}}", "1:35", {"--init"}},
      {"{\"elasticity\": {\"enabled\": true}}", "1:28", {"ranks"}},
      {"{\"autotuning\": {\"enabled\": true}}", "1:28", {"simulate"}},
      {"{\"compression_training\": {\"sparse_pruning\": {\"shared_parameters\": {\"enabled\": true}}}}",
       "1:79",
       {"compressed"}},
      {"{\"sparse_attention\": {\"mode\": \"fixed\"}}", "1:2", {"attention"}},
      {"{\"curriculum_learning\": {\"enabled\": true}}", "1:37", {"batch"}},
      {"{\"progressive_layer_drop\": {\"enabled\": true}}", "1:40", {"layer"}},
      {"{\"datastates_ckpt\": {}}", "1:2", {"checkpoint"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
}

TEST(ConfigErrors, BatchStagesPartitionAndSchedule) {
  const std::vector<BadInput> cases = {
      {"{}", "1:1", {"neither train_batch_size nor train_micro_batch_size_per_gpu"}},
      {"{\"gradient_accumulation_steps\": 4}", "1:33", {"neither"}},
      {"{\"train_batch_size\": 96,\n\"train_micro_batch_size_per_gpu\": "
       "16,\n\"gradient_accumulation_steps\": 4}",
       "1:22",
       {"96", "16", "4", "ranks 1"}},
      {"{\"train_micro_batch_size_per_gpu\": 5,\n\"train_batch_size\": 32}",
       "2:21",
       {"32", "5", "6 (inferred)", "1"}},
      {"{\"train_micro_batch_size_per_gpu\": 65536, \"gradient_accumulation_steps\": 65535}",
       "1:36",
       {"2147483647"}},
      {"{\"train_batch_size\": 8, \"stagewright\": {\"schedule\": \"1f2b\"}}",
       "1:53",
       {"1f2b", "did you mean \"1f1b\""}},
      {"{\"train_batch_size\": 8, \"pipeline\": {\"partition\": \"unifrom\"}}",
       "1:51",
       {"did you mean \"uniform\""}},
      {"{\"train_batch_size\": 8, \"stagewright\": {\"partition\": \"type:x\"}}", "1:54", {"pattern"}},
      {"{\"train_batch_size\": 8, \"pipeline\": {\"stages\": 2,\n\"partition\": \"explicit:1,2\"}}",
       "2:14",
       {"3 stages", "is 2", ":1:48", "one cut point less"}},
      {"{\"train_batch_size\": 8, \"pipeline\": {\"stages\": 1, \"partition\": \"explicit:1\"}}",
       "1:64",
       {"2 stages"}},
      {"{\"train_batch_size\": 8, \"pipeline\": {\"stages\": 3, \"partition\": \"explicit:2,2\"}}",
       "1:64",
       {"cut point 2"}},
      {"{\"train_batch_size\": 8, \"pipeline\": {\"partition\": \"uniform\"},\n\"stagewright\": "
       "{\"partition\": "
       "\"parameters\"}}",
       "2:30",
       {"\"parameters\"", ":1:51", "\"uniform\"", "remove one"}},
  };
  for (const BadInput &input : cases)
    expectRefused(input);
}

TEST(ConfigErrors, Options) {
  const std::string batch =
      "{\"train_batch_size\": 64, \"pipeline\": {\"stages\": 2, \"partition\": \"explicit:1\"}}";
  expectRefused({batch, "--data-parallel", {"5000 is not between 1 and 256"}}, {.dataParallel = 5000});
  expectRefused({batch, "--data-parallel", {"0"}}, {.dataParallel = 0});
  expectRefused({batch, "--stages", {"0 is not between 1 and 4096"}}, {.stages = 0});
  expectRefused({batch, "--stages", {"5000"}}, {.stages = 5000});
  expectRefused({batch, "--micro-batches", {"0"}}, {.microBatches = 0});
  expectRefused({batch, "--micro-batches", {"-2"}}, {.microBatches = -2});
  expectRefused({batch, "--micro-batches", {"70000"}}, {.microBatches = 70000});
  expectRefused({batch, "--micro-batches", {"64", "12 (inferred)", "5", "ranks 1"}}, {.microBatches = 5});
  expectRefused({batch, "--schedule", {"1f2b", "1f1b"}}, {.schedule = "1f2b"});
  expectRefused({batch, "--schedule", {"\"\""}}, {.schedule = ""});
  expectRefused({batch, "--partition", {"profile"}}, {.partition = "profile"});
  expectRefused({batch, "--partition", {"3 stages", "is 2"}}, {.partition = "explicit:1,2"});
  expectRefused({batch, "1:65", {"2 stages", "is 3", "--stages"}}, {.stages = 3});
}

/// Every key of the table is known to the reader, and a word in its place is refused unless the key takes any
/// string.
TEST(ConfigErrors, EveryKeyOfTheTableIsChecked) {
  for (const ConfigKey &key : configKeys()) {
    // The key in its blocks, and /optimizer with a type that has the parameter.
    std::string text = "\"no such value\"";
    for (std::string_view path = key.path; !path.empty(); path = path.substr(0, path.rfind('/'))) {
      std::string type(key.types.empty() ? "Adam" : alternatives(key.types).front());
      if (path == "/optimizer" && key.path != "/optimizer" && key.path != "/optimizer/type")
        text = "{\"type\": \"" + type + "\", " + text.substr(1);
      type = key.types.empty() ? "WarmupLR" : alternatives(key.types).front();
      if (path == "/scheduler" && key.path != "/scheduler" && key.path != "/scheduler/type")
        text = "{\"type\": \"" + type + "\", " + text.substr(1);
      text = "{\"" + std::string(path.substr(path.rfind('/') + 1)) + "\": " + text + "}";
    }
    TemporaryFile file(text);
    Result<Config> config = readConfig(file.path(), {});
    ASSERT_FALSE(config) << text; // no batch size either
    EXPECT_EQ(config.error().text().find("unknown key"), std::string::npos) << text << config.error().text();
    bool takesAnyString = key.rule.type == ValueRule::Type::String && key.rule.choices.empty() &&
                          key.treatment != Treatment::Refused && key.path != "/optimizer/type" &&
                          key.path != "/scheduler/type";
    EXPECT_EQ(config.error().what.starts_with("neither train_batch_size"), takesAnyString)
        << text << config.error().text();
  }
}
