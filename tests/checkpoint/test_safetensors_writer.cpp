#include "checkpoint/safetensors.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "tests/checkpoint/files.hpp"

#include <numeric>

using namespace eps;
using namespace eps::checkpoint;

namespace {

const std::vector<TensorToWrite> kTensors{{"embed", DType::f32, {3, 4}},
                                          {"nothing", DType::f32, {0, 4}},
                                          {"layers.1.topk_ids", DType::i64, {3, 2}},
                                          {"narrow", DType::bf16, {1, 4}}};

std::size_t num_files(const TemporaryFolder& folder) {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
        count += entry.is_regular_file() ? 1 : 0;
    return count;
}

}  // namespace

TEST_CASE("what is written can be read back") {
    const TemporaryFolder folder;
    const std::string path = folder / "new/folder/dump.safetensors";
    std::vector<float> embed(12);
    std::iota(embed.begin(), embed.end(), -3.0F);
    const std::vector<std::int64_t> ids{5, 0, -1, 9'000'000'000, 7, 8};
    SafetensorsWriter writer(path, "dump", false, kTensors);
    writer.append(embed.data(), 4);  // pieces of any size
    writer.append(embed.data() + 1, 7 * 4);
    writer.append_rows(as_rows(embed, 3, 4, 4).slice(2, 3));
    writer.append(ids.data(), 48);
    writer.append_rows(as_rows(embed, 1, 4, 4));
    CHECK_FALSE(std::filesystem::exists(path));
    writer.commit();
    CHECK(num_files(folder) == 1);
    const Safetensors file(path);
    CHECK(file.tensors().size() == 4);
    CHECK(file.floats("embed") == embed);
    CHECK(file.find("embed")->shape == std::vector<std::int64_t>{3, 4});
    CHECK(file.find("embed")->offset % 8 == 0);
    CHECK(file.integers("layers.1.topk_ids") == ids);
    CHECK(file.find("nothing")->shape == std::vector<std::int64_t>{0, 4});
    CHECK(file.find("narrow")->dtype == "BF16");
    CHECK(file.floats("narrow") == std::vector<float>{-3, -2, -1, 0});
}

TEST_CASE("bf16 rows with a stride become f32") {
    const TemporaryFolder folder;
    std::vector<Bf16> values;
    for (int i = 0; i < 10; ++i) values.emplace_back(static_cast<float>(i) * 0.5F);
    SafetensorsWriter writer(folder / "x", "dump", false, {{"t", DType::f32, {2, 3}}});
    writer.append_rows(as_rows(values, 2, 3, 5));
    writer.commit();
    CHECK(Safetensors(folder / "x").floats("t") == std::vector<float>{0, 0.5F, 1, 2.5F, 3, 3.5F});
}

TEST_CASE("a file without tensors") {
    const TemporaryFolder folder;
    SafetensorsWriter(folder / "x", "dump", false, {}).commit();
    CHECK(Safetensors(folder / "x").tensors().empty());
}

TEST_CASE("nothing is left behind, and nothing is overwritten unasked") {
    const TemporaryFolder folder;
    const float value = 1;
    {
        SafetensorsWriter writer(folder / "x", "dump", false, {{"t", DType::f32, {2}}});
        writer.append(&value, 4);
        CHECK_THROWS_WITH(writer.commit(), contains_text("tensor t wants 4 more bytes"));
        CHECK_THROWS_WITH(writer.append(&value, 8),
                          contains_text("8 bytes for tensor t, which wants 4 more"));
        CHECK_THROWS_WITH(writer.append(&value, 2), contains_text("2 bytes for tensor t"));
        writer.append(&value, 4);
        CHECK_THROWS_WITH(writer.append(&value, 4), contains_text("values beyond the last tensor"));
    }
    CHECK(num_files(folder) == 0);
    write_file(folder / "x", "precious");
    try {
        SafetensorsWriter writer(folder / "x", "dump", false, {});
        FAIL("an existing file was accepted");
    } catch (const Error& error) {
        CHECK(error.status() == Exit::usage);
        CHECK_THAT(error.what(), contains_text("dump path"));
        CHECK_THAT(error.what(), contains_text("exists already"));
    }
    CHECK(read_file(folder / "x") == "precious");
    SafetensorsWriter(folder / "x", "dump", true, {}).commit();
    CHECK(Safetensors(folder / "x").tensors().empty());
    CHECK_THROWS_WITH(
        SafetensorsWriter(folder / "y", "dump", false, {{"t", DType::f32, {1}}, {"t", DType::f32, {1}}}),
        contains_text("tensor t is to be written twice"));
    CHECK(num_files(folder) == 1);
}
