#include "base/json.hpp"
#include "base/random.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/convert.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/synthetic.hpp"
#include "model/catalog.hpp"
#include "model/spec_json.hpp"
#include "tests/checkpoint/files.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <nlohmann/json.hpp>

using namespace eps;
using namespace eps::checkpoint;
using model::Catalog;
using model::ModelSpec;
using nlohmann::json;

namespace {

/// Values that an independent reader found: first, [rows/2, cols/3], last, and the sum.
struct Known {
    std::string name;
    float first, middle, last;
    double sum;
};

void check_case(const std::string& name, std::size_t num_tensors, std::int64_t num_values, double total,
                const std::vector<Known>& known) {
    const ModelSpec spec = model::load_checkpoint_spec(case_folder(name));
    const auto source = open_checkpoint(case_folder(name), spec);
    const Catalog catalog(spec);
    CHECK(catalog.tensors().size() == num_tensors);
    std::int64_t count = 0;
    double sum = 0;
    for (const model::Tensor& tensor : catalog.tensors()) {
        for (const float value : read_all(*source, tensor)) sum += double{value};
        count += tensor.num_values();
    }
    CHECK(count == num_values);
    CHECK(sum == Approx(total).epsilon(1e-12));
    for (const Known& tensor : known) {
        INFO(tensor.name);
        const model::Tensor& shape = *catalog.find(tensor.name);
        const std::vector<float> values = read_all(*source, shape);
        CHECK(values.front() == tensor.first);
        CHECK(values[static_cast<std::size_t>(shape.rows / 2 * shape.cols + shape.cols / 3)] ==
              tensor.middle);
        CHECK(values.back() == tensor.last);
        double sum_of_tensor = 0;
        for (const float value : values) sum_of_tensor += double{value};
        CHECK(sum_of_tensor == Approx(tensor.sum).epsilon(1e-12));
    }
}

/// A tensor to be put into a file, with what can be wrong about it.
struct Entry {
    std::string name, dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
};

std::string file_of(const std::vector<Entry>& entries) {
    json header = json::object();
    std::string data;
    for (const Entry& entry : entries) {
        header[entry.name] = {{"dtype", entry.dtype},
                              {"shape", entry.shape},
                              {"data_offsets", {data.size(), data.size() + entry.bytes.size()}}};
        data += entry.bytes;
    }
    return safetensors_bytes(header.dump(), data);
}

const std::string kSmall =
    R"({"hidden_size": 12, "vocab_size": 10, "intermediate_size": 7, "moe_intermediate_size": 5, "n_routed_experts": 4,
    "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "num_hidden_layers": 3, "num_attention_heads": 2, "q_lora_rank": 6,
    "kv_lora_rank": 4, "v_head_dim": 3, "qk_nope_head_dim": 5, "qk_rope_head_dim": 2})";

ModelSpec small_spec(std::optional<std::int64_t> layers = std::nullopt) {
    return model::load_preset("tiny", kSmall, layers);
}

/// All tensors of the small model, stored as f32, bf16 or f16 (of values that every dtype holds).
std::vector<Entry> small_entries(DType dtype = DType::f32) {
    std::vector<Entry> entries;
    const Catalog catalog(small_spec());
    for (const model::Tensor& tensor : catalog.tensors()) {
        Entry entry{tensor.name, dtype == DType::f32 ? "F32" : dtype == DType::bf16 ? "BF16" : "F16", {}, ""};
        if (!tensor.is_vector) entry.shape.push_back(tensor.rows);
        entry.shape.push_back(tensor.cols);
        for (std::int64_t i = 0; i < tensor.num_values(); ++i) {
            const auto value = static_cast<float>(
                random_bits(stream_key(1, tensor.name), static_cast<std::uint64_t>(i)) % 128);
            const auto wide = std::bit_cast<std::uint32_t>(value);
            const auto half = static_cast<std::uint16_t>(value == 0 ? 0 : (wide >> 13) - (112U << 10));
            const auto narrow = dtype == DType::f16 ? half : static_cast<std::uint16_t>(wide >> 16);
            if (dtype == DType::f32) entry.bytes.append(reinterpret_cast<const char*>(&wide), 4);
            if (dtype != DType::f32) entry.bytes.append(reinterpret_cast<const char*>(&narrow), 2);
        }
        entries.push_back(entry);
    }
    return entries;
}

Entry& entry_named(std::vector<Entry>& entries, const std::string& name) {
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.name == name; });
    REQUIRE(found != entries.end());
    return *found;
}

void write_single(const TemporaryFolder& folder, const std::vector<Entry>& entries) {
    write_file(folder / "model.safetensors", file_of(entries));
}

/// The small model with one thing changed does not open.
void expect_refused(const std::function<void(std::vector<Entry>&)>& change, const std::string& message) {
    const TemporaryFolder folder;
    std::vector<Entry> entries = small_entries();
    change(entries);
    write_single(folder, entries);
    expect_data_error([&] { open_checkpoint(folder.path(), small_spec()); }, message);
    expect_data_error([&] { open_checkpoint(folder.path(), small_spec()); }, "model.safetensors: ");
}

/// Layers 0 and 1 and the embedding in one.safetensors, the rest in two.safetensors, and the index.
json write_sharded(const TemporaryFolder& folder) {
    std::vector<Entry> one, two;
    json weight_map;
    for (const Entry& entry : small_entries()) {
        const bool is_second = entry.name.starts_with("model.layers.2.") || entry.name == "lm_head.weight";
        (is_second ? two : one).push_back(entry);
        weight_map[entry.name] = is_second ? "two.safetensors" : "one.safetensors";
    }
    write_file(folder / "one.safetensors", file_of(one));
    write_file(folder / "two.safetensors", file_of(two));
    const json index{{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}};
    write_file(folder / "model.safetensors.index.json", index.dump());
    return index;
}

}  // namespace

TEST_CASE("the bf16 case in two shards loads completely") {
    check_case("tiny_v2", 198, 339680, 542.4914040006697,
               {{"model.embed_tokens.weight", 0x1p+0F, 0x1.ecp+0F, -0x1.52p+0F, -111.8355712890625},
                {"model.layers.3.mlp.experts.15.down_proj.weight", 0x1.02p-5F, -0x1.06p-4F, 0x1.6ap-2F,
                 2.0068196058273315},
                {"model.layers.2.self_attn.q_b_proj.weight", -0x1.88p-3F, -0x1.06p-3F, 0x1.08p-3F,
                 0.47971534729003906},
                {"model.norm.weight", 0x1.fep-1F, 0x1.02p+0F, 0x1.0cp+0F, 65.828125}});
}

TEST_CASE("the f32 case in one file loads completely") {
    check_case("tiny_v2_lite", 83, 106368, 319.13698384630277,
               {{"model.layers.2.mlp.experts.7.gate_proj.weight", -0x1.c6f134p-6F, -0x1.f9bf7cp-7F,
                 -0x1.ddd816p-5F, -2.8063558090616425},
                {"model.layers.1.self_attn.q_proj.weight", -0x1.2a5abap-2F, -0x1.507c0ep-5F, 0x1.e34d98p-2F,
                 12.212877929945819},
                {"lm_head.weight", -0x1.0c2512p-4F, 0x1.45b778p-3F, -0x1.532aa6p-5F, 6.495309160112811},
                {"model.layers.0.self_attn.kv_a_layernorm.weight", 0x1.04de82p+0F, 0x1.28b59ap+0F,
                 0x1.2a20e2p+0F, 17.02829146385193}});
}

TEST_CASE("f32, bf16 and f16 checkpoints hold the same values") {
    const Catalog catalog(small_spec());
    std::vector<std::vector<float>> first;
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
        const TemporaryFolder folder;
        write_single(folder, small_entries(dtype));
        const auto source = open_checkpoint(folder.path(), small_spec());
        std::vector<std::vector<float>> values;
        for (const model::Tensor& tensor : catalog.tensors()) values.push_back(read_all(*source, tensor));
        if (first.empty()) first = values;
        CHECK(values == first);
        CHECK(*std::max_element(values[0].begin(), values[0].end()) > 100);
    }
}

TEST_CASE("any split of rows and columns gives the values of the whole") {
    const ModelSpec spec = model::load_checkpoint_spec(case_folder("tiny_v2"));
    const auto stored = open_checkpoint(case_folder("tiny_v2"), spec);
    const auto made = synthetic_weights(spec, 5);
    for (const WeightSource* source : {stored.get(), made.get()})
        for (const char* name :
             {"model.layers.2.mlp.experts.15.down_proj.weight", "model.layers.1.self_attn.q_b_proj.weight",
              "model.norm.weight", "lm_head.weight"}) {
            const Catalog catalog(spec);
            const model::Tensor& tensor = *catalog.find(name);
            const std::vector<float> whole = read_all(*source, tensor);
            for (std::uint64_t i = 0; i < 200; ++i) {
                const auto pick = [&](std::uint64_t stream, std::int64_t size) {
                    return static_cast<std::int64_t>(random_bits(stream_key(i, name), stream) %
                                                     static_cast<std::uint64_t>(size));
                };
                const Range rows{pick(0, tensor.rows + 1), tensor.rows - pick(1, tensor.rows + 1)};
                const Range columns =
                    i % 3 == 0 ? Range{0, tensor.cols}
                               : Range{pick(2, tensor.cols + 1), tensor.cols - pick(3, tensor.cols + 1)};
                if (rows.size() < 0 || columns.size() < 0) continue;
                const std::int64_t stride = columns.size() + pick(4, 3);
                std::vector<float> f32(static_cast<std::size_t>(rows.size() * stride) + 1, -77);
                std::vector<Bf16> bf16(f32.size(), Bf16(-77));
                source->read(name, rows, columns, as_rows(f32, rows.size(), columns.size(), stride));
                source->read(name, rows, columns, as_rows(bf16, rows.size(), columns.size(), stride));
                bool is_right = true;
                for (std::int64_t at = 0; at < rows.size() * stride + 1; ++at) {
                    const std::int64_t row = at / std::max<std::int64_t>(stride, 1),
                                       column = at % std::max<std::int64_t>(stride, 1);
                    const bool is_value = row < rows.size() && column < columns.size();
                    const auto in_whole =
                        static_cast<std::size_t>((rows.begin + row) * tensor.cols + columns.begin + column);
                    const float expected = is_value ? whole[in_whole] : -77;
                    const auto index = static_cast<std::size_t>(at);
                    is_right = is_right && f32[index] == expected && bf16[index].bits == Bf16(expected).bits;
                }
                REQUIRE(is_right);
            }
        }
}

TEST_CASE("what lies outside of a tensor cannot be read") {
    const TemporaryFolder folder;
    write_single(folder, small_entries());
    const auto source = open_checkpoint(folder.path(), small_spec());
    std::vector<float> room(1000);
    const auto expect = [&](const std::string& name, Range rows, Range columns, Rows out, Exit status,
                            const std::string& message) {
        try {
            source->read(name, rows, columns, out);
            FAIL("read " << message);
        } catch (const Error& error) {
            CHECK(error.status() == status);
            CHECK_THAT(error.what(), contains_text(message));
        }
    };
    const std::string name = "model.embed_tokens.weight";
    expect("model.layers.3.mlp.gate.weight", {0, 1}, {0, 1}, as_rows(room, 1, 1, 1), Exit::data,
           "no tensor model.layers.3.mlp.gate");
    expect(name, {0, 11}, {0, 1}, as_rows(room, 11, 1, 1), Exit::internal,
           "rows [0, 11) x columns [0, 1) of tensor " + name);
    expect(name, {-1, 1}, {0, 1}, as_rows(room, 2, 1, 1), Exit::internal, "which is 10 x 12");
    expect(name, {0, 1}, {5, 13}, as_rows(room, 1, 8, 8), Exit::internal, "columns [5, 13)");
    expect(name, {3, 2}, {0, 1}, as_rows(room, -1, 1, 1), Exit::internal, "rows [3, 2)");
    expect(name, {0, 2}, {0, 1}, as_rows(room, 3, 1, 1), Exit::internal, "for room of 3 x 1");
    expect(name, {0, 2}, {0, 4}, as_rows(room, 2, 4, 3), Exit::internal, "2 x 4 values");
    Rows wrong = as_rows(room, 1, 1, 1);
    wrong.dtype = DType::f16;
    expect(name, {0, 1}, {0, 1}, wrong, Exit::internal, "read as f16");
}

TEST_CASE("folders and files that are missing") {
    const TemporaryFolder folder;
    const ModelSpec spec = small_spec();
    expect_data_error([&] { open_checkpoint(folder / "none", spec); }, "none: is no folder");
    expect_data_error([&] { open_checkpoint(folder.path(), spec); },
                      "has neither model.safetensors.index.json nor model.safetensors");
    write_file(folder / "model.safetensors", "");
    expect_data_error([&] { open_checkpoint(folder.path(), spec); }, "model.safetensors: has 0 bytes");
    write_sharded(folder);
    CHECK(open_checkpoint(folder.path(), spec) !=
          nullptr);  // the index decides, the broken other file is not looked at
    std::filesystem::remove(folder / "two.safetensors");
    expect_data_error([&] { open_checkpoint(folder.path(), spec); }, "two.safetensors: no such file, but ");
    expect_data_error([&] { open_checkpoint(folder.path(), spec); },
                      "index.json says that it holds tensor model.layers.2.");
}

TEST_CASE("indexes that are broken") {
    const TemporaryFolder folder;
    const json index = write_sharded(folder);
    const ModelSpec spec = small_spec();
    const auto expect = [&](const std::string& text, const std::string& message) {
        write_file(folder / "model.safetensors.index.json", text);
        expect_data_error([&] { open_checkpoint(folder.path(), spec); }, message);
    };
    const auto with_file = [&](const json& file) {
        json changed = index;
        changed["weight_map"]["model.norm.weight"] = file;
        return changed.dump();
    };
    expect("", "model.safetensors.index.json: is empty");
    expect("{", "model.safetensors.index.json: not JSON");
    expect("[]", "has no object weight_map");
    expect("{}", "has no object weight_map");
    expect(R"({"weight_map": []})", "has no object weight_map");
    for (const json& file : {json(3), json(""), json("/etc/passwd"), json("../x"), json("a/b")})
        expect(with_file(file), "/weight_map/model.norm.weight is " + file.dump() +
                                    ", expected the name of a file in this folder");
    expect(with_file("two.safetensors"), "two.safetensors: tensor model.norm.weight is missing, but ");
    expect(with_file("three.safetensors"), "three.safetensors: no such file");
    json changed = index;
    changed["weight_map"].erase("model.norm.weight");
    expect(changed.dump(), "index.json: tensor model.norm.weight is missing");
    expect(R"({"weight_map": {"a": "x", "a": "y"}})", "/weight_map/a: duplicate key");
    write_file(folder / "one.safetensors", read_file(folder / "one.safetensors").substr(0, 3000));
    expect(index.dump(), "one.safetensors: ");
}

TEST_CASE("only files with tensors of built layers are opened") {
    const TemporaryFolder folder;
    json index = write_sharded(folder);
    index["weight_map"]["lm_head.weight"] = "three.safetensors";
    std::vector<Entry> entries = small_entries();
    write_file(folder / "three.safetensors", file_of({entry_named(entries, "lm_head.weight")}));
    write_file(folder / "model.safetensors.index.json", index.dump());
    write_file(folder / "two.safetensors", "broken");
    CHECK(open_checkpoint(folder.path(), small_spec(2)) != nullptr);
    expect_data_error([&] { open_checkpoint(folder.path(), small_spec(3)); }, "two.safetensors: has 6 bytes");
}

TEST_CASE("missing tensors") {
    for (const char* name : {"model.norm.weight", "model.layers.2.mlp.experts.3.up_proj.weight",
                             "lm_head.weight", "model.layers.0.mlp.gate_proj.weight"})
        expect_refused(
            [&](auto& entries) {
                std::erase_if(entries, [&](const Entry& entry) { return entry.name == name; });
            },
            std::string("tensor ") + name + " is missing, expected ");
    expect_refused(
        [](auto& entries) {
            entry_named(entries, "model.layers.1.self_attn.q_a_proj.weight").name =
                "model.layers.1.self_attn.q_a_prog.weight";
        },
        "q_a_proj.weight is missing, expected 6 x 12 values; it has "
        "model.layers.1.self_attn.q_a_prog.weight");
}

TEST_CASE("wrong shapes") {
    const auto shaped = [](const std::string& name, std::vector<std::int64_t> shape) {
        return [=](std::vector<Entry>& entries) {
            Entry& entry = entry_named(entries, name);
            entry.shape = shape;
            std::int64_t bytes = 4;
            for (const std::int64_t size : shape) bytes *= size;
            entry.bytes.resize(static_cast<std::size_t>(bytes));
        };
    };
    expect_refused(shaped("model.layers.1.mlp.gate.weight", {5, 12}),
                   "tensor model.layers.1.mlp.gate.weight has shape [5, 12], expected [4, 12]");
    expect_refused(shaped("model.norm.weight", {1, 12}),
                   "tensor model.norm.weight has shape [1, 12], expected [12]");
    expect_refused(shaped("lm_head.weight", {12, 10}),
                   "tensor lm_head.weight has shape [12, 10], expected [10, 12]");
    expect_refused(shaped("lm_head.weight", {120}),
                   "tensor lm_head.weight has shape [120], expected [10, 12]");
    expect_refused(shaped("lm_head.weight", {0, 12}), "tensor lm_head.weight has shape [0, 12]");
}

TEST_CASE("wrong dtypes") {
    const auto typed = [](const std::string& dtype, std::size_t bytes) {
        return [=](std::vector<Entry>& entries) {
            Entry& entry = entry_named(entries, "model.norm.weight");
            entry.dtype = dtype;
            entry.bytes.resize(bytes);
        };
    };
    expect_refused(typed("F8_E4M3", 12),
                   "tensor model.norm.weight has dtype F8_E4M3, expected BF16, F16 or F32");
    expect_refused(typed("F64", 96), "tensor model.norm.weight has dtype F64, expected");
    expect_refused(typed("I32", 48), "tensor model.norm.weight has dtype I32, expected");
}

TEST_CASE("tensors of another model") {
    const auto added = [](const std::string& name) {
        return [=](std::vector<Entry>& entries) { entries.push_back({name, "F32", {1}, "1234"}); };
    };
    for (const char* name :
         {"model.layers.1.mlp.gate.e_score_correction_bias", "model.layers.0.self_attn.o_proj.bias",
          "model.layers.2.mlp.experts.0.up_proj.weight_scale_inv",
          "model.layers.1.mlp.experts.4.up_proj.weight", "model.norm.bias", "visual.patch_embed.weight",
          "model.layers.x.weight", "model.layers.1"})
        expect_refused(added(name), std::string("tensor ") + name +
                                        " is not one of the model that the config describes (1 such)");
    for (const char* name :
         {"model.layers.1.mlp.experts.gate_up_proj", "model.layers.1.mlp.experts.down_proj"})
        expect_refused(added(name), std::string("tensor ") + name +
                                        " holds all experts in one, expected one tensor per expert");
    expect_refused(
        [&](std::vector<Entry>& entries) {
            std::erase_if(entries, [](const Entry& entry) {
                return entry.name.find("mlp.experts.") != std::string::npos;
            });
            added("model.layers.1.mlp.experts.gate_up_proj")(entries);
        },
        "save it with save_original_format=True");
}

TEST_CASE("tensors that do not count") {
    const TemporaryFolder folder;
    std::vector<Entry> entries = small_entries();
    entries.push_back({"model.layers.3.eh_proj.weight", "F8_E4M3", {1}, "1"});  // of a layer beyond
    entries.push_back({"model.layers.1.self_attn.rotary_emb.inv_freq", "F32", {1}, "1234"});
    write_single(folder, entries);
    CHECK(open_checkpoint(folder.path(), small_spec()) != nullptr);
    CHECK(open_checkpoint(folder.path(), small_spec(1)) != nullptr);
}

TEST_CASE("tied embeddings need no head, and a stored one is not read") {
    ModelSpec spec = small_spec();
    spec.tie_word_embeddings = true;
    const TemporaryFolder folder;
    std::vector<Entry> entries = small_entries();
    write_single(folder, entries);
    const auto source = open_checkpoint(folder.path(), spec);
    std::vector<float> row(12);
    CHECK_THROWS_WITH(source->read("lm_head.weight", {0, 1}, {0, 12}, as_rows(row, 1, 12, 12)),
                      contains_text("no tensor lm_head"));
    std::erase_if(entries, [](const Entry& entry) { return entry.name == "lm_head.weight"; });
    write_single(folder, entries);
    CHECK(open_checkpoint(folder.path(), spec) != nullptr);
    expect_data_error([&] { open_checkpoint(folder.path(), small_spec()); },
                      "tensor lm_head.weight is missing");
}

TEST_CASE("overrides that contradict the checkpoint are errors") {
    const std::string folder = case_folder("tiny_v2");
    const auto expect = [&](const std::string& overrides, const std::string& message) {
        INFO(overrides);
        expect_data_error([&] { open_checkpoint(folder, model::load_checkpoint_spec(folder, overrides)); },
                          message);
    };
    expect(R"({"hidden_size": 32})",
           "has shape [128, 64], expected [128, 32] by the config and /model/overrides");
    expect(R"({"n_routed_experts": 12})", "model.layers.1.mlp.experts.12.");
    expect(R"({"n_routed_experts": 20})", "tensor model.layers.1.mlp.experts.16.gate_proj.weight is missing");
    expect(R"({"num_attention_heads": 2})", "has shape [96, 24], expected [48, 24]");
    expect(R"({"q_lora_rank": null})", "tensor model.layers.0.self_attn.q_proj.weight is missing");
    expect(R"({"n_shared_experts": null})", "shared_experts");
    expect(R"({"attention_bias": true})",
           "tensor model.layers.0.self_attn.q_a_proj.bias is missing, expected 1 x 24");
    expect(R"({"num_hidden_layers": 5})", "tensor model.layers.4.input_layernorm.weight is missing");
    expect(R"({"first_k_dense_replace": 2})", "tensor model.layers.1.mlp.gate_proj.weight is missing");
}

TEST_CASE("files over 4 GiB are read where they are asked for, and nowhere else") {
    // All of the embedding's 5.7 GB but two values are holes of the file.
    const std::string overrides =
        R"({"vocab_size": 700000, "hidden_size": 4096, "tie_word_embeddings": true, "torch_dtype": "bfloat16"})";
    const ModelSpec spec = model::load_preset("tiny", overrides, 1);
    const Catalog catalog(spec);
    json header;
    std::int64_t offset = 0;
    for (const model::Tensor& tensor : catalog.tensors()) {
        const std::int64_t end = offset + 2 * tensor.num_values();
        const json shape = tensor.is_vector ? json{tensor.cols} : json{tensor.rows, tensor.cols};
        header[tensor.name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {offset, end}}};
        offset = end;
    }
    REQUIRE(offset > (std::int64_t{1} << 32) + (std::int64_t{1} << 30));
    const TemporaryFolder folder;
    const std::string text = header.dump(), path = folder / "model.safetensors";
    write_file(path, safetensors_bytes(text, ""));
    const std::int64_t data_start = 8 + static_cast<std::int64_t>(text.size());
    std::filesystem::resize_file(path, static_cast<std::uintmax_t>(data_start + offset));
    const auto put = [&](std::int64_t value_idx, float value) {
        const Bf16 narrow(value);
        const int descriptor = open(path.c_str(), O_WRONLY);
        REQUIRE(pwrite(descriptor, &narrow, 2, data_start + 2 * value_idx) == 2);
        close(descriptor);
    };
    const std::int64_t far_row = 650000;
    put(far_row * 4096 + 4095, 5);
    put(offset / 2 - 1, 7);

    const auto source = open_checkpoint(folder.path(), spec);
    std::vector<float> rows(2 * 4096);
    source->read("model.embed_tokens.weight", {far_row, far_row + 2}, {0, 4096},
                 as_rows(rows, 2, 4096, 4096));
    CHECK(rows[4094] == 0);
    CHECK(rows[4095] == 5);
    CHECK(rows[4096] == 0);
    source->read("model.norm.weight", {0, 1}, {4090, 4096}, as_rows(rows, 1, 6, 6));
    CHECK(rows[5] == 7);
    std::ifstream status("/proc/self/status");
    std::int64_t mapped_kb = -1;
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("RssFile:")) mapped_kb = std::stoll(line.substr(8));
    CHECK(mapped_kb > 0);
    CHECK(mapped_kb < 500'000);
}

TEST_CASE("threads may read at once") {
    const ModelSpec spec = model::load_checkpoint_spec(case_folder("tiny_v2"));
    const auto stored = open_checkpoint(case_folder("tiny_v2"), spec);
    const auto made = synthetic_weights(spec, 5);
    const Catalog catalog(spec);
    std::vector<double> sums(4, 0);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < sums.size(); ++i)
        threads.emplace_back([&, i] {
            for (const model::Tensor& tensor : catalog.tensors())
                for (const WeightSource* source : {stored.get(), made.get()})
                    for (const float value : read_all(*source, tensor)) sums[i] += double{value};
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(sums[0] != 0);
    for (const double sum : sums) CHECK(sum == sums[0]);
}
