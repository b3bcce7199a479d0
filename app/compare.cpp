#include "app/compare.hpp"

#include "base/json.hpp"
#include "base/output_path.hpp"
#include "report/compare.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <fmt/core.h>

namespace eps {
namespace {

report::PastReport read_report(const std::string& path) {
    return report::read_past_report(read_text_file(path, Exit::usage), path);
}

std::string document_of(const report::Comparison& comparison, CompareFormat format) {
    switch (format) {
        case CompareFormat::table:
            return report::to_table(comparison);
        case CompareFormat::markdown:
            return report::to_markdown(comparison);
        case CompareFormat::json:
            return report::to_json(comparison);
    }
    throw Error(Exit::internal, "unknown format of a comparison");
}

void check_output(const CompareOptions& options) {
    if (!options.output_path) return;
    for (const std::string& input : {options.base_path, options.new_path}) {
        std::error_code none_there;
        if (std::filesystem::equivalent(*options.output_path, input, none_there))
            throw Error(Exit::usage,
                        fmt::format("--output '{}' is one of the reports to compare: give another path",
                                    *options.output_path));
    }
    check_output_path(*options.output_path, "comparison", options.overwrite);
}

void print(const std::string& text) {
    if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
        throw Error(Exit::resource,
                    fmt::format("the comparison cannot be printed: {}", std::strerror(errno)));
}

}  // namespace

Exit run_compare(const CompareOptions& options) {
    check_output(options);
    const report::Comparison comparison = report::compare(
        read_report(options.base_path), read_report(options.new_path), options.threshold_percent);
    const std::string document = document_of(comparison, options.format);
    if (options.output_path) {
        write_output_file(*options.output_path, "comparison", options.overwrite, document);
        print(report::to_table(comparison));
    } else {
        print(document);
    }
    const bool regressed = !comparison.regressions().empty();
    return options.fail_on_regression && regressed ? Exit::regression : Exit::ok;
}

}  // namespace eps
