#include "base/random.hpp"
#include "checkpoint/safetensors.hpp"
#include "tests/checkpoint/files.hpp"

#include <nlohmann/json.hpp>

using namespace eps;
using namespace eps::checkpoint;

namespace {

const std::string kTwo =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}})";

std::string two_tensors() {
    return safetensors_bytes(kTwo, std::string(32, '\1'));
}

/// Opens a file of these bytes, which must fail with `message` and the file's name.
void expect_broken(const std::string& bytes, const std::string& message) {
    const TemporaryFolder folder;
    write_file(folder / "x.safetensors", bytes);
    INFO("expected: " << message);
    expect_data_error([&] { Safetensors file(folder / "x.safetensors"); }, message);
    expect_data_error([&] { Safetensors file(folder / "x.safetensors"); }, "x.safetensors: ");
}

/// A file of one tensor "t" whose entry is `entry`, with `num_bytes` of data.
void expect_broken_entry(const std::string& entry, std::size_t num_bytes, const std::string& message) {
    expect_broken(safetensors_bytes("{\"t\":" + entry + "}", std::string(num_bytes, '\0')), message);
}

}  // namespace

TEST_CASE("a right file") {
    const TemporaryFolder folder;
    write_file(folder / "x", two_tensors());
    const Safetensors file(folder / "x");
    REQUIRE(file.tensors().size() == 2);
    const StoredTensor* const a = file.find("a");
    REQUIRE(a != nullptr);
    CHECK(a->dtype == "F32");
    CHECK(a->shape == std::vector<std::int64_t>{2, 3});
    CHECK(a->num_values() == 6);
    CHECK(a->bytes == 24);
    CHECK(file.find("c") == nullptr);
    CHECK(file.integers("b") == std::vector<std::int64_t>{0x0101010101010101});
    CHECK(file.floats("a").size() == 6);
    expect_data_error([&] { file.integers("a"); }, "x: tensor a has dtype F32, expected I64 or I32");
    expect_data_error([&] { file.floats("b"); }, "x: tensor b has dtype I64, expected F32, BF16 or F16");
    expect_data_error([&] { file.integers("bb"); }, "x: has no tensor bb; nearest: b");
}

TEST_CASE("odd but right files") {
    const TemporaryFolder folder;
    write_file(folder / "empty", safetensors_bytes("{}", ""));
    CHECK(Safetensors(folder / "empty").tensors().empty());
    // A scalar, an empty tensor, padding after the header, and data that are not aligned.
    write_file(folder / "odd",
               safetensors_bytes(R"({"u":{"dtype":"U8","shape":[],"data_offsets":[0,1]},)"
                                 R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[1,1]},)"
                                 R"("i":{"dtype":"I32","shape":[2],"data_offsets":[1,9]},)"
                                 R"("h":{"dtype":"F4","shape":[2],"data_offsets":[9,10]}}   )",
                                 std::string("x\1\0\0\0\xff\xff\xff\xff_", 10)));
    const Safetensors odd(folder / "odd");
    CHECK(odd.find("u")->num_values() == 1);
    CHECK(odd.floats("e").empty());
    CHECK(odd.integers("i") == std::vector<std::int64_t>{1, -1});
    CHECK(odd.tensors().size() == 4);
}

TEST_CASE("files that cannot be opened") {
    const TemporaryFolder folder;
    expect_data_error([&] { Safetensors file(folder / "none"); }, "none: cannot be opened: No such file");
    expect_data_error([&] { Safetensors file(folder.path()); }, "is not a regular file");
}

TEST_CASE("truncated files") {
    expect_broken("", "has 0 bytes: too short");
    expect_broken("1234567", "has 7 bytes: too short");
    const std::string whole = two_tensors();
    expect_broken(whole.substr(0, 8), "is longer than the file of 8 (truncated");
    expect_broken(whole.substr(0, 30), "is longer than the file of 30 (truncated");
    expect_broken(whole.substr(0, whole.size() - 1),
                  "tensor b: its data end at byte 32 but the file holds 31 bytes of data");
    expect_broken(whole.substr(0, whole.size() - 32), "bytes of data (truncated?)");
    expect_broken(whole + "x", "1 bytes at its end belong to no tensor");
}

TEST_CASE("headers that are none") {
    expect_broken("not a safetensors file at all", "is longer than the file");
    expect_broken(std::string(8, '\xff') + std::string(100, ' '),
                  "its header of 18446744073709551615 bytes is longer");
    expect_broken(safetensors_bytes("", ""), "header: is empty");
    expect_broken(safetensors_bytes("{", ""), "header: not JSON");
    expect_broken(safetensors_bytes("[]", ""), "its header is [], expected an object");
    expect_broken(safetensors_bytes(std::string("{}\0 ", 4), ""), "header: line 1");
    expect_broken(safetensors_bytes(R"({"__metadata__":3})", ""),
                  "__metadata__ is 3, expected an object of texts");
    expect_broken(safetensors_bytes(R"({"__metadata__":{"a":1}})", ""), "expected an object of texts");
}

TEST_CASE("a header longer than the format allows") {
    const TemporaryFolder folder;
    const std::uint64_t length = 100'000'001;
    write_file(folder / "x", std::string(reinterpret_cast<const char*>(&length), 8));
    std::filesystem::resize_file(folder / "x", 200'000'000);
    expect_data_error([&] { Safetensors file(folder / "x"); }, "longer than the format allows");
}

TEST_CASE("entries that are broken") {
    expect_broken_entry("3", 4, "tensor t: has no dtype in the header");
    expect_broken_entry(R"({"shape":[1],"data_offsets":[0,4]})", 4, "tensor t: has no dtype in the header");
    expect_broken_entry(R"({"dtype":"F32","data_offsets":[0,4]})", 4, "tensor t: has no shape in the header");
    expect_broken_entry(R"({"dtype":"F32","shape":[1]})", 4, "tensor t: has no data_offsets in the header");
    const auto dtype = [](const std::string& text) {
        return "{\"dtype\":" + text + R"(,"shape":[1],"data_offsets":[0,4]})";
    };
    expect_broken_entry(dtype("\"F33\""), 4, "tensor t: dtype is \"F33\", which is none of safetensors'");
    expect_broken_entry(dtype("\"f32\""), 4, "tensor t: dtype is \"f32\"");
    expect_broken_entry(dtype("32"), 4, "tensor t: dtype is 32");
    expect_broken_entry(dtype("null"), 4, "tensor t: dtype is null");
    const auto shape = [](const std::string& text) {
        return R"({"dtype":"F32","shape":)" + text + R"(,"data_offsets":[0,4]})";
    };
    for (const char* text :
         {"[-1]", "[1.5]", "[\"1\"]", "1", "null", "[[1]]", "[18446744073709551615]", "[1e2]", "{\"a\":1}"})
        expect_broken_entry(shape(text), 4,
                            std::string("tensor t: shape is ") +
                                (std::string(text) == "[1e2]" ? "[100.0]" : text) +
                                ", expected a list of integers from 0 up");
    expect_broken_entry(shape("[4294967296,4294967296]"), 4,
                        "tensor t: shape [4294967296, 4294967296] is too large for any file");
    expect_broken_entry(shape("[9223372036854775807]"), 4, "is too large for any file");
    expect_broken_entry(shape("[2]"), 4, "tensor t: data_offsets [0,4] hold 4 bytes, expected 8 for F32 [2]");
    expect_broken_entry(shape("[0]"), 4, "hold 4 bytes, expected 0 for F32 [0]");
    expect_broken_entry(R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})", 2,
                        "shape [3] does not fill whole bytes");
    const auto offsets = [](const std::string& text) {
        return R"({"dtype":"F32","shape":[1],"data_offsets":)" + text + "}";
    };
    for (const char* text : {"[0]", "[0,4,8]", "[-4,0]", "[0.0,4]", "\"0,4\"", "null", "[0,\"4\"]"})
        expect_broken_entry(offsets(text), 4,
                            std::string("tensor t: data_offsets are ") + text + ", expected two integers");
    expect_broken_entry(offsets("[4,0]"), 4, "tensor t: data_offsets [4,0] run backwards");
    expect_broken_entry(offsets("[0,8]"), 4,
                        "tensor t: its data end at byte 8 but the file holds 4 bytes of data");
    expect_broken_entry(offsets("[9223372036854775803,9223372036854775807]"), 4,
                        "its data end at byte 9223372036854775807");
    expect_broken_entry(offsets("[4,8]"), 8, "4 bytes before tensor t belong to no tensor");
    expect_broken(safetensors_bytes("{\"t\\nu\":3}", ""), "tensor t?u: has no dtype");
}

TEST_CASE("tensors that overlap, leave gaps or come twice") {
    const auto two = [](const std::string& first, const std::string& second) {
        const std::string entry = R"({"dtype":"F32","shape":[2],"data_offsets":)";
        return "{\"p\":" + entry + first + "},\"q\":" + entry + second + "}}";
    };
    expect_broken(safetensors_bytes(two("[0,8]", "[4,12]"), std::string(12, 'x')),
                  "tensors p and q overlap in the file");
    expect_broken(safetensors_bytes(two("[4,12]", "[0,8]"), std::string(12, 'x')),
                  "tensors q and p overlap in the file");
    expect_broken(safetensors_bytes(two("[0,8]", "[0,8]"), std::string(8, 'x')), "overlap in the file");
    expect_broken(safetensors_bytes(two("[0,8]", "[12,20]"), std::string(20, 'x')),
                  "4 bytes before tensor q belong to no tensor");
    const std::string entry = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
    expect_broken(safetensors_bytes("{\"p\":" + entry + ",\"p\":" + entry + "}", "xxxx"),
                  "/p: duplicate key \"p\"");
}

TEST_CASE("any damage is an error or leaves a readable file, never a crash") {
    const TemporaryFolder folder;
    const std::string path = folder / "x";
    const std::string whole = two_tensors();
    const std::size_t num_header_bytes = 8 + kTwo.size();
    int num_refused = 0, num_read = 0;
    const auto open = [&](const std::string& bytes) {
        write_file(path, bytes);
        try {
            const Safetensors file(path);
            for (const StoredTensor& tensor : file.tensors()) {
                unsigned sum = 0;  // touch every byte
                for (std::int64_t i = 0; i < tensor.bytes; ++i)
                    sum += static_cast<unsigned>(file.data(tensor)[i]);
                REQUIRE(sum < 256U * static_cast<unsigned>(bytes.size()));
            }
            ++num_read;
        } catch (const Error& error) {
            REQUIRE(error.status() == Exit::data);
            ++num_refused;
        }
    };
    for (std::size_t length = 0; length < whole.size(); ++length) open(whole.substr(0, length));
    CHECK(num_read == 0);
    for (std::size_t at = 0; at < num_header_bytes; ++at)
        for (const unsigned flip : {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U, 255U}) {
            std::string bytes = whole;
            bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ flip);
            open(bytes);
        }
    const std::uint64_t key = stream_key(1, "damage");
    for (std::uint64_t i = 0; i < 4000; ++i) {
        std::string bytes = whole;
        for (std::uint64_t j = 0; j < 1 + i % 4; ++j) {
            const std::uint64_t bits = random_bits(key, 16 * i + j);
            bytes[bits % num_header_bytes] = "0123456789-.,:[]{}\"eEFI \0"[(bits >> 32) % 25];
        }
        if (i % 8 == 0) bytes.erase(random_bits(key, 16 * i + 8) % bytes.size(), 1 + i % 5);
        if (i % 8 == 1) bytes.insert(random_bits(key, 16 * i + 8) % bytes.size(), "9");
        open(bytes);
    }
    CHECK(num_refused > 3000);
    CHECK(num_read > 0);
}

TEST_CASE("the references of the cases can be read") {
    const Safetensors file(case_folder("tiny_v2") + "/reference.safetensors");
    const std::vector<std::int64_t> ids = file.integers("input_ids");
    CHECK(ids.size() == 48);
    CHECK(std::all_of(ids.begin(), ids.end(), [](std::int64_t id) { return 0 <= id && id < 128; }));
    CHECK(file.find("input_ids")->shape == std::vector<std::int64_t>{2, 24});
    CHECK(file.floats("logits_last").size() == 2 * 128);
    CHECK(file.integers("layers.1.topk_ids").size() == 48 * 3);
}
