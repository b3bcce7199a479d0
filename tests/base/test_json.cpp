#include "base/json.hpp"
#include "tests/catch.hpp"

#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

namespace {

using eps::Exit;
using eps::parse_json_strict;

/// The message and status of the error that `text` gives; fails the test when it parses.
eps::Error error_of(const std::string& text, Exit status = Exit::usage) {
    try {
        parse_json_strict(text, "run.json", status);
    } catch (const eps::Error& error) {
        REQUIRE(std::string(error.what()).find('\n') == std::string::npos);
        return error;
    }
    FAIL("no error for " << text);
    return {Exit::ok, ""};
}

void expect(const std::string& text, const std::string& message) {
    CHECK_THAT(error_of(text).what(), contains_text(message));
    CHECK_THAT(error_of(text).what(), contains_text("run.json: "));
}

}  // namespace

TEST_CASE("a correct document parses to the values it holds") {
    const auto document = parse_json_strict(
        "\n{\"a\": [1, {\"a\": null}], \"b\": {\"a\": -2.5}, \"c\": \"x\"} \n", "x", Exit::usage);
    CHECK(document["a"][0] == 1);
    CHECK(document["a"][1]["a"].is_null());
    CHECK(document["b"]["a"] == -2.5);
    CHECK(document["c"] == "x");
    CHECK(parse_json_strict("3", "x", Exit::usage) == 3);
}

TEST_CASE("duplicate keys are found at any depth, with their pointer and place") {
    expect("{\"a\": 1, \"a\": 2}", "/a: duplicate key \"a\" (every key once), line 1, column 12");
    expect("{\"m\": [0, {}, {\"x/y\": 1,\n  \"x/y\": 1}]}",
           "/m/2/x~1y: duplicate key \"x/y\" (every key once), line 2, column 7");
    expect("{\"a\": {\"b\": [[1], 2]}, \"c\": {\"d\": 1, \"e\": 2, \"d\": 3}}", "/c/d: duplicate key");
    expect("{\"a\": 1, \"\\u0061\": 2}", "/a: duplicate key");
}

TEST_CASE("the same key in different objects is no duplicate") {
    CHECK(parse_json_strict("[{\"a\":1},{\"a\":{\"a\":1}}]", "x", Exit::usage).size() == 2);
}

TEST_CASE("what is not JSON is refused with line and column") {
    expect("", "is empty");
    expect(" \n\t", "is empty");
    expect("{\"a\": NaN}", "not JSON: line 1, column 7");
    expect("{\"a\": Infinity}", "not JSON: line 1");
    expect("{\"a\": 1e999}", "line 1");
    expect("{\n\"a\": 1,}", "not JSON: line 2, column 8");
    expect("{\"a\": 1", "unexpected end of input");
    expect("{\"a\": 1} x", "not JSON: line 1, column 10");
    expect("{\"a\": 1}{}", "not JSON: line 1, column 9");
    expect("{\"a\": 01}", "not JSON");
    expect("{'a': 1}", "not JSON");
    expect("// remark\n{}", "not JSON");
    expect("\"\xff\"", "not JSON");
    expect(std::string("{}\0{}", 5), "text after the end");
    expect(std::string("\0", 1), "not JSON");
    expect("{\"a\": \"" + std::string(5000, 'x'), "...");
    CHECK(error_of("{", Exit::data).status() == Exit::data);
    CHECK(error_of("{", Exit::usage).status() == Exit::usage);
}

TEST_CASE("deep nesting neither overflows the stack nor passes unclosed") {
    expect(std::string(200000, '['), "unexpected end of input");
    const std::string closed = std::string(20000, '[') + std::string(20000, ']');
    CHECK(parse_json_strict(closed, "x", Exit::usage).is_array());
}

TEST_CASE("text files are read whole, or the error says why not") {
    const auto folder = std::filesystem::temp_directory_path() / "eps_test_json";
    std::filesystem::create_directories(folder);
    const std::string path = (folder / "file").string();
    const std::string text("a\r\n\0b", 5);
    std::ofstream(path, std::ios::binary) << text;
    CHECK(eps::read_text_file(path, Exit::usage) == text);
    CHECK_THROWS_WITH(eps::read_text_file(path + "x", Exit::usage), contains_text("filex: no such file"));
    CHECK_THROWS_WITH(eps::read_text_file(folder.string(), Exit::usage), contains_text("is a folder"));
    std::filesystem::remove_all(folder);
}

TEST_CASE("values are shown short and on one line") {
    CHECK(eps::shown(nlohmann::json("a\nb")) == "\"a\\nb\"");
    CHECK(eps::shown(nlohmann::json(std::string(1000, 'x'))).size() == 63);
    CHECK(eps::pointer_part("a/b~c") == "a~1b~0c");
}
