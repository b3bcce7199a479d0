// The command line of `eps-bench compare BASE NEW`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace eps {

enum class CompareFormat : std::uint8_t { table, markdown, json };

struct CompareOptions {
    std::string base_path, new_path;
    double threshold_percent = 3;
    bool fail_on_regression = false;
    CompareFormat format = CompareFormat::table;
    std::optional<std::string> output_path;  // where the document goes; the table still goes to stdout
    bool overwrite = false;                  // of output_path
};

/// The subcommand of `app`, for as long as that parses.
class CompareCommand {
  public:
    explicit CompareCommand(CLI::App& app);
    CompareCommand(const CompareCommand&) = delete;
    CompareCommand& operator=(const CompareCommand&) = delete;

    /// After parsing: what was asked for, or nothing if it was another command. Throws Error(usage).
    std::optional<CompareOptions> read() const;

  private:
    CLI::App* command_;
    CompareOptions options_;
    std::string threshold_ = "3%", format_ = "table";
    std::optional<std::string> fail_on_;
};

}  // namespace eps
