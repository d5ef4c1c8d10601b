// The checksum of a .stage file: SHA-256 of all its bytes, the 32 bytes of the field `checksum` counted as
// zeros.
#ifndef STAGEWRIGHT_SCHEMA_CHECKSUM_H
#define STAGEWRIGHT_SCHEMA_CHECKSUM_H

#include "error/Error.h"

#include <array>
#include <cstdint>
#include <span>

namespace stagewright::executable {

using Digest = std::array<std::uint8_t, 32>;

/// The checksum that the bytes call for. `file` is a whole file that the FlatBuffers verifier accepts.
/// Error: libcrypto has no SHA-256.
Result<Digest> checksum(std::span<const std::uint8_t> file);

/// Writes the checksum in place. `file` is a finished FlatBuffer of an Executable whose field `checksum` is
/// set.
Result<void> sealExecutable(std::span<std::uint8_t> file);

} // namespace stagewright::executable

#endif
