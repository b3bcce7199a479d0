#include "config/common_keys.hpp"

#include <string>

#include <nlohmann/json.hpp>

namespace eps::config {

DType read_dtype(ObjectReader& reader, DType fallback) {
    const std::string name = reader.choice("dtype", std::string(name_of(fallback)), {"f32", "bf16"});
    return name == "f32" ? DType::f32 : DType::bf16;
}

std::optional<Link> read_link(ObjectReader& reader, const std::optional<Link>& fallback) {
    std::optional<Link> link = reader.has("link") ? std::nullopt : fallback;
    if (reader.is_set("link")) {
        if (!reader.at("link").is_object())
            reader.refuse("link", R"(null or an object such as {"gb_per_s": 20, "latency_us": 5})");
        ObjectReader numbers = reader.object("link", {"gb_per_s", "latency_us"});
        constexpr double kSlowest = 1e-6, kFastest = 1e9, kLongest = 1e9;
        const Link usual;
        link = Link{numbers.number("gb_per_s", usual.gb_per_s, kSlowest, kFastest),
                    numbers.number("latency_us", usual.latency_us, 0, kLongest)};
    } else if (link) {
        reader.resolve("link", Json{{"gb_per_s", link->gb_per_s}, {"latency_us", link->latency_us}});
    } else {
        reader.resolve("link", nullptr);
    }
    return link;
}

}  // namespace eps::config
