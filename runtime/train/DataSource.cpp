#include "runtime/train/DataSource.h"

#include <algorithm>
#include <filesystem>

namespace stagewright::runtime {

static constexpr const char *kAdvice =
    "docs/model.md lists the formats; Debian's package dataset-fashion-mnist puts a data set into "
    "/usr/share/datasets/fashion-mnist";

std::size_t byteSize(ElementType type) {
  switch (type) {
  case ElementType::U8:
  case ElementType::I8:
    return 1;
  case ElementType::U16:
  case ElementType::I16:
    return 2;
  case ElementType::U32:
  case ElementType::I32:
  case ElementType::F32:
    return 4;
  default:
    return 8;
  }
}

const char *name(ElementType type) {
  constexpr const char *kNames[] = {"u8", "i8", "u16", "i16", "u32", "i32", "i64", "f32", "f64"};
  return kNames[static_cast<int>(type)];
}

bool DataRequest::wants(int input) const {
  return std::find(wanted.begin(), wanted.end(), input) != wanted.end();
}

std::string DataRequest::pathOf(const std::string &file) const {
  return isFolder ? (std::filesystem::path(path) / file).string() : path;
}

bool isLabel(const executable::ModelInput &input) {
  return input.role()->str() == "label";
}

bool isInteger(const executable::ModelInput &input) {
  return input.dtype() == executable::DType::I32;
}

std::size_t sampleElements(const executable::ModelInput &input) {
  catalogue::Shape shape;
  if (input.sample_shape()) {
    shape.assign(input.sample_shape()->begin(), input.sample_shape()->end());
  }
  return static_cast<std::size_t>(catalogue::elements(shape));
}

/// Names of the folder's files; of a file its own.
static Result<void> listFiles(DataRequest &request) {
  namespace fs = std::filesystem;
  std::error_code failure;
  request.isFolder = fs::is_directory(request.path, failure);
  if (!request.isFolder && fs::exists(request.path, failure)) {
    request.names = {fs::path(request.path).filename().string()};
    return {};
  }
  for (fs::directory_iterator it(request.path, failure), end; !failure && it != end; it.increment(failure)) {
    request.names.push_back(it->path().filename().string());
  }
  if (failure) {
    return userError(request.path, "cannot read the data folder: " + failure.message(), kAdvice);
  }
  std::sort(request.names.begin(), request.names.end());
  return {};
}

Result<std::vector<DataColumn>> openData(const Executable &executable, const std::string &path, Split split,
                                         const std::vector<int> &wanted) {
  DataRequest request{executable, path, {}, false, split, wanted};
  if (auto ok = listFiles(request); !ok) {
    return ok.takeError();
  }
  const DataFormat *found = nullptr;
  std::string searched;
  for (const DataFormat *format : {&kIdxFormat, &kTokenFormat, &kNumpyFormat, &kCifarFormat}) {
    const std::string text = std::string(format->files[split == Split::Test]) + " (" + format->name + ")";
    searched += (searched.empty() ? "" : ", ") + text;
    if (!format->matches(request)) {
      continue;
    }
    if (found) {
      return userError(path,
                       std::string("holds files of two formats, ") + found->name + " and " + format->name,
                       "move one of them away");
    }
    found = format;
  }
  if (!found) {
    return userError(path,
                     std::string("there is no ") + (split == Split::Train ? "training" : "test") +
                         " data: no file " + searched,
                     kAdvice);
  }
  return found->open(request);
}

} // namespace stagewright::runtime
