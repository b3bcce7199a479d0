#include "tests/config/config_text.hpp"

#include <nlohmann/json.hpp>

using namespace eps;

namespace {

std::vector<std::string> names_of(const std::string& cases, std::int64_t world_size = 4) {
    std::vector<std::string> names;
    for (const config::Case& made : config_of({"/cases=" + cases}, world_size).cases)
        names.push_back(made.name);
    return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("lists make the cross product, the last key fastest") {
    CHECK(names_of(R"([{"strategy": "eps", "chunks": [2, 4], "base": ["ep", "tp_ep"]}])") ==
          Names{"eps/chunks=2/dtype=f32", "eps/base=tp_ep/chunks=2/dtype=f32", "eps/chunks=4/dtype=f32",
                "eps/base=tp_ep/chunks=4/dtype=f32"});
    CHECK(names_of(R"([{"base": ["ep", "tp_ep"], "strategy": "eps", "chunks": [2, 4]}])") ==
          Names{"eps/chunks=2/dtype=f32", "eps/chunks=4/dtype=f32", "eps/base=tp_ep/chunks=2/dtype=f32",
                "eps/base=tp_ep/chunks=4/dtype=f32"});
    CHECK(names_of(R"([{"strategy": ["dp", "ep"], "dtype": ["f32", "bf16"]}, {"strategy": "tp"}])") ==
          Names{"dp/dtype=f32", "dp/dtype=bf16", "ep/dtype=f32", "ep/dtype=bf16", "tp/dtype=f32"});
}

TEST_CASE("a name tells what is not the default, whatever the order of keys") {
    CHECK(names_of(R"([{"strategy": "eps", "gemm": "dense", "chunks": 2}])") ==
          names_of(R"([{"chunks": 2, "strategy": "eps", "gemm": "dense"}])"));
    CHECK(
        names_of(
            R"([{"strategy": "eps", "chunks": "auto", "overlap": true, "combine": "per_token", "base": "ep"}])") ==
        Names{"eps/dtype=f32"});
    CHECK(names_of(R"([{"strategy": "pp", "chunks": 4}])") == Names{"pp/dtype=f32"});
    CHECK(names_of(R"([{"strategy": "pp", "chunks": 4}])", 2) == Names{"pp/chunks=4/dtype=f32"});
    CHECK(
        names_of(
            R"([{"placement": {"attention": {"tp": 2, "dp": 2}, "experts": {"ep": 4}}, "dedup": false}])") ==
        Names{"placement/dedup=false/dtype=f32/placement=pp1.tp2.dp2.etp1.ep4.edp1"});
}

TEST_CASE("params are the case's keys, defaults too") {
    const auto run = config_of({R"(/cases=[{"strategy": "pp", "gemm": "group"}])"});
    CHECK(nlohmann::json::parse(run.cases[0].params) == nlohmann::json::parse(R"({
        "strategy": "pp", "chunks": 4, "gemm": "group", "dtype": "f32", "transport": "auto", "comm_ctas": null,
        "gemm_sms": null, "link": null})"));
}

TEST_CASE("every case says its wire, the run's or its own") {
    const auto run =
        config_of({R"(/link={"gb_per_s": 12.5})",
                   R"(/cases=[{"strategy": "ep"}, {"strategy": "ep", "link": [null, {"latency_us": 0}]}])"});
    REQUIRE(run.cases.size() == 3);
    CHECK(run.cases[0].name == "ep/dtype=f32/link=12.5GBps,5us");
    CHECK(run.cases[0].link == Link{12.5, 5});
    CHECK(nlohmann::json::parse(run.cases[0].params)["link"] ==
          nlohmann::json::parse(R"({"gb_per_s": 12.5, "latency_us": 5})"));
    CHECK(run.cases[1].name == "ep/dtype=f32");
    CHECK_FALSE(run.cases[1].link.has_value());
    CHECK(run.cases[2].name == "ep/dtype=f32/link=20GBps,0us");
    CHECK(nlohmann::json::parse(run.resolved)["link"]["latency_us"] == 5);
}

TEST_CASE("chunks are experts' chunks or micro-batches") {
    const auto cases = config_of({R"(/cases=[{"strategy": "eps"}, {"strategy": "eps_serial", "chunks": 100},
        {"strategy": "pp"}, {"strategy": "pp", "chunks": 7}])"})
                           .cases;
    CHECK_FALSE(cases[0].schedule.chunks.has_value());
    CHECK(cases[0].schedule.overlap);
    CHECK(cases[1].schedule.chunks == 100);
    CHECK_FALSE(cases[1].schedule.overlap);
    CHECK(cases[2].schedule.micro_batches == 4);
    CHECK(cases[3].schedule.micro_batches == 7);
    CHECK(cases[3].schedule.chunks == 1);
}

TEST_CASE("a free placement") {
    const auto cases =
        config_of({R"(/cases=[{"placement": {"pp": 2, "attention": {"tp": 2}, "experts": {"etp": 2}}},
        {"placement": {"attention": {"dp": 4}, "experts": {"ep": 2, "edp": 2}}, "overlap": true}])"})
            .cases;
    CHECK(cases[0].strategy == "placement");
    CHECK(cases[0].placement == placement::Placement{.pp = 2, .attention_tp = 2, .etp = 2});
    CHECK(cases[0].schedule.micro_batches == 2);
    CHECK(cases[1].placement == placement::Placement{.attention_dp = 4, .ep = 2, .edp = 2});
    CHECK(cases[1].schedule.overlap);
}

TEST_CASE("every strategy on every number of ranks") {
    for (std::int64_t world_size = 1; world_size <= 8; ++world_size)
        CHECK(
            names_of(R"([{"strategy": ["ep", "dp", "tp", "pp", "tp_ep", "eps", "eps_serial"]}])", world_size)
                .size() == 7);
}

TEST_CASE("cases that are refused") {
    const auto check = [](const std::string& cases, const std::string& message) {
        check_refused({"/cases=" + cases}, "run.json: " + message);
    };
    check("[]", R"(/cases is [], expected a list of at least one case, for example [{"strategy": "ep"}])");
    check(
        R"({"strategy": "ep"})",
        R"(/cases is {"strategy":"ep"}, expected a list of at least one case, for example [{"strategy": "ep"}])");
    check(
        R"([{}])",
        R"(/cases/0/strategy is missing, expected "ep", "dp", "tp", "pp", "tp_ep", "eps" or "eps_serial", or a placement)");
    check(
        R"([{"strategy": "dp"}, {"strategy": "epz"}])",
        R"(/cases/1/strategy is "epz", expected "ep", "dp", "tp", "pp", "tp_ep", "eps" or "eps_serial"; nearest: "ep")");
    check(R"([{"strategy": ["ep", 5]}])",
          R"(/cases/0/strategy/1 is 5, expected "ep", "dp", "tp", "pp", "tp_ep", "eps" or "eps_serial")");
    check(R"([{"strategy": []}])",
          "/cases/0/strategy is an empty list, which makes no case; expected at least one value");
    check(R"([{"strategy": "ep"}, {"strategy": "dp"}, {"strategy": "ep", "overlap": false}])",
          "/cases/2 makes the case ep/dtype=f32, which /cases/0 makes already; expected every case once");
    check(R"([{"strategy": "eps", "chunks": [2, 2]}])",
          "/cases/0 makes the case eps/chunks=2/dtype=f32, which /cases/0 makes already; expected every case "
          "once");
    check(R"([{"strategy": "ep", "dtype": "fp16"}])",
          R"(/cases/0/dtype is "fp16", expected "f32" or "bf16"; nearest: "bf16")");
    check(R"([{"strategy": "eps", "base": "tp"}])",
          R"(/cases/0/base is "tp", expected "ep" or "tp_ep"; nearest: "ep")");
    check(R"([{"strategy": "eps", "gemm": "groupd"}])",
          R"(/cases/0/gemm is "groupd", expected "auto", "group" or "dense"; nearest: "group")");
    check(R"([{"strategy": "eps", "overlap": 1}])", "/cases/0/overlap is 1, expected true or false");
    check(R"([{"strategy": "eps", "chunks": 0}])",
          "/cases/0/chunks is 0, expected an integer from 1 to 4096");
    check(R"([{"strategy": "eps", "chunks": [1, 2.5]}])",
          "/cases/0/chunks/1 is 2.5, expected an integer from 1 to 4096");
    check(R"([{"strategy": "eps", "chunks": "four"}])",
          R"(/cases/0/chunks is "four", expected "auto" or an integer from 1 to 4096)");
    check(R"([{"strategy": "pp", "chunks": "auto"}])",
          R"(/cases/0/chunks is "auto", expected an integer from 1 to 4096)");
    check_refused_with({R"(/cases=[{"strategy": "ep", "chnks": 2}])"},
                       R"(/cases/0/chnks is no known key, nearest: "chunks")");
    check_refused_with({R"(/cases=["ep"])"},
                       R"(/cases/0 is "ep", expected an object with the keys "strategy")");
}

TEST_CASE("a product of lists without end is refused") {
    std::string ones = "[1";
    for (int i = 2; i <= 100; ++i) ones += "," + std::to_string(i);
    ones += "]";
    check_refused_with(
        {R"(/cases=[{"strategy": "pp", "chunks": )" + ones + R"(, "comm_ctas": )" + ones + "}]"},
        "/cases/0/comm_ctas makes more than 4096 cases");
}

TEST_CASE("a key that the strategy does not use is refused") {
    for (const auto& [strategy, key, value] :
         std::vector<std::array<std::string, 3>>{{"ep", "chunks", "2"},
                                                 {"ep", "base", "\"ep\""},
                                                 {"tp", "combine", "\"per_token\""},
                                                 {"dp", "dedup", "true"},
                                                 {"dp", "transport", "\"auto\""},
                                                 {"tp", "overlap", "true"},
                                                 {"pp", "oracle", "true"},
                                                 {"tp_ep", "chunks", "1"},
                                                 {"eps_serial", "overlap", "false"}})
        check_refused_with(
            {"/cases=[{\"strategy\": \"" + strategy + "\", \"" + key + "\": " + value + "}]"},
            "run.json: /cases/0/" + key + " is not used by strategy \"" + strategy + "\", which uses \"");
    check_refused(
        {R"(/cases=[{"placement": {"attention": {"tp": 4}, "experts": {"etp": 4}}, "dedup": true}])"},
        R"(run.json: /cases/0/dedup is not used by strategy "placement" with these factors, which uses "gemm", "transport", "comm_ctas" or "gemm_sms")");
    check_refused_with(
        {R"(/cases=[{"placement": {"attention": {"dp": 4}, "experts": {"ep": 4}}, "chunks": 2}])"},
        R"(/cases/0/chunks is not used by strategy "placement" with these factors)");
}

TEST_CASE("placements that are refused") {
    const auto check = [](const std::string& entry, const std::string& message) {
        check_refused({"/cases=[" + entry + "]"}, "run.json: " + message);
    };
    check(R"({"placement": {"attention": {"dp": 3}, "experts": {"ep": 3}}})",
          "/cases/0/placement does not fit: pp 1 x attention.tp 1 x attention.dp 3 is 3 ranks, but 4 were "
          "started; the "
          "product must be 4");
    check(R"({"placement": {"attention": {"dp": 4}, "experts": {"ep": 2}}})",
          "/cases/0/placement does not fit: pp 1 x experts.etp 1 x experts.ep 2 x experts.edp 1 is 2 ranks, "
          "but 4 were "
          "started; the product must be 4");
    check(R"({"placement": {"attention": {"dp": 4611686018427387904, "tp": 4}, "experts": {"ep": 4}}})",
          "/cases/0/placement does not fit: pp 1 x attention.tp 4 x attention.dp 4611686018427387904 is more "
          "than 4 "
          "ranks, but 4 were started; the product must be 4");
    check(R"({"placement": {"attention": {"dp": 0}, "experts": {"ep": 4}}})",
          "/cases/0/placement/attention/dp is 0, expected an integer from 1 up");
    check(R"({"placement": {"attention": {"dp": [2, 4]}}})",
          "/cases/0/placement/attention/dp is [2,4], expected an integer from 1 up");
    check(R"({"placement": {"attention": {"ep": 4}}})",
          R"(/cases/0/placement/attention/ep is no known key, nearest: "tp"; expected "tp" or "dp")");
    check(R"({"placement": [{"attention": {"dp": 4}, "experts": {"ep": 4}}, 4]})",
          R"(/cases/0/placement/1 is 4, expected an object with the keys "pp", "attention" or "experts")");
    check(R"({"strategy": "ep", "placement": {}})",
          "/cases/0/placement stands beside a strategy, which has a placement of its own; expected one of "
          "the two");
    check(R"({"strategy": "placement"})",
          "/cases/0/placement is missing, expected an object with pp, attention {tp, dp} and experts {etp, "
          "ep, edp}");
}

TEST_CASE("pipeline stages do not go with the scope moe") {
    const std::string message =
        " has pipeline stages, and the scope \"moe\" is a single layer; expected another strategy or the "
        "scope \"model\" "
        "or \"layer\"";
    check_refused({"/scope=moe", R"(/cases=[{"strategy": ["ep", "pp"]}])"},
                  "run.json: /cases/0/strategy/1" + message);
    check_refused(
        {"/scope=moe", R"(/cases=[{"placement": {"pp": 2, "attention": {"tp": 2}, "experts": {"ep": 2}}}])"},
        "run.json: /cases/0/placement" + message);
    check_refused({"/scope=moe", R"(/cases=[{"strategy": "pp"}])"}, "run.json: /cases/0/strategy" + message,
                  Exit::usage, kGood, 1);
}
