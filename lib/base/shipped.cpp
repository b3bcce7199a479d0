#include "base/shipped.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace eps {
namespace fs = std::filesystem;

std::string find_shipped(const std::string& folder) {
    std::error_code error;
    const fs::path executable = fs::read_symlink("/proc/self/exe", error);
    for (fs::path at = executable; at.has_relative_path();) {
        at = at.parent_path();
        for (const fs::path& candidate : {at / folder, at / "share/eps-bench" / folder})
            if (fs::is_directory(candidate, error)) return candidate.string();
    }
    // A build folder outside of the source tree: this file is SOURCE/lib/base/shipped.cpp.
    const fs::path in_source = fs::path(__FILE__).parent_path().parent_path().parent_path() / folder;
    return fs::is_directory(in_source, error) ? in_source.string() : std::string();
}

std::vector<std::string> shipped_names(const std::string& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(find_shipped(folder), error))
        if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace eps
