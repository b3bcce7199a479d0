#include "report/table.hpp"
#include "tests/catch.hpp"
#include "tests/report/sample_report.hpp"

#include <string>

using namespace eps::report;

TEST_CASE("the table of a report with every kind of case") {
    REQUIRE(to_table(sample_report()) ==
            R"(sample: deepseek-v2-lite 4 layers, scope model, cpu, 1024 tokens, 2 ranks x 1 thread

strategy   placement  chunks  dtype  link          tokens/s  interval        speed  exposed  verdict
---------  ---------  ------  -----  ------------  --------  --------------  -----  -------  -------
ep                            f32    none              2000  [1990, 2010]    1.00x     50 %  VALID
eps                   4       f32    none              2240  [2100, 2400]    1.12x      6 %  NOISY
eps                   auto:5  f32    none              2200  2100..2300      1.10x     50 %  VALID
tp                            f32    none                 -  -                   -     50 %  INVALID
placement  tp=2,ep=2          bf16   20 GB/s 5 us     31.50  [31.50, 31.50]  1.00x        -  VALID

interval: of the median at 95 %, or min..max with fewer than 6 samples
speed: against the first case of the same dtype and link
exposed: share of exchange time while compute idles
NOISY: valid, but the interval is wider than asked for
tp: INVALID: reference: layer 3 differs by 0.5, bound 0.0001
eps chunks=4: ORACLE
all cases: 2 ranks share 1 core
)");
}

TEST_CASE("columns appear only for parameters that vary") {
    Report report = sample_report();
    report.results.resize(1);
    report.results[0].link = R"({"gb_per_s": 12.5, "latency_us": 5})";
    report.environment.ranks.resize(1);
    report.run.config = R"({"name": "one", "model": {"checkpoint": "/data/tiny/"}})";
    report.run.interrupted = true;
    REQUIRE(to_table(report) == R"(one: tiny, f32, link 12.5 GB/s 5 us, 1024 tokens, 1 rank x 1 thread

strategy  tokens/s  interval      speed  exposed  verdict
--------  --------  ------------  -----  -------  -------
ep            2000  [1990, 2010]  1.00x     50 %  VALID

interval: of the median at 95 %, or min..max with fewer than 6 samples
speed: against the first case of the same dtype and link
exposed: share of exchange time while compute idles
NOISY: valid, but the interval is wider than asked for
ep: 2 ranks share 1 core
interrupted: cases are missing
)");
}

TEST_CASE("a key that some cases do not use varies only among those that do") {
    Report report = sample_report();
    report.results.resize(2);
    report.results[0].params = R"({"strategy": "ep", "dedup": true, "overlap": false})";
    report.results[1].params = R"({"strategy": "eps", "chunks": 4, "dedup": true, "overlap": true})";
    REQUIRE_THAT(to_table(report), contains_text("\nstrategy  overlap  tokens/s  "));
}

TEST_CASE("a report without results says so") {
    Report report = sample_report();
    report.results.clear();
    report.run.config = "{}";
    REQUIRE(to_table(report) == "run: 2 ranks x 1 thread\nno case finished\n");
}
