#include "app/options.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "config/run_config.hpp"
#include "tests/catch.hpp"

using eps::Options;

namespace {

using Words = std::vector<std::string>;

Options parse(const Words& words) {
    std::vector<const char*> argv{"eps-bench"};
    for (const std::string& word : words) argv.push_back(word.c_str());
    return eps::parse_options(static_cast<int>(argv.size()), argv.data());
}

Words sets_of(Words words) {
    words.insert(words.begin(), {"--config", "run.json"});
    return parse(words).sets;
}

void check_refused(const Words& words, const std::string& part) {
    try {
        parse(words);
        FAIL_CHECK("accepted");
    } catch (const eps::Error& error) {
        CHECK(error.status() == eps::Exit::usage);
        CHECK_THAT(error.what(), contains_text(part));
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
}

}  // namespace

TEST_CASE("a config and nothing else") {
    const Options options = parse({"--config", "run.json"});
    CHECK(options.config_path == "run.json");
    CHECK(options.sets.empty());
    CHECK_FALSE(options.dry_run);
    CHECK_FALSE(options.plan);
    CHECK_FALSE(options.overwrite);
    CHECK_FALSE(options.timeline_path.has_value());
    CHECK(options.op_timeout_s == 120);
    CHECK(options.answer.empty());
}

TEST_CASE("switches") {
    const Options options = parse({"--dry-run", "--plan", "--overwrite", "--timeline", "t.trace.json",
                                   "--op-timeout=2.5", "--config=run.json"});
    CHECK(options.dry_run);
    CHECK(options.plan);
    CHECK(options.overwrite);
    CHECK(options.timeline_path == "t.trace.json");
    CHECK(options.op_timeout_s == 2.5);
}

TEST_CASE("a calibration is of the shipped config unless one is named, with the time limit of a run") {
    const Options options = parse({"calibrate", "--op-timeout", "2.5"});
    CHECK(options.calibrate);
    CHECK_THAT(options.config_path, contains_text("configs/quickstart.json"));
    CHECK(options.op_timeout_s == 2.5);
    CHECK(parse({"calibrate", "--config", "run.json"}).config_path == "run.json");
    check_refused({"calibrate", "--op-timeout", "0"}, "--op-timeout");
    check_refused({"calibrate", "--dry-run"}, "--dry-run");
}

TEST_CASE("flags become overlays of the config, before every --set") {
    CHECK(sets_of({"--set", "/a=1", "--batch", "16", "--set", "/b=2=3", "--name", "12"}) ==
          Words{R"(/name="12")", "/workload/batch=16", "/a=1", "/b=2=3"});
    CHECK(sets_of({"--layers", "-1"}) == Words{"/model/layers=-1"});
    CHECK(sets_of({"--set", "/workload/batch=-1"}) == Words{"/workload/batch=-1"});
    CHECK(sets_of({"--sequence-length", "128"}) == Words{"/workload/sequence_length=128"});
    CHECK(sets_of({"--sequence-length", "128,64"}) == Words{"/workload/sequence_length=[128,64]"});
    CHECK(sets_of({"--strategy", "ep"}) == Words{R"(/cases=[{"strategy":["ep"]}])"});
    CHECK(sets_of({"--strategies", "ep,eps"}) == Words{R"(/cases=[{"strategy":["ep","eps"]}])"});
    CHECK(sets_of({"--preset", "tiny", "--layers", "3"}) ==
          Words{R"(/model={"preset":"tiny"})", "/model/layers=3"});
    CHECK(sets_of({"--checkpoint", "some/dir"}) == Words{R"(/model={"checkpoint":"some/dir"})"});
    CHECK(sets_of({"--scope", "layer", "--backend", "cpu", "--dtype", "bf16", "--tokens", "ids.safetensors",
                   "--seed", "7", "--max-seconds", "0.5", "--report", "r.json", "--dump", "d.safetensors"}) ==
          Words{R"(/scope="layer")", R"(/backend="cpu")", R"(/dtype="bf16")",
                R"(/workload/tokens="ids.safetensors")", "/workload/seed=7", "/measure/max_seconds=0.5",
                R"(/report="r.json")", R"(/dump="d.safetensors")"});
}

TEST_CASE("flags win over the file") {
    const std::string file =
        R"({"name": "file", "model": {"preset": "deepseek-v2-lite"}, "workload": {"batch": 2},
        "cases": [{"strategy": "dp"}]})";
    const Words sets =
        sets_of({"--name", "flag", "--preset", "tiny", "--layers", "2", "--batch", "3", "--sequence-length",
                 "9,8,7", "--strategies", "ep,tp", "--dtype", "bf16", "--seed", "5", "--report", "out.json"});
    const eps::config::RunConfig run = eps::config::make_run_config(file, "run.json", sets, 2, "now");
    CHECK(run.name == "flag");
    CHECK(run.model.name == "tiny");
    CHECK(run.model.num_layers == 2);
    CHECK(run.workload.sequence_lengths == std::vector<std::int64_t>{9, 8, 7});
    CHECK(run.workload.seed == 5);
    CHECK(run.report_path == "out.json");
    REQUIRE(run.cases.size() == 2);
    CHECK(run.cases[0].name == "ep/dtype=bf16");
    CHECK(run.cases[1].name == "tp/dtype=bf16");
}

TEST_CASE("questions are answered without a config") {
    CHECK_THAT(parse({"--help"}).answer,
               contains_text("mpirun -n 4 eps-bench --config configs/quickstart.json"));
    CHECK_THAT(parse({"--help"}).answer, contains_text("--sequence-length"));
    CHECK(parse({"--version"}).answer.starts_with("eps-bench "));
    const std::string list = parse({"--list"}).answer;
    for (const char* name :
         {"eps_serial", "tp_ep", "placement", "deepseek-v2-lite", "tiny", "layer", "moe", "zipf"})
        CHECK_THAT(list, contains_text(name));
}

TEST_CASE("a comparison") {
    const Options options = parse({"compare", "a.json", "b.json"});
    REQUIRE(options.compare.has_value());
    CHECK(options.answer.empty());
    const eps::CompareOptions& plain = *options.compare;
    CHECK(plain.base_path == "a.json");
    CHECK(plain.new_path == "b.json");
    CHECK(plain.threshold_percent == 3);
    CHECK_FALSE(plain.fail_on_regression);
    CHECK(plain.format == eps::CompareFormat::table);
    CHECK_FALSE(plain.output_path.has_value());

    const Options every = parse({"compare", "--threshold", "2.5%", "a.json", "--fail-on", "regression",
                                 "--format=json", "b.json", "--output", "c.json", "--overwrite"});
    REQUIRE(every.compare.has_value());
    CHECK(every.compare->new_path == "b.json");
    CHECK(every.compare->threshold_percent == 2.5);
    CHECK(every.compare->fail_on_regression);
    CHECK(every.compare->format == eps::CompareFormat::json);
    CHECK(every.compare->output_path == "c.json");
    CHECK(every.compare->overwrite);
    CHECK(parse({"compare", "a", "b", "--format", "markdown"}).compare->format ==
          eps::CompareFormat::markdown);
    CHECK_THAT(parse({"compare", "--help"}).answer, contains_text("--fail-on"));
}

TEST_CASE("the word compare is a subcommand only where a command may stand") {
    const Options run = parse({"--config", "run.json", "--name", "compare"});
    CHECK_FALSE(run.compare.has_value());
    CHECK(run.sets == Words{R"(/name="compare")"});
    CHECK(parse({"compare", "compare", "compare"}).compare->base_path == "compare");
}

TEST_CASE("comparisons that are refused") {
    check_refused({"compare"}, "BASE");
    check_refused({"compare", "a.json"}, "NEW");
    check_refused({"compare", "a.json", "b.json", "c.json"}, "c.json");
    check_refused({"compare", "a.json", "b.json", "--config", "run.json"}, "--config");
    check_refused({"--config", "run.json", "compare", "a.json", "b.json"},
                  "--config belongs to a run, not to compare");
    check_refused({"--list", "compare", "a.json", "b.json"}, "--list belongs to a run");
    for (const char* bad : {"3", "0.03", "%", "", "-1%", "100%", "nan%", "inf%", "three%", "3%%", "3 %"})
        check_refused({"compare", "a.json", "b.json", "--threshold", bad}, "--threshold is '");
    check_refused({"compare", "a.json", "b.json", "--fail-on", "slower"}, "--fail-on is 'slower'");
    check_refused({"compare", "a.json", "b.json", "--fail-on", ""}, "--fail-on is ''");
    check_refused({"compare", "a.json", "b.json", "--format", "xml"}, "--format is 'xml'");
}

TEST_CASE("command lines that are refused") {
    check_refused(
        {}, "--config FILE is missing, for example: mpirun -n 4 eps-bench --config configs/quickstart.json");
    check_refused({"--set", "/a=1"}, "--config FILE is missing");
    check_refused({"--config"}, "--config");
    check_refused({"--config", "a.json", "--confg", "b.json"}, "--confg");
    check_refused({"--config", "a.json", "b.json"}, "b.json");
    check_refused({"--config", "a.json", "--set"}, "--set");
    check_refused({"--config", "a.json", "--set", "/a=1", "/b=2"}, "/b=2");
    check_refused({"--config", "a.json", "--batch", "1", "--batch", "2"}, "--batch");
    for (const char* bad : {"0", "-1", "inf", "nan", "soon"})
        check_refused({"--config", "a.json", "--op-timeout", bad}, "--op-timeout");
    check_refused({"--config", "a.json", "--timeline", ""}, "--timeline");
    check_refused({"--config", "a.json", "--name", "\xff"}, "--name: its value is not UTF-8");
}
