#include "base/nearest.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace eps {
namespace {

double substitution_cost(char a, char b) {
    if (a == b) return 0;
    const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
    return lower(a) == lower(b) ? 0.5 : 1;
}

}  // namespace

double edit_distance(std::string_view a, std::string_view b) {
    // Three rows of the table are alive: the one being filled and the two before it.
    std::vector<double> before_last(b.size() + 1), last(b.size() + 1), current(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<double>(j);
    for (std::size_t i = 1; i <= a.size(); ++i) {
        current[0] = static_cast<double>(i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            current[j] = std::min(
                {last[j] + 1, current[j - 1] + 1, last[j - 1] + substitution_cost(a[i - 1], b[j - 1])});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                current[j] = std::min(current[j], before_last[j - 2] + 1);
        }
        before_last.swap(last);
        last.swap(current);
    }
    return last[b.size()];
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
    const auto found =
        std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
            return edit_distance(word, a) < edit_distance(word, b);
        });
    return found == known.end() ? std::string() : *found;
}

std::string any_of_names(const std::vector<std::string>& names) {
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
        text += '"' + names[i] + '"';
    }
    return text;
}

}  // namespace eps
