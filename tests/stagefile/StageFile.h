// Staged executables made by hand with the FlatBuffers object API, for tests: a classifier of four blocks
// (Flatten, Linear, ReLU, Linear; cross entropy), cut into any number of stages.
#ifndef STAGEWRIGHT_TESTS_STAGEFILE_STAGEFILE_H
#define STAGEWRIGHT_TESTS_STAGEFILE_STAGEFILE_H

#include "schema/stage_generated.h"

#include <cstdint>
#include <string>
#include <vector>

namespace stagewright::stagefile {

struct Classifier {
  std::vector<std::int64_t> image = {1, 5, 7}; ///< sample shape of the feature
  std::int64_t hidden = 33;
  std::int64_t classes = 10;
  std::vector<int> boundaries = {0, 2, 4}; ///< first block of each stage, then 4
  std::string schedule = "1f1b";
  int microBatchSize = 4;
  int microBatches = 4;
  std::string optimizer = "adam"; ///< "sgd", "adam", "adamw"
  double learningRate = 1e-2;
  double momentum = 0;           ///< sgd
  double gradientClipping = 1.0; ///< 0: off
  std::uint64_t seed = 1234;
  bool shuffle = true;
  int stepsPerPrint = 0;
  double scale = 1, mean = 0, deviation = 1;
  std::vector<std::string> targets = {"host"};
};

/// The file as an object, so that tests can damage it before it is written.
executable::ExecutableT build(const Classifier &classifier);

/// The same of the default classifier, but stage 1 holds a copy of stage 0's first parameter: tables and
/// tasks, no kernel that uses it.
executable::ExecutableT buildTied();

/// The same of the default classifier with two replicas.
executable::ExecutableT buildReplicated();

/// The same, with exchanges during the last W: both gradients of a stage belong to replica 1, and REDUCE
/// gathers them.
executable::ExecutableT buildOverlapped();

/// The same, with sums of every micro-batch: each W's gradients go from its workspace to the sums of
/// replica 1.
executable::ExecutableT buildAccumulated();

/// As buildReplicated, with ZeRO 1: of the two parameters of a stage each replica updates one.
executable::ExecutableT buildSharded();

/// The same parts, of two parameter servers of each stage in place of the replicas.
executable::ExecutableT buildServed(int staleness = 0);

/// The same, with the optimizer's states in host memory: UPDATE loads both of a parameter at once and stores
/// them.
executable::ExecutableT buildOffloaded();

/// The same with ZeRO 3: F of each stage gathers the first of its weights into an arena of its own, which no
/// command reads.
executable::ExecutableT buildGathered();

/// A finished and sealed file. With `seal` false the checksum stays as it is in the object.
std::vector<std::uint8_t> serialize(const executable::ExecutableT &file, bool seal = true);

/// Writes build()'s file; returns the path.
std::string write(const std::string &path, const Classifier &classifier);

/// "/tmp/stagewright-test-.../": one for this test program, removed when it ends.
std::string temporaryFolder();

} // namespace stagewright::stagefile

#endif
