#include "base/error.hpp"
#include "config/document.hpp"
#include "tests/catch.hpp"

#include <nlohmann/json.hpp>

using eps::config::read_document;

namespace {

std::string document_of(const std::vector<std::string>& sets,
                        const std::string& text = R"({"z": 1, "a": {"list": [1, 2]}})") {
    return read_document(text, "run.json", sets).dump();
}

void check_refused(const std::string& set, const std::string& message) {
    INFO(set);
    try {
        const std::string accepted = document_of({set});
        FAIL_CHECK("accepted as " << accepted);
    } catch (const eps::Error& error) {
        CHECK(error.what() == message);
        CHECK(error.status() == eps::Exit::usage);
    }
}

}  // namespace

TEST_CASE("keys keep their order") {
    CHECK(document_of({}) == R"({"z":1,"a":{"list":[1,2]}})");
    CHECK(document_of({"/b=2", "/z=3"}) == R"({"z":3,"a":{"list":[1,2]},"b":2})");
}

TEST_CASE("values are JSON, or else a text") {
    CHECK(document_of({"/z=16"}, R"({})") == R"({"z":16})");
    CHECK(document_of({"/z=true"}, R"({})") == R"({"z":true})");
    CHECK(document_of({"/z=null"}, R"({})") == R"({"z":null})");
    CHECK(document_of({"/z=[1, \"x\"]"}, R"({})") == R"({"z":[1,"x"]})");
    CHECK(document_of({"/z=tiny"}, R"({})") == R"({"z":"tiny"})");
    CHECK(document_of({"/z=\"16\""}, R"({})") == R"({"z":"16"})");
    CHECK(document_of({"/z=a=b"}, R"({})") == R"({"z":"a=b"})");
    CHECK(document_of({"/z="}, R"({})") == R"({"z":""})");
    CHECK(document_of({"/z=NaN"}, R"({})") == R"({"z":"NaN"})");
}

TEST_CASE("pointers reach into objects and lists, and make what is missing") {
    CHECK(document_of({"/a/list/0=9"}) == R"({"z":1,"a":{"list":[9,2]}})");
    CHECK(document_of({"/a/list/2=9"}) == R"({"z":1,"a":{"list":[1,2,9]}})");
    CHECK(document_of({"/a/list/-={\"x\": 1}", "/a/list/2/y=5"}) ==
          R"({"z":1,"a":{"list":[1,2,{"x":1,"y":5}]}})");
    CHECK(document_of({"/n/m/k=1"}) == R"({"z":1,"a":{"list":[1,2]},"n":{"m":{"k":1}}})");
    CHECK(document_of({"/z/k=1"}, R"({"z": null})") == R"({"z":{"k":1}})");
    CHECK(document_of({"/x~1y~0=1"}, R"({})") == R"({"x/y~":1})");
}

TEST_CASE("overlays that are refused") {
    check_refused("", "--set : expected /POINTER=VALUE, for example --set /workload/batch=16");
    check_refused("z=1", "--set z=1: expected /POINTER=VALUE, for example --set /workload/batch=16");
    check_refused("/z", "--set /z: expected /POINTER=VALUE, for example --set /workload/batch=16");
    check_refused("/z/k=1", "--set /z/k=1: there is no \"k\" in 1");
    check_refused("/a/list/3=1",
                  "--set /a/list/3=1: \"3\" is no element of the list there, expected 0 to 2 or - to append");
    check_refused("/a/list/x=1",
                  "--set /a/list/x=1: \"x\" is no element of the list there, expected 0 to 2 or - to append");
    check_refused("/a/list/99999999999999999999=1",
                  "--set /a/list/99999999999999999999=1: \"99999999999999999999\" is no element of the list "
                  "there, expected 0 to 2 or - to append");
    check_refused("/z~2=1", "--set /z~2=1: ~ in a JSON pointer is written ~0, / in a key ~1");
    check_refused(
        "/z={\"k\": 1, \"k\": 2}",
        "--set /z={\"k\": 1, \"k\": 2}: /k: duplicate key \"k\" (every key once), line 1, column 12");
    CHECK_THROWS_WITH(document_of({"/z={\"k\": }"}), contains_text("--set /z={\"k\": }: not JSON: "));
}
