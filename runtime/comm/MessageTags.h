// The tag of each kind of message that an executor sends from rank to rank. Two ranks that have several kinds
// of messages have a channel for each; kinds that never join the same two ranks may share a number.
#ifndef STAGEWRIGHT_RUNTIME_COMM_MESSAGETAGS_H
#define STAGEWRIGHT_RUNTIME_COMM_MESSAGETAGS_H

#include "runtime/comm/Communicator.h"

namespace stagewright::runtime::tags {

// Between the stages of a pipeline.
inline constexpr int kActivations = 0, kGradients = 1;
inline constexpr int kTiedSums = 3, kTiedWeights = 4;
inline constexpr int kStages = 5; ///< ALL_GATHER, where no collective of the communicator does it

inline constexpr int kState = 2; ///< weights and states of optimizers, to rank 0: beside no step

// Between replicas of a stage.
inline constexpr int kReplicas = 5;        ///< exchanges that a program has begun
inline constexpr int kReplicasAwaited = 6; ///< what is awaited where it begins
inline constexpr int kToServers = 6, kFromServers = 7;

inline constexpr int kTensorRanks = 7;
inline constexpr int kConnect = 7; ///< ids of connections by NCCL, which then carries kTensorRanks itself

static_assert(Communicator::kTags > kTensorRanks);

} // namespace stagewright::runtime::tags

#endif
