// Tables in text: columns with titles, for a terminal and for Markdown.
#pragma once

#include <string>
#include <vector>

namespace eps::report {

struct Column {
    std::string title;
    bool right_aligned = false;
    std::vector<std::string> cells;  // the same number in every column of a table
};

/// Aligned with blanks: titles, a rule, one line a row; lines end in newlines, no trailing blanks.
std::string to_grid(const std::vector<Column>& columns);

/// The same as a table of GitHub's Markdown.
std::string to_markdown_grid(const std::vector<Column>& columns);

/// Four digits or so: nobody reads more from a table. "-" for what is not finite.
std::string rate_text(double value);

}  // namespace eps::report
