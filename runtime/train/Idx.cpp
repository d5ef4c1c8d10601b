#include "runtime/train/Idx.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <zlib.h>

namespace stagewright::runtime {

static_assert(std::endian::native == std::endian::little, "values are swapped for little-endian machines");

/// Data sets are held in memory; this bounds a damaged header.
static constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 40;
static constexpr std::size_t kChunk = std::size_t{16} << 20;
static constexpr const char *kAdvice =
    "get the file again; Debian's package dataset-fashion-mnist has good ones";

std::size_t byteSize(IdxType type) {
  switch (type) {
  case IdxType::I16:
    return 2;
  case IdxType::I32:
  case IdxType::F32:
    return 4;
  case IdxType::F64:
    return 8;
  default:
    return 1;
  }
}

const char *name(IdxType type) {
  switch (type) {
  case IdxType::U8:
    return "u8";
  case IdxType::I8:
    return "i8";
  case IdxType::I16:
    return "i16";
  case IdxType::I32:
    return "i32";
  case IdxType::F32:
    return "f32";
  default:
    return "f64";
  }
}

std::uint64_t IdxHeader::elements() const {
  std::uint64_t product = 1;
  for (const std::uint32_t size : sizes) {
    product *= size;
  }
  return product;
}

namespace {

/// A plain or gzipped file, read from its start.
class Stream {
public:
  static Result<Stream> open(const std::string &path) {
    errno = 0;
    Stream stream(path, gzopen(path.c_str(), "rbe"));
    if (!stream.file) {
      return userError(path,
                       std::string("cannot open the file: ") + (errno ? std::strerror(errno) : "no memory"),
                       "give the folder of the data set with --data");
    }
    gzbuffer(stream.file.get(), 1 << 18);
    return stream;
  }

  Error fail(std::uint64_t at, std::string what) const {
    return userError(path + " at byte " + std::to_string(at), std::move(what), kAdvice);
  }

  /// Reads up to `count` bytes; fewer at the end of the file. Damage of a .gz file is an error.
  Result<std::size_t> read(void *destination, std::size_t count) {
    std::size_t done = 0;
    while (done < count) {
      const auto wanted = static_cast<unsigned>(std::min(count - done, kChunk));
      const int got = gzread(file.get(), static_cast<char *>(destination) + done, wanted);
      if (got > 0) {
        done += static_cast<std::size_t>(got);
        position += static_cast<std::uint64_t>(got);
        continue;
      }
      int code = Z_OK;
      const char *message = gzerror(file.get(), &code);
      if (got < 0 || (code != Z_OK && code != Z_BUF_ERROR)) {
        return fail(position, std::string("the file cannot be read: ") +
                                  (code == Z_ERRNO ? std::strerror(errno) : message));
      }
      break; // the end, or (Z_BUF_ERROR) a .gz file that stops early: the caller finds too few bytes
    }
    return done;
  }

  /// Behind the last value: whether a .gz file stops before its own end.
  bool endsEarly() const {
    int code = Z_OK;
    (void)gzerror(file.get(), &code);
    return code == Z_BUF_ERROR;
  }

private:
  struct Closer {
    void operator()(gzFile_s *opened) const { gzclose(opened); }
  };
  Stream(std::string path, gzFile_s *opened) : path(std::move(path)), file(opened) {}

  std::string path;
  std::unique_ptr<gzFile_s, Closer> file;
  std::uint64_t position = 0;
};

Result<IdxHeader> readHeader(Stream &stream) {
  unsigned char magic[4];
  auto got = stream.read(magic, sizeof magic);
  if (!got) {
    return got.takeError();
  }
  if (*got < sizeof magic) {
    return stream.fail(*got, "the file ends inside the IDX header");
  }
  if (magic[0] != 0 || magic[1] != 0) {
    return stream.fail(0, "this is not an IDX file (it must begin with two zero bytes)");
  }
  IdxHeader header;
  header.type = static_cast<IdxType>(magic[2]);
  constexpr std::uint8_t types[] = {0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E};
  if (std::find(std::begin(types), std::end(types), magic[2]) == std::end(types)) {
    return stream.fail(2, "unknown IDX type " + std::to_string(magic[2]));
  }
  if (magic[3] == 0) {
    return stream.fail(3, "the file has no dimensions");
  }
  std::uint64_t bytes = byteSize(header.type);
  for (int i = 0; i < magic[3]; ++i) {
    unsigned char raw[4];
    got = stream.read(raw, sizeof raw);
    if (!got) {
      return got.takeError();
    }
    if (*got < sizeof raw) {
      return stream.fail(header.bytes() + *got, "the file ends inside the IDX header");
    }
    const std::uint32_t size = std::uint32_t{raw[0]} << 24 | std::uint32_t{raw[1]} << 16 |
                               std::uint32_t{raw[2]} << 8 | std::uint32_t{raw[3]};
    if (size == 0 || bytes > kMaxBytes / size) {
      return stream.fail(header.bytes(),
                         "impossible size " + std::to_string(size) + " of dimension " + std::to_string(i));
    }
    bytes *= size;
    header.sizes.push_back(size);
  }
  return header;
}

template <typename Word>
void swapBytes(std::vector<std::byte> &values) {
  for (std::size_t i = 0; i + sizeof(Word) <= values.size(); i += sizeof(Word)) {
    std::reverse(values.data() + i, values.data() + i + sizeof(Word));
  }
}

} // namespace

Result<IdxHeader> readIdxHeader(const std::string &path) {
  auto stream = Stream::open(path);
  if (!stream) {
    return stream.takeError();
  }
  return readHeader(*stream);
}

Result<IdxFile> readIdx(const std::string &path) {
  auto stream = Stream::open(path);
  if (!stream) {
    return stream.takeError();
  }
  auto header = readHeader(*stream);
  if (!header) {
    return header.takeError();
  }
  IdxFile file{std::move(*header), {}};
  const std::uint64_t expected = file.header.elements() * byteSize(file.header.type);
  // In pieces, so that a damaged header of a short file does not ask for a terabyte.
  while (file.values.size() < expected) {
    const std::size_t before = file.values.size();
    const std::size_t piece = std::min<std::uint64_t>(expected - before, std::max(kChunk, before));
    file.values.resize(before + piece);
    auto got = stream->read(file.values.data() + before, piece);
    if (!got) {
      return got.takeError();
    }
    if (*got < piece) {
      return stream->fail(file.header.bytes() + before + *got,
                          "the file is truncated: it should have " +
                              std::to_string(file.header.bytes() + expected) + " bytes, it has " +
                              std::to_string(file.header.bytes() + before + *got));
    }
  }
  char more = 0;
  auto got = stream->read(&more, 1); // for a .gz file this also checks the CRC
  if (!got) {
    return got.takeError();
  }
  if (stream->endsEarly()) {
    return stream->fail(file.header.bytes() + expected,
                        "the file is truncated: its gzip checksum is missing");
  }
  if (*got != 0) {
    return stream->fail(file.header.bytes() + expected, "the file is longer than its header says");
  }
  switch (byteSize(file.header.type)) {
  case 2:
    swapBytes<std::uint16_t>(file.values);
    break;
  case 4:
    swapBytes<std::uint32_t>(file.values);
    break;
  case 8:
    swapBytes<std::uint64_t>(file.values);
    break;
  default:
    break;
  }
  return file;
}

} // namespace stagewright::runtime
