#include "frontends/json/PositionedJson.h"

#include "TemporaryFile.h"
#include "frontends/json/NearestName.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

using namespace stagewright;
using json::Position;
using json::Value;

static json::Document parsed(const std::string &text) {
  Result<json::Document> document = json::parseDocument("f", text);
  EXPECT_TRUE(document) << document.error().text();
  return document ? *document : json::Document();
}

TEST(PositionedJson, EveryValueAndKeyKnowsItsPlace) {
  json::Document document =
      parsed("// head\n"
             "{\n"
             "  \"a\": [1, -2,\t3.5e1 , true],\n"
             "  /* over\n"
             "     lines */ \"b\\\"]\" : {\"c\":null},\n"
             "  # a \"quoted\" comment, with }\n"
             "  \"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\": \"x // no comment\" /* \xC3\xA4 */, \"z\": {},\n"
             "}\n");
  const Value &root = document.root;
  EXPECT_EQ(root.position, (Position{2, 1}));
  ASSERT_EQ(root.members.size(), 4u);
  EXPECT_EQ(root.members[0].position, (Position{3, 3}));
  const Value &list = root.members[0].value;
  EXPECT_EQ(list.position, (Position{3, 8}));
  ASSERT_EQ(list.items.size(), 4u);
  EXPECT_EQ(list.items[0].position, (Position{3, 9}));
  EXPECT_EQ(list.items[1].position, (Position{3, 12}));
  EXPECT_EQ(list.items[2].position, (Position{3, 16}));
  EXPECT_EQ(list.items[3].position, (Position{3, 24}));
  EXPECT_EQ(list.items[1].integer, -2);
  EXPECT_EQ(list.items[2].number, 35);
  EXPECT_TRUE(list.items[3].boolean);
  EXPECT_EQ(root.members[1].key, "b\"]");
  EXPECT_EQ(root.members[1].position, (Position{5, 15}));
  EXPECT_EQ(root.members[1].value.position, (Position{5, 24}));
  EXPECT_EQ(root.members[1].value.members[0].position, (Position{5, 25}));
  EXPECT_EQ(root.members[1].value.members[0].value.position, (Position{5, 29}));
  EXPECT_EQ(root.members[2].value.string, "x // no comment");
  EXPECT_EQ(root.members[2].position, (Position{7, 3}));
  EXPECT_EQ(root.members[2].value.position, (Position{7, 10})); // three code points, not nine bytes
  EXPECT_EQ(root.members[3].position, (Position{7, 37}));
  EXPECT_EQ(document.place(root.members[3].value.position), "f:7:42");
  EXPECT_EQ(root.text(),
            "{\"a\":[1,-2,35.0,true],\"b\\\"]\":{\"c\":null},\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\":"
            "\"x // no comment\",\"z\":{}}");
  EXPECT_EQ(root.find("a"), &root.members[0].value);
  EXPECT_EQ(root.find("missing"), nullptr);
}

TEST(PositionedJson, LinesMayEndInCarriageReturnAndNewline) {
  json::Document document = parsed("{\r\n  \"a\": 1,\r\n  \"b\": 2\r\n}\r\n");
  EXPECT_EQ(document.root.members[1].position, (Position{3, 3}));
}

TEST(PositionedJson, WholeNumbersAreExactOver64Bits) {
  json::Document document =
      parsed("[0, -9223372036854775808, 9223372036854775807, 18446744073709551615, -0]");
  const std::vector<Value> &items = document.root.items;
  EXPECT_EQ(items[1].integer, INT64_MIN);
  EXPECT_EQ(items[1].natural, 0u);
  EXPECT_EQ(items[2].natural, std::uint64_t(INT64_MAX));
  EXPECT_EQ(items[3].natural, UINT64_MAX);
  EXPECT_EQ(items[3].integer, INT64_MAX);
  EXPECT_EQ(items[3].text(), "18446744073709551615");
  for (const Value &item : items)
    EXPECT_EQ(item.kind, Value::Kind::Integer);
}

TEST(PositionedJson, Sha256IsThatOfTheBytes) {
  // From coreutils' sha256sum.
  EXPECT_EQ(parsed("{}\n").sha256, "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356");
  EXPECT_EQ(parsed("{} // x\n").sha256, "1681b4aa15099906d59b2ed2e2ecaaf98df88c5ef6793e60a6cbc3b387dd9845");
}

TEST(PositionedJson, BadTextIsRefusedAtItsPlace) {
  std::string deep(64, '['), tooDeep(65, '[');
  const std::vector<BadInput> cases = {
      {"", "1:1", {"empty"}},
      {" \n\t\n", "1:1", {"empty"}},
      {"\xEF\xBB\xBF{}", "1:1", {"byte order mark"}},
      {std::string("\xFF\xFE{\0}\0", 6), "1:1", {"byte order mark"}},
      {std::string("{\"a\":\n \"\0\"}", 11), "2:3", {"NUL"}},
      {"{\"a\": \"\xC3\"}", "1:8", {"UTF-8"}},
      {"{\n \"a\": \"\xED\xA0\x80\"}", "2:8", {"UTF-8"}}, // a surrogate
      {"// \xC0\xAF\n{}", "1:4", {"UTF-8"}},              // overlong, in a comment
      {"[\"\xF4\x90\x80\x80\"]", "1:3", {"UTF-8"}},       // above U+10FFFF
      {"[\"\xF0\x9F\x98\"]", "1:3", {"UTF-8"}},           // cut short
      {"{", "1:2", {"too early", "object that begins at f:1:1"}},
      {"{\n  \"a\": [1, 2\n", "3:1", {"too early", "list that begins at f:2:8", "',' or ']'"}},
      {"{\"a\": 1} x", "1:10", {"\"x\"", "end of the file"}},
      {"{\"a\" 1}", "1:6", {"\"1\"", "':'"}},
      {"{\"a\": 1 \"b\": 2}", "1:9", {"unexpected \"b\"", "',' or '}'"}},
      {"{a: 1}", "1:2", {"\"a\"", "key in double quotes"}},
      {"{'a': 1}", "1:2", {"double quotes"}},
      {"[1,,2]", "1:4", {"\",\"", "a value"}},
      {"[,]", "1:2", {"\",\""}},
      {"{,}", "1:2", {"\",\""}},
      {"{\"a\": 1,,}", "1:9", {"\",\""}},
      {"{\"a\":,}", "1:6", {"\",\""}},
      {"[1, 2}", "1:6", {"\"}\"", "',' or ']'"}},
      {"{\"a\": tru}", "1:7", {"tru"}},
      {"{\"a\": NaN}", "1:7", {"NaN"}},
      {"{\"a\": 01}", "1:7", {"\"01\"", "a value"}},
      {"{\"a\": +1}", "1:7", {"+1"}},
      {"{\"a\": 1.}", "1:7", {"1."}},
      {"{\n\"a\": \"x\n}", "2:8", {"control character"}},
      {"{\n\"a\": \"x}", "2:6", {"not closed"}},
      {"[\"\\x\"]", "1:4", {"backslash"}},
      {"[\"\\ud800\"]", "1:9", {"surrogate"}},
      {"{} /* x", "1:4", {"comment", "*/"}},
      {"{\"a\": 1,\n \"b\": 2, \"a\": 3}", "2:10", {"\"a\"", "twice", "f:1:2"}},
      {"[{\"x\": {\"y\": 1, \"\\u0079\": 2}}]", "1:17", {"\"y\"", "twice", "f:1:9"}},
      {"[1e400]", "1:2", {"1e400", "too large"}},
      {"[1, -1e999]", "1:5", {"-1e999", "too large"}},
      {"[18446744073709551616]", "1:2", {"18446744073709551616", "64 bits"}},
      {"[-9223372036854775809]", "1:2", {"64 bits"}},
      {tooDeep, "1:65", {"64", "each other"}},
      {std::string(100000, '['), "1:65", {"64"}},
      {"[" + std::string(json::kMaximumBytes, ' ') + "]", "f", {"4 MiB"}},
  };
  for (const BadInput &input : cases) {
    Result<json::Document> document = json::parseDocument("f", input.content);
    ASSERT_FALSE(document) << input.content.substr(0, 100);
    expectError(document.error(), input, "f");
  }
  EXPECT_TRUE(json::parseDocument("f", deep + std::string(64, ']')));
}

TEST(PositionedJson, SameKeyInDifferentObjectsIsNoDuplicate) {
  EXPECT_EQ(parsed("{\"a\": {\"a\": 1}, \"b\": {\"a\": [{\"a\": 1}, {\"a\": 2}]}}").root.members.size(), 2u);
}

TEST(PositionedJson, FilesThatCannotBeRead) {
  TemporaryFile file("{}");
  std::string folder = std::filesystem::path(file.path()).parent_path().string(),
              missing = file.path() + ".missing";
  Result<json::Document> document = json::readDocument(folder);
  ASSERT_FALSE(document);
  expectError(document.error(), {"", folder, {"directory"}}, "");
  document = json::readDocument(missing);
  ASSERT_FALSE(document);
  expectError(document.error(), {"", missing, {"No such file"}}, "");
  document = json::readDocument("");
  ASSERT_FALSE(document);
  document = json::readDocument("/dev/zero"); // without end: the limit on bytes stops it
  ASSERT_FALSE(document);
  expectError(document.error(), {"", "/dev/zero", {"4 MiB"}}, "");
  document = json::readDocument(file.path());
  ASSERT_TRUE(document);
  EXPECT_EQ(document->file, file.path());
}

TEST(PositionedJson, NamesInMessagesAreEscapedAndCut) {
  EXPECT_EQ(json::inQuotes("a\n\"b\"\x01"), "\"a\\n\\\"b\\\"\\u0001\"");
  EXPECT_EQ(json::inQuotes(std::string(200, 'x')), "\"" + std::string(80, 'x') + "...\"");
  std::string umlauts;
  for (int i = 0; i < 100; ++i)
    umlauts += "\xC3\xA4";
  std::string cut = json::inQuotes("x" + umlauts);
  EXPECT_TRUE(json::parseDocument("f", "[" + cut + "]")) << cut;
}

TEST(NearestName, CountsEditsAndSwaps) {
  std::vector<std::string_view> known{"stages", "partition", "seed_layers"};
  EXPECT_EQ(json::nearestName("stage", known), "stages");
  EXPECT_EQ(json::nearestName("STAEGS", known), "stages");
  EXPECT_EQ(json::nearestName("partitoin", known), "partition");
  EXPECT_EQ(json::nearestName("seed", known), "stages");          // 4 edits against 7
  EXPECT_EQ(json::nearestName("abdc", {"abxx", "abcd"}), "abcd"); // a swap is one edit
  EXPECT_EQ(json::nearestName("", {"abc", "ab"}), "ab");
  EXPECT_EQ(json::nearestName("x", {}), "");
}
