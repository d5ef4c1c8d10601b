// Files that the tests of training read, written byte by byte here.
#ifndef STAGEWRIGHT_TESTS_TRAIN_TESTDATA_H
#define STAGEWRIGHT_TESTS_TRAIN_TESTDATA_H

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace stagewright::testdata {

using Bytes = std::vector<std::uint8_t>;

/// A folder of its own for one test; removed at the end.
class Folder {
public:
  Folder();
  ~Folder();
  std::string path(const std::string &name) const { return (root / name).string(); }
  std::string write(const std::string &name, const Bytes &bytes) const;
  std::string write(const std::string &name, const std::string &text) const;
  std::vector<std::string> files() const;

private:
  std::filesystem::path root;
};

Bytes readAll(const std::string &path);

/// An IDX file: header for `type` and `sizes`, then `values` as they are.
Bytes idx(std::uint8_t type, const std::vector<std::uint32_t> &sizes, const Bytes &values);
Bytes bigEndian(const std::vector<float> &values);
Bytes bigEndian(const std::vector<double> &values);
Bytes bigEndian(const std::vector<std::int16_t> &values);
Bytes bigEndian(const std::vector<std::int32_t> &values);
Bytes gzip(const Bytes &bytes);

struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};
using Tensors = std::map<std::string, Tensor>;
Bytes safetensors(const Tensors &tensors);
/// A reader that shares nothing with the runtime's: JSON library and offsets, no checks.
Tensors parseSafetensors(const Bytes &bytes);

/// A small data set: u8 images of `sizes`, u8 labels in [0, classes), as train- and t10k- files.
struct Images {
  std::vector<std::uint32_t> sizes; ///< [samples, ...]
  Bytes pixels, labels;
  std::size_t samples() const { return labels.size(); }
  std::size_t pixelsPerSample() const { return pixels.size() / labels.size(); }
};
Images randomImages(unsigned seed, std::vector<std::uint32_t> sizes, int classes);
/// Writes them as "SPLIT-images-idx3-ubyte" and "SPLIT-labels-idx1-ubyte", packed or not.
void writeImages(const Folder &folder, const std::string &split, const Images &images, bool packed);

} // namespace stagewright::testdata

#endif
