#include "base/error.hpp"
#include "report/report_file.hpp"
#include "tests/catch.hpp"
#include "tests/report/sample_report.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include <nlohmann/json.hpp>
#include <stdlib.h>

using namespace eps::report;
namespace fs = std::filesystem;

namespace {

struct TemporaryFolder {
    fs::path path;
    TemporaryFolder() {
        std::string name = (fs::temp_directory_path() / "eps-report-XXXXXX").string();
        path = mkdtemp(name.data());
    }
    ~TemporaryFolder() { fs::remove_all(path); }
    std::string operator/(const std::string& name) const { return (path / name).string(); }
};

nlohmann::json document_at(const std::string& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("a report file is made by the first write and replaced by the next") {
    const TemporaryFolder folder;
    ReportFile file(folder / "new/report.json", false);
    REQUIRE_FALSE(fs::exists(folder / "new"));
    Report report = sample_report();
    report.results.resize(1);
    file.write(report);
    REQUIRE(document_at(file.path())["results"].size() == 1);
    file.write(sample_report());
    REQUIRE(document_at(file.path())["results"].size() == 5);
    REQUIRE(std::distance(fs::directory_iterator(folder / "new"), fs::directory_iterator()) == 1);
}

TEST_CASE("an existing report is refused at once, with status 2, or overwritten when asked") {
    const TemporaryFolder folder;
    std::ofstream(folder / "report.json") << "mine";
    try {
        ReportFile(folder / "report.json", false);
        FAIL("no error");
    } catch (const eps::Error& error) {
        REQUIRE(error.status() == eps::Exit::usage);
    }
    ReportFile file(folder / "report.json", true);
    file.write(sample_report());
    REQUIRE(document_at(file.path())["schema"] == "eps-bench/report");
}

TEST_CASE("an interruption keeps what has finished, and has the last word") {
    const TemporaryFolder folder;
    ReportFile file(folder / "report.json", false);
    REQUIRE_FALSE(file.write_interrupted("2026-02-01T00:00:00Z"));
    REQUIRE_FALSE(fs::exists(file.path()));
    Report report = sample_report();
    report.results.clear();
    file.hold(report);
    REQUIRE_FALSE(fs::exists(file.path()));
    report.results = sample_report().results;
    file.write(report);
    REQUIRE(document_at(file.path())["run"]["interrupted"] == false);
    REQUIRE(document_at(file.path())["run"]["utc_end"].is_null());

    REQUIRE(file.write_interrupted("2026-02-01T00:00:00Z"));
    report.results.clear();
    file.write(report);
    const auto document = document_at(file.path());
    REQUIRE(document["run"]["interrupted"] == true);
    REQUIRE(document["run"]["utc_end"] == "2026-02-01T00:00:00Z");
    REQUIRE(document["results"].size() == 5);
}

TEST_CASE("an interruption before the first case leaves what was held") {
    const TemporaryFolder folder;
    ReportFile file(folder / "report.json", false);
    Report report = sample_report();
    report.results.clear();
    file.hold(report);
    REQUIRE(file.write_interrupted("2026-02-01T00:00:00Z"));
    REQUIRE(document_at(file.path())["results"].empty());
}

TEST_CASE("readers meet whole documents while two threads write") {
    const TemporaryFolder folder;
    ReportFile file(folder / "report.json", false);
    Report report = sample_report();
    file.write(report);
    std::atomic<bool> done = false;
    std::thread writer([&] {
        for (int i = 0; i < 50; ++i) file.write(report);
        file.write_interrupted("2026-02-01T00:00:00Z");
        done = true;
    });
    int num_read = 0;
    for (; !done || num_read == 0; ++num_read) REQUIRE(document_at(file.path())["results"].size() == 5);
    for (int i = 0; i < 10; ++i) file.write(report);
    writer.join();
    REQUIRE(document_at(file.path())["run"]["interrupted"] == true);
}
