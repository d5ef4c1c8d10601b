#include "runtime/train/Safetensors.h"

#include "runtime/train/StrictJson.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace stagewright::runtime {

using nlohmann::json;

static constexpr std::uint64_t kMaxHeaderBytes = 100'000'000; // the limit of the format
static constexpr const char *kAdvice = "give a file in the safetensors format";

/// Bytes per element; 0 for an unknown dtype.
static std::uint64_t elementBytes(const std::string &dtype) {
  struct Known {
    const char *name;
    int bytes;
  };
  static constexpr Known known[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
                                    {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                                    {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  for (const Known &entry : known) {
    if (dtype == entry.name) {
      return static_cast<std::uint64_t>(entry.bytes);
    }
  }
  return 0;
}

/// Reads exactly `count` bytes at `offset`.
static bool readAt(int descriptor, void *destination, std::uint64_t count, std::uint64_t offset) {
  auto *out = static_cast<char *>(destination);
  while (count > 0) {
    const ssize_t got = ::pread(descriptor, out, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return false;
    }
    out += got;
    offset += static_cast<std::uint64_t>(got);
    count -= static_cast<std::uint64_t>(got);
  }
  return true;
}

Result<SafetensorsReader> SafetensorsReader::open(const std::string &path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return userError(path, std::string("cannot open the file: ") + std::strerror(errno), kAdvice);
  }
  SafetensorsReader reader(path, descriptor);
  if (auto ok = reader.readHeader(); !ok) {
    return ok.takeError();
  }
  return reader;
}

SafetensorsReader::SafetensorsReader(SafetensorsReader &&other) noexcept
    : name(std::move(other.name)), descriptor(std::exchange(other.descriptor, -1)),
      dataBegin(other.dataBegin), entries(std::move(other.entries)) {}

SafetensorsReader::~SafetensorsReader() {
  if (descriptor >= 0) {
    ::close(descriptor);
  }
}

/// One entry of the header. `what` of the error says what is wrong with it.
static Result<SafetensorsTensor> parseTensor(const std::string &path, const std::string &name,
                                             const json &entry) {
  const auto fail = [&](std::string what) {
    return userError(path + " at \"" + name + "\"", std::move(what), kAdvice);
  };
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets")) {
    return fail("a tensor has exactly dtype, shape and data_offsets");
  }
  const json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
  SafetensorsTensor tensor;
  tensor.name = name;
  if (!dtype.is_string() || elementBytes(dtype.get<std::string>()) == 0) {
    return fail("unknown dtype " + dtype.dump(-1, ' ', false, json::error_handler_t::replace));
  }
  tensor.dtype = dtype.get<std::string>();
  constexpr std::uint64_t limit = std::uint64_t{1} << 62;
  std::uint64_t bytes = elementBytes(tensor.dtype);
  bool good = shape.is_array() && offsets.is_array() && offsets.size() == 2;
  for (std::size_t i = 0; good && i < shape.size(); ++i) {
    good = shape[i].is_number_unsigned();
    if (good) {
      const auto size = shape[i].get<std::uint64_t>();
      good = size <= limit && (size == 0 || bytes <= limit / size);
      bytes *= good ? size : 0;
      tensor.shape.push_back(good ? static_cast<std::int64_t>(size) : 0);
    }
  }
  good = good && offsets[0].is_number_unsigned() && offsets[1].is_number_unsigned();
  if (!good) {
    return fail("impossible shape or data_offsets");
  }
  tensor.offset = offsets[0].get<std::uint64_t>();
  const auto end = offsets[1].get<std::uint64_t>();
  if (end < tensor.offset || end - tensor.offset != bytes) {
    return fail("data_offsets and shape disagree about the number of bytes");
  }
  tensor.bytes = bytes;
  return tensor;
}

Result<void> SafetensorsReader::readHeader() {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    return userError(name, "this is not a regular file", kAdvice);
  }
  const auto fileBytes = static_cast<std::uint64_t>(status.st_size);
  unsigned char raw[8];
  if (fileBytes < 8 || !readAt(descriptor, raw, 8, 0)) {
    return userError(name + " at byte 0", "the file has no safetensors header", kAdvice);
  }
  std::uint64_t headerBytes = 0;
  for (int i = 7; i >= 0; --i) {
    headerBytes = headerBytes << 8 | raw[i];
  }
  if (headerBytes > kMaxHeaderBytes || headerBytes > fileBytes - 8) {
    return userError(name + " at byte 0",
                     "the header length " + std::to_string(headerBytes) + " does not fit the file of " +
                         std::to_string(fileBytes) + " bytes",
                     kAdvice);
  }
  std::string text(headerBytes, '\0');
  if (!readAt(descriptor, text.data(), headerBytes, 8)) {
    return environmentError(name + " at byte 8", "the header cannot be read", "check the disk");
  }
  auto header = parseStrictJson(text);
  if (!header) {
    return userError(name + " at byte 8", "the header " + header.error().what, kAdvice);
  }
  dataBegin = 8 + headerBytes;
  for (const auto &[key, entry] : header->items()) {
    if (key == "__metadata__") {
      const bool strings =
          entry.is_object() &&
          std::all_of(entry.begin(), entry.end(), [](const json &value) { return value.is_string(); });
      if (!strings) {
        return userError(name + " at \"__metadata__\"", "metadata must map names to texts", kAdvice);
      }
      continue;
    }
    auto tensor = parseTensor(name, key, entry);
    if (!tensor) {
      return tensor.takeError();
    }
    entries.push_back(std::move(*tensor));
  }
  std::vector<const SafetensorsTensor *> byOffset;
  for (const SafetensorsTensor &tensor : entries) {
    byOffset.push_back(&tensor);
  }
  std::sort(byOffset.begin(), byOffset.end(), [](const SafetensorsTensor *a, const SafetensorsTensor *b) {
    return a->offset != b->offset ? a->offset < b->offset : a->bytes < b->bytes;
  });
  std::uint64_t next = 0;
  for (const SafetensorsTensor *tensor : byOffset) {
    if (tensor->offset != next) {
      return userError(name + " at \"" + tensor->name + "\"", "tensors overlap or leave a hole", kAdvice);
    }
    next += tensor->bytes;
  }
  if (next != fileBytes - dataBegin) {
    return userError(name + " at byte " + std::to_string(fileBytes),
                     "the tensors take " + std::to_string(next) + " bytes, the file has " +
                         std::to_string(fileBytes - dataBegin) + " bytes of them",
                     "the file is truncated or damaged: get it again");
  }
  return {};
}

const SafetensorsTensor *SafetensorsReader::find(const std::string &tensor) const {
  const auto it = std::lower_bound(
      entries.begin(), entries.end(), tensor,
      [](const SafetensorsTensor &entry, const std::string &key) { return entry.name < key; });
  return it != entries.end() && it->name == tensor ? &*it : nullptr;
}

Result<void> SafetensorsReader::read(const SafetensorsTensor &tensor, void *destination) const {
  if (!readAt(descriptor, destination, tensor.bytes, dataBegin + tensor.offset)) {
    return environmentError(name + " at \"" + tensor.name + "\"", "the tensor cannot be read",
                            "check the disk");
  }
  return {};
}

// ---- Writing
// --------------------------------------------------------------------------------------------------------

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string &path,
                                                    const std::vector<SafetensorsTensor> &tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t offset = 0;
  for (const SafetensorsTensor &tensor : tensors) {
    std::uint64_t bytes = elementBytes(tensor.dtype);
    for (const std::int64_t size : tensor.shape) {
      bytes *= static_cast<std::uint64_t>(size);
    }
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' '); // so that the tensors are aligned
  std::string prefix(8, '\0');
  for (int i = 0; i < 8; ++i) {
    prefix[i] = static_cast<char>(text.size() >> (8 * i));
  }
  Result<WholeFile> file = WholeFile::create(path);
  if (!file) {
    return file.takeError();
  }
  SafetensorsWriter writer(std::move(*file));
  if (auto ok = writer.write(prefix.data(), prefix.size()); !ok) {
    return ok.takeError();
  }
  if (auto ok = writer.write(text.data(), text.size()); !ok) {
    return ok.takeError();
  }
  return writer;
}

} // namespace stagewright::runtime
