#include "config/common_keys.hpp"

#include <string>

#include <nlohmann/json.hpp>

namespace eps::config {

DType read_dtype(ObjectReader& reader, DType fallback) {
    const std::string name = reader.choice("dtype", std::string(name_of(fallback)), {"f32", "bf16"});
    return name == "f32" ? DType::f32 : DType::bf16;
}

void read_link(ObjectReader& reader) {
    if (reader.is_set("link")) {
        ObjectReader link = reader.object("link", {"gb_per_s", "latency_us"});
        constexpr double kSlowest = 1e-9, kFastest = 1e9;
        link.number("gb_per_s", 20, kSlowest, kFastest);
        link.number("latency_us", 5, 0, kFastest);
        reader.refuse_not_built("link", "null");
    }
    reader.resolve("link", nullptr);
}

}  // namespace eps::config
