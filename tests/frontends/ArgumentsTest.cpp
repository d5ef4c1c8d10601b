// Every type of argument: the reader and the schema accept the same values, and messages say what is wanted.
#include "frontends/layerspec/Arguments.h"

#include "SchemaValidator.h"

#include <gtest/gtest.h>

using namespace stagewright;

namespace {

using List = std::vector<std::int64_t>;

struct Row {
  const char *json;
  std::optional<ArgumentValue> expected; ///< none: refused
};

void expectRows(const ArgumentType &argument, const std::string &wanted, const std::vector<Row> &rows) {
  EXPECT_EQ(wantedText(argument), wanted);
  const nlohmann::json schema = nlohmann::json::parse(argumentSchema(argument));
  for (const Row &row : rows) {
    Result<json::Document> document = json::parseDocument("f", row.json);
    ASSERT_TRUE(document) << row.json;
    std::optional<ArgumentValue> read = argumentFrom(document->root, argument);
    EXPECT_EQ(read && accepts(argument, *read), row.expected.has_value()) << row.json;
    if (read && row.expected)
      EXPECT_EQ(*read, *row.expected) << row.json;
    std::string reason = violation(schema, nlohmann::json::parse(row.json));
    EXPECT_EQ(reason.empty(), row.expected.has_value()) << row.json << ": " << reason;
  }
}

} // namespace

TEST(Arguments, NumbersHaveARange) {
  const ArgumentType probability{.name = "p", .defaultValue = 0.5, .lowest = 0, .highest = 1};
  expectRows(
      probability, "a number from 0.0 to 1.0",
      {{"0", 0.0}, {"1", 1.0}, {"0.25", 0.25}, {"1.5", {}}, {"-0.1", {}}, {"true", {}}, {"\"1\"", {}}});
  EXPECT_FALSE(accepts(probability, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(accepts(probability, std::int64_t(1)));
  expectRows({.name = "eps", .defaultValue = 1e-5, .lowest = 0}, "a number of at least 0.0",
             {{"1e300", 1e300}, {"-1", {}}});
  expectRows({.name = "x", .defaultValue = 1e-5, .highest = 3}, "a number of at most 3.0",
             {{"-1e300", -1e300}, {"4", {}}});
  expectRows({.name = "x", .defaultValue = 1.0}, "a number", {{"-1e300", -1e300}, {"null", {}}});
}

TEST(Arguments, ListsOfIntegersHaveALengthAndARange) {
  const ArgumentType kernel{.name = "kernel_size",
                            .defaultValue = List{},
                            .isRequired = true,
                            .minimum = 1,
                            .maximum = 9,
                            .shortest = 2,
                            .longest = 2};
  expectRows(kernel, "an integer from 1 to 9 or a list of 2 such integers",
             {{"3", List{3, 3}},
              {"[3, 5]", List{3, 5}},
              {"[3]", {}},
              {"[3, 5, 7]", {}},
              {"[]", {}},
              {"0", {}},
              {"[3, 10]", {}},
              {"[3, 1.5]", {}},
              {"[3, true]", {}},
              {"\"3\"", {}}});
  const ArgumentType shape{.name = "normalized_shape", .defaultValue = List{4}, .minimum = 1, .longest = 3};
  expectRows(
      shape, "an integer from 1 to 2147483647 or a list of 1 to 3 such integers",
      {{"8", List{8}}, {"[8]", List{8}}, {"[2, 3, 4]", List{2, 3, 4}}, {"[1, 2, 3, 4]", {}}, {"[]", {}}});
  EXPECT_EQ(shown(ArgumentValue(List{1, 2})), "[1,2]");
  EXPECT_EQ(nlohmann::json::parse(argumentSchema(shape)).at("default"), nlohmann::json({4}));
}

TEST(Arguments, TheOtherTypes) {
  expectRows({.name = "bias", .defaultValue = true}, "true or false", {{"false", false}, {"0", {}}});
  expectRows({.name = "n", .defaultValue = std::int64_t(1), .minimum = -1, .maximum = 4},
             "an integer from -1 to 4", {{"-1", std::int64_t(-1)}, {"5", {}}, {"2.5", {}}, {"[1]", {}}});
  expectRows({.name = "mode", .defaultValue = std::string("a"), .choices = "a|b"}, "one of a|b",
             {{"\"b\"", std::string("b")}, {"\"a|b\"", {}}, {"\"\"", {}}});
}
