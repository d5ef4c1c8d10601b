// IDX files of a folder, named as for MNIST: "train" or "t10k", then "-images-" for the feature and
// "-labels-" for the label (or "-NAME-" for an input called NAME), then "idx<d>-<type>", plain or .gz.
#include "runtime/train/DataSource.h"
#include "runtime/train/Idx.h"

#include <algorithm>

namespace stagewright::runtime {

namespace {

std::string prefixOf(Split split) {
  return split == Split::Train ? "train-" : "t10k-";
}

bool matches(const DataRequest &request) {
  return std::any_of(request.names.begin(), request.names.end(), [&](const std::string &name) {
    return name.rfind(prefixOf(request.split), 0) == 0 && name.find("-idx") != std::string::npos;
  });
}

/// The one file whose name is PREFIX-idx<d>-<type>[.gz]; the plain one where both are there.
Result<std::string> findFile(const DataRequest &request, const std::vector<std::string> &prefixes) {
  const std::vector<std::string> &names = request.names;
  for (const std::string &prefix : prefixes) {
    std::vector<std::string> found;
    std::copy_if(names.begin(), names.end(), std::back_inserter(found), [&](const std::string &name) {
      const bool unpacked = name.size() > 3 && name.substr(name.size() - 3) == ".gz" &&
                            std::binary_search(names.begin(), names.end(), name.substr(0, name.size() - 3));
      return name.rfind(prefix + "-idx", 0) == 0 && !unpacked;
    });
    if (found.size() > 1) {
      return userError(request.path,
                       found[0] + " and " + found[1] + " are both there, and only one can be read",
                       "move one of them away");
    }
    if (found.size() == 1) {
      return request.pathOf(found[0]);
    }
  }
  return userError(request.path, "there is no file " + prefixes[0] + "-idx...",
                   "give the folder that holds a file for every input of the model");
}

ElementType elementType(IdxType type) {
  switch (type) {
  case IdxType::U8:
    return ElementType::U8;
  case IdxType::I8:
    return ElementType::I8;
  case IdxType::I16:
    return ElementType::I16;
  case IdxType::I32:
    return ElementType::I32;
  case IdxType::F32:
    return ElementType::F32;
  default:
    return ElementType::F64;
  }
}

Result<DataColumn> readColumn(const std::string &path, bool wanted) {
  DataColumn column{.place = path};
  auto file = std::make_shared<IdxFile>();
  if (wanted) {
    auto read = readIdx(path);
    if (!read) {
      return read.takeError();
    }
    *file = std::move(*read);
    column.values = file->values.data();
    column.owner = file;
  } else {
    auto header = readIdxHeader(path);
    if (!header) {
      return header.takeError();
    }
    file->header = std::move(*header);
  }
  column.type = elementType(file->header.type);
  column.samples = file->header.sizes[0];
  column.elements = column.stride = file->header.elements() / column.samples;
  return column;
}

Result<std::vector<DataColumn>> open(const DataRequest &request) {
  const auto &inputs = *request.executable.file().inputs();
  std::vector<DataColumn> columns;
  for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
    const executable::ModelInput &input = *inputs.Get(i);
    const auto sameRole =
        std::count_if(inputs.begin(), inputs.end(),
                      [&](const executable::ModelInput *other) { return isLabel(*other) == isLabel(input); });
    std::vector<std::string> prefixes{prefixOf(request.split) + input.name()->str()};
    if (sameRole == 1) {
      prefixes.insert(prefixes.begin(), prefixOf(request.split) + (isLabel(input) ? "labels" : "images"));
    }
    auto path = findFile(request, prefixes);
    if (!path) {
      return path.takeError();
    }
    auto column = readColumn(*path, request.wants(i));
    if (!column) {
      return column.takeError();
    }
    columns.push_back(std::move(*column));
  }
  return columns;
}

} // namespace

const DataFormat kIdxFormat{"IDX", matches, open, {"train-images-idx...", "t10k-images-idx..."}};

} // namespace stagewright::runtime
