// NumPy arrays, one per model input, whose first dimension counts the samples: NAME.npy in train.npz or
// test.npz (or in the .npz file that is given), or the files train-NAME.npy or test-NAME.npy of a folder.
//
//   byte 0: \x93NUMPY   6, 7: version   8: length of the header, u16 (version 1) or u32
//   header  {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 28, 28), }   then the values, row-major
#include "runtime/train/DataSource.h"
#include "runtime/train/MappedFile.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <span>
#include <string_view>
#include <zip.h>

namespace stagewright::runtime {

namespace {

constexpr const char *kAdvice = "write the array with numpy.save or numpy.savez";
constexpr std::uint64_t kLongestHeader = 1 << 20;

std::string prefixOf(Split split) {
  return split == Split::Train ? "train" : "test";
}

bool matches(const DataRequest &request) {
  if (!request.isFolder) {
    return request.path.ends_with(".npz");
  }
  const std::string prefix = prefixOf(request.split);
  return std::any_of(request.names.begin(), request.names.end(), [&](const std::string &name) {
    return name == prefix + ".npz" || (name.rfind(prefix + "-", 0) == 0 && name.ends_with(".npy"));
  });
}

/// The text behind 'KEY': in the header's dictionary; empty when there is none.
std::string_view entry(std::string_view header, std::string_view key) {
  const std::size_t at = header.find("'" + std::string(key) + "':");
  if (at == std::string_view::npos) {
    return {};
  }
  std::string_view rest = header.substr(at + key.size() + 3);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return rest;
}

std::optional<ElementType> typeOf(std::string_view descr) {
  constexpr std::pair<std::string_view, ElementType> kTypes[] = {
      {"'|u1'", ElementType::U8},  {"'|i1'", ElementType::I8},  {"'<u2'", ElementType::U16},
      {"'<i2'", ElementType::I16}, {"'<u4'", ElementType::U32}, {"'<i4'", ElementType::I32},
      {"'<i8'", ElementType::I64}, {"'<f4'", ElementType::F32}, {"'<f8'", ElementType::F64}};
  for (const auto &[text, type] : kTypes) {
    if (descr.starts_with(text)) {
      return type;
    }
  }
  return std::nullopt;
}

/// "(60000, 28, 28)"; nothing when it is no shape.
std::optional<std::vector<std::uint64_t>> shapeOf(std::string_view text) {
  std::vector<std::uint64_t> shape;
  const char *at = text.data(), *const end = at + text.size();
  if (at == end || *at++ != '(') {
    return std::nullopt;
  }
  while (at < end && *at != ')') {
    std::uint64_t size = 0;
    const auto [next, failure] = std::from_chars(at, end, size);
    if (failure != std::errc() || size > (std::uint64_t{1} << 40)) {
      return std::nullopt;
    }
    shape.push_back(size);
    at = next;
    while (at < end && (*at == ',' || *at == ' ')) {
      ++at;
    }
  }
  return at == end ? std::nullopt : std::optional(shape);
}

/// An array of `size` bytes that begins with `bytes`: all of them, or as many as hold its header. `place`
/// names it. The values are set when all are there.
Result<DataColumn> parse(const std::string &place, std::span<const std::byte> bytes, std::uint64_t size,
                         std::shared_ptr<const void> owner) {
  const auto fail = [&](const std::string &what, const char *advice = kAdvice) {
    return userError(place, what, advice);
  };
  constexpr char kMagic[] = "\x93NUMPY";
  const auto byteAt = [&](std::size_t i) { return std::to_integer<std::size_t>(bytes[i]); };
  if (bytes.size() < 12 || std::memcmp(bytes.data(), kMagic, 6) != 0) {
    return fail("this is not a .npy array (it must begin with \\x93NUMPY)");
  }
  const bool isFirst = byteAt(6) == 1;
  const std::size_t start = isFirst ? 10 : 12;
  const std::size_t length = byteAt(8) | byteAt(9) << 8 | (isFirst ? 0 : byteAt(10) << 16 | byteAt(11) << 24);
  if (bytes.size() - start < length) {
    return fail("the file ends inside its header");
  }
  const std::string_view header(reinterpret_cast<const char *>(bytes.data()) + start, length);
  const std::optional<ElementType> type = typeOf(entry(header, "descr"));
  if (!type) {
    const std::string_view descr = entry(header, "descr"); // '<f2', and what follows
    const std::size_t close = descr.find(descr.empty() ? ' ' : descr.front(), 1);
    return fail("an array of the type " + std::string(descr.substr(0, std::min<std::size_t>(close, 16) + 1)) +
                    " cannot be read",
                "use little-endian numbers, for example array.astype(numpy.float32), uint8 or int64");
  }
  if (!entry(header, "fortran_order").starts_with("False")) {
    return fail("the array is stored by columns", "write numpy.ascontiguousarray of it");
  }
  const std::optional<std::vector<std::uint64_t>> shape = shapeOf(entry(header, "shape"));
  if (!shape || shape->empty()) {
    return fail("the array has no first dimension that counts the samples");
  }
  std::uint64_t elements = 1, all = 0;
  bool fits = true;
  for (std::size_t i = 1; i < shape->size(); ++i) {
    fits &= !__builtin_mul_overflow(elements, (*shape)[i], &elements);
  }
  fits &= !__builtin_mul_overflow(elements, (*shape)[0], &all) &&
          !__builtin_mul_overflow(all, byteSize(*type), &all) && all != 0;
  if (!fits || size - start - length != all) {
    return fail(!fits ? "the array has an impossible or empty shape"
                      : "the array should have " + std::to_string(all) + " bytes of values, it has " +
                            std::to_string(size - start - length));
  }
  return DataColumn{.place = place,
                    .type = *type,
                    .samples = (*shape)[0],
                    .elements = elements,
                    .stride = elements,
                    .shape = std::vector<std::int64_t>(shape->begin() + 1, shape->end()),
                    .values = bytes.size() == size ? bytes.data() + start + length : nullptr,
                    .owner = std::move(owner)};
}

struct ZipCloser {
  void operator()(zip_t *archive) const { zip_discard(archive); }
  void operator()(zip_file_t *file) const { zip_fclose(file); }
};

/// NAME.npy of an archive, unpacked; its header alone when nobody wants the values.
Result<DataColumn> fromArchive(const std::string &path, zip_t *archive, const std::string &name,
                               bool wanted) {
  const std::string member = name + ".npy", place = path + ", array " + name;
  zip_stat_t status;
  if (zip_stat(archive, member.c_str(), 0, &status) != 0 || !(status.valid & ZIP_STAT_SIZE)) {
    std::string names;
    for (zip_int64_t i = 0; i < std::min<zip_int64_t>(zip_get_num_entries(archive, 0), 16); ++i) {
      const char *member = zip_get_name(archive, static_cast<zip_uint64_t>(i), 0);
      std::string array = member ? member : "";
      array = array.ends_with(".npy") ? array.substr(0, array.size() - 4) : array;
      names += (names.empty() ? "" : ", ") + array;
    }
    return userError(path, "there is no array \"" + name + "\"",
                     "give one array for every input of the model, by the input's name; the file has " +
                         (names.empty() ? "none" : names));
  }
  auto bytes = std::make_shared<std::vector<std::byte>>();
  const std::unique_ptr<zip_file_t, ZipCloser> file(zip_fopen(archive, member.c_str(), 0));
  constexpr std::size_t kPiece = std::size_t{1} << 24; // a damaged size does not ask for all at once
  zip_int64_t got = file ? 1 : -1;
  const std::uint64_t needed = wanted ? status.size : std::min<std::uint64_t>(status.size, kLongestHeader);
  while (got > 0 && bytes->size() < needed) {
    const std::size_t before = bytes->size();
    bytes->resize(before + std::min<std::uint64_t>(kPiece, needed - before));
    got = zip_fread(file.get(), bytes->data() + before, bytes->size() - before);
    bytes->resize(before + static_cast<std::size_t>(std::max<zip_int64_t>(got, 0)));
  }
  char more = 0; // reading to the end checks the CRC
  const bool isWhole = got >= 0 && bytes->size() == needed;
  if (!isWhole || (needed == status.size && zip_fread(file.get(), &more, 1) != 0)) {
    return userError(place,
                     std::string("cannot be unpacked: ") +
                         (file ? zip_file_strerror(file.get()) : zip_strerror(archive)),
                     "write the file again");
  }
  return parse(place, *bytes, status.size, bytes);
}

Result<std::vector<DataColumn>> open(const DataRequest &request) {
  const std::string prefix = prefixOf(request.split), archiveName = prefix + ".npz";
  const bool isArchive =
      !request.isFolder || std::binary_search(request.names.begin(), request.names.end(), archiveName);
  std::unique_ptr<zip_t, ZipCloser> archive;
  if (isArchive) {
    int code = 0;
    archive.reset(zip_open(request.pathOf(archiveName).c_str(), ZIP_RDONLY, &code));
    if (!archive) {
      zip_error_t error;
      zip_error_init_with_code(&error, code);
      const std::string reason = zip_error_strerror(&error);
      zip_error_fini(&error);
      return userError(request.pathOf(archiveName), "cannot read the archive: " + reason,
                       "write it with numpy.savez");
    }
  }
  std::vector<DataColumn> columns;
  const auto &inputs = *request.executable.file().inputs();
  for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
    const std::string name = inputs.Get(i)->name()->str();
    if (isArchive) {
      auto column = fromArchive(request.pathOf(archiveName), archive.get(), name, request.wants(i));
      if (!column) {
        return column.takeError();
      }
      columns.push_back(std::move(*column));
      continue;
    }
    const std::string path = request.pathOf(prefix + "-" + name + ".npy");
    auto mapped = MappedFile::open(path);
    if (!mapped) {
      return mapped.takeError();
    }
    auto column = parse(path, {(*mapped)->data(), (*mapped)->size()}, (*mapped)->size(), *mapped);
    if (!column) {
      return column.takeError();
    }
    columns.push_back(std::move(*column));
  }
  return columns;
}

} // namespace

const DataFormat kNumpyFormat{
    "NumPy", matches, open, {"train.npz or train-NAME.npy", "test.npz or test-NAME.npy"}};

} // namespace stagewright::runtime
