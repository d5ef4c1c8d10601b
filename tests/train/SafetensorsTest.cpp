#include "TestData.h"

#include "runtime/train/Safetensors.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testdata;

namespace {

const Tensors kTensors{
    {"a.weight", {{2, 3}, {1, 2, 3, 4, 5, -6.5f}}}, {"b", {{}, {7}}}, {"c.bias", {{0}, {}}}};

/// A file with this header text and so many bytes of data.
Bytes withHeader(const std::string &header, std::size_t data) {
  Bytes file(8);
  for (int i = 0; i < 8; ++i) {
    file[i] = static_cast<std::uint8_t>(header.size() >> (8 * i));
  }
  file.insert(file.end(), header.begin(), header.end());
  file.resize(file.size() + data);
  return file;
}

TEST(Safetensors, Reads) {
  const Folder folder;
  auto reader = SafetensorsReader::open(folder.write("x", safetensors(kTensors)));
  ASSERT_TRUE(reader) << reader.error().text();
  ASSERT_EQ(reader->tensors().size(), 3u);
  const SafetensorsTensor *tensor = reader->find("a.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dtype, "F32");
  EXPECT_EQ(tensor->shape, (std::vector<std::int64_t>{2, 3}));
  std::vector<float> values(6);
  ASSERT_TRUE(reader->read(*tensor, values.data()));
  EXPECT_EQ(values, kTensors.at("a.weight").values);
  EXPECT_EQ(reader->find("a"), nullptr);
}

TEST(Safetensors, WritesWhatOthersRead) {
  const Folder folder;
  const std::string path = folder.path("out.safetensors");
  std::vector<SafetensorsTensor> entries;
  for (const auto &[name, tensor] : kTensors) {
    entries.push_back({name, "F32", tensor.shape, 0, 0});
  }
  {
    auto writer = SafetensorsWriter::create(path, entries);
    ASSERT_TRUE(writer) << writer.error().text();
    for (const auto &[name, tensor] : kTensors) {
      ASSERT_TRUE(writer->write(tensor.values.data(), 4 * tensor.values.size()));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_TRUE(writer->commit());
  }
  EXPECT_EQ(folder.files(), std::vector<std::string>{"out.safetensors"});
  const Bytes bytes = readAll(path);
  const Tensors back = parseSafetensors(bytes);
  ASSERT_EQ(back.size(), kTensors.size());
  for (const auto &[name, tensor] : kTensors) {
    EXPECT_EQ(back.at(name).shape, tensor.shape);
    EXPECT_EQ(back.at(name).values, tensor.values);
  }
  EXPECT_EQ(bytes[0] % 8, 0); // the data section is aligned
  const std::string text(bytes.begin(), bytes.end());
  EXPECT_NE(text.find(R"("__metadata__":{"format":"pt"})"), std::string::npos);
  EXPECT_TRUE(SafetensorsReader::open(path));
}

TEST(Safetensors, WithoutCommitNothingIsLeft) {
  const Folder folder;
  folder.write("out", std::string("before"));
  {
    auto writer = SafetensorsWriter::create(folder.path("out"), {{"a", "F32", {4}, 0, 0}});
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write("1234", 4));
  }
  EXPECT_EQ(folder.files(), std::vector<std::string>{"out"});
  EXPECT_EQ(readAll(folder.path("out")).size(), 6u);
  auto nowhere = SafetensorsWriter::create(folder.path("no/such/folder"), {});
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().kind, ErrorKind::User);
}

struct Damage {
  const char *name;
  std::string header;
  std::size_t data;
  const char *says;
};

class DamagedSafetensors : public testing::TestWithParam<Damage> {};

TEST_P(DamagedSafetensors, IsRefused) {
  const Folder folder;
  const std::string path = folder.write("x", withHeader(GetParam().header, GetParam().data));
  auto reader = SafetensorsReader::open(path);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().kind, ErrorKind::User);
  EXPECT_EQ(reader.error().place.rfind(path, 0), 0u);
  EXPECT_NE(reader.error().what.find(GetParam().says), std::string::npos) << reader.error().text();
  EXPECT_FALSE(reader.error().advice.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DamagedSafetensors,
    testing::Values(
        Damage{"NoJson", "{", 0, "not a JSON object"}, Damage{"Array", "[]", 0, "not a JSON object"},
        Damage{"BadUtf8", "{\"\xff\":1}", 0, "not a JSON object"},
        Damage{
            "KeyTwice",
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
            4, "twice"},
        Damage{"InnerKeyTwice", R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
               "twice"},
        Damage{"NoObject", R"({"a":3})", 0, "exactly"},
        Damage{"MissingKey", R"({"a":{"dtype":"F32","shape":[1]}})", 4, "exactly"},
        Damage{"ExtraKey", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "exactly"},
        Damage{"Dtype", R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4, "dtype"},
        Damage{"DtypeNumber", R"({"a":{"dtype":3,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype"},
        Damage{"NegativeSize", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "shape"},
        Damage{"FloatSize", R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "shape"},
        Damage{"ShapeNoList", R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "shape"},
        Damage{"Overflow", R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
               "shape"},
        Damage{"OneOffset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "data_offsets"},
        Damage{"Backwards", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "disagree"},
        Damage{"TooFew", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "disagree"},
        Damage{"Hole", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole"},
        Damage{
            "Overlap",
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            8, "overlap"},
        Damage{"Truncated", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "8 bytes"},
        Damage{"Longer", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "8 bytes"},
        Damage{"Metadata", R"({"__metadata__":{"a":1}})", 0, "metadata"}),
    [](const testing::TestParamInfo<Damage> &info) { return std::string(info.param.name); });

TEST(Safetensors, HeaderLength) {
  const Folder folder;
  for (const Bytes &bytes : {Bytes{}, Bytes{1, 0, 0, 0, 0, 0, 0}, Bytes{9, 0, 0, 0, 0, 0, 0, 0, '{', '}'},
                             Bytes{255, 255, 255, 255, 255, 255, 255, 255, '{', '}'}}) {
    EXPECT_FALSE(SafetensorsReader::open(folder.write("x", bytes)));
  }
  EXPECT_FALSE(SafetensorsReader::open(folder.path("nothing")));
  EXPECT_FALSE(SafetensorsReader::open(folder.path(".")));
}

TEST(Safetensors, AnyBytesGetAnAnswer) {
  const Folder folder;
  std::mt19937 random(4);
  const Bytes good = safetensors(kTensors);
  int accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    Bytes bytes = good;
    for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes) {
      const std::size_t at = random() % 10 == 0 ? random() % 8 : random() % bytes.size();
      const char text[] = "{}[]\",:0123456789-eF\\u";
      bytes[at] = random() % 2 ? static_cast<std::uint8_t>(text[random() % (sizeof text - 1)])
                               : static_cast<std::uint8_t>(random());
    }
    auto reader = SafetensorsReader::open(folder.write("x", bytes));
    if (reader) {
      ++accepted;
      for (const SafetensorsTensor &tensor : reader->tensors()) {
        std::vector<char> values(tensor.bytes);
        EXPECT_TRUE(reader->read(tensor, values.data())); // what is accepted can be read
      }
    }
  }
  EXPECT_GT(accepted, 50); // damage of values is none of the format's
  EXPECT_LT(accepted, 3000);
}

} // namespace
