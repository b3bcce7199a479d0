#include "app/compare_options.hpp"

#include "base/error.hpp"

#include <charconv>
#include <string_view>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

namespace eps {
namespace {

constexpr const char* kAboutCompare =
    "Compares tokens per second in two reports of the same work, case by case. Needs no mpirun.\n"
    "Exit status: 0 compared, 2 cannot be compared, 7 a regression, with --fail-on regression.";

/// "3%" as 3.
double percent_of(const std::string& flag, const std::string& given) {
    double value = 0;
    const char* const end = given.data() + given.size();
    const auto [rest, error] = std::from_chars(given.data(), end, value);
    if (error != std::errc() || std::string_view(rest, end) != "%" || !(value >= 0 && value < 100))
        throw Error(
            Exit::usage,
            fmt::format("{} is '{}', expected a percentage of at least 0% and below 100%, for example 3%",
                        flag, given));
    return value;
}

CompareFormat format_of(const std::string& name) {
    if (name == "table") return CompareFormat::table;
    if (name == "markdown") return CompareFormat::markdown;
    if (name == "json") return CompareFormat::json;
    throw Error(Exit::usage, fmt::format("--format is '{}', expected table, markdown or json", name));
}

}  // namespace

CompareCommand::CompareCommand(CLI::App& app) : command_(app.add_subcommand("compare", kAboutCompare)) {
    command_->add_option("BASE", options_.base_path, "the report to compare with")->required();
    command_->add_option("NEW", options_.new_path, "the new report")->required();
    command_->add_option("--threshold", threshold_, "medians no further apart are the same (3%)")
        ->type_name("PERCENT");
    command_
        ->add_option("--fail-on", fail_on_,
                     "regression: end with status 7 when a case is SLOWER or no longer valid")
        ->type_name("WHAT");
    command_->add_option("--format", format_, "table, markdown or json (table)")->type_name("FORMAT");
    command_->add_option("--output", options_.output_path, "write it to a file and print the table")
        ->type_name("FILE");
    command_->add_flag("--overwrite", options_.overwrite, "replace an existing output");
}

std::optional<CompareOptions> CompareCommand::read() const {
    if (!command_->parsed()) return std::nullopt;
    CompareOptions options = options_;
    options.threshold_percent = percent_of("--threshold", threshold_);
    options.format = format_of(format_);
    if (fail_on_ && *fail_on_ != "regression")
        throw Error(Exit::usage, fmt::format("--fail-on is '{}', expected regression", *fail_on_));
    options.fail_on_regression = fail_on_.has_value();
    return options;
}

}  // namespace eps
