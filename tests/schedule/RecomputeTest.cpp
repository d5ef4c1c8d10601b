// The text form of what a stage computes again.
#include "schedule/Recompute.h"

#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::schedule;

TEST(Recompute, TextsAreReadAndWritten) {
  for (const char *form :
       {"none", "selective", "interval:1", "interval:2147483647", "types:LayerNorm,GELU"}) {
    const auto parsed = parseRecompute(form);
    ASSERT_TRUE(parsed) << form;
    EXPECT_EQ(text(*parsed), form);
  }
  EXPECT_EQ(parseRecompute("types:A,B")->types, (std::vector<std::string>{"A", "B"}));
  EXPECT_EQ(parseRecompute("interval:12")->interval, 12);
}

TEST(Recompute, OtherTextsAreRefused) {
  for (const char *form : {"", "all", "Selective", "interval:", "interval:0", "interval:-1", "interval:2x",
                           "interval:2147483648", "types:", "types:A,", "types:,A", "types:A,,B"}) {
    const auto parsed = parseRecompute(form);
    ASSERT_FALSE(parsed) << form;
    EXPECT_EQ(parsed.error().kind, ErrorKind::User);
  }
}
