// The client against a server that does all that servers do.
#include "luce/base/http.h"

#include <gtest/gtest.h>

#include <atomic>

#include "data/temporary_folder.h"
#include "luce/base/json.h"
#include "support/http_server.h"

namespace luce {
namespace {

using std::chrono::milliseconds;
using test::Answer;
using test::Asked;
using test::HttpServer;
using How = test::Answer::How;
using Clock = std::chrono::steady_clock;

HttpOptions quick() {
  return {.deadline = milliseconds(120'000),
          .first_wait = milliseconds(2),
          .max_wait = milliseconds(10)};
}

HttpReply reply_of(const std::string& url, const HttpOptions& options = quick()) {
  HttpClient client(options);
  return client.post({{url, "{}"}}).at(0);
}

/// The problem that the server's answer makes, without the server's address.
std::string problem_of(const Answer& answer, const HttpOptions& options = quick()) {
  const HttpServer server([&](const Asked&) { return answer; });
  const HttpReply reply = reply_of(server.url("/score?key=secret"), options);
  EXPECT_FALSE(reply.body.has_value());
  const std::string address = server.url("/score");
  EXPECT_EQ(reply.problem.substr(0, address.size()), address) << reply.problem;
  return "URL" + reply.problem.substr(address.size());
}

TEST(Http, PostsJsonAndGivesWhatCameInOrder) {
  const HttpServer server([](const Asked& asked) {
    return Answer{.body = "got " + asked.body + " at " + asked.path,
                  .headers = {{"X-Version", "7"}}};
  });
  HttpClient client(quick());
  std::vector<HttpRequest> requests;
  for (int i = 0; i < 40; ++i) requests.push_back({server.url(cat("/", i)), cat("[", i, "]")});
  const auto replies = client.post(requests);
  ASSERT_EQ(replies.size(), 40U);
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(replies[static_cast<size_t>(i)].body, cat("got [", i, "] at /", i));
    EXPECT_EQ(replies[static_cast<size_t>(i)].problem, "");
    EXPECT_EQ(replies[static_cast<size_t>(i)].headers.at("x-version"), "7");
  }
  for (const auto& asked : server.asked()) {
    EXPECT_EQ(asked.method, "POST");
    EXPECT_EQ(asked.headers.at("content-type"), "application/json");
    EXPECT_FALSE(asked.headers.contains("authorization"));
    EXPECT_FALSE(asked.headers.contains("expect"));
  }
  EXPECT_LE(server.connections(), 8);
  EXPECT_TRUE(client.post({}).empty());
}

TEST(Http, HoldsNoMoreRequestsInFlightThanItMay) {
  const HttpServer server([](const Asked&) { return Answer{.delay = milliseconds(20)}; });
  HttpOptions options = quick();
  options.max_in_flight = 3;
  HttpClient client(options);
  for (const auto& reply : client.post(std::vector<HttpRequest>(12, {server.url(), "{}"})))
    EXPECT_EQ(reply.body, "{}");
  EXPECT_EQ(server.most_at_once(), 3);
}

TEST(Http, SendsALargeBodyWhole) {
  const HttpServer server([](const Asked& a) { return Answer{.body = cat(a.body.size())}; });
  HttpClient client(quick());
  EXPECT_EQ(client.post({{server.url(), std::string(3'000'000, 'x')}}).at(0).body, "3000000");
}

TEST(Http, RepeatsWhatMayGoWellTheNextTime) {
  for (const int status : {408, 429, 500, 502, 503, 504}) {
    const HttpServer server([&](const Asked& asked) {
      return asked.number < 3 ? Answer{.status = status, .body = "busy"} : Answer{.body = "[1]"};
    });
    EXPECT_EQ(reply_of(server.url()).body, "[1]") << status;
    EXPECT_EQ(server.asked().size(), 4U) << status;
  }
  EXPECT_EQ(problem_of({.status = 500, .body = "busy\n"}),
            "URL: status 500: \"busy\" (4 attempts)");
  HttpOptions once = quick();
  once.retries = 0;
  EXPECT_EQ(problem_of({.status = 503, .body = ""}, once), "URL: status 503");
}

TEST(Http, RepeatsAttemptsWhoseConnectionBroke) {
  for (const Answer& broken : {Answer{.body = "[1, 2]", .how = How::cut}, Answer{.raw = "HTTP"}}) {
    const HttpServer server(
        [&](const Asked& asked) { return asked.number == 0 ? broken : Answer{.body = "[1]"}; });
    EXPECT_EQ(reply_of(server.url()).body, "[1]");
  }
  EXPECT_EQ(problem_of({.body = "[1, 2]", .how = How::cut}),
            "URL: the connection was closed before the reply was complete (4 attempts)");
  const std::string nobody = cat("http://127.0.0.1:", test::closed_port(), "/");
  EXPECT_EQ(reply_of(nobody).problem, nobody + ": it could not be reached (4 attempts)");
}

TEST(Http, DoesNotRepeatWhatWouldFailAgain) {
  EXPECT_EQ(problem_of({.status = 400, .body = "no such model"}),
            "URL: status 400: \"no such model\"");
  EXPECT_EQ(problem_of({.status = 307, .headers = {{"Location", "http://127.0.0.1:1/"}}}),
            "URL: status 307, a redirect, which is not followed: give the final address");
  EXPECT_EQ(problem_of({.status = 404, .body = std::string(300, 'x') + "\xff"}),
            "URL: status 404: \"" + std::string(200, 'x') + "…\"");
}

TEST(Http, GivesUpAtTheDeadlineWhateverItWaitsFor) {
  HttpOptions options = quick();
  options.deadline = milliseconds(60);
  options.retries = 100'000;
  EXPECT_EQ(problem_of({.how = How::never}, options), "URL: no reply within 60 ms");
  EXPECT_EQ(problem_of({.delay = milliseconds(5000)}, options), "URL: no reply within 60 ms");
  const auto begin = Clock::now();
  const std::string busy = problem_of({.status = 500, .body = ""}, options);
  EXPECT_TRUE(busy.starts_with("URL: status 500") || busy.starts_with("URL: no reply within 60 ms"))
      << busy;
  EXPECT_LT(Clock::now() - begin, milliseconds(100'000));  // and not after 100 000 attempts
}

TEST(Http, WaitsAsLongAsTheServerAsks) {
  const HttpServer server([](const Asked& asked) {
    return asked.number == 0 ? Answer{.status = 429, .headers = {{"Retry-After", "1"}}} : Answer{};
  });
  const auto begin = Clock::now();
  EXPECT_EQ(reply_of(server.url()).body, "{}");
  EXPECT_GE(Clock::now() - begin, milliseconds(1000));
  // Longer than the deadline allows: there is no use in waiting.
  EXPECT_EQ(problem_of({.status = 429, .body = "", .headers = {{"Retry-After", "3600"}}}),
            "URL: status 429");
  EXPECT_EQ(problem_of({.status = 429, .body = "", .headers = {{"Retry-After", "tomorrow"}}}),
            "URL: status 429 (4 attempts)");
}

TEST(Http, TakesNoReplyThatIsTooLong) {
  HttpOptions options = quick();
  options.max_reply = 1000;
  const HttpServer server([](const Asked&) { return Answer{.body = std::string(1000, 'x')}; });
  EXPECT_EQ(reply_of(server.url(), options).body, std::string(1000, 'x'));
  EXPECT_EQ(problem_of({.body = std::string(1001, 'x')}, options),
            "URL: the reply is longer than 1000 bytes");
  EXPECT_EQ(problem_of({.how = How::endless}, options), "URL: the reply is longer than 1000 bytes");
}

TEST(Http, OneBadRequestDoesNotHarmTheOthers) {
  const HttpServer server([](const Asked& asked) {
    if (asked.path == "/2") return Answer{.how = How::never};
    if (asked.path == "/4") return Answer{.status = 400, .body = ""};
    return Answer{.body = asked.path};
  });
  HttpOptions options = quick();
  options.deadline = milliseconds(2000);
  options.max_in_flight = 2;
  HttpClient client(options);
  std::vector<HttpRequest> requests;
  for (int i = 0; i < 6; ++i) requests.push_back({server.url(cat("/", i)), "{}"});
  const auto replies = client.post(requests);
  for (size_t i = 0; i < 6; ++i)
    EXPECT_EQ(replies[i].body.has_value(), i != 2 && i != 4) << replies[i].problem;
  EXPECT_EQ(client.post({requests[1]}).at(0).body, "/1");  // and is fit for the next call
}

TEST(Http, SendsTheTokenAndNeverTellsIt) {
  const TemporaryFolder folder;
  HttpOptions options = quick();
  options.token_file = folder.write("token", "  sk-123\n");
  const HttpServer server([](const Asked& asked) {
    return Answer{.status = 401, .body = "who is " + asked.headers.at("authorization") + "?"};
  });
  EXPECT_EQ(reply_of(server.url(), options).problem,
            server.url() + ": status 401: \"who is Bearer ***?\"");
  EXPECT_EQ(server.asked().at(0).headers.at("authorization"), "Bearer sk-123");

  for (const char* bad : {"", " \n", "two words", "a\nb", "\xc3\xa9"}) {
    options.token_file = folder.write("bad", bad);
    EXPECT_EQ(folder.strip(error_of<UsageError>([&] { HttpClient client(options); })),
              "bad: expected a token in visible ASCII characters alone");
  }
  options.token_file = folder / "absent";
  EXPECT_NE(error_of<MissingFileError>([&] { HttpClient client(options); }), "");
}

TEST(Http, RefusesWhatIsNoAddressOfAService) {
  const auto refusal = [](const std::string& url) {
    return error_of<UsageError>([&] {
      HttpClient client;
      client.post({{url, "{}"}});
    });
  };
  for (const std::string url : {"", "localhost:8000", "file:///etc/passwd", "http://", "http:///x",
                                "ftp://host/", "http://a b/", "http://h/\n"})
    EXPECT_EQ(refusal(url),
              "expected an address such as http://localhost:8000/path, got " + Json(url).dump());
  EXPECT_EQ(refusal("http://me:secret@host:80/x"),
            "the address of \"host:80\" holds a user name or password, which would end in logs: "
            "use token_file");
  EXPECT_EQ(reply_of("http://nowhere.invalid/").problem,
            "http://nowhere.invalid/: its host has no known address (4 attempts)");
}

}  // namespace
}  // namespace luce
