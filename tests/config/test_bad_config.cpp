// Every way in which a config can be wrong: one line with pointer, what was found and what is allowed, and
// status 2.
#include "tests/config/config_text.hpp"

using namespace eps;

namespace {

void check(const std::string& set, const std::string& message) {
    check_refused({set}, "run.json: " + message);
}

void check_text(const std::string& text, const std::string& part) {
    check_refused_with({}, part, Exit::usage, text);
}

}  // namespace

TEST_CASE("what is not a config at all") {
    check_text("", "run.json: is empty, expected a JSON document");
    check_text("  \n", "run.json: is empty, expected a JSON document");
    check_text("{\"name\": ", "run.json: not JSON: ");
    check_text("name: run", "run.json: not JSON: ");
    check_text("[]", "run.json: the document is [], expected an object with the keys \"name\", \"model\"");
    check_text("null", "run.json: the document is null, expected an object");
    check_text(R"({"workload": {"batch": 1, "seed": 2, "batch": 3}})", "/workload/batch: duplicate key");
    check_text(R"({"workload": {"batch": NaN}})", "run.json: not JSON: ");
    check_text(R"({"workload": {"batch": 1e999}})", "run.json");
    check_text("{}", R"(run.json: /model is missing, expected {"preset": NAME} or {"checkpoint": DIR})");
    check_text(R"({"model": {"preset": "tiny"}})",
               R"(run.json: /cases is missing, expected a list of cases, for example [{"strategy": "ep"}])");
}

TEST_CASE("unknown keys, and the nearest known one") {
    check(
        "/wrkload=1",
        "/wrkload is no known key, nearest: \"workload\"; expected \"name\", \"model\", \"scope\", "
        "\"backend\", \"dtype\", \"link\", \"ranks\", \"calibration\", \"workload\", \"cases\", \"measure\", "
        "\"validate\", \"report\" or \"dump\"");
    check(
        "/model/layer=2",
        R"(/model/layer is no known key, nearest: "layers"; expected "preset", "checkpoint", "layers" or "overrides")");
    check_refused_with({"/model/overrides/n_routed_expert=2"}, R"(/model/overrides/n_routed_expert)");
    check_refused_with({"/model/overrides/n_routed_expert=2"}, R"(nearest known key: "n_routed_experts")");
    check("/workload/sequence_lenght=16",
          "/workload/sequence_lenght is no known key, nearest: \"sequence_length\"; expected "
          "\"batch\", \"sequence_length\", \"tokens\", \"routing\" or \"seed\"");
    check("/measure/seconds=1",
          "/measure/seconds is no known key, nearest: \"max_seconds\"; expected \"warmup\", "
          "\"min_repetitions\", \"max_repetitions\", \"max_seconds\" or \"relative_ci\"");
    check("/validate/type=auto", R"(/validate/type is no known key, nearest: "kind"; expected "kind")");
    check(
        "/a~1b=1",
        R"(/a~1b is no known key, nearest: "name"; expected "name", "model", "scope", "backend", "dtype", "link", )"
        R"("ranks", "calibration", "workload", "cases", "measure", "validate", "report" or "dump")");
}

TEST_CASE("wrong types") {
    check("/name=5", "/name is 5, expected a text that is not empty");
    check(
        "/model=tiny",
        R"(/model is "tiny", expected an object with the keys "preset", "checkpoint", "layers" or "overrides")");
    check("/model/preset=5", "/model/preset is 5, expected a text that is not empty");
    check("/model/overrides=[]", "/model/overrides is [], expected an object of Hugging Face config keys");
    check("/scope=5", R"(/scope is 5, expected "model", "layer" or "moe")");
    check("/dtype=32", R"(/dtype is 32, expected "f32" or "bf16")");
    check(
        "/workload=5",
        R"(/workload is 5, expected an object with the keys "batch", "sequence_length", "tokens", "routing" or "seed")");
    check(R"(/workload/batch="8")", R"(/workload/batch is "8", expected an integer from 1 to 1048576)");
    check(
        "/workload/sequence_length=long",
        R"(/workload/sequence_length is "long", expected an integer from 1 to 2147483647, or a list of one per sequence)");
    check("/workload/tokens=5", "/workload/tokens is 5, expected a text that is not empty");
    check(
        "/workload/routing=uniform",
        R"(/workload/routing is "uniform", expected an object with the keys "kind", "exponent", "experts", "share" or "path")");
    check("/measure=[]",
          "/measure is [], expected an object with the keys \"warmup\", \"min_repetitions\", "
          "\"max_repetitions\", \"max_seconds\" or \"relative_ci\"");
    check("/measure/max_seconds=ten", R"(/measure/max_seconds is "ten", expected a number from 0 up)");
    check("/validate=auto", R"(/validate is "auto", expected an object with the keys "kind")");
    check("/report=null", "/report is null, expected a text that is not empty");
    check("/dump=5", "/dump is 5, expected a text that is not empty");
}

TEST_CASE("unknown names") {
    check("/scope=block", R"(/scope is "block", expected "model", "layer" or "moe"; nearest: "moe")");
    check("/dtype=bf32", R"(/dtype is "bf32", expected "f32" or "bf16"; nearest: "f32")");
    check("/backend=gpu", R"(/backend is "gpu", expected "cpu", "cuda" or "sim"; nearest: "cpu")");
    check(
        "/workload/routing/kind=hott",
        R"(/workload/routing/kind is "hott", expected "gate", "uniform", "zipf", "hot" or "file"; nearest: "hot")");
    check("/validate/kind=full",
          R"(/validate/kind is "full", expected "auto", "reference" or "spot"; nearest: "auto")");
    check_refused_with({"/model/preset=tinny"}, R"(run.json: /model/preset is "tinny", expected )");
    check_refused_with({"/model/preset=tinny"}, R"(nearest: "tiny")");
}

TEST_CASE("the model") {
    check("/model={}", R"(/model is {}, expected {"preset": NAME} or {"checkpoint": DIR}, one of the two)");
    check(
        "/model/checkpoint=dir",
        R"(/model is {"checkpoint":"dir","preset":"tiny"}, expected {"preset": NAME} or {"checkpoint": DIR}, one of the two)");
    for (const char* bad : {"0", "-3", "1.5", "null", "99999999999999999999"})
        check_refused_with({std::string("/model/layers=") + bad}, "run.json: /model/layers is ");
    check_refused_with({"/model/layers=9"}, "run.json: /model/layers is 9, expected an integer from 1 to 8");
    check_refused_with({"/model/overrides/num_experts_per_tok=16"},
                       "num_experts_per_tok 16 is more than n_routed_experts 15");
    check_refused_with({"/model/overrides/num_experts_per_tok=10"},
                       "num_experts_per_tok 10 is more than the 9 experts of topk_group 3");
    check_refused_with({"/model/overrides/hidden_size=0"}, "run.json: /model/overrides/hidden_size is 0");
    check_refused_with({"/model/overrides/hidden_size=1e9"}, "run.json: /model/overrides/hidden_size is ");
    check_refused_with({R"(/model/overrides={"hidden_size": 8, "dtype": "int8"})"},
                       "run.json: /model/overrides/dtype is \"int8\"");
}

TEST_CASE("sizes that no run can have") {
    for (const char* bad :
         {"0", "-1", "2.5", "8.0", "1e99", "1048577", "9223372036854775807", "9223372036854775808",
          "18446744073709551616", "null", "true", "NaN", "-Infinity", "\"\""})
        check_refused_with({std::string("/workload/batch=") + bad}, "run.json: /workload/batch is ");
    for (const char* bad : {"0", "-1", "2.5", "1e10", "2147483648", "9223372036854775808", "null", "{}"})
        check_refused_with({std::string("/workload/sequence_length=") + bad},
                           "run.json: /workload/sequence_length is ");
    check("/workload/sequence_length=2147483647",
          "/workload/sequence_length is 2147483647, times batch 4 that is 8589934588 tokens, expected at "
          "most 2147483647");
    check("/workload/sequence_length=[1,2]",
          "/workload/sequence_length has 2 lengths for a batch of 4, expected one per sequence");
    check("/workload/sequence_length=[]",
          "/workload/sequence_length is [], expected a list of 1 to 1048576 lengths");
    check("/workload/sequence_length=[1,2,0,4]",
          "/workload/sequence_length/2 is 0, expected an integer from 1 to 2147483647");
    check("/workload/sequence_length=[1,2,3.5,4]",
          "/workload/sequence_length/2 is 3.5, expected an integer from 1 to 2147483647");
    check("/workload/sequence_length=[1,1,2147483647,1]",
          "/workload/sequence_length adds up to 2147483650 tokens, expected at most 2147483647");
    for (const char* bad : {"-1", "1.5", "18446744073709551616", "null", "one"})
        check_refused_with({std::string("/workload/seed=") + bad}, "run.json: /workload/seed is ");
    for (const char* key : {"warmup", "min_repetitions", "max_repetitions"})
        for (const char* bad : {"-1", "0.5", "1e9", "1000001", "null"})
            check_refused_with({std::string("/measure/") + key + "=" + bad},
                               std::string("run.json: /measure/") + key + " is ");
    for (const char* key : {"max_seconds", "relative_ci"})
        for (const char* bad : {"-1", "-0.001", "null", "NaN", "inf", "\"1\""})
            check_refused_with({std::string("/measure/") + key + "=" + bad},
                               std::string("run.json: /measure/") + key + " is ");
}

TEST_CASE("routing that the gate cannot follow") {
    const auto hot = [](const std::string& experts, const std::string& share) {
        return "/workload/routing={\"kind\": \"hot\", \"experts\": " + experts + ", \"share\": " + share +
               "}";
    };
    check("/workload/routing/kind=hot",
          "/workload/routing/experts is missing, expected [first, last): the hot experts");
    check(R"(/workload/routing={"kind": "hot", "experts": [0, 3]})",
          "/workload/routing/share is missing, expected the part of the (token, slot) pairs that goes to "
          "these experts, 0 to 1");
    check(hot("[0]", "0.5"), "/workload/routing/experts is [0], expected [first, last): the hot experts");
    check(hot("[3, 3]", "0.5"),
          "/workload/routing/experts is [3,3], expected [first, last) with first below last");
    check(hot("[5, 2]", "0.5"),
          "/workload/routing/experts is [5,2], expected [first, last) with first below last");
    check(hot("[0, 16]", "0.5"), "/workload/routing/experts/1 is 16, expected an integer from 0 to 15");
    check(hot("[-1, 3]", "0.5"), "/workload/routing/experts/0 is -1, expected an integer from 0 to 15");
    check(hot("[0, 3]", "1.5"), "/workload/routing/share is 1.5, expected a number from 0 to 1");
    check(hot("[0, 1]", "0.5"),
          "/workload/routing/share is 0.5, expected 0 to 0.3333333333333333: a token goes to 3 distinct "
          "experts in 3 of 5 groups, and these are 1 of 15");
    check(hot("[0, 14]", "0.5"),
          "/workload/routing/share is 0.5, expected 0.6666666666666666 to 1: a token goes to 3 distinct "
          "experts in 3 of 5 groups, and these are 14 of 15");
    check(R"(/workload/routing={"kind": "zipf", "exponent": -1})",
          "/workload/routing/exponent is -1, expected a number from 0 to 10");
    check(R"(/workload/routing={"kind": "zipf", "share": 0.5})",
          R"(/workload/routing/share is not used by routing "zipf", only by "hot")");
    check("/workload/routing/exponent=1",
          R"(/workload/routing/exponent is not used by routing "gate", only by "zipf")");
    check("/workload/routing/kind=file",
          "/workload/routing/path is missing, expected a safetensors file with layers.{i}.topk_ids");
    check_refused(
        {"/model/layers=1", "/workload/routing/kind=uniform"},
        R"(run.json: /workload/routing/kind is "uniform", but no layer of this model has experts; expected "gate")");
}

TEST_CASE("scopes that the model or the workload does not have") {
    check_refused({"/model/layers=1", "/scope=moe"},
                  R"(run.json: /scope is "moe", but none of the 1 layers of this model has experts)");
    check_refused({"/model/overrides/n_routed_experts=0", "/scope=moe"},
                  R"(run.json: /scope is "moe", but none of the 8 layers of this model has experts)");
    check_refused(
        {"/scope=layer", "/workload/tokens=ids.safetensors"},
        R"(run.json: /workload/tokens is "ids.safetensors", but the scope "layer" starts from random rows; expected "random")");
}

TEST_CASE("names and paths") {
    check(
        "/name=a/b",
        R"(/name is "a/b", expected a text of at most 100 bytes without / and control characters: it becomes a file name)");
    check_refused_with({R"(/name="a\nb")"}, "run.json: /name is \"a\\nb\"");
    check_refused_with({"/name=" + std::string(101, 'x')}, "run.json: /name is ");
    check(R"(/report="")", R"(/report is "", expected a text that is not empty)");
    check_refused({"/report=out.json", "/dump=out.json"},
                  R"(run.json: /dump is "out.json", expected another path than that of the report)");
}

TEST_CASE("other ranks than those that were started are only modelled, and nothing modelled is computed") {
    check(
        "/ranks=64",
        R"(/ranks is 64, but 4 were started; expected null, or the backend "sim", which models any number)");
    const std::vector<std::string> sim{"/backend=sim", "/calibration=h800x8", "/ranks=64"};
    const auto with = [&](const std::string& set) {
        std::vector<std::string> sets = sim;
        sets.push_back(set);
        return sets;
    };
    check_refused(sim, R"(run.json: /workload/routing/kind is "gate", but the backend "sim" runs no gate; )"
                       R"(expected "uniform", "zipf", "hot" or "file")");
    const auto run = config_of(with("/workload/routing/kind=uniform"));
    CHECK(run.num_ranks == 64);
    CHECK(run.cases[0].placement.ep == 64);
    CHECK(run.cases[0].dtype == DType::bf16);
    CHECK(run.calibration == "h800x8");
    std::vector<std::string> dumped = with("/workload/routing/kind=uniform");
    dumped.push_back("/dump=x");
    check_refused(dumped, R"(run.json: /dump is not for the backend "sim", which computes no rows)");
}

TEST_CASE("a wire is two numbers that can be") {
    check("/link=20", R"(/link is 20, expected null or an object such as {"gb_per_s": 20, "latency_us": 5})");
    check("/link/gb_per_s=0", "/link/gb_per_s is 0, expected a number from 1e-06 to 1e+09");
    check(R"(/link={"gb_per_s": "fast"})",
          R"(/link/gb_per_s is "fast", expected a number from 1e-06 to 1e+09)");
    check(R"(/cases/0/link=[null, {"latency_us": -1}])",
          "/cases/0/link/1/latency_us is -1, expected a number from 0 to 1e+09");
    check(R"(/cases/0/link={"gbps": 1})",
          R"(/cases/0/link/gbps is no known key, nearest: "gb_per_s"; expected "gb_per_s" or "latency_us")");
}

TEST_CASE("keys of another backend") {
    const std::string middle = R"(, which is for the backend "cuda"; expected )";
    check("/cases/0/transport=copy_engine", R"(/cases/0/transport is "copy_engine")" + middle + R"("auto")");
    check("/cases/0/comm_ctas=16", "/cases/0/comm_ctas is 16" + middle + "null");
    check("/cases/0/gemm_sms=[null,116]", "/cases/0/gemm_sms/1 is 116" + middle + "null");
    // Their types are checked before that.
    check("/ranks=0", "/ranks is 0, expected an integer from 1 to 65536");
    check("/calibration=5", "/calibration is 5, expected a text that is not empty");
    check("/cases/0/comm_ctas=-1", "/cases/0/comm_ctas is -1, expected an integer from 1 to 1024");
    check("/cases/0/transport=5", "/cases/0/transport is 5, expected a text that is not empty");
    CHECK_NOTHROW(config_of({"/ranks=4", "/link=null", "/calibration=null", "/cases/0/transport=auto"}));
    const auto on_gpus = config_of(
        {"/backend=cuda", "/cases/0/transport=nccl", "/cases/0/comm_ctas=8", "/cases/0/gemm_sms=116"});
    CHECK(on_gpus.cases[0].schedule.transport == schedule::Transport::nccl);
    CHECK(on_gpus.cases[0].schedule.comm_ctas == 8);
    CHECK(on_gpus.cases[0].schedule.gemm_sms == 116);
    CHECK(on_gpus.cases[0].dtype == DType::bf16);
}
