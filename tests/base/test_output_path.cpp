#include "base/error.hpp"
#include "base/output_path.hpp"
#include "tests/catch.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <stdlib.h>

namespace fs = std::filesystem;

namespace {

/// A folder of its own, removed at the end.
struct TemporaryFolder {
    fs::path path;
    TemporaryFolder() {
        std::string name = (fs::temp_directory_path() / "eps-output-XXXXXX").string();
        path = mkdtemp(name.data());
    }
    ~TemporaryFolder() { fs::remove_all(path); }
    std::string operator/(const std::string& name) const { return (path / name).string(); }
};

std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::ptrdiff_t num_entries(const fs::path& folder) {
    return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

}  // namespace

TEST_CASE("a file is written whole, and missing folders are made") {
    const TemporaryFolder folder;
    const std::string path = folder / "a/b/report.json";
    eps::check_output_path(path, "report", false);
    REQUIRE_FALSE(fs::exists(folder / "a"));  // a check makes nothing
    const std::string text("zero \0 inside", 13);
    eps::write_output_file(path, "report", false, text);
    REQUIRE(text_of(path) == text);
    REQUIRE(num_entries(folder.path / "a/b") == 1);
}

TEST_CASE("what is there stays, unless overwriting is asked for") {
    const TemporaryFolder folder;
    const std::string path = folder / "report.json";
    std::ofstream(path) << "old";
    REQUIRE_THROWS_WITH(eps::check_output_path(path, "report", false), contains_text("exists already"));
    REQUIRE_THROWS_WITH(eps::write_output_file(path, "report", false, "new"), contains_text("--overwrite"));
    REQUIRE(text_of(path) == "old");
    eps::write_output_file(path, "report", true, "new");
    REQUIRE(text_of(path) == "new");
    REQUIRE(num_entries(folder.path) == 1);
}

TEST_CASE("a file that appears while another is written wins") {
    const TemporaryFolder folder;
    const std::string path = folder / "report.json";
    {
        eps::OutputFile file(path, "report", false);
        file.write("new", 3);
        std::ofstream(path) << "old";
        REQUIRE_THROWS_WITH(file.commit(), contains_text("exists already"));
    }
    REQUIRE(text_of(path) == "old");
    REQUIRE(num_entries(folder.path) == 1);
}

TEST_CASE("a file that is not committed leaves nothing") {
    const TemporaryFolder folder;
    {
        eps::OutputFile file(folder / "dump", "dump", false);
        file.write("half", 4);
        REQUIRE(num_entries(folder.path) == 1);
    }
    REQUIRE(num_entries(folder.path) == 0);
}

TEST_CASE("paths that cannot be files are refused with a reason and status 2") {
    const TemporaryFolder folder;
    std::ofstream(folder / "file") << "x";
    const auto refused = [&](const std::string& path, const std::string& reason) {
        INFO(path);
        REQUIRE_THROWS_WITH(eps::check_output_path(path, "report", true), contains_text(reason));
        try {
            eps::check_output_path(path, "report", true);
        } catch (const eps::Error& error) {
            REQUIRE(error.status() == eps::Exit::usage);
            REQUIRE_THAT(error.what(), contains_text("report path '" + path + "'"));
        }
    };
    refused("", "names no file");
    refused(folder / "new/", "names no file");
    refused(folder.path.string(), "is a folder");
    refused(folder / "file/report.json", "not a folder");
    refused(folder / "file/deeper/report.json", "not a folder");
    refused("/dev/null", "not a regular file");
    refused(folder / std::string(300, 'n'), "File name too long");
    refused("/proc/report.json", "no file can be made");  // not even by root
}
