// CIFAR-10's binary version: data_batch_1.bin, data_batch_2.bin, ... and test_batch.bin, records of a label
// byte and an image of 3 x 32 x 32 bytes.
#include "runtime/train/DataSource.h"
#include "runtime/train/MappedFile.h"

#include <algorithm>

namespace stagewright::runtime {

namespace {

constexpr std::size_t kPixels = 3 * 32 * 32, kRecord = 1 + kPixels;
constexpr int kClasses = 10;

bool isBatch(const std::string &name, Split split) {
  return name.ends_with(".bin") && name.rfind(split == Split::Train ? "data_batch_" : "test_batch", 0) == 0;
}

bool matches(const DataRequest &request) {
  return request.isFolder &&
         std::any_of(request.names.begin(), request.names.end(),
                     [&](const std::string &name) { return isBatch(name, request.split); });
}

/// Appends the file's records.
Result<void> append(const std::string &path, std::vector<std::byte> &records) {
  auto mapped = MappedFile::open(path);
  if (!mapped) {
    return mapped.takeError();
  }
  const MappedFile &file = **mapped;
  const std::size_t whole = file.size() / kRecord * kRecord;
  if (whole != file.size()) {
    return userError(path + " at byte " + std::to_string(whole),
                     "the file ends inside a record of " + std::to_string(kRecord) + " bytes",
                     "get the file again");
  }
  for (std::size_t at = 0; at < whole; at += kRecord) {
    if (const auto label = std::to_integer<int>(file.data()[at]); label >= kClasses) {
      return userError(path + " at byte " + std::to_string(at),
                       "a record of CIFAR-10 begins with a label below 10, not " + std::to_string(label),
                       "get the binary version of CIFAR-10 (not of CIFAR-100)");
    }
  }
  records.insert(records.end(), file.data(), file.data() + whole);
  return {};
}

Result<std::vector<DataColumn>> open(const DataRequest &request) {
  const auto &inputs = *request.executable.file().inputs();
  if (inputs.size() != 2 || isLabel(*inputs.Get(0)) == isLabel(*inputs.Get(1)) ||
      isInteger(*inputs.Get(isLabel(*inputs.Get(0))))) {
    return userError(request.path, "CIFAR-10 has images and labels, and this model's inputs are others",
                     "give a model with one feature of dtype f32 and one label, or data of another format");
  }
  auto records = std::make_shared<std::vector<std::byte>>();
  for (const std::string &name : request.names) {
    if (isBatch(name, request.split)) {
      if (auto ok = append(request.pathOf(name), *records); !ok) {
        return ok.takeError();
      }
    }
  }
  std::vector<DataColumn> columns;
  for (const executable::ModelInput *input : inputs) {
    columns.push_back({.place = request.path,
                       .type = ElementType::U8,
                       .samples = records->size() / kRecord,
                       .elements = isLabel(*input) ? 1 : kPixels,
                       .stride = kRecord,
                       .values = records->data() + (isLabel(*input) ? 0 : 1),
                       .owner = records});
  }
  return columns;
}

} // namespace

const DataFormat kCifarFormat{"CIFAR-10", matches, open, {"data_batch_1.bin", "test_batch.bin"}};

} // namespace stagewright::runtime
