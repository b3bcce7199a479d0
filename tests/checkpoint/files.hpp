// Folders and safetensors files for tests, right ones and broken ones.
#pragma once

#include "base/error.hpp"
#include "base/rows.hpp"
#include "checkpoint/weight_source.hpp"
#include "model/catalog.hpp"
#include "tests/catch.hpp"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <unistd.h>

/// A folder of its own, gone at the end of the test.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        static int counter = 0;
        path_ = std::filesystem::temp_directory_path() /
                ("eps_test_" + std::to_string(getpid()) + "_" + std::to_string(counter++));
        std::filesystem::create_directories(path_);
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    std::string path() const { return path_.string(); }
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }

  private:
    std::filesystem::path path_;
};

inline void write_file(const std::string& path, const std::string& bytes) {
    std::filesystem::remove(path);  // some file systems flush a file that is truncated and rewritten
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// A safetensors file's bytes: the header's length, the header, the data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    std::string bytes(sizeof(length), '\0');
    std::memcpy(bytes.data(), &length, sizeof(length));
    return bytes + header + data;
}

inline std::string case_folder(const std::string& name) {
    return std::string(EPS_SOURCE_DIR) + "/tests/data/cases/" + name;
}

/// Runs `action`, which must throw Error(data) with one line that contains `message`.
template <typename Action>
void expect_data_error(Action&& action, const std::string& message) {
    std::string found = "no error";
    auto status = eps::Exit::ok;
    try {
        action();
    } catch (const eps::Error& error) {
        found = error.what();
        status = error.status();
    }
    INFO(found);
    CHECK(status == eps::Exit::data);
    CHECK_THAT(found, contains_text(message));
    CHECK(found.find('\n') == std::string::npos);
}

/// A view of `values` as num_rows x num_cols f32 or bf16 rows.
template <typename T>
eps::Rows as_rows(std::vector<T>& values, std::int64_t num_rows, std::int64_t num_cols, std::int64_t stride) {
    constexpr auto kDType = sizeof(T) == 2 ? eps::DType::bf16 : eps::DType::f32;
    return {reinterpret_cast<std::byte*>(values.data()), kDType, num_rows, num_cols, stride};
}

/// All values of a tensor, row by row.
inline std::vector<float> read_all(const eps::checkpoint::WeightSource& source,
                                   const eps::model::Tensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(tensor.num_values()));
    source.read(tensor.name, {0, tensor.rows}, {0, tensor.cols},
                as_rows(values, tensor.rows, tensor.cols, tensor.cols));
    return values;
}
