#include "TestData.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <unistd.h>
#include <zlib.h>

namespace stagewright::testdata {

Folder::Folder() {
  // In memory where that is possible: some tests write thousands of files.
  const std::filesystem::path memory = "/dev/shm";
  const bool writable = ::access(memory.c_str(), W_OK | X_OK) == 0;
  std::string name =
      ((writable ? memory : std::filesystem::temp_directory_path()) / "stagewright-test-XXXXXX").string();
  if (!::mkdtemp(name.data())) {
    throw std::runtime_error("mkdtemp");
  }
  root = name;
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(root, ignored);
}

std::string Folder::write(const std::string &name, const Bytes &bytes) const {
  std::ofstream(path(name), std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return path(name);
}
std::string Folder::write(const std::string &name, const std::string &text) const {
  return write(name, Bytes(text.begin(), text.end()));
}
std::vector<std::string> Folder::files() const {
  std::vector<std::string> names;
  for (const auto &entry : std::filesystem::directory_iterator(root)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Bytes readAll(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

Bytes idx(std::uint8_t type, const std::vector<std::uint32_t> &sizes, const Bytes &values) {
  Bytes file{0, 0, type, static_cast<std::uint8_t>(sizes.size())};
  for (const std::uint32_t size : sizes) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      file.push_back(static_cast<std::uint8_t>(size >> shift));
    }
  }
  file.insert(file.end(), values.begin(), values.end());
  return file;
}

template <typename Value, typename Word>
static Bytes reversed(const std::vector<Value> &values) {
  Bytes bytes;
  for (const Value value : values) {
    Word word;
    std::memcpy(&word, &value, sizeof word);
    for (int shift = 8 * static_cast<int>(sizeof word) - 8; shift >= 0; shift -= 8) {
      bytes.push_back(static_cast<std::uint8_t>(word >> shift));
    }
  }
  return bytes;
}
Bytes bigEndian(const std::vector<float> &values) {
  return reversed<float, std::uint32_t>(values);
}
Bytes bigEndian(const std::vector<double> &values) {
  return reversed<double, std::uint64_t>(values);
}
Bytes bigEndian(const std::vector<std::int16_t> &values) {
  return reversed<std::int16_t, std::uint16_t>(values);
}
Bytes bigEndian(const std::vector<std::int32_t> &values) {
  return reversed<std::int32_t, std::uint32_t>(values);
}

Bytes gzip(const Bytes &bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("deflateInit2");
  }
  Bytes packed(deflateBound(&stream, bytes.size()));
  stream.next_in = const_cast<Bytef *>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

Bytes safetensors(const Tensors &tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::uint64_t offset = 0;
  Bytes data;
  for (const auto &[name, tensor] : tensors) {
    const std::uint64_t bytes = 4 * tensor.values.size();
    header[name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
    const auto *raw = reinterpret_cast<const std::uint8_t *>(tensor.values.data());
    data.insert(data.end(), raw, raw + bytes);
  }
  const std::string text = header.dump();
  Bytes file(8);
  for (int i = 0; i < 8; ++i) {
    file[i] = static_cast<std::uint8_t>(text.size() >> (8 * i));
  }
  file.insert(file.end(), text.begin(), text.end());
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

Tensors parseSafetensors(const Bytes &bytes) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  const auto header =
      nlohmann::json::parse(bytes.begin() + 8, bytes.begin() + 8 + static_cast<std::ptrdiff_t>(length));
  Tensors tensors;
  for (const auto &[name, entry] : header.items()) {
    if (name == "__metadata__") {
      continue;
    }
    Tensor tensor;
    tensor.shape = entry["shape"].get<std::vector<std::int64_t>>();
    const std::uint64_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    tensor.values.resize((end - begin) / 4);
    if (end > begin) {
      std::memcpy(tensor.values.data(), bytes.data() + 8 + length + begin, end - begin);
    }
    tensors[name] = std::move(tensor);
  }
  return tensors;
}

Images randomImages(unsigned seed, std::vector<std::uint32_t> sizes, int classes) {
  std::mt19937 random(seed);
  Images images{std::move(sizes), {}, {}};
  std::size_t pixels = 1;
  for (const std::uint32_t size : images.sizes) {
    pixels *= size;
  }
  for (std::size_t i = 0; i < pixels; ++i) {
    images.pixels.push_back(static_cast<std::uint8_t>(random()));
  }
  for (std::uint32_t i = 0; i < images.sizes[0]; ++i) {
    images.labels.push_back(static_cast<std::uint8_t>(random() % static_cast<unsigned>(classes)));
  }
  return images;
}

void writeImages(const Folder &folder, const std::string &split, const Images &images, bool packed) {
  const auto put = [&](const std::string &name, const Bytes &bytes) {
    folder.write(split + name + (packed ? ".gz" : ""), packed ? gzip(bytes) : bytes);
  };
  put("-images-idx3-ubyte", idx(8, images.sizes, images.pixels));
  put("-labels-idx1-ubyte", idx(8, {images.sizes[0]}, images.labels));
}

} // namespace stagewright::testdata
