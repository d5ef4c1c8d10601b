// The version that emitters write and loaders accept.
#ifndef STAGEWRIGHT_SCHEMA_VERSION_H
#define STAGEWRIGHT_SCHEMA_VERSION_H

#include <cstdint>

namespace stagewright::executable {

/// A loader accepts files of its own major version and any minor version: minor versions only append fields.
/// What an older loader must not ignore is a bit of `required_features`.
inline constexpr std::uint16_t kVersionMajor = 1;
inline constexpr std::uint16_t kVersionMinor = 1;
inline constexpr std::uint64_t kFeatureScheduler = 1; ///< recipe.scheduler
inline constexpr std::uint64_t kFeaturePrecision = 2; ///< recipe.precision other than fp32
inline constexpr std::uint64_t kFeatureBuffers = 4; ///< there are buffers, which must be given initial values
inline constexpr std::uint64_t kFeatureFolder = 8;  ///< files of weights have the shapes of `folder`
inline constexpr std::uint64_t kFeatureTies = 16;   ///< parameters with holders
inline constexpr std::uint64_t kFeatureNoLoss = 32; ///< the model has no loss: evaluation only
inline constexpr std::uint64_t kFeatureZeroRow = 64;        ///< a parameter whose initializer has a zero_row
inline constexpr std::uint64_t kFeatureLossTerms = 128;     ///< the loss is a sum of terms
inline constexpr std::uint64_t kFeatureReplicas = 256;      ///< recipe.data_parallel above 1
inline constexpr std::uint64_t kFeatureShards = 512;        ///< replicas that each update a part (ZeRO)
inline constexpr std::uint64_t kFeatureWire = 2048;         ///< contract.gradient_wire
inline constexpr std::uint64_t kFeatureOffload = 1024;      ///< arenas outside the device's memory
inline constexpr std::uint64_t kFeatureTensor = 4096;       ///< recipe.tensor_parallel above 1
inline constexpr std::uint64_t kFeatureCompression = 8192;  ///< contract.gradient_compression
inline constexpr std::uint64_t kFeatureShardGroups = 16384; ///< recipe.shard_group
inline constexpr std::uint64_t kFeatureServers = 32768;     ///< recipe.servers
inline constexpr std::uint64_t kFeatureTf32 = 65536;        ///< contract.tf32
inline constexpr std::uint64_t kFeatureStochasticRounding = 131072; ///< contract.stochastic_rounding
inline constexpr std::uint64_t kKnownFeatures =
    kFeatureStochasticRounding | kFeatureTf32 | kFeatureServers | kFeatureShardGroups | kFeatureCompression |
    kFeatureTensor | kFeatureWire | kFeatureOffload | kFeatureScheduler | kFeaturePrecision |
    kFeatureBuffers | kFeatureFolder | kFeatureTies | kFeatureNoLoss | kFeatureZeroRow | kFeatureLossTerms |
    kFeatureReplicas | kFeatureShards;

} // namespace stagewright::executable

#endif
