// A text as one file of tokens, little-endian numbers without a header, as nanoGPT writes them: train.bin and
// val.bin. The numbers are u16 when the vocabulary has at most 65536 entries, else u32.
//
//   tokens of the file    t0 t1 t2 t3 t4 t5 t6 ...     length 3: windows of 4, one every 3
//   sample 0              t0 t1 t2                     labels t1 t2 t3
//   sample 1                       t3 t4 t5            labels          t4 t5 t6
#include "runtime/train/DataSource.h"
#include "runtime/train/MappedFile.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

namespace {

constexpr std::int64_t kLargestShortVocabulary = 65536;

const char *fileOf(Split split) {
  return split == Split::Train ? "train.bin" : "val.bin";
}

bool matches(const DataRequest &request) {
  return request.isFolder
             ? std::binary_search(request.names.begin(), request.names.end(), fileOf(request.split))
             : request.path.ends_with(".bin");
}

/// The two inputs that a text gives: tokens, and the token that follows each.
struct TextInputs {
  int tokens = -1, next = -1;
  std::uint64_t length = 0;
  std::int64_t vocabulary = 0;
};

Result<TextInputs> textInputs(const DataRequest &request, const std::string &path) {
  const auto &inputs = *request.executable.file().inputs();
  TextInputs text;
  bool fits = inputs.size() == 2;
  for (int i = 0; fits && i < 2; ++i) {
    const executable::ModelInput &input = *inputs.Get(i);
    (isLabel(input) ? text.next : text.tokens) = i;
    fits = isInteger(input) && input.sample_shape() && input.sample_shape()->size() == 1 &&
           (i == 0 || sampleElements(input) == text.length);
    text.length = sampleElements(input);
    text.vocabulary = std::max(text.vocabulary, request.executable.integerRules()[i].limit);
  }
  if (!fits || text.tokens < 0 || text.next < 0) {
    return userError(
        path,
        "a file of tokens feeds a model with one feature and one label of dtype i32 and the same "
        "shape [length], and this model's inputs are others",
        "give such a model, or data of another format");
  }
  return text;
}

/// Small numbers of 32 bits, seen as 16 bits: every second one is 0.
bool looksWide(const std::byte *bytes, std::size_t count) {
  const std::size_t looked = std::min<std::size_t>(count, 65536) / 2;
  bool anyLow = false;
  for (std::size_t i = 0; i < looked; ++i) {
    std::uint16_t pair[2];
    std::memcpy(pair, bytes + 4 * i, sizeof pair);
    anyLow |= pair[0] != 0;
    if (pair[1] != 0) {
      return false;
    }
  }
  return anyLow && looked >= 32;
}

Result<std::vector<DataColumn>> open(const DataRequest &request) {
  const std::string path = request.pathOf(fileOf(request.split));
  auto text = textInputs(request, path);
  if (!text) {
    return text.takeError();
  }
  auto mapped = MappedFile::open(path);
  if (!mapped) {
    return mapped.takeError();
  }
  const MappedFile &file = **mapped;
  const bool isShort = text->vocabulary <= kLargestShortVocabulary;
  const ElementType type = isShort ? ElementType::U16 : ElementType::U32;
  const std::size_t size = byteSize(type), count = file.size() / size;
  const std::string vocabulary = "a vocabulary of " + std::to_string(text->vocabulary);
  if (file.size() % size != 0) {
    return userError(path + " at byte " + std::to_string(count * size),
                     std::string("the file ends inside a token (") + name(type) + ", for " + vocabulary + ")",
                     "get the file again, or write it with numpy's uint" + std::to_string(8 * size));
  }
  if (isShort && looksWide(file.data(), count)) {
    return userError(path,
                     "every second token is 0, as if these were tokens of 32 bits, but those of " +
                         vocabulary + " have 16",
                     "write the file with numpy's uint16");
  }
  if (count < text->length + 1) {
    return userError(path,
                     "the file has " + std::to_string(count) +
                         " tokens, fewer than one sample and its labels: " + std::to_string(text->length + 1),
                     "use a longer text or a model with a smaller length");
  }
  std::vector<DataColumn> columns(2);
  for (int i = 0; i < 2; ++i) {
    const std::size_t offset = i == text->next ? size : 0;
    columns[i] = {.place = path,
                  .type = type,
                  .samples = (count - 1) / text->length,
                  .elements = text->length,
                  .stride = text->length,
                  .values = file.data() + offset,
                  .owner = *mapped,
                  .firstByte = offset};
  }
  return columns;
}

} // namespace

const DataFormat kTokenFormat{"tokens", matches, open, {"train.bin", "val.bin"}};

} // namespace stagewright::runtime
