// Bytes that ranks send to each other in a training step, read off the plan.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_SENTBYTES_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_SENTBYTES_H

#include "runtime/executable/Executable.h"

#include <array>
#include <cstdint>
#include <string>

namespace stagewright::program {

/// What they are for.
enum class Sent { Pipeline, Tied, Gradients, Weights, Shared, Layers };
inline constexpr int kSentKinds = 6;
/// "activations and their gradients", ...
const char *sentName(int kind);

/// Of one pipeline rank, by all of its replicas and tensor ranks together.
using SentBytes = std::array<std::uint64_t, kSentKinds>;
SentBytes sentBytes(const runtime::Executable &plan, int rank);

/// Of several replicas: a table of what the ZeRO stages cost in bytes held and sent; else empty.
std::string zeroStagesText(const runtime::Executable &plan);

} // namespace stagewright::program

#endif
