// Training runs on an emulated GPU, with files that the compiler makes.
#ifndef STAGEWRIGHT_TESTS_EXEC_CUDARUNS_H
#define STAGEWRIGHT_TESTS_EXEC_CUDARUNS_H

#include "kernels/cuda/emulation/EmulatedGpu.h"
#include "runtime/train/Engine.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace stagewright::runtime {

using cuda::emulation::EmulatedGpu;

inline constexpr const char *kClassifier = R"({
  "name": "classifier",
  "inputs": [{"name": "x", "role": "feature", "dtype": "f32", "shape": [13]},
             {"name": "label", "role": "label", "dtype": "i32", "shape": []}],
  "layers": [{"type": "Linear", "name": "a", "in_features": 13, "out_features": 24},
             {"type": "ReLU", "name": "ra"},
             {"type": "Linear", "name": "b", "in_features": 24, "out_features": 17},
             {"type": "ReLU", "name": "rb"},
             {"type": "Linear", "name": "c", "in_features": 17, "out_features": 9},
             {"type": "ReLU", "name": "rc"},
             {"type": "Linear", "name": "d", "in_features": 9, "out_features": 5}],
  "loss": {"type": "CrossEntropyLoss"}, "metrics": ["accuracy"]})";

/// A path that is this process's: tests of one program run beside each other.
inline std::string temporaryFile(const std::string &name) {
  static const std::filesystem::path folder = [] {
    std::string made = testing::TempDir() + "stagewright_XXXXXX";
    EXPECT_NE(mkdtemp(made.data()), nullptr);
    return made;
  }();
  static const struct Removal {
    ~Removal() {
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
    }
  } removal;
  return (folder / name).string();
}

/// Compiles for the host and for CUDA; the file's path.
inline std::string compiled(const std::string &name, const std::string &model, const std::string &arguments,
                            const std::string &settings = "", int batch = 12,
                            const std::string &optimizer = R"({"type": "Adam", "params": {"lr": 0.01}})",
                            const std::string &clipping = "0.01") {
  const std::string base = temporaryFile("cuda_" + name);
  std::ofstream(base + ".json") << model;
  std::ofstream(base + "_config.json")
      << R"({"train_batch_size": )" << batch
      << R"(, "train_micro_batch_size_per_gpu": 3, "gradient_clipping": )" << clipping << ", " << settings
      << R"("optimizer": )" << optimizer << R"(, "seed": 7})";
  const std::string command = std::string(STAGEWRIGHT_PROGRAM) + " compile " + base + ".json -c " + base +
                              "_config.json --target host,cuda:sm_90 " + arguments + " -o " + base + ".stage";
  const std::string log = base + ".log";
  EXPECT_EQ(std::system((command + " > " + log + " 2>&1").c_str()), 0) << command << "\n"
                                                                       << std::ifstream(log).rdbuf();
  return base + ".stage";
}

inline TrainOptions optionsOf(const std::string &stage, std::uint64_t steps) {
  TrainOptions options;
  options.stage = stage;
  options.data = "synthetic";
  options.steps = steps;
  options.threads = 1;
  options.watchdogSeconds = 0;
  return options;
}

inline TrainOptions optionsOn(EmulatedGpu &gpu, const std::string &stage, std::uint64_t steps) {
  TrainOptions options = optionsOf(stage, steps);
  options.target = "cuda";
  options.openDevice = [&](int, int) -> Result<std::unique_ptr<cuda::Api>> { return gpu.api(); };
  return options;
}

inline TrainOptions byNccl(EmulatedGpu &gpu, const std::string &stage, std::uint64_t steps) {
  TrainOptions options = optionsOn(gpu, stage, steps);
  options.usesNccl = true;
  return options;
}

inline Result<TrainSummary> trainOn(EmulatedGpu &gpu, const std::string &stage, std::uint64_t steps = 2) {
  return train(optionsOn(gpu, stage, steps));
}

/// Of a run that may fail.
inline std::string hashOn(EmulatedGpu &gpu, const std::string &stage, std::uint64_t steps = 2) {
  const auto trained = trainOn(gpu, stage, steps);
  return trained ? trained->stateSha256 : trained.error().text();
}

/// Settings of ZeRO `stage`, beside "precision" and the like.
inline std::string zero(int stage, const std::string &more = "", const std::string &stagewright = "") {
  return R"("zero_optimization": {"stage": )" + std::to_string(stage) + more + R"(}, "stagewright": {)" +
         stagewright + "}, ";
}

} // namespace stagewright::runtime

#endif
