// A calibration as JSON, written and read.
#include "base/error.hpp"
#include "base/json.hpp"
#include "cost/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace eps::cost {

namespace {

using Json = nlohmann::ordered_json;
constexpr const char* kSchema = "eps-bench/calibration";
constexpr std::int64_t kSchemaVersion = 1;

std::string name_of_kind(plan::GemmKind kind) {
    return kind == plan::GemmKind::dense ? "dense" : "group";
}

// A table under the name of its sizes: {"rows": [...], "seconds": [...]}.
void put_table(Json& object, const char* sizes, const TimeTable& table) {
    object[sizes] = table.sizes;
    object["seconds"] = table.seconds;
}

Json json_of(const GemmTimes& gemm) {
    Json made{{"n", gemm.n}, {"k", gemm.k}, {"linear", nullptr}, {"experts", Json::array()}};
    if (!gemm.by_rows.sizes.empty()) {
        made["linear"] = Json::object();
        put_table(made["linear"], "rows", gemm.by_rows);
    }
    for (const ExpertGemmTimes& times : gemm.experts) {
        Json entry{{"kind", name_of_kind(times.kind)}, {"num_experts", times.num_experts}};
        if (times.with_swiglu) entry["with_swiglu"] = true;
        put_table(entry, "rows", times.by_rows);
        made["experts"].push_back(std::move(entry));
    }
    return made;
}

Json json_of(const OpTables& ops) {
    Json made = Json::object();
    for (const auto& [op, table] : ops) put_table(made[op], "bytes", table);
    return made;
}

Json json_of(const DTypeTimes& times) {
    Json made{{"dtype", std::string(name_of(times.dtype))}};
    for (const char* key : {"gemms", "gates", "attentions"}) made[key] = Json::array();
    for (const GemmTimes& gemm : times.gemms) made["gemms"].push_back(json_of(gemm));
    for (const GateTimes& gate : times.gates) {
        Json entry{{"num_experts", gate.num_experts}, {"hidden", gate.hidden}};
        put_table(entry, "rows", gate.by_rows);
        made["gates"].push_back(std::move(entry));
    }
    for (const AttentionTimes& attention : times.attentions) {
        Json entry{{"q_cols", attention.q_cols}, {"out_cols", attention.out_cols}};
        put_table(entry, "tokens", attention.by_tokens);
        made["attentions"].push_back(std::move(entry));
    }
    made["compute_ops"] = json_of(times.compute_ops);
    made["exchange_ops"] = json_of(times.exchange_ops);
    return made;
}

Json body_of(const Calibration& c) {
    Json made{{"about", c.about},
              {"measured",
               {{"machine", c.measured.machine},
                {"libraries", c.measured.libraries},
                {"ranks", c.measured.ranks},
                {"threads", c.measured.threads},
                {"cores_shared", c.measured.cores_shared},
                {"beyond_caches", c.measured.beyond_caches}}},
              {"op_overhead_s", c.op_overhead_s},
              {"lane_hop_s", c.lane_hop_s},
              {"chunk_overhead_s", c.chunk_overhead_s},
              {"segment_overhead_s", c.segment_overhead_s},
              {"exchange_slowdown", c.exchange_slowdown},
              {"gemm_loss", c.gemm_loss},
              {"exchanges", Json::array()},
              {"copy", Json::object()},
              {"network", nullptr},
              {"dtypes", Json::array()}};
    for (const ExchangeTimes& times : c.exchanges) {
        Json entry{{"transport", times.transport}, {"num_messages", times.num_messages}};
        put_table(entry, "bytes", times.by_bytes);
        entry["beside_gemm_seconds"] = times.beside_by_bytes.seconds;
        made["exchanges"].push_back(std::move(entry));
    }
    put_table(made["copy"], "bytes", c.copy);
    if (c.network)
        made["network"] = {{"ranks_per_host", c.network->ranks_per_host},
                           {"gb_per_s", c.network->wire.gb_per_s},
                           {"latency_us", c.network->wire.latency_us}};
    for (const DTypeTimes& times : c.dtypes) made["dtypes"].push_back(json_of(times));
    return made;
}

// FNV-1a, 64 bits.
std::string hash_of_text(const std::string& text) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3U;
    }
    return fmt::format("{:016x}", hash);
}

// Lists of numbers on one line each.
void write_lines(const Json& value, const std::string& indent, std::string& out) {
    const bool flat =
        value.is_primitive() || value.empty() ||
        std::none_of(value.begin(), value.end(), [](const Json& v) { return v.is_structured(); });
    if (!value.is_structured() || (value.is_array() && flat)) {
        out += value.dump();
        return;
    }
    const std::string inner = indent + "  ";
    out += value.is_array() ? "[" : "{";
    const char* comma = "\n";
    for (const auto& [key, element] : value.items()) {
        out += comma + inner;
        if (value.is_object()) out += Json(key).dump() + ": ";
        write_lines(element, inner, out);
        comma = ",\n";
    }
    out += "\n" + indent + (value.is_array() ? "]" : "}");
}

/// An object of the document, read strictly: every key once asked for, none left over.
class Reader {
  public:
    Reader(const nlohmann::json& value, std::string where, std::string pointer)
        : value_(value), where_(std::move(where)), pointer_(std::move(pointer)) {
        if (!value_.is_object()) refuse("", "an object");
    }

    [[noreturn]] void refuse(const std::string& key, const std::string& expected) const {
        const std::string place = key.empty() ? pointer_ : pointer_ + '/' + pointer_part(key);
        const nlohmann::json& found = key.empty() ? value_ : value_.at(key);
        throw Error(Exit::usage, fmt::format("{}: {} is {}, expected {}", where_, place.empty() ? "/" : place,
                                             shown(found), expected));
    }

    const nlohmann::json& get(const std::string& key) {
        known_.insert(key);
        const auto found = value_.find(key);
        if (found == value_.end())
            throw Error(Exit::usage,
                        fmt::format("{}: {}/{} is missing", where_, pointer_, pointer_part(key)));
        return *found;
    }
    bool has(const std::string& key) const { return value_.contains(key); }
    std::string text(const std::string& key) {
        const auto& found = get(key);
        if (!found.is_string()) refuse(key, "a text");
        return found.get<std::string>();
    }
    std::int64_t count(const std::string& key) {
        const auto& found = get(key);
        if (!found.is_number_integer() || found.get<double>() < 1 || found.get<double>() > 9e15)
            refuse(key, "an integer from 1");
        return found.get<std::int64_t>();
    }
    double number(const std::string& key, double least, double most = std::numeric_limits<double>::max()) {
        const auto& found = get(key);
        if (!found.is_number() || !(found.get<double>() >= least && found.get<double>() <= most))
            refuse(key, most < std::numeric_limits<double>::max()
                            ? fmt::format("a number from {:g} to {:g}", least, most)
                            : fmt::format("a number from {}", least));
        return found.get<double>();
    }
    bool boolean(const std::string& key) {
        const auto& found = get(key);
        if (!found.is_boolean()) refuse(key, "true or false");
        return found.get<bool>();
    }
    Reader object(const std::string& key) { return {get(key), where_, pointer_ + '/' + pointer_part(key)}; }
    bool is_null(const std::string& key) { return get(key).is_null(); }

    template <typename F>
    void for_each(const std::string& key, F&& f) {
        const auto& list = get(key);
        if (!list.is_array()) refuse(key, "a list");
        for (std::size_t i = 0; i < list.size(); ++i) {
            Reader entry(list[i], where_, fmt::format("{}/{}/{}", pointer_, pointer_part(key), i));
            f(entry);
            entry.done();
        }
    }
    std::vector<std::string> keys() const {
        std::vector<std::string> names;
        for (const auto& [key, value] : value_.items()) names.push_back(key);
        return names;
    }

    std::vector<double> numbers(const std::string& key) {
        const auto& list = get(key);
        if (!list.is_array() || list.empty()) refuse(key, "a list of at least one number");
        std::vector<double> made;
        for (const auto& element : list) {
            if (!element.is_number() || !(element.get<double>() > 0)) refuse(key, "numbers above 0");
            made.push_back(element.get<double>());
        }
        return made;
    }
    TimeTable table(const std::string& sizes) {
        TimeTable made{numbers(sizes), numbers("seconds")};
        if (std::adjacent_find(made.sizes.begin(), made.sizes.end(), std::greater_equal<>()) !=
            made.sizes.end())
            refuse(sizes, "numbers that ascend");
        if (made.sizes.size() != made.seconds.size())
            refuse("seconds", fmt::format("{} numbers, one for each of /{}", made.sizes.size(), sizes));
        return made;
    }

    void done() const {
        for (const auto& [key, value] : value_.items())
            if (!known_.contains(key))
                throw Error(Exit::usage,
                            fmt::format("{}: {}/{} is not a key of a calibration here; expected {}", where_,
                                        pointer_, pointer_part(key), fmt::join(known_, ", ")));
    }

  private:
    const nlohmann::json& value_;
    std::string where_, pointer_;
    std::set<std::string> known_;
};

GemmTimes read_gemm(Reader& reader) {
    GemmTimes gemm{.n = reader.count("n"), .k = reader.count("k"), .by_rows = {}, .experts = {}};
    if (!reader.is_null("linear")) {
        Reader linear = reader.object("linear");
        gemm.by_rows = linear.table("rows");
        linear.done();
    }
    reader.for_each("experts", [&](Reader& entry) {
        const std::string kind = entry.text("kind");
        if (kind != "group" && kind != "dense") entry.refuse("kind", "\"group\" or \"dense\"");
        gemm.experts.push_back({kind == "dense" ? plan::GemmKind::dense : plan::GemmKind::group,
                                entry.count("num_experts"), entry.table("rows"),
                                entry.has("with_swiglu") && entry.boolean("with_swiglu")});
        const auto& all = gemm.experts;
        if (all.size() > 1 && all[all.size() - 2].kind == all.back().kind &&
            all[all.size() - 2].num_experts >= all.back().num_experts)
            entry.refuse("num_experts", "more than in the entry before it");
    });
    for (const auto kind : {plan::GemmKind::group, plan::GemmKind::dense})
        if (!gemm.experts.empty() && std::ranges::count(gemm.experts, kind, &ExpertGemmTimes::kind) == 0)
            reader.refuse("experts", "entries of both kinds, group and dense, or none at all");
    return gemm;
}

OpTables read_ops(Reader reader) {
    OpTables ops;
    for (const std::string& op : reader.keys()) {
        if (std::ranges::find(plan::kOpNames, op) == std::end(plan::kOpNames))
            reader.refuse(op, "nothing: there is no op of that name");
        Reader entry = reader.object(op);
        ops[op] = entry.table("bytes");
        entry.done();
    }
    return ops;
}

DTypeTimes read_dtype_times(Reader& reader) {
    DTypeTimes times;
    const std::string dtype = reader.text("dtype");
    if (dtype != "f32" && dtype != "bf16") reader.refuse("dtype", "\"f32\" or \"bf16\"");
    times.dtype = dtype == "f32" ? DType::f32 : DType::bf16;
    reader.for_each("gemms", [&](Reader& entry) { times.gemms.push_back(read_gemm(entry)); });
    reader.for_each("gates", [&](Reader& entry) {
        times.gates.push_back({entry.count("num_experts"), entry.count("hidden"), entry.table("rows")});
    });
    reader.for_each("attentions", [&](Reader& entry) {
        times.attentions.push_back({entry.count("q_cols"), entry.count("out_cols"), entry.table("tokens")});
    });
    times.compute_ops = read_ops(reader.object("compute_ops"));
    times.exchange_ops = read_ops(reader.object("exchange_ops"));
    return times;
}

void read_body(Reader& reader, Calibration& made) {
    made.about = reader.text("about");
    Reader measured = reader.object("measured");
    made.measured = {.machine = measured.text("machine"),
                     .libraries = measured.text("libraries"),
                     .ranks = measured.count("ranks"),
                     .threads = measured.count("threads"),
                     .cores_shared = measured.boolean("cores_shared"),
                     .beyond_caches = measured.boolean("beyond_caches")};
    measured.done();
    made.op_overhead_s = reader.number("op_overhead_s", 0);
    made.lane_hop_s = reader.number("lane_hop_s", 0);
    made.chunk_overhead_s = reader.number("chunk_overhead_s", 0);
    made.segment_overhead_s = reader.number("segment_overhead_s", 0);
    made.exchange_slowdown = reader.number("exchange_slowdown", 1);
    made.gemm_loss = reader.number("gemm_loss", 0);
    reader.for_each("exchanges", [&](Reader& entry) {
        ExchangeTimes& times = made.exchanges.emplace_back(
            ExchangeTimes{entry.text("transport"), entry.count("num_messages"), entry.table("bytes"), {}});
        times.beside_by_bytes = {times.by_bytes.sizes, entry.numbers("beside_gemm_seconds")};
        if (times.beside_by_bytes.seconds.size() != times.by_bytes.sizes.size())
            entry.refuse("beside_gemm_seconds", "as many numbers as /bytes");
        const auto& all = made.exchanges;
        if (all.size() > 1 && all[all.size() - 2].transport == all.back().transport &&
            all[all.size() - 2].num_messages >= all.back().num_messages)
            entry.refuse("num_messages", "more than in the entry before it");
    });
    Reader copy = reader.object("copy");
    made.copy = copy.table("bytes");
    copy.done();
    if (!reader.is_null("network")) {
        Reader network = reader.object("network");
        made.network = Network{network.count("ranks_per_host"),
                               {network.number("gb_per_s", 1e-6, 1e9), network.number("latency_us", 0, 1e9)}};
        network.done();
    }
    reader.for_each("dtypes", [&](Reader& entry) { made.dtypes.push_back(read_dtype_times(entry)); });
}

}  // namespace

std::string hash_of(const Calibration& calibration) {
    return hash_of_text(body_of(calibration).dump());
}

std::string to_json(const Calibration& calibration) {
    Json document{{"schema", kSchema}, {"schema_version", kSchemaVersion}, {"hash", hash_of(calibration)}};
    const Json body = body_of(calibration);
    for (const auto& [key, value] : body.items()) document[key] = value;
    std::string text;
    write_lines(document, "", text);
    return text + "\n";
}

Calibration read_calibration(const std::string& text, const std::string& where) {
    const nlohmann::json document = parse_json_strict(text, where, Exit::usage);
    Reader reader(document, where, "");
    if (reader.get("schema") != kSchema) reader.refuse("schema", fmt::format("\"{}\"", kSchema));
    if (reader.get("schema_version") != kSchemaVersion)
        reader.refuse("schema_version", fmt::format("{}", kSchemaVersion));
    Calibration made;
    read_body(reader, made);
    const bool by_hand = reader.is_null("hash");
    reader.done();
    if (const std::string hash = hash_of(made); !by_hand && reader.text("hash") != hash)
        reader.refuse("hash", fmt::format("\"{}\", or null in a file that was written by hand", hash));
    return made;
}

}  // namespace eps::cost
