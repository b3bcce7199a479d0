#include "tests/config/config_text.hpp"

#include <nlohmann/json.hpp>

using namespace eps;
using config::RunConfig;

TEST_CASE("the least that a config must say, and every default") {
    const RunConfig run = config_of({}, 4, R"({"model": {"preset": "tiny"}, "cases": [{"strategy": "ep"}]})");
    CHECK(run.name == "run");
    CHECK(run.model.name == "tiny");
    CHECK(run.model.num_layers == 8);
    CHECK_FALSE(run.checkpoint_dir.has_value());
    CHECK(run.scope == config::Scope::model);
    CHECK(run.workload.sequence_lengths == std::vector<std::int64_t>(8, 128));
    CHECK(run.workload.tokens == "random");
    CHECK(workload::kind_of(run.workload.routing) == "gate");
    CHECK(run.workload.seed == 1);
    CHECK(run.measure.warmup == 2);
    CHECK(run.measure.min_repetitions == 6);
    CHECK(run.measure.max_repetitions == 100);
    CHECK(run.measure.max_seconds == 10);
    CHECK(run.measure.relative_ci == 0.02);
    CHECK(run.validate == config::ValidateKind::automatic);
    CHECK(run.report_path == "results/local/run-20260102T030405Z.json");
    CHECK_FALSE(run.dump_path.has_value());

    REQUIRE(run.cases.size() == 1);
    const config::Case& ep = run.cases[0];
    CHECK(ep.name == "ep/dtype=f32");
    CHECK(ep.strategy == "ep");
    CHECK(ep.placement == placement::Placement{.attention_dp = 4, .ep = 4});
    CHECK(ep.schedule == schedule::Schedule{});
    CHECK(ep.dtype == DType::f32);
}

TEST_CASE("the resolved config has every default and no surprises") {
    const RunConfig run = config_of({}, 4, R"({"model": {"preset": "tiny"}, "cases": [{"strategy": "ep"}]})");
    CHECK(nlohmann::json::parse(run.resolved) == nlohmann::json::parse(R"({
        "name": "run",
        "model": {"preset": "tiny", "layers": 8, "overrides": {}},
        "scope": "model", "backend": "cpu", "dtype": "f32", "link": null, "ranks": null, "calibration": null,
        "workload": {"batch": 8, "sequence_length": 128, "tokens": "random", "routing": {"kind": "gate"}, "seed": 1},
        "cases": [{"strategy": "ep", "gemm": "auto", "dedup": true, "combine": "per_token", "overlap": false, "oracle": false,
                   "transport": "auto", "comm_ctas": null, "gemm_sms": null, "dtype": "f32", "link": null}],
        "measure": {"warmup": 2, "min_repetitions": 6, "max_repetitions": 100, "max_seconds": 10.0, "relative_ci": 0.02},
        "validate": {"kind": "auto"},
        "report": "results/local/{name}-{utc}.json",
        "dump": null
    })"));
}

TEST_CASE("every key of the contract is read") {
    const RunConfig run = config_of({}, 2, R"({
        "name": "all keys",
        "model": {"preset": "tiny", "layers": 3, "overrides": {"n_routed_experts": 20, "rms_norm_eps": 1e-5}},
        "scope": "layer", "backend": "cpu", "dtype": "bf16", "link": null, "ranks": 2, "calibration": null,
        "workload": {"batch": 3, "sequence_length": [5, 1, 7], "tokens": "random",
                     "routing": {"kind": "hot", "experts": [2, 6], "share": 0.5}, "seed": 18446744073709551615},
        "cases": [{"strategy": "eps", "base": "tp_ep", "chunks": 3, "gemm": "group", "dedup": false, "combine": "per_chunk",
                   "overlap": false, "oracle": true, "transport": "auto", "comm_ctas": null, "gemm_sms": null,
                   "dtype": "f32", "link": null}],
        "measure": {"warmup": 0, "min_repetitions": 7, "max_repetitions": 3, "max_seconds": 0.5, "relative_ci": 0},
        "validate": {"kind": "spot"},
        "report": "out/{utc}/{name}.json", "dump": "out/dump.safetensors"
    })");
    CHECK(run.name == "all keys");
    CHECK(run.model.num_layers == 3);
    CHECK(run.model.n_routed_experts == 20);
    CHECK(run.model.rms_norm_eps == 1e-5);
    CHECK(run.scope == config::Scope::layer);
    CHECK(run.workload.sequence_lengths == std::vector<std::int64_t>{5, 1, 7});
    const auto& hot = std::get<config::HotRouting>(run.workload.routing);
    CHECK(hot.first_expert == 2);
    CHECK(hot.end_expert == 6);
    CHECK(hot.share == 0.5);
    CHECK(run.workload.seed == 18446744073709551615U);
    CHECK(run.measure.warmup == 0);
    CHECK(run.measure.min_repetitions == 7);
    CHECK(run.measure.max_repetitions == 3);
    CHECK(run.measure.max_seconds == 0.5);
    CHECK(run.measure.relative_ci == 0);
    CHECK(run.validate == config::ValidateKind::spot);
    CHECK(run.report_path == "out/20260102T030405Z/all keys.json");
    CHECK(run.dump_path == "out/dump.safetensors");

    REQUIRE(run.cases.size() == 1);
    const config::Case& eps_case = run.cases[0];
    CHECK(eps_case.placement == placement::Placement{.attention_tp = 2, .ep = 2});
    CHECK(eps_case.schedule == schedule::Schedule{.chunk_by = schedule::ChunkBy::expert,
                                                  .chunks = 3,
                                                  .overlap = false,
                                                  .gemm = schedule::GemmChoice::group,
                                                  .combine = schedule::Combine::per_chunk,
                                                  .dedup = false,
                                                  .oracle = true});
    CHECK(eps_case.dtype == DType::f32);
    CHECK(eps_case.name ==
          "eps/base=tp_ep/chunks=3/combine=per_chunk/dedup=false/dtype=f32/gemm=group/oracle=true/"
          "overlap=false");
}

TEST_CASE("a resolved config is a config, and means the same") {
    const std::string text = R"({
        "name": "again", "model": {"preset": "tiny", "layers": 3, "overrides": {"n_shared_experts": 1}}, "dtype": "bf16",
        "workload": {"sequence_length": [5, 1, 7], "routing": {"kind": "zipf"}},
        "cases": [{"strategy": ["ep", "tp_ep"], "overlap": [true, false]}, {"strategy": "dp", "dtype": ["f32", "bf16"]},
                  {"strategy": "pp", "chunks": [1, 4, 9]}, {"strategy": "eps", "chunks": ["auto", 2]},
                  {"placement": {"pp": 2, "attention": {"tp": 2}, "experts": {"ep": 2}}, "chunks": [1, 2]}]
    })";
    const RunConfig first = config_of({}, 4, text);
    const RunConfig again = config_of({}, 4, first.resolved);
    CHECK(again.resolved == first.resolved);
    REQUIRE(first.cases.size() == 13);
    REQUIRE(again.cases.size() == 13);
    for (std::size_t i = 0; i < 13; ++i) {
        CHECK(again.cases[i].name == first.cases[i].name);
        CHECK(again.cases[i].params == first.cases[i].params);
        CHECK(again.cases[i].placement == first.cases[i].placement);
        CHECK(again.cases[i].schedule == first.cases[i].schedule);
        CHECK(again.cases[i].dtype == first.cases[i].dtype);
    }
    CHECK(again.workload.sequence_lengths == first.workload.sequence_lengths);
    CHECK(again.report_path == first.report_path);
}

TEST_CASE("the other kinds of routing") {
    CHECK(workload::kind_of(config_of({"/workload/routing/kind=uniform"}).workload.routing) == "uniform");
    const auto zipf = config_of({R"(/workload/routing={"kind": "zipf", "exponent": 1.5})"}).workload.routing;
    CHECK(std::get<config::ZipfRouting>(zipf).exponent == 1.5);
    CHECK(
        std::get<config::ZipfRouting>(config_of({"/workload/routing/kind=zipf"}).workload.routing).exponent ==
        1);
    const auto file =
        config_of({R"(/workload/routing={"kind": "file", "path": "ids.safetensors"})"}).workload.routing;
    CHECK(std::get<config::FileRouting>(file).path == "ids.safetensors");
}

TEST_CASE("a list of lengths is the batch") {
    const RunConfig run = config_of({"/workload=null", "/workload/sequence_length=[3, 4]"});
    CHECK(run.workload.sequence_lengths == std::vector<std::int64_t>{3, 4});
    CHECK(nlohmann::json::parse(run.resolved).at("workload").at("batch") == 2);
}

TEST_CASE("a checkpoint's own config is the model") {
    const std::string folder = std::string(EPS_SOURCE_DIR) + "/configs/models";
    check_refused_with({R"(/model={"checkpoint": "/no/such/folder"})"},
                       "run.json: /model/checkpoint: /no/such/folder is no folder", Exit::data);
    check_refused_with({R"(/model={"checkpoint": ")" + folder + R"("})"}, "config.json: no such file",
                       Exit::data);
}
