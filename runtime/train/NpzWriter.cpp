// A ZIP archive of one stored member, in the order of its bytes (PKWARE's APPNOTE.TXT, with 64-bit sizes
// throughout):
//
//   local header, without sizes | NAME.npy: its header, the values | CRC-32 and sizes | directory | its end
#include "runtime/train/NpzWriter.h"

#include <bit>
#include <zlib.h>

namespace stagewright::runtime {

namespace {

static_assert(std::endian::native == std::endian::little, "the arrays are little-endian");

constexpr std::uint16_t kVersion = 45;          // the first with 64-bit sizes
constexpr std::uint16_t kSizesFollow = 8;       // flag: checksum and sizes stand behind the member
constexpr std::uint16_t kFirstDay = 1 << 5 | 1; // 1980-01-01: no time
constexpr std::uint32_t kIn64Bits = 0xffffffff;
constexpr std::uint16_t kSizes64 = 1; // tag of the field that holds them

/// Numbers, little-endian.
struct Bytes {
  std::string text;
  template <typename T>
  Bytes &put(T number) {
    text.append(reinterpret_cast<const char *>(&number), sizeof number);
    return *this;
  }
  /// What both headers of a member begin with, behind signature and versions.
  Bytes &member(std::uint32_t checksum, std::size_t nameBytes, std::uint16_t extraBytes) {
    return put(kSizesFollow)
        .put<std::uint16_t>(0)
        .put<std::uint16_t>(0)
        .put(kFirstDay)
        .put(checksum)
        .put(kIn64Bits)
        .put(kIn64Bits)
        .put(static_cast<std::uint16_t>(nameBytes))
        .put(extraBytes);
  }
  Bytes &sizes(std::uint64_t size) { return put(kSizes64).put<std::uint16_t>(16).put(size).put(size); }
};

constexpr std::uint16_t kExtraBytes = 20; // of Bytes::sizes

std::string localHeader(const std::string &name) {
  Bytes out;
  out.put<std::uint32_t>(0x04034b50).put(kVersion).member(0, name.size(), kExtraBytes);
  out.text += name;
  return out.sizes(0).text;
}

/// The directory of the archive, whose member has this size, and what ends it.
std::string directory(const std::string &name, std::uint32_t checksum, std::uint64_t size,
                      std::uint64_t begin) {
  Bytes entry;
  entry.put<std::uint32_t>(0x02014b50).put<std::uint16_t>(3 << 8 | kVersion).put(kVersion);
  entry.member(checksum, name.size(), kExtraBytes);
  entry.put<std::uint16_t>(0).put<std::uint16_t>(0).put<std::uint16_t>(0); // comment, disk, kind of contents
  entry.put<std::uint32_t>(0100600u << 16).put<std::uint32_t>(0);          // a plain file; the member's place
  entry.text += name;
  entry.sizes(size);
  const std::uint64_t bytes = entry.text.size();
  Bytes end;
  end.text = std::move(entry.text);
  end.put<std::uint32_t>(0x06064b50).put<std::uint64_t>(44).put(kVersion).put(kVersion);
  end.put<std::uint32_t>(0).put<std::uint32_t>(0).put<std::uint64_t>(1).put<std::uint64_t>(1);
  end.put(bytes).put(begin);
  end.put<std::uint32_t>(0x07064b50).put<std::uint32_t>(0).put(begin + bytes).put<std::uint32_t>(1);
  end.put<std::uint32_t>(0x06054b50).put<std::uint16_t>(0).put<std::uint16_t>(0);
  end.put<std::uint16_t>(1).put<std::uint16_t>(1).put(static_cast<std::uint32_t>(bytes)).put(kIn64Bits);
  return end.put<std::uint16_t>(0).text;
}

/// As numpy writes it: its length is a multiple of 64.
std::string arrayHeader(const std::vector<std::uint64_t> &shape) {
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  for (const std::uint64_t dimension : shape) {
    text += std::to_string(dimension) + (shape.size() == 1 ? "," : &dimension == &shape.back() ? "" : ", ");
  }
  text += "), }";
  constexpr std::size_t kBefore = 10;
  text.append(63 - (kBefore + text.size()) % 64, ' ');
  text += '\n';
  Bytes out;
  out.text = std::string("\x93NUMPY\x01\x00", 8);
  out.put(static_cast<std::uint16_t>(text.size()));
  return out.text + text;
}

} // namespace

Result<NpzWriter> NpzWriter::create(const std::string &path, const std::string &array,
                                    const std::vector<std::uint64_t> &shape) {
  auto file = WholeFile::create(path);
  if (!file) {
    return file.takeError();
  }
  NpzWriter writer(std::move(*file), array + ".npy");
  const std::string local = localHeader(writer.member), header = arrayHeader(shape);
  if (auto ok = writer.file.write(local.data(), local.size()); !ok) {
    return ok.takeError();
  }
  if (auto ok = writer.writeMember(header.data(), header.size()); !ok) {
    return ok.takeError();
  }
  return writer;
}

Result<void> NpzWriter::writeMember(const void *bytes, std::size_t count) {
  checksum = static_cast<std::uint32_t>(crc32_z(checksum, static_cast<const Bytef *>(bytes), count));
  size += count;
  return file.write(bytes, count);
}

Result<void> NpzWriter::write(const float *values, std::size_t count) {
  return writeMember(values, count * sizeof *values);
}

Result<void> NpzWriter::commit() {
  Bytes behind;
  behind.put<std::uint32_t>(0x08074b50).put(checksum).put(size).put(size);
  const std::uint64_t begin = localHeader(member).size() + size + behind.text.size();
  behind.text += directory(member, checksum, size, begin);
  if (auto ok = file.write(behind.text.data(), behind.text.size()); !ok) {
    return ok;
  }
  return file.commit();
}

} // namespace stagewright::runtime
