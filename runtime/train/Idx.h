// The IDX format (MNIST): big-endian header, then the values.
//
//     byte 0, 1: zero   2: type   3: number of dimensions d   4 .. 4 + 4d: sizes, u32
//     then the values, row-major
//
// Types: 08 u8, 09 i8, 0B i16, 0C i32, 0D f32, 0E f64.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_IDX_H
#define STAGEWRIGHT_RUNTIME_TRAIN_IDX_H

#include "error/Error.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stagewright::runtime {

enum class IdxType : std::uint8_t { U8 = 0x08, I8 = 0x09, I16 = 0x0B, I32 = 0x0C, F32 = 0x0D, F64 = 0x0E };
std::size_t byteSize(IdxType type);
const char *name(IdxType type);

struct IdxHeader {
  IdxType type = IdxType::U8;
  std::vector<std::uint32_t> sizes; ///< [0] counts the samples
  std::uint64_t elements() const;   ///< of all samples; readers have checked that it fits
  std::size_t bytes() const { return 4 + 4 * sizes.size(); } ///< of the header itself
};

struct IdxFile {
  IdxHeader header;
  std::vector<std::byte> values; ///< in the byte order of this machine
};

/// Both read plain and .gz files (known by their contents). Errors: User, with the file and the byte position
/// (of the unpacked stream) where it is wrong: cannot be opened, not IDX, unknown type, truncated, longer
/// than its header says.
Result<IdxHeader> readIdxHeader(const std::string &path);
Result<IdxFile> readIdx(const std::string &path);

} // namespace stagewright::runtime

#endif
