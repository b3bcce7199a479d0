#include "workload/routing.hpp"

#include "workload/file_routing.hpp"
#include "workload/hot_routing.hpp"
#include "workload/popularity_routing.hpp"

namespace eps::workload {
namespace {

template <typename... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

}  // namespace

std::string kind_of(const Routing& routing) {
    constexpr const char* kNames[] = {"gate", "uniform", "zipf", "hot", "file"};
    static_assert(std::size(kNames) == std::variant_size_v<Routing>);
    return kNames[routing.index()];
}

std::unique_ptr<ForcedRouting> make_forced_routing(const Routing& routing, const model::ModelSpec& spec,
                                                   std::uint64_t seed,
                                                   const std::vector<std::int64_t>& layers,
                                                   std::int64_t num_tokens) {
    using Made = std::unique_ptr<ForcedRouting>;
    return std::visit(
        Overloaded{
            [](const GateRouting&) { return Made(); },
            [&](const UniformRouting&) { return Made(std::make_unique<PopularityRouting>(spec, seed, 0.0)); },
            [&](const ZipfRouting& zipf) {
                return Made(std::make_unique<PopularityRouting>(spec, seed, zipf.exponent));
            },
            [&](const HotRouting& hot) { return Made(std::make_unique<HotExpertsRouting>(spec, seed, hot)); },
            [&](const FileRouting& file) {
                return Made(std::make_unique<RecordedRouting>(spec, file.path, layers, num_tokens));
            }},
        routing);
}

}  // namespace eps::workload
