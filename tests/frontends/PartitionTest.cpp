#include "frontends/config/Partition.h"

#include "TemporaryFile.h"

#include <gtest/gtest.h>

#include <regex>

using namespace stagewright;

TEST(Partition, ReadsNamesInAnyCaseAndCutPoints) {
  const struct {
    const char *text, *expected;
    std::vector<int> cuts;
  } rows[] = {{"uniform", "uniform", {}},
              {"UNIFORM", "uniform", {}},
              {"Parameters", "parameters", {}},
              {"best", "parameters", {}},
              {"Best", "parameters", {}},
              {"explicit:1", "explicit:1", {1}},
              {"Explicit:2,3", "explicit:2,3", {2, 3}},
              {"explicit:1,10,2147483647", "explicit:1,10,2147483647", {1, 10, 2147483647}}};
  for (const auto &row : rows) {
    Result<Partition> partition = parsePartition(row.text, "p");
    ASSERT_TRUE(partition) << row.text;
    EXPECT_EQ(partition->text, row.expected);
    EXPECT_EQ(partition->cuts, row.cuts);
    EXPECT_TRUE(std::regex_match(row.text, std::regex(partitionPattern())));
  }
}

TEST(Partition, RefusesTheRestWithAReason) {
  const std::vector<BadInput> cases = {
      {"type:transformer", "p", {"pattern of layer types", "uniform"}},
      {"type:", "p", {"pattern"}},
      {"TYPE:x", "p", {"pattern"}},
      {"profile", "p", {"profile", "measure"}},
      {"COST", "p", {"cost"}},
      {"unifrom", "p", {"unifrom", "did you mean \"uniform\""}},
      {"params", "p", {"parameters"}},
      {"", "p", {"unknown partition"}},
      {"explicit", "p", {"explicit:"}},
      {"explicit:", "p", {"whole numbers"}},
      {"explicit:2,", "p", {"whole numbers"}},
      {"explicit:,2", "p", {"whole numbers"}},
      {"explicit:2,,3", "p", {"whole numbers"}},
      {"explicit:2 3", "p", {"whole numbers"}},
      {"explicit: 2", "p", {"whole numbers"}},
      {"explicit:2;3", "p", {"whole numbers"}},
      {"explicit:[2,3]", "p", {"whole numbers"}},
      {"explicit:a", "p", {"whole numbers"}},
      {"explicit:1.5", "p", {"whole numbers"}},
      {"explicit:01", "p", {"whole numbers"}},
      {"explicit:2147483648", "p", {"whole numbers"}},
      {"explicit:0", "p", {"cut point 0", "not above 0"}},
      {"explicit:-1", "p", {"cut point -1", "not above 0"}},
      {"explicit:3,3", "p", {"cut point 3", "before, 3"}},
      {"explicit:2,5,4", "p", {"cut point 4", "before, 5"}},
  };
  for (const BadInput &input : cases) {
    Result<Partition> partition = parsePartition(input.content, "p");
    ASSERT_FALSE(partition) << input.content;
    expectError(partition.error(), input, "");
  }
}

TEST(Partition, PatternsMatchNamesInAnyCaseAndNothingElse) {
  std::regex names(namePattern({"zb-h1", "1f1b"}));
  for (const char *name : {"zb-h1", "ZB-H1", "1F1b"})
    EXPECT_TRUE(std::regex_match(name, names)) << name;
  for (const char *name : {"zb-h", "1f1b ", "zbxh1", ""})
    EXPECT_FALSE(std::regex_match(name, names)) << name;
  std::regex partitions(partitionPattern());
  for (const char *text : {"explicit:", "explicit:0", "explicit:1,", "type:x", "uniformly"})
    EXPECT_FALSE(std::regex_match(text, partitions)) << text;
}
