#include "base/error.hpp"
#include "tests/catch.hpp"
#include "trace/timeline.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace eps::trace {
namespace {

using nlohmann::json;

/// Two ranks whose clocks started at different times, with two lanes each, spans out of order.
Timeline sample() {
    Timeline timeline;
    timeline.case_name = "eps chunks=4 \"quoted\"";
    for (std::int32_t rank = 0; rank < 2; ++rank) {
        const std::int64_t begin_ns = 1'000'000'000 + rank * 7'000'000'000'000;
        RankTrace trace;
        trace.host = "box";
        trace.begin_ns = begin_ns;
        trace.lanes = {{"compute", false}, {"dispatch", true}};
        trace.spans = {
            {.rank = rank,
             .lane = 1,
             .op = 2,
             .kind = 10,
             .layer = 3,
             .begin_ns = begin_ns + 1500,
             .end_ns = begin_ns + 4000},
            {.rank = rank,
             .lane = 0,
             .op = 0,
             .kind = 0,
             .layer = -1,
             .begin_ns = begin_ns + 7,
             .end_ns = begin_ns + 1007},
            {.rank = rank,
             .lane = 0,
             .op = 1,
             .kind = 2,
             .layer = 3,
             .micro_batch = 1,
             .begin_ns = begin_ns + 1007,
             .end_ns = begin_ns + 3000 + rank},
        };
        trace.op_texts = {"embed ids -> hidden",
                          "linear \xff"};  // bytes that are no text must not break the file
        timeline.ranks.push_back(trace);
    }
    return timeline;
}

std::vector<json> events(const json& document, const std::string& phase) {
    std::vector<json> found;
    for (const json& event : document.at("traceEvents")) {
        if (event.at("ph") == phase && event.value("cat", "") != "case") found.push_back(event);
    }
    return found;
}

std::vector<json> cases(const json& document) {
    std::vector<json> found;
    for (const json& event : document.at("traceEvents"))
        if (event.value("cat", "") == "case") found.push_back(event);
    return found;
}

TEST_CASE("every span is a complete event with its rank, lane, times and details") {
    const json document = json::parse(timeline_text({sample()}));
    REQUIRE(cases(document).size() == 2);
    CHECK(cases(document)[1].at("name") == "eps chunks=4 \"quoted\"");
    const std::vector<json> spans = events(document, "X");
    REQUIRE(spans.size() == 6);
    CHECK(spans[0].at("name") == "embed");
    CHECK(spans[0].at("cat") == "compute");
    CHECK(spans[0].at("pid") == 0);
    CHECK(spans[0].at("ts").get<double>() == Approx(0.007));
    CHECK(spans[0].at("dur").get<double>() == Approx(1));
    CHECK(spans[0].at("args") ==
          json::parse(R"({"op": 0, "micro_batch": 0, "text": "embed ids -> hidden"})"));
    CHECK(spans[1].at("name") == "linear");
    CHECK(spans[1].at("args").at("layer") == 3);
    CHECK(spans[1].at("args").at("micro_batch") == 1);
    CHECK(spans[2].at("name") == "all_to_all");
    CHECK(spans[2].at("cat") == "exchange");
    CHECK(spans[2].at("ts").get<double>() == Approx(1.5));
    CHECK(!spans[2].at("args").contains("text"));
    // The other rank starts at zero as well.
    CHECK(spans[3].at("pid") == 1);
    CHECK(spans[3].at("ts") == spans[0].at("ts"));
    CHECK(spans[4].at("dur").get<double>() == Approx(1.994));
}

TEST_CASE("processes and tracks have names, an order, and ids that viewers do not confuse") {
    const json document = json::parse(timeline_text({sample()}));
    std::map<std::pair<int, int>, std::string> track_names;
    std::map<std::pair<int, int>, int> track_order;
    std::map<int, std::string> process_names;
    std::set<int> processes;
    std::set<int> tracks;
    for (const json& event : events(document, "M")) {
        const int pid = event.at("pid");
        const int tid = event.at("tid");
        processes.insert(pid);
        if (event.at("name") == "process_name") process_names[pid] = event.at("args").at("name");
        if (event.at("name") == "thread_name") {
            track_names[{pid, tid}] = event.at("args").at("name");
            CHECK(tracks.insert(tid).second);
        }
        if (event.at("name") == "thread_sort_index")
            track_order[{pid, tid}] = event.at("args").at("sort_index");
    }
    CHECK(process_names == std::map<int, std::string>{{0, "rank 0 (box)"}, {1, "rank 1 (box)"}});
    REQUIRE(track_names.size() == 6);
    for (const auto& [track, name] : track_names) {
        CHECK(track_order.at(track) == (name == "case" ? 0 : name == "compute" ? 1 : 2));
        CHECK(processes.count(track.second) == 0);
        CHECK(track.second > 0);
    }
    for (const json& event : events(document, "X")) {
        CHECK(track_names.at({event.at("pid"), event.at("tid")}) ==
              (event.at("cat") == "compute" ? "compute" : "dispatch"));
    }
}

TEST_CASE("the passes of several cases follow one another on the same tracks") {
    Timeline second = sample();
    second.case_name = "ep";
    for (RankTrace& rank : second.ranks) rank.lanes[1].name = "combine";
    const json document = json::parse(timeline_text({sample(), second}));
    const std::vector<json> passes = cases(document);
    REQUIRE(passes.size() == 4);
    const double end = passes[0].at("ts").get<double>() + passes[0].at("dur").get<double>();
    CHECK(passes[2].at("name") == "ep");
    CHECK(passes[2].at("ts").get<double>() > end);
    std::set<std::string> tracks;
    for (const json& event : events(document, "M"))
        if (event.at("name") == "thread_name") tracks.insert(event.at("args").at("name"));
    CHECK(tracks == std::set<std::string>{"case", "compute", "dispatch", "combine"});
    CHECK(events(document, "X").size() == 12);
}

TEST_CASE("ops that overlap on a lane are refused, ops that touch are not") {
    Timeline timeline = sample();
    CHECK_NOTHROW(timeline_text({timeline}));
    timeline.ranks[1].spans[2].begin_ns -= 1;
    CHECK_THROWS_WITH(timeline_text({timeline}), "rank 1: ops 0 and 1 ran at the same time on lane compute");
    timeline = sample();
    timeline.ranks[0].spans[0].lane = 2;
    CHECK_THROWS_AS(timeline_text({timeline}), Error);
}

TEST_CASE("a pass without ops is a document without events") {
    CHECK(events(json::parse(timeline_text({{"ep", {}}})), "X").empty());
}

TEST_CASE("the file is written whole, and nothing is replaced unasked") {
    std::string folder = (std::filesystem::temp_directory_path() / "eps-timeline-XXXXXX").string();
    REQUIRE(mkdtemp(folder.data()) != nullptr);
    const std::string path = folder + "/new/pass.trace.json";
    write_timeline(path, false, {sample()});
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    CHECK(text.str() == timeline_text({sample()}));
    try {
        write_timeline(path, false, {{"ep", {}}});
        FAIL("an existing timeline was replaced");
    } catch (const Error& error) {
        CHECK(error.status() == Exit::usage);
        CHECK_THAT(error.what(), contains_text("timeline") && contains_text("exists"));
    }
    write_timeline(path, true, {{"ep", {}}});
    CHECK(std::filesystem::file_size(path) < text.str().size());
    int num_files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/new"))
        num_files += entry.exists();
    CHECK(num_files == 1);
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace eps::trace
