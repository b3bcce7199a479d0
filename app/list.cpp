#include "app/list.hpp"

#include "config/run_config.hpp"
#include "model/spec_json.hpp"
#include "schedule/strategies.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace eps {

std::string list_text() {
    std::string text = "strategies\n";
    for (const schedule::Strategy& strategy : schedule::strategies())
        text += fmt::format("  {:<11} {}\n{:14}keys: {}\n", strategy.name, strategy.about, "",
                            fmt::join(strategy.keys, ", "));
    text +=
        "  placement   {\"pp\": 1, \"attention\": {\"tp\": 1, \"dp\": 4}, \"experts\": {\"etp\": 1, \"ep\": "
        "4, "
        "\"edp\": 1}}: any other, with the serial schedule\n";
    text += fmt::format("presets\n  {}\n", fmt::join(model::preset_names(), "\n  "));
    text += "scopes\n";
    for (const config::Scope scope : {config::Scope::model, config::Scope::layer, config::Scope::moe})
        text += fmt::format("  {}\n", config::name_of(scope));
    text += "routing\n  gate\n  uniform\n  zipf (exponent)\n  hot (experts, share)\n  file (path)\n";
    return text;
}

std::string device_text(const backend::Backends& backends) {
    std::string text;
    for (const auto& [name, entry] : backends)
        text += entry.devices == nullptr ? fmt::format("{}: the cores of this machine\n", name)
                                         : fmt::format("{}:\n{}", name, entry.devices());
    return text;
}

}  // namespace eps
