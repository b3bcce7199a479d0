#include "base/shipped.hpp"
#include "tests/catch.hpp"

#include <filesystem>

TEST_CASE("shipped folders are found from any working directory") {
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path("/");
    const std::string found = eps::find_shipped("configs/models");
    std::filesystem::current_path(before);
    CHECK(std::filesystem::is_regular_file(std::filesystem::path(found) / "tiny.json"));
    CHECK(eps::shipped_names("configs/models") ==
          std::vector<std::string>{"deepseek-v2", "deepseek-v2-lite", "tiny"});
    CHECK(eps::find_shipped("configs/no-such-folder").empty());
    CHECK(eps::shipped_names("configs/no-such-folder").empty());
}
