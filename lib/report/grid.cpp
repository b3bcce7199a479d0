#include "report/grid.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <fmt/core.h>

namespace eps::report {
namespace {

std::string grid_line(const std::vector<std::string>& cells, const std::vector<Column>& columns,
                      const std::vector<std::size_t>& widths) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        if (i > 0) line += "  ";
        const bool right = columns[i].right_aligned;
        line +=
            right ? fmt::format("{:>{}}", cells[i], widths[i]) : fmt::format("{:<{}}", cells[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
}

std::string escaped(const std::string& cell) {
    std::string text;
    for (const char c : cell) text += c == '|' ? "\\|" : std::string(1, c);
    return text;
}

}  // namespace

std::string to_grid(const std::vector<Column>& columns) {
    std::vector<std::size_t> widths;
    std::vector<std::string> titles, rules;
    for (const Column& column : columns) {
        std::size_t width = column.title.size();
        for (const std::string& cell : column.cells) width = std::max(width, cell.size());
        widths.push_back(width);
        titles.push_back(column.title);
        rules.emplace_back(width, '-');
    }
    std::string text = grid_line(titles, columns, widths) + grid_line(rules, columns, widths);
    const std::size_t num_rows = columns.empty() ? 0 : columns.front().cells.size();
    for (std::size_t row = 0; row < num_rows; ++row) {
        std::vector<std::string> cells;
        for (const Column& column : columns) cells.push_back(column.cells[row]);
        text += grid_line(cells, columns, widths);
    }
    return text;
}

std::string to_markdown_grid(const std::vector<Column>& columns) {
    std::string titles = "|", rules = "|", rows;
    for (const Column& column : columns) {
        titles += ' ' + escaped(column.title) + " |";
        rules += column.right_aligned ? " ---: |" : " --- |";
    }
    const std::size_t num_rows = columns.empty() ? 0 : columns.front().cells.size();
    for (std::size_t row = 0; row < num_rows; ++row) {
        rows += '|';
        for (const Column& column : columns) rows += ' ' + escaped(column.cells[row]) + " |";
        rows += '\n';
    }
    return titles + '\n' + rules + '\n' + rows;
}

std::string rate_text(double value) {
    if (!std::isfinite(value)) return "-";
    const double size = std::abs(value);
    return fmt::format("{:.{}f}", value, size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

}  // namespace eps::report
