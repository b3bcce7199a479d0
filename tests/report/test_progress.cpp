#include "report/progress.hpp"
#include "tests/catch.hpp"

#include <string>
#include <vector>

using namespace eps::report;

namespace {

const ProgressState kMeasuring{1, 9, "eps chunks=4", "measuring", 7, 100, 11.2};

}  // namespace

TEST_CASE("the progress line says case, phase, passes and time left") {
    REQUIRE(progress_text(kMeasuring, 100) == "[2/9] eps chunks=4: measuring, pass 7/100, about 12 s left");
    REQUIRE(progress_text({0, 1, "ep", "weights", 0, 0, {}}, 100) == "[1/1] ep: weights");
    REQUIRE(progress_text({0, 1, "ep", "weights", 0, 0, 300.0}, 100) ==
            "[1/1] ep: weights, about 5 min left");
    REQUIRE(progress_text({0, 1, "ep", "weights", 0, 0, 9000.0}, 100) ==
            "[1/1] ep: weights, about 2.5 h left");
    REQUIRE(progress_text(kMeasuring, 20) == "[2/9] eps chunks=4: ");
}

TEST_CASE("the line is drawn over itself and erased at the end") {
    std::vector<std::string> drawn;
    {
        Progress progress(true, [&](const std::string& bytes) { drawn.push_back(bytes); });
        progress.show(kMeasuring);
        ProgressState next = kMeasuring;
        next.num_passes = 8;
        progress.show(next);  // too soon to be drawn
        next.phase = "tracing";
        progress.show(next);  // another phase is drawn at once
        progress.clear();
        progress.clear();  // nothing left to erase
        progress.show(next);
    }
    REQUIRE(drawn.size() == 5);
    REQUIRE_THAT(drawn[0], contains_text("\r\x1b[K[2/9] eps chunks=4: measuring, pass 7/100"));
    REQUIRE_THAT(drawn[1], contains_text("tracing, pass 8/100"));
    REQUIRE(drawn[2] == "\r\x1b[K");
    REQUIRE_THAT(drawn[3], contains_text("tracing"));
    REQUIRE(drawn[4] == "\r\x1b[K");
}

TEST_CASE("without a terminal nothing is drawn") {
    int num_drawn = 0;
    {
        Progress progress(false, [&](const std::string&) { ++num_drawn; });
        progress.show(kMeasuring);
    }
    REQUIRE(num_drawn == 0);
}
