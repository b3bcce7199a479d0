// Events behind ops, lists on their way to kernels, recorded stretches.
#include "backend/cuda/graph.hpp"
#include "backend/cuda/lists.hpp"
#include "backend/cuda/span_clock.hpp"
#include "backend/cuda/streams.hpp"
#include "base/range.hpp"
#include "comm/progress.hpp"
#include "tests/catch.hpp"

#include <vector>

using namespace eps;
using namespace eps::backend::cuda;

TEST_CASE("an op is done when the first event behind it has passed") {
    const Streams streams(true);
    Marks marks;
    for (int pass = 0; pass < 3; ++pass) {  // events are used again
        marks.begin_pass();
        const cudaEvent_t second = marks.mark(0, 2, streams[0]), fifth = marks.mark(0, 5, streams[0]);
        const cudaEvent_t other = marks.mark(1, 3, streams[1]);
        CHECK(second != fifth);
        CHECK(marks.after(0, 0) == second);
        CHECK(marks.after(0, 2) == second);
        CHECK(marks.after(0, 3) == fifth);
        CHECK(marks.after(0, 6) == nullptr);
        CHECK(marks.after(1, 1) == other);
        CHECK(marks.after(2, 0) == nullptr);
        CHECK(cudaStreamSynchronize(streams[0]) == cudaSuccess);
        CHECK(cudaEventQuery(fifth) == cudaSuccess);
    }
}

TEST_CASE("lists arrive in the order of the stream, until a pass has too many") {
    const Streams streams(false);
    const DeviceBytes device(Lists::kBytes, "lists");
    Lists lists(device.data());
    const std::vector<std::int64_t> values{3, 1, 4, 1, 5}, others{9, 2, 6};
    const std::int32_t* const first = lists.put(values, streams[0]);
    const std::int32_t* const second = lists.put(others, streams[0]);
    std::vector<std::int32_t> found(values.size() + others.size());
    CHECK(cudaStreamSynchronize(streams[0]) == cudaSuccess);
    CHECK(cudaMemcpy(found.data(), first, 20, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(cudaMemcpy(found.data() + 5, second, 12, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(found == std::vector<std::int32_t>{3, 1, 4, 1, 5, 9, 2, 6});
    const std::vector<std::int64_t> many(at(Lists::kBytes / 4));
    CHECK_THROWS_AS(lists.put(many, streams[0]), Error);
    lists.reset();
    CHECK(lists.take(Lists::kBytes) == nullptr);
    CHECK(lists.take(1000) != lists.take(1000));
    CHECK(lists.put(values, streams[0]) != first);
    lists.reset();
    CHECK(lists.put(many, streams[0]) == first);
    CHECK(cudaStreamSynchronize(streams[0]) == cudaSuccess);
}

TEST_CASE("a graph repeats what was recorded, with what memory holds then") {
    const Streams streams(false);
    const DeviceBytes from(1000, "numbers"), to(1000, "numbers");
    const auto copy = [&] {
        CHECK(cudaMemcpyAsync(to.data(), from.data(), 1000, cudaMemcpyDeviceToDevice, streams[0]) ==
              cudaSuccess);
    };
    Graph graph, broken;
    CHECK(graph.empty());
    graph.record(streams[0], copy);
    CHECK(!graph.empty());
    CHECK_THROWS_AS(broken.record(streams[0], [] { throw Error(Exit::internal, "no"); }), Error);
    CHECK(broken.empty());
    for (const int value : {1, 2}) {
        CHECK(cudaMemsetAsync(from.data(), value, 1000, streams[0]) == cudaSuccess);
        graph.launch(streams[0]);
        std::vector<char> found(1000);
        CHECK(cudaStreamSynchronize(streams[0]) == cudaSuccess);
        CHECK(cudaMemcpy(found.data(), to.data(), 1000, cudaMemcpyDeviceToHost) == cudaSuccess);
        CHECK(found == std::vector<char>(1000, static_cast<char>(value)));
    }
}

TEST_CASE("spans lie between the host's times around them") {
    const Streams streams(false);
    SpanClock clock;
    const std::int64_t before_ns = comm::steady_now_ns();
    clock.begin_pass(streams[0]);
    clock.begin(streams[0], {.lane = 1, .op = 7});
    clock.end(streams[0]);
    CHECK(cudaStreamSynchronize(streams[0]) == cudaSuccess);
    const std::int64_t after_ns = comm::steady_now_ns();
    const auto spans = clock.take();
    REQUIRE(spans.size() == 1);
    CHECK(spans[0].op == 7);
    CHECK(spans[0].begin_ns >= before_ns);
    CHECK(spans[0].end_ns >= spans[0].begin_ns);
    CHECK(spans[0].end_ns <= after_ns + 1'000'000);
    CHECK(clock.take().empty());
}
