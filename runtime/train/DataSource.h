// Where samples come from: each format gives one column per model input, as its files hold them.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_DATASOURCE_H
#define STAGEWRIGHT_RUNTIME_TRAIN_DATASOURCE_H

#include "error/Error.h"
#include "runtime/executable/Executable.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace stagewright::runtime {

enum class Split { Train, Test };

enum class ElementType { U8, I8, U16, I16, U32, I32, I64, F32, F64 };
std::size_t byteSize(ElementType type);
const char *name(ElementType type);

/// The samples of one input: sample s is the `elements` values from value s * stride on, in the byte order of
/// this machine, at any alignment.
struct DataColumn {
  std::string place; ///< the file, for messages
  ElementType type = ElementType::U8;
  std::uint64_t samples = 0, elements = 0, stride = 0;
  /// Of a sample, where the file says it: elements in another order are other samples.
  std::optional<std::vector<std::int64_t>> shape = {};
  const std::byte *values = nullptr; ///< null: not read, as nobody wants it
  std::shared_ptr<const void> owner; ///< of the values' memory
  /// Where in the file the values begin: messages then name bytes. Else they name samples.
  std::optional<std::uint64_t> firstByte;
};

struct DataRequest {
  const Executable &executable;
  std::string path;               ///< a folder or a file
  std::vector<std::string> names; ///< files of the folder, sorted; of a file: itself
  bool isFolder = false;
  Split split = Split::Train;
  const std::vector<int> &wanted; ///< inputs whose values are needed; of the others the sizes are enough

  bool wants(int input) const;
  /// Of a file of the folder, or of the file that was given.
  std::string pathOf(const std::string &name) const;
};

/// What the formats do alike: recognise files by name, then read them. Errors of `open`: User, with the file
/// and the byte, sample or array.
struct DataFormat {
  const char *name;
  bool (*matches)(const DataRequest &request);
  Result<std::vector<DataColumn>> (*open)(const DataRequest &request);
  const char *files[2]; ///< what it looks for, by split, for messages
};
// One per format, each in the file of its name.
extern const DataFormat kIdxFormat, kTokenFormat, kNumpyFormat, kCifarFormat;

/// Columns of the one format whose files are there, indexed like the file's inputs. Errors: User, no format
/// or two of them match; those of the format.
Result<std::vector<DataColumn>> openData(const Executable &executable, const std::string &path, Split split,
                                         const std::vector<int> &wanted);

bool isLabel(const executable::ModelInput &input);
/// Tokens or class labels.
bool isInteger(const executable::ModelInput &input);
/// Values of one sample.
std::size_t sampleElements(const executable::ModelInput &input);

} // namespace stagewright::runtime

#endif
