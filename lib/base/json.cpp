#include "base/json.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps {
namespace {

using nlohmann::json;

/// Reads a text and keeps, outside of itself (parsers copy iterators), how far reading has come.
class CountingIterator {
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
    reference operator*() const { return *at_; }
    CountingIterator& operator++() {
        ++at_;
        *furthest_ = std::max(*furthest_, at_);
        return *this;
    }
    friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }

  private:
    const char* at_;
    const char** furthest_;
};

/// Follows the parser through objects and arrays, to notice a key seen before and to say where that was.
class KeyWatch {
  public:
    /// Returns false for a key that its object already has.
    bool follow(json::parse_event_t event, const json& parsed) {
        using Event = json::parse_event_t;
        if (event == Event::object_start || event == Event::array_start) {
            open_.push_back({event == Event::array_start, 0, {}, {}});
        } else if (event == Event::object_end || event == Event::array_end) {
            open_.pop_back();
            count_element();
        } else if (event == Event::value) {
            count_element();
        } else {
            open_.back().key = parsed.get<std::string>();
            return open_.back().keys.insert(open_.back().key).second;
        }
        return true;
    }

    std::string pointer() const {
        std::string text;
        for (const Open& open : open_)
            text += '/' + (open.is_array ? std::to_string(open.element_idx) : pointer_part(open.key));
        return text;
    }

  private:
    struct Open {
        bool is_array;
        std::size_t element_idx;
        std::string key;
        std::set<std::string> keys;
    };

    void count_element() {
        if (!open_.empty()) ++open_.back().element_idx;
    }

    std::vector<Open> open_;
};

std::string line_and_column(const std::string& text, std::size_t offset) {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(offset);
    const auto line_start = std::find(std::make_reverse_iterator(end), text.rend(), '\n').base();
    return fmt::format("line {}, column {}", std::count(text.begin(), end, '\n') + 1, end - line_start);
}

/// nlohmann's message without its own prefix ("[json.exception.parse_error.101] parse error at ") and of
/// bounded length.
std::string without_prefix(const std::string& message) {
    std::string text = message.substr(std::min(message.size(), message.find("] ") + 2));
    constexpr std::string_view kParse = "parse error at ";
    if (text.starts_with(kParse)) text.erase(0, kParse.size());
    constexpr std::size_t kLongest = 300;
    if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
    return text;
}

}  // namespace

std::string read_text_file(const std::string& path, Exit status) {
    std::error_code error;
    const auto kind = std::filesystem::status(path, error).type();
    if (kind == std::filesystem::file_type::not_found)
        throw Error(status, fmt::format("{}: no such file", path));
    if (kind == std::filesystem::file_type::directory)
        throw Error(status, fmt::format("{}: is a folder, expected a file", path));
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file.is_open() || file.bad())
        throw Error(status, fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
    return text;
}

json parse_json_strict(const std::string& text, const std::string& where, Exit status) {
    if (std::all_of(text.begin(), text.end(),
                    [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }))
        throw Error(status, fmt::format("{}: is empty, expected a JSON document", where));
    const char* const begin = text.data();
    const char* furthest = begin;
    const auto offset = [&] { return static_cast<std::size_t>(furthest - begin); };
    KeyWatch watch;
    json document;
    try {
        document =
            json::parse(CountingIterator(begin, &furthest), CountingIterator(begin + text.size(), &furthest),
                        [&](int, json::parse_event_t event, const json& parsed) {
                            if (watch.follow(event, parsed)) return true;
                            throw Error(status, fmt::format("{}: {}: duplicate key {} (every key once), {}",
                                                            where, watch.pointer(), shown(parsed),
                                                            line_and_column(text, offset())));
                        });
    } catch (const json::parse_error& error) {
        throw Error(status, fmt::format("{}: not JSON: {}", where, without_prefix(error.what())));
    } catch (const json::exception& error) {
        throw Error(status, fmt::format("{}: {}: {}", where, line_and_column(text, offset()),
                                        without_prefix(error.what())));
    }
    // The parser takes a NUL byte for the end.
    if (offset() != text.size())
        throw Error(status, fmt::format("{}: {}: text after the end of the JSON document", where,
                                        line_and_column(text, offset())));
    return document;
}

std::string shown(const json& value) {
    std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
    constexpr std::size_t kLongest = 60;
    return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

std::string pointer_part(const std::string& key) {
    std::string part;
    for (const char c : key) part += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return part;
}

}  // namespace eps
