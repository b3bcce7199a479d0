#include "checkpoint/safetensors_writer.hpp"

#include "base/error.hpp"
#include "checkpoint/convert.hpp"

#include <cctype>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace eps::checkpoint {
namespace {

std::int64_t bytes_of_tensor(const TensorToWrite& tensor) {
    std::int64_t bytes = bytes_of(tensor.dtype);
    for (const std::int64_t size : tensor.shape) bytes *= size;
    return bytes;
}

std::string header_of(const std::vector<TensorToWrite>& tensors) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    std::int64_t offset = 0;
    for (const TensorToWrite& tensor : tensors) {
        std::string dtype(name_of(tensor.dtype));
        for (char& c : dtype) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        const std::int64_t end = offset + bytes_of_tensor(tensor);
        if (header.contains(tensor.name))
            throw Error(Exit::internal, "tensor " + tensor.name + " is to be written twice");
        header[tensor.name] = {{"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
        offset = end;
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // so that data start aligned
    return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::string& what, bool overwrite,
                                     std::vector<TensorToWrite> tensors)
    : file_(path, what, overwrite), tensors_(std::move(tensors)) {
    const std::string header = header_of(tensors_);
    const std::uint64_t length = header.size();
    file_.write(&length, sizeof(length));
    file_.write(header.data(), header.size());
    if (!tensors_.empty()) bytes_to_come_ = bytes_of_tensor(tensors_.front());
    skip_finished_tensors();
}

void SafetensorsWriter::skip_finished_tensors() {
    while (tensor_idx_ < tensors_.size() && bytes_to_come_ == 0)
        if (++tensor_idx_ < tensors_.size()) bytes_to_come_ = bytes_of_tensor(tensors_[tensor_idx_]);
}

void SafetensorsWriter::append(const void* values, std::int64_t bytes) {
    if (bytes == 0) return;
    if (tensor_idx_ == tensors_.size())
        throw Error(Exit::internal, "values beyond the last tensor to be written");
    const TensorToWrite& tensor = tensors_[tensor_idx_];
    if (bytes > bytes_to_come_ || bytes % bytes_of(tensor.dtype) != 0)
        throw Error(Exit::internal, fmt::format("{} bytes for tensor {}, which wants {} more", bytes,
                                                tensor.name, bytes_to_come_));
    file_.write(values, static_cast<std::size_t>(bytes));
    bytes_to_come_ -= bytes;
    skip_finished_tensors();
}

void SafetensorsWriter::append_rows(const Rows& rows) {
    if (rows.num_rows == 0 || rows.num_cols == 0) return;
    if (tensor_idx_ == tensors_.size())
        throw Error(Exit::internal, "rows beyond the last tensor to be written");
    const DType dtype = tensors_[tensor_idx_].dtype;
    std::vector<std::byte> row(static_cast<std::size_t>(rows.num_cols * bytes_of(dtype)));
    for (std::int64_t i = 0; i < rows.num_rows; ++i) {
        const std::byte* const from = rows.data + i * rows.stride * bytes_of(rows.dtype);
        convert_values(from, rows.dtype, row.data(), dtype, rows.num_cols);
        append(row.data(), std::ssize(row));
    }
}

void SafetensorsWriter::commit() {
    if (tensor_idx_ != tensors_.size())
        throw Error(Exit::internal,
                    fmt::format("tensor {} wants {} more bytes", tensors_[tensor_idx_].name, bytes_to_come_));
    file_.commit();
}

}  // namespace eps::checkpoint
