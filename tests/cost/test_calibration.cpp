// Calibrations: lookups, JSON there and back, what is refused, and what is merged.
#include "base/error.hpp"
#include "tests/catch.hpp"
#include "tests/cost/made_up.hpp"

#include <string>

using namespace cost_tests;

namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

std::string error_of(const std::string& text) {
    try {
        read_calibration(text, "c.json");
    } catch (const eps::Error& error) {
        CHECK(error.status() == eps::Exit::usage);
        return error.what();
    }
    return "no error";
}

}  // namespace

TEST_CASE("a table is straight between its points, flat before the first, of one rate after the last") {
    const TimeTable table{{2, 4, 8}, {10, 20, 30}};
    CHECK(table.at(0) == 0);
    CHECK(table.at(1) == 10);
    CHECK(table.at(2) == 10);
    CHECK(table.at(3) == 15);
    CHECK(table.at(7) == 27.5);
    CHECK(table.at(8) == 30);
    CHECK(table.at(16) == 60);
    CHECK(TimeTable{{5}, {1}}.at(10) == 2);
}

TEST_CASE("a calibration is read as it was written") {
    Calibration made = made_up();
    made.dtypes[0].gemms[0].experts[0].with_swiglu = true;
    const std::string text = to_json(made);
    CHECK(read_calibration(text, "c.json") == made);
    CHECK(to_json(read_calibration(text, "c.json")) == text);
    const std::string by_hand = replaced(text, '"' + hash_of(made) + '"', "null");
    CHECK(read_calibration(by_hand, "c.json") == made);
}

TEST_CASE("what is no calibration is refused in one line that says where") {
    const std::string text = to_json(made_up());
    const auto hint = [&](const std::string& from, const std::string& to) {
        return error_of(replaced(text, from, to));
    };
    CHECK(error_of("") == "c.json: is empty, expected a JSON document");
    CHECK(error_of("[]") == "c.json: / is [], expected an object");
    CHECK(error_of(text.substr(0, text.size() / 2)).find("c.json: ") == 0);
    CHECK(hint("eps-bench/calibration", "other") ==
          "c.json: /schema is \"other\", expected \"eps-bench/calibration\"");
    CHECK(hint("\"schema_version\": 1", "\"schema_version\": 2") ==
          "c.json: /schema_version is 2, expected 1");
    CHECK(hint("\"threads\"", "\"thread\"") == "c.json: /measured/threads is missing");
    CHECK(hint("\"ranks\": 2", "\"ranks\": 0") == "c.json: /measured/ranks is 0, expected an integer from 1");
    CHECK(hint("\"gemm_loss\": 0.0", "\"gemm_loss\": -1") ==
          "c.json: /gemm_loss is -1, expected a number from 0");
    CHECK(hint("\"dtype\": \"f32\"", "\"dtype\": \"f16\"") ==
          "c.json: /dtypes/0/dtype is \"f16\", expected \"f32\" or \"bf16\"");
    CHECK(hint("\"swiglu\"", "\"swish\"").find("there is no op of that name") != std::string::npos);
    CHECK(hint("[1.0,4.0,", "[4.0,1.0,").find("expected numbers that ascend") != std::string::npos);
    CHECK(hint("[1.0,4.0,", "[4.0,").find("numbers, one for each of /bytes") != std::string::npos);
    CHECK(hint("\"num_messages\": 3", "\"num_messages\": 1") ==
          "c.json: /exchanges/1/num_messages is 1, expected more than in the entry before it");
    CHECK(hint("\"network\": null",
               "\"network\": {\"ranks_per_host\": 8, \"gb_per_s\": 1, \"latency_us\": 1e300}") ==
          "c.json: /network/latency_us is 1e+300, expected a number from 0 to 1e+09");
    CHECK(hint("\"about\": \"made up\"", "\"about\": \"touched up\"").find("/hash is ") != std::string::npos);
    CHECK(hint("\"about\"", "\"abut\": 1, \"about\"").find("/abut is not a key") != std::string::npos);
}

TEST_CASE("merging adds shapes and replaces what both have") {
    Calibration into = made_up();
    Calibration more = made_up();
    more.dtypes[0].gemms = {{8, 16, line(5, 5), {}}, {32, 32, line(1, 1), {}}};
    more.dtypes[0].gates = {};
    more.dtypes[0].compute_ops = {{"rope", line(1, 1)}};
    more.dtypes.push_back({.dtype = eps::DType::bf16,
                           .gemms = {},
                           .gates = {},
                           .attentions = {},
                           .compute_ops = {},
                           .exchange_ops = {}});
    merge_tables(into, more);
    REQUIRE(into.dtypes.size() == 2);
    const DTypeTimes& f32 = into.dtypes[0];
    REQUIRE(f32.gemms.size() == 3);
    CHECK(f32.gemms[0].by_rows == line(5, 5));
    CHECK(f32.gemms[0].experts == made_up().dtypes[0].gemms[0].experts);
    CHECK(f32.gates.size() == 1);
    CHECK(f32.compute_ops.size() == 3);
}
