#include "base/error.hpp"
#include "report/environment.hpp"
#include "report/sha256.hpp"
#include "tests/catch.hpp"

#include <ctime>
#include <set>
#include <string>

#include <sched.h>
#include <stdlib.h>

using namespace eps::report;

TEST_CASE("SHA-256 of the standard's examples") {
    REQUIRE(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    REQUIRE(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    REQUIRE(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    REQUIRE(
        sha256_hex(
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
            "mnopqrstnopqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    REQUIRE(sha256_hex(std::string(1000000, 'a')) ==
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    REQUIRE(sha256_hex("\xbd") == "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b");
    REQUIRE(sha256_hex(std::string(55, '\0')) ==
            "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7");
    REQUIRE(sha256_hex(std::string(56, '\0')) ==
            "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb");
    REQUIRE(sha256_hex(std::string(64, '\0')) ==
            "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
}

TEST_CASE("only variables of the allow-list are reported") {
    setenv("EPS_TEST_VARIABLE", "a=b", 1);
    setenv("OMP_TEST_EMPTY", "", 1);
    setenv("OMPI_MCA_btl", "self", 1);
    setenv("OMPI_MCA_orte_hnp_uri", "hidden", 1);
    setenv("SECRET_TOKEN", "hidden", 1);
    setenv("MY_EPS_VARIABLE", "hidden", 1);
    const auto variables = allowed_variables();
    REQUIRE(variables.at("EPS_TEST_VARIABLE") == "a=b");
    REQUIRE(variables.at("OMP_TEST_EMPTY").empty());
    REQUIRE(variables.at("OMPI_MCA_btl") == "self");
    REQUIRE(variables.count("OMPI_MCA_orte_hnp_uri") == 0);
    REQUIRE(variables.count("SECRET_TOKEN") == 0);
    REQUIRE(variables.count("MY_EPS_VARIABLE") == 0);
    REQUIRE(variables.count("PATH") == 0);
    unsetenv("EPS_TEST_VARIABLE");
    unsetenv("OMP_TEST_EMPTY");
}

TEST_CASE("this host and its hardware threads") {
    const Host host = this_host();
    REQUIRE_FALSE(host.name.empty());
    REQUIRE_FALSE(host.cpu_model.empty());
    REQUIRE(host.num_cpus >= 1);
    REQUIRE(host.memory_bytes > 64 << 20);
    const auto cpus = allowed_cpus();
    REQUIRE(cpus.size() >= 1);

    cpu_set_t before, one;
    REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(cpus.back()), &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    const auto bound = allowed_cpus();
    REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
    REQUIRE(bound == std::vector<std::int64_t>{cpus.back()});
}

TEST_CASE("hosts and ranks come through their encoding, each host once") {
    const Host a{"a", "cpu \"x\"", 4, 1LL << 40}, b{"b", "cpu y", 2, 1};
    Environment environment;
    add_ranks(environment, {encode(a, {0, "a", {0, 2}, 2, {}}), encode(b, {1, "b", {}, 1, "GPU 0"}),
                            encode(a, {2, "a", {3}, 1, {}})});
    REQUIRE(environment.hosts == std::vector<Host>{a, b});
    REQUIRE(environment.ranks.size() == 3);
    REQUIRE(environment.ranks[0].cpus == std::vector<std::int64_t>{0, 2});
    REQUIRE(environment.ranks[0].threads == 2);
    REQUIRE_FALSE(environment.ranks[0].device.has_value());
    REQUIRE(environment.ranks[1].device == "GPU 0");
    REQUIRE(environment.ranks[2].rank == 2);
    REQUIRE(environment.ranks[2].host == "a");
    REQUIRE_THROWS_AS(add_ranks(environment, {"["}), eps::Error);
}

TEST_CASE("instants") {
    const std::string utc = utc_now();
    std::tm parts{};
    const char* end = strptime(utc.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
    REQUIRE(end == utc.c_str() + utc.size());
    REQUIRE(utc.size() == std::string("2026-01-31T23:59:58Z").size());
    REQUIRE(std::abs(std::difftime(timegm(&parts), std::time(nullptr))) <= 2);
    REQUIRE(file_stamp("2026-01-31T23:59:58Z") == "20260131T235958Z");
}

TEST_CASE("run ids are random UUIDs") {
    std::set<std::string> ids;
    for (int i = 0; i < 64; ++i) {
        const std::string id = new_run_id();
        std::string shape;
        for (const char c : id)
            shape += std::string("0123456789abcdef").find(c) != std::string::npos ? 'x' : c;
        REQUIRE(shape == "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        REQUIRE(id[14] == '4');
        REQUIRE(std::string("89ab").find(id[19]) != std::string::npos);
        ids.insert(id);
    }
    REQUIRE(ids.size() == 64);
}
