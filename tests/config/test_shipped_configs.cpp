// Every config that travels with the program is good for 4 ranks.
#include "base/json.hpp"
#include "base/shipped.hpp"
#include "tests/config/config_text.hpp"

#include <algorithm>
#include <filesystem>

using namespace eps;

TEST_CASE("shipped configs are configs") {
    const std::vector<std::string> names = shipped_names("configs");
    CHECK(std::find(names.begin(), names.end(), "quickstart") != names.end());
    for (const std::string& name : names) {
        INFO(name);
        const config::RunConfig run =
            config_of({}, 4, read_text_file(find_shipped("configs") + "/" + name + ".json", Exit::usage));
        CHECK(run.name == name);
        CHECK(!run.cases.empty());
    }
}

TEST_CASE("configs of tests on GPUs are configs, on 1 and 2 ranks") {
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(EPS_SOURCE_DIR);  // they name a checkpoint from there
    for (const std::string name : {"gpu-cases", "gpu-odd", "gpu-sanitize"})
        for (const std::int64_t num_ranks : {1, 2}) {
            INFO(name << " on " << num_ranks);
            const std::string path = EPS_SOURCE_DIR "/tests/data/" + name + ".json";
            CHECK(config_of({}, num_ranks, read_text_file(path, Exit::usage)).name == name);
        }
    std::filesystem::current_path(before);
}

TEST_CASE("the quickstart shows every strategy") {
    const config::RunConfig run =
        config_of({}, 4, read_text_file(find_shipped("configs") + "/quickstart.json", Exit::usage));
    std::vector<std::string> names;
    for (const config::Case& made : run.cases) names.push_back(made.name);
    CHECK(names == std::vector<std::string>{
                       "ep/dtype=f32", "ep/dtype=f32/overlap=true", "dp/dtype=f32", "tp/dtype=f32",
                       "pp/dtype=f32", "tp_ep/dtype=f32", "eps/chunks=1/dtype=f32", "eps/chunks=2/dtype=f32",
                       "eps/chunks=4/dtype=f32", "eps_serial/chunks=4/dtype=f32", "eps/base=tp_ep/dtype=f32",
                       "ep/dtype=f32/link=0.5GBps,20us/overlap=true",
                       "eps/chunks=2/dtype=f32/link=0.5GBps,20us"});
}
