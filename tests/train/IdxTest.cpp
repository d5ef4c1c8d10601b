#include "TestData.h"

#include "runtime/train/Idx.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testdata;

namespace {

template <typename T>
std::vector<T> valuesOf(const IdxFile &file) {
  std::vector<T> values(file.values.size() / sizeof(T));
  std::memcpy(values.data(), file.values.data(), file.values.size());
  return values;
}

TEST(Idx, ReadsEveryType) {
  const Folder folder;
  auto bytes = readIdx(folder.write("u8", idx(0x08, {3, 1, 2}, {1, 2, 3, 4, 255, 0})));
  ASSERT_TRUE(bytes) << bytes.error().text();
  EXPECT_EQ(bytes->header.sizes, (std::vector<std::uint32_t>{3, 1, 2}));
  EXPECT_EQ(valuesOf<std::uint8_t>(*bytes), (Bytes{1, 2, 3, 4, 255, 0}));
  auto i8 = readIdx(folder.write("i8", idx(0x09, {2}, {0x80, 0x7f})));
  ASSERT_TRUE(i8);
  EXPECT_EQ(valuesOf<std::int8_t>(*i8), (std::vector<std::int8_t>{-128, 127}));
  auto i16 = readIdx(folder.write("i16", idx(0x0B, {2}, bigEndian(std::vector<std::int16_t>{-2, 300}))));
  ASSERT_TRUE(i16);
  EXPECT_EQ(valuesOf<std::int16_t>(*i16), (std::vector<std::int16_t>{-2, 300}));
  auto i32 =
      readIdx(folder.write("i32", idx(0x0C, {2}, bigEndian(std::vector<std::int32_t>{-70000, 70000}))));
  ASSERT_TRUE(i32);
  EXPECT_EQ(valuesOf<std::int32_t>(*i32), (std::vector<std::int32_t>{-70000, 70000}));
  auto f32 =
      readIdx(folder.write("f32", idx(0x0D, {1, 3}, bigEndian(std::vector<float>{1.5f, -0.1f, 1e30f}))));
  ASSERT_TRUE(f32);
  EXPECT_EQ(valuesOf<float>(*f32), (std::vector<float>{1.5f, -0.1f, 1e30f}));
  auto f64 = readIdx(folder.write("f64.gz", gzip(idx(0x0E, {1}, bigEndian(std::vector<double>{-0.1})))));
  ASSERT_TRUE(f64);
  EXPECT_EQ(valuesOf<double>(*f64), (std::vector<double>{-0.1}));
}

TEST(Idx, HeaderAlone) {
  const Folder folder;
  auto header = readIdxHeader(folder.write("x", idx(0x0D, {7, 5}, {}))); // without any values
  ASSERT_TRUE(header);
  EXPECT_EQ(header->type, IdxType::F32);
  EXPECT_EQ(header->elements(), 35u);
}

struct Damage {
  const char *name;
  Bytes file;
  const char *at, *says;
};

class DamagedIdx : public testing::TestWithParam<Damage> {};

TEST_P(DamagedIdx, IsRefusedAtItsByte) {
  const Folder folder;
  for (const bool packed : {false, true}) {
    const std::string path = folder.write("x", packed ? gzip(GetParam().file) : GetParam().file);
    auto result = readIdx(path);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::User);
    EXPECT_EQ(result.error().place, path + " at byte " + GetParam().at);
    EXPECT_NE(result.error().what.find(GetParam().says), std::string::npos) << result.error().text();
    EXPECT_FALSE(result.error().advice.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DamagedIdx,
    testing::Values(Damage{"Empty", {}, "0", "inside the IDX header"},
                    Damage{"ThreeBytes", {0, 0, 8}, "3", "header"},
                    Damage{"Magic", {0, 1, 8, 1, 0, 0, 0, 1, 5}, "0", "two zero bytes"},
                    Damage{"Type", {0, 0, 7, 1, 0, 0, 0, 1, 5}, "2", "unknown IDX type 7"},
                    Damage{"NoDimensions", {0, 0, 8, 0}, "3", "no dimensions"},
                    Damage{"HalfSize", {0, 0, 8, 2, 0, 0, 0, 1, 0}, "9", "header"},
                    Damage{"ZeroSize", idx(8, {4, 0}, {}), "8", "impossible size 0"},
                    Damage{"HugeSize", idx(8, {0xffffffff, 0xffffffff, 2}, {1}), "8", "impossible size"},
                    Damage{"Terabyte", idx(8, {0xffffffff, 200}, {1, 2, 3}), "15", "truncated"},
                    Damage{"Truncated", idx(8, {4, 2}, {1, 2, 3, 4, 5, 6, 7}), "19",
                           "should have 20 bytes, it has 19"},
                    Damage{"Longer", idx(8, {2}, {1, 2, 3}), "10", "longer than its header says"}),
    [](const testing::TestParamInfo<Damage> &info) { return std::string(info.param.name); });

TEST(Idx, DamagedGzip) {
  const Folder folder;
  Bytes values(100000);
  std::mt19937 random(1);
  for (auto &value : values) {
    value = static_cast<std::uint8_t>(random());
  }
  const Bytes whole = gzip(idx(8, {100000}, values));
  const Bytes half(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(whole.size() / 2));
  auto truncated = readIdx(folder.write("half.gz", half));
  ASSERT_FALSE(truncated);
  EXPECT_NE(truncated.error().what.find("truncated"), std::string::npos) << truncated.error().text();
  Bytes flipped = whole;
  flipped[whole.size() / 2] ^= 0x10;
  auto damaged = readIdx(folder.write("flipped.gz", flipped));
  ASSERT_FALSE(damaged); // bad data, or a CRC that does not match
  EXPECT_EQ(damaged.error().place.rfind(folder.path("flipped.gz") + " at byte ", 0), 0u);
  Bytes withoutCrc(whole.begin(), whole.end() - 8);
  EXPECT_FALSE(readIdx(folder.write("crc.gz", withoutCrc)));
}

TEST(Idx, MissingFileAndFolder) {
  const Folder folder;
  auto missing = readIdx(folder.path("nothing"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().place, folder.path("nothing"));
  EXPECT_NE(missing.error().what.find("No such file"), std::string::npos);
  EXPECT_FALSE(readIdx(folder.path(".")));
}

TEST(Idx, AnyBytesGetAnAnswer) {
  const Folder folder;
  std::mt19937 random(2);
  const Bytes good = gzip(idx(8, {20, 3}, Bytes(60, 7)));
  for (int i = 0; i < 2000; ++i) {
    Bytes bytes = good;
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    }
    bytes.resize(random() % 3 ? bytes.size() : random() % bytes.size());
    (void)readIdx(folder.write("x", bytes));
  }
}

} // namespace
