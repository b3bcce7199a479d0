// Device kernels over rows, each against its twin: real and odd shapes, gaps between rows, both dtypes.
#include "base/random.hpp"
#include "tests/kernels/cuda/device_matrix.hpp"

#include <cmath>

using namespace eps;
using namespace eps::kernels;

namespace {

struct Shape {
    std::int64_t rows, cols, gap;
};
const std::vector<Shape> kShapes{{0, 64, 0},    {1, 1, 0},     {3, 7, 0},    {5, 64, 0},
                                 {5, 64, 8},    {33, 96, 3},   {7, 1536, 0}, {17, 2048, 0},
                                 {11, 5120, 0}, {4, 5120, 16}, {3, 8191, 1}, {2, 24576, 0}};

template <typename F>
void for_shapes(F&& f) {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const Shape& shape : kShapes) {
            INFO(name_of(dtype) << " " << shape.rows << " x " << shape.cols << " gap " << shape.gap);
            f(dtype, shape);
        }
}

/// Lists of 0 to 6 rows of `num_rows` for each of `count` sums.
struct Lists {
    std::vector<std::int32_t> starts{0}, index;
    std::vector<float> weights;
};
Lists lists(std::int64_t count, std::int64_t num_rows) {
    Lists made;
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(count); ++i) {
        for (std::uint64_t j = 0; j < i % 7; ++j) {
            made.index.push_back(
                static_cast<std::int32_t>(random_bits(3, 8 * i + j) % static_cast<std::uint64_t>(num_rows)));
            made.weights.push_back(random_normal(4, 8 * i + j));
        }
        made.starts.push_back(static_cast<std::int32_t>(made.index.size()));
    }
    return made;
}

}  // namespace

TEST_CASE("gather_rows moves bits") {
    for_shapes([](DType dtype, Shape shape) {
        const Matrix in = Matrix::normal(dtype, 20, shape.cols, 1, shape.gap);
        std::vector<std::int32_t> index;
        for (std::int64_t i = 0; i < shape.rows; ++i)
            index.push_back(static_cast<std::int32_t>((7 * i) % 20));
        const Matrix expected(dtype, shape.rows, shape.cols, shape.gap);
        twin.pack_rows(in, index, expected, 1);
        const DeviceMatrix from(in), to(Matrix(dtype, shape.rows, shape.cols, shape.gap));
        const DeviceArray<std::int32_t> order(index);
        device::gather_rows(nullptr, from, order.get(), to);
        CHECK(same_bits(to.host(), expected));
    });
}

TEST_CASE("gather_ranges moves the rows of its ranges and no others") {
    // More ranges than one launch takes, some of them empty.
    const std::int64_t num_ranges = device::kMostRanges + 3, num_rows = 3 * num_ranges;
    std::vector<std::int64_t> ranges;
    for (std::int64_t i = 0; i < num_ranges; ++i) {
        ranges.push_back(3 * i);
        ranges.push_back(3 * i + i % 3);
    }
    std::vector<std::int32_t> index;
    for (std::int64_t i = 0; i < num_rows; ++i) index.push_back(static_cast<std::int32_t>((7 * i) % 20));
    for_shapes([&](DType dtype, Shape shape) {
        const Matrix in = Matrix::normal(dtype, 20, shape.cols, 1, shape.gap);
        const Matrix before = Matrix::normal(dtype, num_rows, shape.cols, 2, shape.gap);
        const Matrix all(dtype, num_rows, shape.cols, shape.gap);
        twin.pack_rows(in, index, all, 1);
        const DeviceMatrix from(in), to(before);
        const DeviceArray<std::int32_t> order(index);
        device::gather_ranges(nullptr, from, order.get(), ranges, to);
        const Matrix found = to.host();
        std::int64_t num_wrong = 0;
        for (std::int64_t row = 0; row < num_rows; ++row)
            for (std::int64_t col = 0; col < shape.cols; ++col) {
                const bool in_range = row % 3 < (row / 3) % 3;
                num_wrong += found.at(row, col) != (in_range ? all : before).at(row, col);
            }
        CHECK(num_wrong == 0);

        // Some of the rows lie apart.
        const Range apart{10, 25};
        const DeviceMatrix rest(before), others(before);
        device::gather_ranges(nullptr, from, order.get(), std::vector<std::int64_t>{5, 12, 20, 30}, rest,
                              {apart, others});
        const Matrix in_rest = rest.host(), in_others = others.host();
        num_wrong = 0;
        for (std::int64_t row = 0; row < num_rows; ++row)
            for (std::int64_t col = 0; col < shape.cols; ++col) {
                const auto gathered = [&](std::int64_t i) {
                    return (i >= 5 && i < 12) || (i >= 20 && i < 30);
                };
                const bool here = gathered(row) && !apart.contains(row);
                const std::int64_t there = row + apart.begin;
                const bool moved = apart.contains(there) && gathered(there);
                num_wrong += in_rest.at(row, col) != (here ? all : before).at(row, col);
                num_wrong += in_others.at(row, col) != (moved ? all.at(there, col) : before.at(row, col));
            }
        CHECK(num_wrong == 0);
    });
}

TEST_CASE("rms_norm is its twin's") {
    for_shapes([](DType dtype, Shape shape) {
        const Matrix in = Matrix::normal(dtype, shape.rows, shape.cols, 1, shape.gap);
        const Matrix weight = Matrix::normal(dtype, 1, shape.cols, 2);
        const Matrix expected(dtype, shape.rows, shape.cols, shape.gap);
        twin.rms_norm(in, weight, 1e-6, expected, 1);
        const DeviceMatrix from(in), scale(weight), to(Matrix(dtype, shape.rows, shape.cols, shape.gap));
        device::rms_norm(nullptr, from, scale, 1e-6, to);
        CHECK(excess_error(to.host(), expected, dtype == DType::bf16 ? 2 : 0) < 3e-6);
    });
}

TEST_CASE("swiglu is its twin's") {
    for_shapes([](DType dtype, Shape shape) {
        const Matrix in = Matrix::normal(dtype, shape.rows, 2 * shape.cols, 1, shape.gap, 3);
        const Matrix expected(dtype, shape.rows, shape.cols, shape.gap);
        twin.swiglu(in, expected, 1);
        const DeviceMatrix from(in), to(Matrix(dtype, shape.rows, shape.cols, shape.gap));
        device::swiglu(nullptr, from, to);
        CHECK(excess_error(to.host(), expected, dtype == DType::bf16 ? 1 : 0) < 2e-6);
    });
}

TEST_CASE("add_bias adds one row to all") {
    for_shapes([](DType dtype, Shape shape) {
        const Matrix bias = Matrix::normal(dtype, 1, shape.cols, 2);
        const Matrix x = Matrix::normal(dtype, shape.rows, shape.cols, 1, shape.gap);
        const DeviceMatrix on_device(x), row(bias);
        device::add_bias(nullptr, row, on_device);
        const Matrix found = on_device.host();
        for (std::int64_t i = 0; i < shape.rows; ++i)
            for (std::int64_t c = 0; c < shape.cols; ++c)
                REQUIRE(found.at(i, c) == rounded_to(dtype, x.at(i, c) + bias.at(0, c)));
    });
}

TEST_CASE("sums of rows have the twins' bits, or nearly where products are fused") {
    for_shapes([](DType dtype, Shape shape) {
        const Matrix in = Matrix::normal(dtype, 20, shape.cols, 1, shape.gap);
        const Matrix shared = Matrix::normal(dtype, shape.rows, shape.cols, 2);
        const Matrix residual = Matrix::normal(dtype, shape.rows, shape.cols, 3, shape.gap);
        const Lists l = lists(shape.rows, 20);
        const DeviceMatrix from(in), on_side(shared);
        const DeviceArray<std::int32_t> starts(l.starts), index(l.index);
        const DeviceArray<float> weights(l.weights);
        const Matrix expected(dtype, shape.rows, shape.cols, shape.gap);

        twin.local_reduce(in, l.starts, l.index, l.weights, expected, 1);
        const DeviceMatrix reduced(Matrix(dtype, shape.rows, shape.cols, shape.gap));
        device::local_reduce(nullptr, from, starts.get(), index.get(), weights.get(), reduced);
        CHECK(excess_error(reduced.host(), expected, dtype == DType::bf16 ? 1 : 0) < 1e-6);

        const Range apart{1, shape.rows};  // all but the first lie apart
        const DeviceMatrix rest(Matrix(dtype, shape.rows, shape.cols, shape.gap)), others(residual);
        device::local_reduce(nullptr, from, starts.get(), index.get(), weights.get(), rest, {apart, others});
        const Matrix whole = reduced.host(), in_rest = rest.host(), in_others = others.host();
        std::int64_t num_wrong = 0;
        for (std::int64_t row = 0; row < shape.rows; ++row)
            for (std::int64_t col = 0; col < shape.cols; ++col)
                num_wrong +=
                    (row == 0 ? in_rest.at(0, col) : in_others.at(row - 1, col)) != whole.at(row, col);
        CHECK(num_wrong == 0);

        for (const bool with_shared : {false, true})
            for (const bool with_residual : {false, true}) {
                const DeviceMatrix out(residual);
                const Rows side = shared.rows(), old = residual.rows();
                twin.unpack_sum(in, l.starts, l.index, with_shared ? &side : nullptr,
                                with_residual ? &old : nullptr, expected, 1);
                device::unpack_sum(nullptr, from, starts.get(), index.get(),
                                   with_shared ? &on_side.rows() : nullptr,
                                   with_residual ? &out.rows() : nullptr, out);
                CHECK(same_bits(out.host(), expected));
            }

        const std::vector<Rows> parts{residual.rows(), shared.rows(), residual.rows()};
        twin.sum_rows(parts, expected, 1);
        const DeviceMatrix a(residual);
        device::sum_rows(nullptr, std::vector<Rows>{a.rows(), on_side.rows(), a.rows()}, a);
        CHECK(same_bits(a.host(), expected));
    });
}

TEST_CASE("unpack_sum without a map takes row i for row i") {
    const Matrix in = Matrix::normal(DType::bf16, 9, 5120, 1);
    const Matrix residual = Matrix::normal(DType::bf16, 9, 5120, 2);
    const DeviceMatrix from(in), out(residual);
    device::unpack_sum(nullptr, from, nullptr, nullptr, nullptr, &out.rows(), out);
    const Matrix expected(DType::bf16, 9, 5120);
    twin.sum_rows(std::vector<Rows>{in.rows(), residual.rows()}, expected, 1);
    CHECK(same_bits(out.host(), expected));
}

TEST_CASE("rope has its twin's bits") {
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const std::int64_t heads : {1, 3, 16, 128}) {
            const std::int64_t rows = 13, rope_dim = 64, stride = 192, offset = 128;
            RopeTable table;
            for (int i = 0; i < rope_dim / 2; ++i)
                table.inverse_frequencies.push_back(std::pow(1e4, -i / 32.0));
            table.cos_sin_factor = 1.3;
            std::vector<std::int32_t> positions;
            for (std::int32_t i = 0; i < rows; ++i) positions.push_back((i * 37) % 500);
            std::vector<float> cos_sin;
            for (int position = 0; position < 500; ++position)
                for (const double frequency : table.inverse_frequencies) {
                    cos_sin.push_back(static_cast<float>(std::cos(position * frequency) * 1.3));
                    cos_sin.push_back(static_cast<float>(std::sin(position * frequency) * 1.3));
                }
            const Matrix x = Matrix::normal(dtype, rows, heads * stride, 1, 5);
            const DeviceMatrix on_device(x);
            const DeviceArray<std::int32_t> where(positions);
            const DeviceArray<float> angles(cos_sin);
            device::rope(nullptr, on_device, where.get(), angles.get(), rope_dim / 2, heads, stride, offset);
            twin.rope(x, positions, table, heads, stride, offset, 1);
            CHECK(same_bits(on_device.host(), x));
        }
}

TEST_CASE("fill_normal makes the host's weights") {
    for_shapes([](DType dtype, Shape shape) {
        const Matrix expected(dtype, shape.rows, shape.cols, shape.gap);
        const std::uint64_t key = stream_key(1, "model.layers.3.mlp.gate.weight");
        for (std::int64_t i = 0; i < shape.rows; ++i)
            for (std::int64_t c = 0; c < shape.cols; ++c) {
                const auto position = static_cast<std::uint64_t>((i + 5) * 30000 + c + 11);
                set(expected.rows(), i, c, random_normal(key, position) * 0.03F + 0.5F);
            }
        const DeviceMatrix out(Matrix(dtype, shape.rows, shape.cols, shape.gap));
        device::fill_normal(nullptr, key, 0.5F, 0.03F, 30000, 5, 11, out);
        CHECK(same_bits(out.host(), expected));
    });
}
