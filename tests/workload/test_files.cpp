#include "base/error.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "tests/catch.hpp"
#include "workload/batch.hpp"
#include "workload/routing.hpp"

#include <filesystem>
#include <functional>

#include <unistd.h>

using namespace eps;
using namespace eps::workload;

namespace {

/// A safetensors file that is gone when the test ends.
class TemporaryFile {
  public:
    TemporaryFile(const std::string& name, const std::vector<std::int64_t>& shape,
                  const std::vector<std::int64_t>& values, DType dtype = DType::i64)
        : path(std::filesystem::temp_directory_path() /
               ("eps-workload-" + std::to_string(getpid()) + ".safetensors")) {
        checkpoint::SafetensorsWriter writer(path, "test file", true, {{name, dtype, shape}});
        if (dtype == DType::i64) {
            writer.append(values.data(), static_cast<std::int64_t>(values.size() * sizeof(std::int64_t)));
        } else {
            const std::vector<std::int32_t> narrow(values.begin(), values.end());
            writer.append(narrow.data(), static_cast<std::int64_t>(narrow.size() * sizeof(std::int32_t)));
        }
        writer.commit();
    }
    ~TemporaryFile() { std::filesystem::remove(path); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    const std::string path;
};

void check_refused(const std::function<void()>& act, const std::string& message) {
    try {
        act();
        FAIL("accepted");
    } catch (const Error& error) {
        CHECK(error.status() == Exit::data);
        CHECK_THAT(error.what(), contains_text(message));
    }
}

model::ModelSpec gate_of_groups() {
    model::ModelSpec spec;
    spec.n_routed_experts = 8;
    spec.num_experts_per_tok = 2;
    spec.group_limited = true;
    spec.n_group = 4;
    spec.topk_group = 1;
    return spec;
}

}  // namespace

TEST_CASE("token ids from a file, without its padding") {
    const TemporaryFile file("input_ids", {2, 3}, {4, 5, 6, 7, -1, 99});
    const Batch batch({3, 1});
    const auto ids = make_token_ids(file.path, batch, 10, 1);
    std::vector<std::int32_t> all(4), last(2);
    ids->write({0, 4}, all);
    ids->write({2, 4}, last);
    CHECK(all == std::vector<std::int32_t>{4, 5, 6, 7});
    CHECK(last == std::vector<std::int32_t>{6, 7});
}

TEST_CASE("a file of token ids that does not fit is refused") {
    const Batch batch({3, 3});
    {
        const TemporaryFile file("input_ids", {2, 3}, {4, 5, 6, 7, 10, 0});
        std::vector<std::int32_t> out(6);
        const auto ids = make_token_ids(file.path, batch, 10, 1);
        check_refused(
            [&] {
                ids->write({0, 6}, out);
            },
            "input_ids[1, 1] is 10, expected 0 to 9, the model's vocabulary");
    }
    {
        const TemporaryFile file("input_ids", {1, 6}, {4, 5, 6, 7, 8, 9});
        check_refused([&] { make_token_ids(file.path, batch, 10, 1); },
                      "tensor input_ids is I64 [1, 6], expected int64 [2, 3]");
    }
    {
        const TemporaryFile file("input_ids", {2, 3}, {4, 5, 6, 7, 8, 9}, DType::i32);
        check_refused([&] { make_token_ids(file.path, batch, 10, 1); },
                      "tensor input_ids is I32 [2, 3], expected int64 [2, 3]");
    }
    {
        const TemporaryFile file("ids", {2, 3}, {4, 5, 6, 7, 8, 9});
        check_refused([&] { make_token_ids(file.path, batch, 10, 1); },
                      "tensor input_ids is missing, expected int64 [2, 3]");
    }
    check_refused([&] { make_token_ids("/no/such/file", batch, 10, 1); }, "/no/such/file");
}

TEST_CASE("routing from a file, ascending in each token") {
    const TemporaryFile file("layers.1.topk_ids", {3, 2}, {1, 0, 6, 7, 3, 2});
    const auto routing = make_forced_routing(FileRouting{file.path}, gate_of_groups(), 1, {1}, 3);
    std::vector<std::int32_t> all(6), middle(2);
    routing->write_ids(1, {0, 3}, all);
    routing->write_ids(1, {1, 2}, middle);
    CHECK(all == std::vector<std::int32_t>{0, 1, 6, 7, 2, 3});
    CHECK(middle == std::vector<std::int32_t>{6, 7});
}

TEST_CASE("a file of routing that does not fit is refused") {
    const model::ModelSpec spec = gate_of_groups();
    const auto check = [&](const std::vector<std::int64_t>& ids, const std::string& message) {
        const TemporaryFile file("layers.1.topk_ids", {1, 2}, ids);
        const auto routing = make_forced_routing(FileRouting{file.path}, spec, 1, {1}, 1);
        std::vector<std::int32_t> out(2);
        check_refused([&] { routing->write_ids(1, {0, 1}, out); }, message);
    };
    check({1, 8}, "layers.1.topk_ids, token 0: expert 8, expected 0 to 7");
    check({-1, 0}, "token 0: expert -1, expected 0 to 7");
    check({std::int64_t{1} << 40, 0}, "token 0: expert 1099511627776, expected 0 to 7");
    check({3, 3}, "token 0: expert 3 twice, expected distinct experts");
    check({0, 2}, "token 0: experts of 2 groups, expected at most 1 of the 4");

    const TemporaryFile file("layers.1.topk_ids", {1, 2}, {0, 1});
    check_refused(
        [&] {
            make_forced_routing(FileRouting{file.path}, spec, 1, {1, 2}, 1);
        },
        "tensor layers.2.topk_ids is missing, expected int64 [1, 2]");
    check_refused([&] { make_forced_routing(FileRouting{file.path}, spec, 1, {1}, 5); },
                  "is I64 [1, 2], expected int64 [5, 2]");
}
