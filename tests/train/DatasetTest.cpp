#include "TestData.h"

#include "runtime/train/Dataset.h"
#include "runtime/train/Random.h"
#include "stagefile/StageFile.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testdata;

namespace {

Executable classifier(const stagefile::Classifier &options = {}) {
  auto result = Executable::fromBytes(stagefile::serialize(stagefile::build(options)), "x.stage");
  EXPECT_TRUE(result) << result.error().text();
  return std::move(*result);
}

std::string failure(const Executable &executable, const std::string &folder,
                    std::vector<int> wanted = {0, 1}) {
  auto result = Dataset::load(executable, folder, Split::Train, wanted);
  if (!result) {
    EXPECT_EQ(result.error().kind, ErrorKind::User);
    EXPECT_FALSE(result.error().advice.empty());
  }
  return result ? "" : result.error().text();
}

template <typename T>
std::vector<T> gathered(const Dataset &dataset, int input, std::vector<std::uint32_t> samples) {
  std::vector<T> values(dataset.sampleBytes(input) / sizeof(T) * samples.size());
  dataset.gather(input, samples, values.data());
  return values;
}

TEST(Dataset, ConvertsBytesInDoubleAndRoundsOnce) {
  stagefile::Classifier options;
  options.scale = 0.00392156862745098;
  options.mean = 0.2860;
  options.deviation = 0.3530;
  const Executable executable = classifier(options);
  const Images images = randomImages(1, {20, 5, 7}, 10);
  for (const bool packed : {false, true}) {
    const Folder folder;
    writeImages(folder, "train", images, packed);
    auto dataset = Dataset::load(executable, folder.path("."), Split::Train, {0, 1});
    ASSERT_TRUE(dataset) << dataset.error().text();
    EXPECT_EQ(dataset->samples(), 20u);
    const auto values = gathered<float>(*dataset, 0, {19, 3});
    const auto labels = gathered<std::int32_t>(*dataset, 1, {19, 3, 3});
    for (std::size_t i = 0; i < 35; ++i) {
      const auto expected = [&](std::size_t sample) {
        return static_cast<float>((images.pixels[sample * 35 + i] * 0.00392156862745098 - 0.2860) / 0.3530);
      };
      EXPECT_EQ(values[i], expected(19));
      EXPECT_EQ(values[35 + i], expected(3));
    }
    EXPECT_EQ(labels, (std::vector<std::int32_t>{images.labels[19], images.labels[3], images.labels[3]}));
  }
}

TEST(Dataset, TakesFloatFeaturesAsTheyAre) {
  stagefile::Classifier options;
  options.image = {3};
  options.scale = 2; // for bytes only
  const Executable executable = classifier(options);
  const Folder folder;
  const std::vector<float> values{1, 2, 3, -4.5f, 5, 6};
  folder.write("train-images-idx2-float", idx(0x0D, {2, 3}, bigEndian(values)));
  folder.write("train-labels-idx1-int", idx(0x0C, {2}, bigEndian(std::vector<std::int32_t>{9, 0})));
  auto dataset = Dataset::load(executable, folder.path("."), Split::Train, {0, 1});
  ASSERT_TRUE(dataset) << dataset.error().text();
  EXPECT_EQ(gathered<float>(*dataset, 0, {0, 1}), values);
  EXPECT_EQ(gathered<std::int32_t>(*dataset, 1, {0, 1}), (std::vector<std::int32_t>{9, 0}));
  const std::vector<double> doubles{0.1, 0.2, 0.3, 1e-50, 5, 6};
  folder.write("train-images-idx2-float", idx(0x0E, {2, 3}, bigEndian(doubles)));
  dataset = Dataset::load(executable, folder.path("."), Split::Train, {0});
  ASSERT_TRUE(dataset);
  EXPECT_EQ(gathered<float>(*dataset, 0, {0})[0], 0.1f);
}

TEST(Dataset, PlainFileBesideItsGzip) {
  const Executable executable = classifier();
  const Folder folder;
  writeImages(folder, "train", randomImages(1, {20, 5, 7}, 10), true);
  writeImages(folder, "train", randomImages(2, {24, 5, 7}, 10), false);
  auto dataset = Dataset::load(executable, folder.path("."), Split::Train, {0, 1});
  ASSERT_TRUE(dataset) << dataset.error().text();
  EXPECT_EQ(dataset->samples(), 24u);
  folder.write("train-images-idx2-ubyte", Bytes{});
  EXPECT_NE(failure(executable, folder.path(".")).find("both there"), std::string::npos);
}

TEST(Dataset, SplitsByName) {
  const Executable executable = classifier();
  const Folder folder;
  writeImages(folder, "train", randomImages(1, {20, 5, 7}, 10), false);
  EXPECT_FALSE(Dataset::load(executable, folder.path("."), Split::Test, {0}));
  writeImages(folder, "t10k", randomImages(1, {11, 5, 7}, 10), false);
  auto test = Dataset::load(executable, folder.path("."), Split::Test, {0});
  ASSERT_TRUE(test);
  EXPECT_EQ(test->samples(), 11u);
}

TEST(Dataset, Mistakes) {
  const Executable executable = classifier();
  const Folder folder;
  EXPECT_NE(failure(executable, folder.path("nowhere")).find(folder.path("nowhere")), std::string::npos);
  EXPECT_NE(failure(executable, folder.path(".")).find("there is no training data: no file train-images-idx"),
            std::string::npos);
  const Images good = randomImages(1, {20, 5, 7}, 10);
  writeImages(folder, "train", good, false);
  EXPECT_EQ(failure(executable, folder.path(".")), "");

  Images wide = randomImages(1, {20, 5, 8}, 10);
  wide.labels = good.labels;
  writeImages(folder, "train", wide, false);
  EXPECT_NE(failure(executable, folder.path("."))
                .find("a sample has 40 values, the model's input \"image\" has 35"),
            std::string::npos);
  // A rank that does not need the images sees it as well.
  EXPECT_NE(failure(executable, folder.path("."), {1}).find("40 values"), std::string::npos);

  writeImages(folder, "train", good, false);
  folder.write("train-labels-idx1-ubyte", idx(8, {19}, Bytes(19, 1)));
  EXPECT_NE(failure(executable, folder.path("."), {0}).find("19 samples"), std::string::npos);

  Bytes labels = good.labels;
  labels[17] = 10;
  folder.write("train-labels-idx1-ubyte", idx(8, {20}, labels));
  const std::string text = failure(executable, folder.path("."));
  EXPECT_NE(text.find("train-labels-idx1-ubyte at sample 17: label 10"), std::string::npos) << text;
  EXPECT_NE(text.find("[0, 10)"), std::string::npos);
  EXPECT_EQ(failure(executable, folder.path("."), {0}), ""); // not read, not checked

  folder.write("train-labels-idx1-ubyte", idx(9, {20}, Bytes(20, 0xff)));
  EXPECT_NE(failure(executable, folder.path(".")).find("label -1"), std::string::npos);
  folder.write("train-labels-idx1-ubyte", idx(0x0D, {20}, Bytes(80)));
  EXPECT_NE(failure(executable, folder.path(".")).find("class labels are integers"), std::string::npos);
  writeImages(folder, "train", good, false);
  folder.write("train-images-idx3-ubyte", idx(0x0B, {20, 5, 7}, Bytes(1400)));
  EXPECT_NE(failure(executable, folder.path(".")).find("numeric inputs are u8, f32 or f64"),
            std::string::npos);
}

TEST(Dataset, SyntheticIsAFunctionOfTheSeed) {
  const Executable executable = classifier();
  auto whole = Dataset::load(executable, "synthetic", Split::Train, {0, 1});
  auto part = Dataset::load(executable, "synthetic", Split::Train, {1});
  auto test = Dataset::load(executable, "synthetic", Split::Test, {1});
  ASSERT_TRUE(whole && part && test);
  EXPECT_EQ(whole->samples(), 8u * 16u);
  const RandomStream stream(1234, "synthetic data, train, image");
  std::vector<float> expected(35);
  stream.fillNormal(expected, 1.0, 100 * 35);
  EXPECT_EQ(gathered<float>(*whole, 0, {100}), expected);
  std::vector<std::uint32_t> all(128);
  for (std::uint32_t i = 0; i < 128; ++i) {
    all[i] = i;
  }
  const auto labels = gathered<std::int32_t>(*whole, 1, all);
  EXPECT_EQ(labels, gathered<std::int32_t>(*part, 1, all));
  EXPECT_NE(labels, gathered<std::int32_t>(*test, 1, all));
  EXPECT_EQ(*std::min_element(labels.begin(), labels.end()), 0);
  EXPECT_EQ(*std::max_element(labels.begin(), labels.end()), 9);
}

} // namespace
